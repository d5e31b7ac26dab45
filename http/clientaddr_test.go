package http

import (
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestTheClientIsWhoTheTrustedProxiesSay(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"a peer that is no proxy is the client, whatever it claims", "198.51.100.7:4711", []string{"203.0.113.9"}, "198.51.100.7"},
		{"a proxy names the client", "10.0.0.1:4711", []string{"203.0.113.9"}, "203.0.113.9"},
		{"what the client itself wrote stands to the left and is not read", "10.0.0.1:4711", []string{"1.1.1.1, 203.0.113.9"}, "203.0.113.9"},
		{"through two proxies", "10.0.0.1:4711", []string{"1.1.1.1, 203.0.113.9, 10.0.0.2"}, "203.0.113.9"},
		{"in several headers", "10.0.0.1:4711", []string{"1.1.1.1", "203.0.113.9", "10.0.0.2"}, "203.0.113.9"},
		{"a client within the trusted network", "10.0.0.1:4711", []string{"10.0.0.9"}, "10.0.0.9"},
		{"no header", "10.0.0.1:4711", nil, "10.0.0.1"},
		{"nonsense ends the reading", "10.0.0.1:4711", []string{"203.0.113.9, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"nothing but nonsense", "10.0.0.1:4711", []string{"unknown"}, "10.0.0.1"},
		{"with a port", "10.0.0.1:4711", []string{"203.0.113.9:1234"}, "203.0.113.9"},
		{"IPv6 in brackets", "[fd00::1]:4711", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv6 in brackets with a port", "[fd00::1]:4711", []string{"[2001:db8::1]:99"}, "2001:db8::1"},
		{"IPv4 in IPv6 is IPv4", "[::ffff:10.0.0.1]:4711", []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		{"a zone is no part of an address", "[fe80::1%eth0]:4711", nil, "fe80::1"},
		{"a Unix socket has no address", "@", []string{"203.0.113.9"}, "invalid IP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
			r.RemoteAddr = c.peer
			r.Header["X-Forwarded-For"] = c.forwarded
			if got := clientAddr(r, trusted).String(); got != c.want {
				t.Errorf("client %s, want %s", got, c.want)
			}
		})
	}
}

func TestLimitsAreCountedPerIPv4AddressAndPerIPv6Network(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"203.0.113.9":           "203.0.113.9/32",
		"2001:db8:1:2:3:4:5:6":  "2001:db8:1:2::/64",
		"2001:db8:1:2:ffff::99": "2001:db8:1:2::/64",
	} {
		if got := limitKey(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s counts as %s, want %s", addr, got, want)
		}
	}
}
