package commands

import (
	"context"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// Why no forge is active any more.
const (
	deactivatedCleared      = "cleared"
	deactivatedDisconnected = "disconnected"
	deactivatedRebound      = "rebound"
	deactivatedForgotten    = "forgotten"
)

// DeactivateForge leaves no forge active; all stay connected. It returns the ForgeDeactivated, or no event if none was
// active.
func (c *Commands) DeactivateForge(ctx context.Context, caller Caller) ([]events.Event, error) {
	return c.append(ctx, caller, decision{
		Streams: []events.Stream{events.StreamActiveForge},
		Decide:  deactivateForge{}.decide,
	})
}

type deactivateForge struct{}

func (deactivateForge) decide(state *projections.State, _ time.Time) (events.Outcome, error) {
	active, ok := state.Active()
	if !ok {
		return events.Outcome{}, nil
	}
	return events.Outcome{Drafts: []events.Draft{deactivation(active.ForgeType, deactivatedCleared)}}, nil
}

func deactivation(forgeType, reason string) events.Draft {
	return events.Draft{
		Stream: events.StreamActiveForge, Fact: events.ForgeDeactivated{Previous: forgeType, Reason: reason},
	}
}

// deactivate returns the deactivation of a forge if it is the active one.
func deactivate(state *projections.State, forgeType, reason string) []events.Draft {
	active, ok := state.Active()
	if !ok || active.ForgeType != forgeType {
		return nil
	}
	return []events.Draft{deactivation(forgeType, reason)}
}
