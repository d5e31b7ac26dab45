package http

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits bound what a client may do without a live session. A request costs one; one that is refused after it was looked
// into costs FailureCost in all. Requests with a live session cost nothing and are not refused; only the first that a
// process sees of a session costs one, if there is one left, and may be refused within a second of the session's begin
// elsewhere. Nor does what is refused at the door cost anything (another
// host, another site, no such route or method), or what is refused for the limit itself.
type Limits struct {
	// Burst is what a client may spend at once, PerSecond what it gets back. 120 and 2 if zero.
	Burst     int
	PerSecond float64
	// FailureCost is what a refused request costs. 5 if zero.
	FailureCost int
	// Clients bounds how many clients are remembered, and so the memory: some 100 bytes each. 16,384 if zero.
	Clients int
}

func (l Limits) withDefaults() Limits {
	if l.Burst == 0 {
		l.Burst = 120
	}
	if l.PerSecond == 0 {
		l.PerSecond = 2
	}
	if l.FailureCost == 0 {
		l.FailureCost = 5
	}
	if l.Clients == 0 {
		l.Clients = 16_384
	}
	return l
}

// limiter counts per client in two generations: when the younger is full it becomes the older, and the older is
// forgotten. Who was active lately is in one of them; a flood of addresses cannot lock anybody else out. Safe for
// concurrent use.
type limiter struct {
	limits Limits
	now    func() time.Time

	mu             sync.Mutex
	younger, older map[netip.Prefix]*rate.Limiter
}

func newLimiter(limits Limits, now func() time.Time) *limiter {
	return &limiter{limits: limits.withDefaults(), now: now, younger: map[netip.Prefix]*rate.Limiter{}}
}

// take spends one for a request, or returns a *requestError that says when to come again.
func (l *limiter) take(client netip.Prefix) error {
	now := l.now()
	reservation := l.bucket(client).ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	reservation.CancelAt(now)
	return &requestError{code: codeRateLimited, retryAfter: wait}
}

// charge spends what a refused request costs beyond the one that take has spent, into debt if need be, but never deeper
// than one refused request.
func (l *limiter) charge(client netip.Prefix) {
	now, bucket := l.now(), l.bucket(client)
	if extra := l.limits.FailureCost - 1; extra > 0 && bucket.TokensAt(now) >= 0 {
		bucket.ReserveN(now, min(extra, l.limits.Burst))
	}
}

func (l *limiter) bucket(client netip.Prefix) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	bucket, ok := l.younger[client]
	if ok {
		return bucket
	}
	if bucket, ok = l.older[client]; !ok {
		bucket = rate.NewLimiter(rate.Limit(l.limits.PerSecond), l.limits.Burst)
	}
	if len(l.younger) >= max(1, l.limits.Clients/2) {
		l.younger, l.older = map[netip.Prefix]*rate.Limiter{}, l.younger
	}
	l.younger[client] = bucket
	return bucket
}
