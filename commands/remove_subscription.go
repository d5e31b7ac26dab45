package commands

import (
	"context"
	"fmt"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// RemoveSubscription asks for a consumer group of the feed to be forgotten.
type RemoveSubscription struct {
	Caller Caller
	Group  string
}

// RemoveSubscription forgets a group that nobody runs, with its cursor, what it holds back and its replays. A group of that name begins
// anew, where its Start says. It returns the RelayRemoved, and fails with [events.ErrNoGroup] or [ErrGroupLive].
func (c *Commands) RemoveSubscription(ctx context.Context, req RemoveSubscription) ([]events.Event, error) {
	r := &removeSubscription{group: req.Group}
	return c.appendForGroup(ctx, req.Caller, req.Group, &r.state, decision{Decide: r.decide})
}

type removeSubscription struct {
	group string
	state events.GroupState
}

func (r *removeSubscription) decide(*projections.State, time.Time) (events.Outcome, error) {
	if err := knownGroup(r.group, r.state); err != nil {
		return events.Outcome{}, err
	}
	if r.state.Live {
		return events.Outcome{}, fmt.Errorf("%q: %w", r.group, ErrGroupLive)
	}
	return aboutGroup(r.group, events.RelayRemoved{Group: r.group, Position: r.state.Position}, events.RemoveGroup{Group: r.group}), nil
}
