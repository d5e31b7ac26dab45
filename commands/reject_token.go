package commands

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
)

// doubts are tokens that their forge has refused in use and that cannot be refreshed instead, or were granted a moment ago. Safe for concurrent use.
type doubts struct {
	queue chan projections.Token

	mu      sync.Mutex
	pending map[uuid.UUID]struct{} // by data key
}

func newDoubts() doubts {
	return doubts{queue: make(chan projections.Token, 8), pending: map[uuid.UUID]struct{}{}}
}

// doubt has the forge asked again about a token that it has refused, a while later and in the background. It never waits: what
// is not noted now will be when the token is refused the next time.
func (c *Commands) doubt(row projections.Token) {
	c.doubts.mu.Lock()
	defer c.doubts.mu.Unlock()
	if _, ok := c.doubts.pending[row.DataKey]; ok {
		return
	}
	select {
	case c.doubts.queue <- row:
		c.doubts.pending[row.DataKey] = struct{}{}
	default:
	}
}

// settleDoubts works off the doubts until ctx ends.
func (c *Commands) settleDoubts(ctx context.Context) {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		select {
		case row := <-c.doubts.queue:
			open.Go(func() {
				c.try(ctx, "ask a forge again about a token that it refused", c.settleDoubt(ctx, row))
				c.doubts.mu.Lock()
				defer c.doubts.mu.Unlock()
				delete(c.doubts.pending, row.DataKey)
			})
		case <-ctx.Done():
			return
		}
	}
}

// settleDoubt asks the forge whose token it is. Only if it refuses that as well, the token is refreshed, where that has not just
// been done, or the operator has to sign in again.
func (c *Commands) settleDoubt(ctx context.Context, doubted projections.Token) error {
	if err := c.pause(ctx, confirmAfter); err != nil {
		return err
	}
	row, provider, key, err := c.living(ctx, doubted.ForgeType)
	if errors.Is(err, projections.ErrNotConnected) || err == nil && row.DataKey != doubted.DataKey {
		return nil
	}
	if err != nil {
		return err
	}
	if row.Expired(c.now()) {
		return nil // no forge takes an expired token: what helps is to refresh it, which its schedule sees to
	}
	token, err := openAccess(row, key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.forgeTimeout)
	defer cancel()
	if _, err := bindFresh(provider, token).Account(ctx); !errors.Is(err, forge.ErrNeedsReauth) {
		return nil // whatever that was, it says nothing about the token
	}
	if row.Refreshable() {
		// What came with a sign-in or an import has not been tried yet; a pair that itself came by a refresh has, a moment ago.
		granted, err := c.log.At(ctx, row.IssuedAt)
		if err != nil {
			return fmt.Errorf("how the token was granted: %w", err)
		}
		if _, refreshed := granted.Fact.(events.TokenRefreshed); !refreshed {
			return c.refresh(ctx, row.ForgeType, row.DataKey)
		}
	}
	_, err = c.append(ctx, Caller{Actor: actorRefresher}, decision{
		Streams: []events.Stream{events.TokenStream(row.ForgeType)},
		Decide:  rejectToken{row.ForgeType, row.DataKey}.decide,
	})
	return err
}

// rejectToken records that a forge refuses a living token.
type rejectToken struct {
	forgeType string
	dataKey   uuid.UUID
}

func (r rejectToken) decide(state *projections.State, _ time.Time) (events.Outcome, error) {
	row, ok := state.Token(r.forgeType)
	if !ok || row.DataKey != r.dataKey || row.Refused() {
		return events.Outcome{}, nil
	}
	return events.Outcome{Drafts: []events.Draft{{
		Stream: events.TokenStream(r.forgeType), Fact: events.TokenRejected{ForgeType: r.forgeType, DataKey: r.dataKey},
	}}}, nil
}
