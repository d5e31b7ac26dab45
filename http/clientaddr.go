package http

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// clientAddr returns the address a request came from. X-Forwarded-For is read from the right, and only as far as each
// hop that vouches for the next is a trusted proxy; anybody can send the header, so without such a peer it is not looked
// at. The zero Addr means that the peer has none, as on a Unix socket.
func clientAddr(r *http.Request, trusted []netip.Prefix) netip.Addr {
	client := parseAddr(r.RemoteAddr)
	isTrusted := func(addr netip.Addr) bool {
		return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	if !isTrusted(client) {
		return client
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr := parseAddr(strings.TrimSpace(hop))
		if !addr.IsValid() {
			return client // what stands further left is nobody's word
		}
		client = addr
		if !isTrusted(addr) {
			return client
		}
	}
	return client
}

// parseAddr reads an address with or without a port, IPv6 with or without brackets.
func parseAddr(s string) netip.Addr {
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		withPort, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}
		}
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone("")
}

// limitKey is what limits are counted under: an IPv4 address, or the /64 that an IPv6 host can choose its addresses from.
func limitKey(addr netip.Addr) netip.Prefix {
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.Prefix(bits) // of the zero Addr: the zero Prefix, which all such clients share
	return prefix
}
