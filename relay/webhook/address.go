package webhook

import (
	"fmt"
	"net/netip"
	"syscall"
)

// special are the networks that are not public, beside those that netip knows: IANA IPv4 and IPv6 Special-Purpose Address
// Registries (RFC 6890), and what embeds an IPv4 address and so can lead to one of them.
var special = prefixes(
	"0.0.0.0/8",       // this network, RFC 791
	"100.64.0.0/10",   // shared address space, RFC 6598
	"192.0.0.0/24",    // IETF protocol assignments, RFC 6890
	"192.0.2.0/24",    // documentation, RFC 5737
	"192.88.99.0/24",  // 6to4 relay anycast, RFC 7526
	"198.18.0.0/15",   // benchmarking, RFC 2544
	"198.51.100.0/24", // documentation, RFC 5737
	"203.0.113.0/24",  // documentation, RFC 5737
	"240.0.0.0/4",     // reserved, RFC 1112, and the broadcast address
	"::/96",           // IPv4-compatible, RFC 4291
	"64:ff9b::/96",    // NAT64, RFC 6052
	"64:ff9b:1::/48",  // local NAT64, RFC 8215
	"100::/64",        // discard-only, RFC 6666
	"2001::/23",       // IETF protocol assignments with Teredo, RFC 2928
	"2001:db8::/32",   // documentation, RFC 3849
	"2002::/16",       // 6to4, RFC 3056
	"3fff::/20",       // documentation, RFC 9637
	"5f00::/16",       // segment routing, RFC 9602
	"fec0::/10",       // site-local, RFC 3879
)

func prefixes(all ...string) []netip.Prefix {
	parsed := make([]netip.Prefix, len(all))
	for i, one := range all {
		parsed[i] = netip.MustParsePrefix(one)
	}
	return parsed
}

// isPublic reports whether an address is one that anybody on the internet could connect to.
func isPublic(address netip.Addr) bool {
	address = address.Unmap()
	if !address.IsGlobalUnicast() || address.IsPrivate() || address.IsLoopback() || address.Zone() != "" {
		return false
	}
	for _, prefix := range special {
		if prefix.Contains(address) {
			return false
		}
	}
	return true
}

// AddressError says that an endpoint's name led to an address that the relay may not connect to.
type AddressError struct {
	Address netip.Addr
	// Plain says that the address is public and the URL http.
	Plain bool
}

// Error implements error.
func (e *AddressError) Error() string {
	if e.Plain {
		return fmt.Sprintf("the endpoint is at the public address %s and its URL is http: write https", e.Address)
	}
	return fmt.Sprintf("the endpoint is at %s, which is not public: set FORGEAUTH_RELAY_<NAME>_ALLOW_PRIVATE=true if that is meant", e.Address)
}

// guard refuses, just before it is connected to, an address that a relay may not talk to.
func guard(plain, allowPrivate bool) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		resolved, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("the endpoint's address is none: %w", err)
		}
		switch public := isPublic(resolved.Addr()); {
		case !public && !allowPrivate:
			return &AddressError{Address: resolved.Addr()}
		case public && plain:
			return &AddressError{Address: resolved.Addr(), Plain: true}
		}
		return nil
	}
}
