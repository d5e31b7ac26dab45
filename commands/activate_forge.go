package commands

import (
	"context"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// ActivateForge makes a connected forge the active one, without a new sign-in. It returns the ForgeActivated, or no
// event if the forge is active already. It fails with [ErrUnknownConnection] or [projections.ErrNotConnected]; an expired
// token is still a connection.
func (c *Commands) ActivateForge(ctx context.Context, caller Caller, forgeType string) ([]events.Event, error) {
	if _, err := c.provider(forgeType); err != nil {
		return nil, err
	}
	return c.append(ctx, caller, decision{
		Streams: []events.Stream{events.TokenStream(forgeType), events.StreamActiveForge},
		Decide:  activateForge{forgeType}.decide,
	})
}

type activateForge struct{ forgeType string }

func (a activateForge) decide(state *projections.State, _ time.Time) (events.Outcome, error) {
	if _, ok := state.Token(a.forgeType); !ok {
		return events.Outcome{}, projections.ErrNotConnected
	}
	if active, ok := state.Active(); ok && active.ForgeType == a.forgeType {
		return events.Outcome{}, nil
	}
	return events.Outcome{Drafts: []events.Draft{
		{Stream: events.StreamActiveForge, Fact: activation(state, a.forgeType)},
	}}, nil
}

// activation is the fact that a forge becomes active, after whichever was before.
func activation(state *projections.State, forgeType string) events.ForgeActivated {
	fact := events.ForgeActivated{ForgeType: forgeType}
	if active, ok := state.Active(); ok {
		fact.Previous = &active.ForgeType
	}
	return fact
}
