package commands

import (
	"context"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// Why a group is given nothing more.
const (
	DisabledUnreachable = "unreachable" // its destination took nothing for longer than it is tried for
	DisabledGone        = "gone"        // its destination said that it wants nothing more
	DisabledRequested   = "requested"   // a person said so
)

// DisableRelay asks for a consumer group of the feed to be given nothing until it is enabled.
type DisableRelay struct {
	Caller Caller // of a relay whose destination is dead: the actor relay
	Group  string
	Reason string // one of the Disabled constants; [DisabledRequested] if empty
}

// DisableRelay has a group given nothing more until [Commands.EnableRelay]; its cursor and what it holds back stay. It returns the
// RelayDisabled, or no event if the group is disabled already, so that it can be repeated. It fails with [events.ErrNoGroup].
func (c *Commands) DisableRelay(ctx context.Context, req DisableRelay) ([]events.Event, error) {
	if req.Reason == "" {
		req.Reason = DisabledRequested
	}
	d := &disableRelay{group: req.Group, reason: req.Reason}
	return c.appendForGroup(ctx, req.Caller, req.Group, &d.state, decision{Decide: d.decide})
}

type disableRelay struct {
	group, reason string
	state         events.GroupState
}

func (d *disableRelay) decide(_ *projections.State, now time.Time) (events.Outcome, error) {
	if err := knownGroup(d.group, d.state); err != nil || d.state.Disabled {
		return events.Outcome{}, err
	}
	fact := events.RelayDisabled{Group: d.group, Reason: d.reason}
	if d.state.FailingSince != nil {
		since := stored(*d.state.FailingSince)
		fact.FailingSince = &since
	}
	return aboutGroup(d.group, fact, events.DisableGroup{Group: d.group, Reason: d.reason, At: now}), nil
}
