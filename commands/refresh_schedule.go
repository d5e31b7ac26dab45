package commands

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
)

const (
	// A token is refreshed when between leadLeast and leadMost of its life are left, by which process first is left to chance.
	leadLeast, leadMost = 0.10, 0.20
	// It is never refreshed earlier than longestLead before its end.
	longestLead = time.Hour
	// The table is read again after scheduleEvery at the latest: other processes grant tokens too.
	scheduleEvery = time.Minute
)

// keepFresh refreshes each token before it expires, until ctx ends. Every process does, each by a schedule of its own: whoever
// comes first announces the refresh in the log, and for the others that costs at most a refused decision.
func (c *Commands) keepFresh(ctx context.Context) {
	for ctx.Err() == nil {
		wait, err := c.refreshDue(ctx)
		c.try(ctx, "refresh tokens", err)
		select {
		case <-c.after(wait):
		case <-c.granted:
		case <-ctx.Done():
		}
	}
}

// refreshDue begins the refreshes that are due and returns how long there is nothing to do. It does not wait for them: a forge
// that is slow keeps no other waiting.
func (c *Commands) refreshDue(ctx context.Context) (time.Duration, error) {
	tokens, err := c.reader.Tokens(ctx)
	if err != nil {
		return scheduleEvery, err
	}
	wait := scheduleEvery
	for _, row := range tokens {
		if _, err := c.destination(row.ForgeType, row.BaseURL); err != nil {
			continue // it is said where somebody can do something about it
		}
		due, ok := c.refreshAt(row)
		if !ok {
			continue
		}
		if left := due.Sub(c.now()); left > 0 {
			wait = min(wait, left)
			continue
		}
		if f, mine := c.fly(ctx, row.ForgeType, row.DataKey); mine {
			go c.lookAgain(ctx, f)
		}
	}
	return wait, nil
}

// lookAgain wakes the schedule when a refresh is over: what that has recorded has woken it already, but it may have failed
// without being able to record anything.
func (c *Commands) lookAgain(ctx context.Context, f *flight) {
	<-f.done
	if _, ofForge := errors.AsType[*forge.Error](f.err); !ofForge && !isJournalled(f.err) {
		c.try(ctx, "refresh a token", f.err) // a key that does not open, a database that is away
	}
	if f.err != nil && c.pause(ctx, confirmAfter) != nil {
		return
	}
	select {
	case c.granted <- struct{}{}:
	default:
	}
}

// isJournalled reports whether an error only says what the log says already.
func isJournalled(err error) bool {
	_, busy := errors.AsType[*refreshingError](err)
	_, later := errors.AsType[*retryLaterError](err)
	return busy || later || errors.Is(err, projections.ErrNotConnected)
}

// refreshAt is when this process refreshes a token, if nobody else has. It reports false for one that cannot be, or does not
// expire.
func (c *Commands) refreshAt(row projections.Token) (time.Time, bool) {
	return refreshDueAt(row, leadLeast+(leadMost-leadLeast)*c.share(row.DataKey))
}

// refreshDueAt is when a token is refreshed if that is done when this part of its life is left.
func refreshDueAt(row projections.Token, part float64) (time.Time, bool) {
	if !row.Refreshable() || row.ExpiresAt == nil {
		return time.Time{}, false
	}
	life := max(row.ExpiresAt.Sub(row.GrantedAt), 0)
	due := row.ExpiresAt.Add(-min(time.Duration(part*float64(life)), longestLead))
	if retry := row.Refresh.RetryAt; retry != nil {
		due = later(due, *retry)
	}
	return due, true
}

// share is a number between 0 and 1, the same whenever this process asks for a token, and another in each process.
func (c *Commands) share(dataKey uuid.UUID) float64 {
	const odd = 0x9e3779b97f4a7c15
	mixed := (c.jitter ^ binary.BigEndian.Uint64(dataKey[8:])) * odd
	return float64(mixed>>11) / (1 << 53)
}
