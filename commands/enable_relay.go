package commands

import (
	"context"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// EnableRelay asks for a consumer group that was disabled to be given events again.
type EnableRelay struct {
	Caller Caller
	Group  string
}

// EnableRelay has a group go on where it was when it was disabled, with the tries at its next event counted anew. It returns the
// RelayEnabled, or no event if the group is not disabled. It fails with [events.ErrNoGroup].
func (c *Commands) EnableRelay(ctx context.Context, req EnableRelay) ([]events.Event, error) {
	e := &enableRelay{group: req.Group}
	return c.appendForGroup(ctx, req.Caller, req.Group, &e.state, decision{Decide: e.decide})
}

type enableRelay struct {
	group string
	state events.GroupState
}

func (e *enableRelay) decide(*projections.State, time.Time) (events.Outcome, error) {
	if err := knownGroup(e.group, e.state); err != nil || !e.state.Disabled {
		return events.Outcome{}, err
	}
	return aboutGroup(e.group, events.RelayEnabled{Group: e.group}, events.EnableGroup{Group: e.group}), nil
}
