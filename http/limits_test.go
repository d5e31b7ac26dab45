package http

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

func TestAClientSpendsItsBurstAndGetsItBack(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	l := newLimiter(Limits{Burst: 3, PerSecond: 0.5, FailureCost: 3, Clients: 8}, func() time.Time { return now })
	one, other := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
	for range 3 {
		if err := l.take(one); err != nil {
			t.Fatal(err)
		}
	}
	var refused *requestError
	if err := l.take(one); !errors.As(err, &refused) || refused.code != codeRateLimited || refused.retryAfter != 2*time.Second {
		t.Fatalf("the fourth request: %v", err)
	}
	if err := l.take(other); err != nil {
		t.Errorf("another client pays for it: %v", err)
	}
	now = now.Add(2 * time.Second)
	if err := l.take(one); err != nil {
		t.Errorf("after the time that was named: %v", err)
	}
}

func TestARefusalCostsMoreButNeverMoreThanOneDebt(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	l := newLimiter(Limits{Burst: 10, PerSecond: 1, FailureCost: 5}, func() time.Time { return now })
	client := netip.MustParsePrefix("192.0.2.1/32")
	for range 100 {
		l.charge(client)
	}
	var refused *requestError
	if err := l.take(client); !errors.As(err, &refused) || refused.retryAfter > 5*time.Second {
		t.Errorf("after a flood of failures: %v", err)
	}
}

func TestTheNumberOfClientsIsBoundedAndAFloodForgetsNobodyActive(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	l := newLimiter(Limits{Burst: 1, PerSecond: 0.001, Clients: 100}, func() time.Time { return now })
	active := netip.MustParsePrefix("192.0.2.1/32")
	if err := l.take(active); err != nil {
		t.Fatal(err)
	}
	for i := range 10_000 {
		flood := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
		_ = l.take(flood)
		if i%20 == 0 && l.take(active) == nil {
			t.Fatalf("after %d other clients the limit of an active one was forgotten", i)
		}
	}
	if n := len(l.younger) + len(l.older); n > 100 {
		t.Errorf("%d clients are remembered, the bound is 100", n)
	}
}
