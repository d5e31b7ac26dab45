package webhook

import (
	"errors"
	"net/netip"
	"testing"
)

func TestWhichAddressesArePublic(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"1.1.1.1": true, "93.184.216.34": true, "172.15.255.255": true, "172.32.0.1": true, "100.63.255.255": true, "100.128.0.1": true,
		"2606:4700::1111": true, "2a00:1450::1": true, "::ffff:1.1.1.1": true,

		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "100.64.0.1": false, "127.0.0.1": false, "127.9.9.9": false,
		"169.254.169.254": false, "172.16.0.1": false, "172.31.255.255": false, "192.0.0.8": false, "192.0.2.1": false,
		"192.88.99.1": false, "192.168.1.1": false, "198.18.0.1": false, "198.51.100.1": false, "203.0.113.1": false, "224.0.0.1": false,
		"240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::7f00:1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:169.254.169.254": false,
		"64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b:1::1": false, "100::1": false, "2001::1": false, "2001:db8::1": false,
		"2002:7f00:1::": false, "3fff::1": false, "5f00::1": false, "fc00::1": false, "fd00:ec2::254": false, "fe80::1": false,
		"fe80::1%eth0": false, "2606:4700::1111%eth0": false, "fec0::1": false, "ff02::1": false,
	} {
		if got := isPublic(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s is public: %v", address, got)
		}
	}
}

func TestTheGuardLooksAtSchemeAndAddress(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		address      string
		plain, allow bool
		want         bool
	}{
		{"1.1.1.1:443", false, false, true},
		{"1.1.1.1:443", false, true, true},
		{"1.1.1.1:80", true, true, false},
		{"10.0.0.1:443", false, false, false},
		{"10.0.0.1:443", false, true, true},
		{"10.0.0.1:80", true, true, true},
		{"[fe80::1%eth0]:443", false, false, false},
		{"nonsense", false, true, false},
	} {
		err := guard(test.plain, test.allow)("tcp", test.address, nil)
		if (err == nil) != test.want {
			t.Errorf("%+v: %v", test, err)
		}
		if refused, ok := errors.AsType[*AddressError](err); ok && refused.Plain != (test.plain && test.allow) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}
