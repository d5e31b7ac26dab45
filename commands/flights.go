package commands

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/projections"
)

// flights are the refreshes of this process: one at a time for each token, shared by all who need it. Safe for concurrent use.
type flights struct {
	mu   sync.Mutex
	open map[uuid.UUID]*flight // by the data key of the token that is refreshed
	// holding counts those that have begun an attempt, and so may hold an answer.
	holding int
	// grounded says that no more attempts are begun.
	grounded bool
}

// begin reports whether an attempt may begin; end must follow then.
func (f *flights) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.grounded {
		f.holding++
	}
	return !f.grounded
}

func (f *flights) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holding--
}

func (f *flights) held() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.holding
}

type flight struct {
	done chan struct{} // closed when it is over
	err  error
}

// refresh sees that a connection's token is no longer the stale one, and waits for that as long as ctx lasts. A caller that
// gives up cancels nobody: the refresh goes on, and others may be waiting for it. Errors are those of
// [Commands.refreshToken].
func (c *Commands) refresh(ctx context.Context, forgeType string, stale uuid.UUID) error {
	f, _ := c.fly(ctx, forgeType, stale)
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fly begins the refresh of a token, or joins the one that is under way; mine says which.
func (c *Commands) fly(ctx context.Context, forgeType string, stale uuid.UUID) (f *flight, mine bool) {
	c.flights.mu.Lock()
	defer c.flights.mu.Unlock()
	if f, ok := c.flights.open[stale]; ok {
		return f, false
	}
	f = &flight{done: make(chan struct{})}
	c.flights.open[stale] = f
	ctx = context.WithoutCancel(ctx)
	go func() {
		f.err = c.refreshToken(ctx, forgeType, stale)
		c.flights.mu.Lock()
		delete(c.flights.open, stale)
		c.flights.mu.Unlock()
		close(f.done)
	}()
	return f, true
}

// land waits for the attempts that are under way, as long as ctx lasts: what they may hold exists nowhere else. A flight that
// waits for others holds nothing.
func (c *Commands) land(ctx context.Context) {
	for c.flights.held() > 0 && pause(ctx, pollFirst) == nil {
	}
}

// Close begins no more refreshes, which then fail with [events.ErrClosed], and waits for those that are under way, whoever has
// begun them and whether [Commands.Run] is run or not, for as long as ctx lasts: a forge may take [Config.ForgeTimeout] to
// answer, and an answer that is not stored costs a sign-in. It comes before the writer is closed, which storing needs.
func (c *Commands) Close(ctx context.Context) {
	c.flights.mu.Lock()
	c.flights.grounded = true
	c.flights.mu.Unlock()
	c.land(ctx)
}

// The row is looked at again after pollFirst, the double of that, and so on up to pollLast.
const (
	pollFirst = 20 * time.Millisecond
	pollLast  = 500 * time.Millisecond
)

// awaitAttempt waits until another process's attempt is over: it is recorded, or its deadline has passed.
func (c *Commands) awaitAttempt(ctx context.Context, forgeType string, attempt uuid.UUID) error {
	for delay := pollFirst; ; delay = min(2*delay, pollLast) {
		if err := pause(ctx, delay); err != nil {
			return err
		}
		row, now, err := c.reader.TokenAndClock(ctx, forgeType)
		if err != nil {
			return err
		}
		if !attemptOpen(row, attempt, now) {
			return nil
		}
	}
}

func attemptOpen(row projections.Token, attempt uuid.UUID, now time.Time) bool {
	return row.Refresh.Deadline != nil && row.Refresh.Attempt == attempt && now.Before(*row.Refresh.Deadline)
}

// pause waits for a moment in which something is looked at again.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pause waits by the clock of the commands.
func (c *Commands) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-c.after(max(d, 0)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
