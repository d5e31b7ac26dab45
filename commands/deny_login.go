package commands

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// denialsPerHour is how many single LoginDenied a process writes in an hour. Whoever hammers the door must not be able to
// fill the log; above it denials are counted.
const denialsPerHour = 60

// denials counts refusals.
type denials struct {
	mu          sync.Mutex
	hour        time.Time // when the present hour began
	written     int
	unwritten   int64
	from, until time.Time // of the unwritten
}

// admit reports whether another denial may be written singly at now; if not, it has been counted.
func (d *denials) admit(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Before(d.hour) || now.Sub(d.hour) >= time.Hour { // a clock that was put back begins an hour too
		d.hour, d.written = now, 0
	}
	if d.written < denialsPerHour {
		d.written++
		return true
	}
	d.count(1, now, now)
	return false
}

// count adds unwritten denials; the caller holds mu.
func (d *denials) count(n int64, from, until time.Time) {
	if d.unwritten == 0 || from.Before(d.from) {
		d.from = from
	}
	if d.unwritten == 0 || until.After(d.until) {
		d.until = until
	}
	d.unwritten += n
}

// take removes what has been counted.
func (d *denials) take() (summary events.LoginsDenied, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	summary = events.LoginsDenied{Count: d.unwritten, From: stored(d.from), Until: stored(d.until)}
	d.unwritten, d.from, d.until = 0, time.Time{}, time.Time{}
	return summary, summary.Count > 0
}

// putBack returns what could not be written.
func (d *denials) putBack(summary events.LoginsDenied) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count(summary.Count, summary.From, summary.Until)
}

// denyLogin records that somebody was turned away, best effort: the answer is 403 whether or not it can be recorded.
func (c *Commands) denyLogin(ctx context.Context, caller Caller, fact events.LoginDenied) {
	if !c.denials.admit(c.now()) {
		return
	}
	if _, err := c.append(ctx, caller, recordDenial(fact)); err != nil {
		c.logger.WarnContext(ctx, "could not record a denied sign-in",
			slog.String("forge_type", fact.ForgeType), slog.String("reason", fact.Reason), slog.Any("error", err))
	}
}

// summariseDenials records how many denials were not recorded singly.
func (c *Commands) summariseDenials(ctx context.Context) error {
	summary, ok := c.denials.take()
	if !ok {
		return nil
	}
	_, err := c.append(ctx, Caller{Actor: actorAnonymous}, recordDenial(summary))
	if err != nil {
		c.denials.putBack(summary)
	}
	return err
}

func recordDenial(fact events.Fact) decision {
	return decision{
		Streams: []events.Stream{events.StreamDenials},
		Decide: func(*projections.State, time.Time) (events.Outcome, error) {
			return events.Outcome{Drafts: []events.Draft{{Stream: events.StreamDenials, Fact: fact}}}, nil
		},
	}
}
