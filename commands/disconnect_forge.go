package commands

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
)

// DisconnectForge drops a connection's token. In one transaction the token stops being used, and if the forge was the
// active one then none is. The forge is then told in one bounded attempt, which that transaction has claimed; if that does not
// settle it, the command succeeds all the same and [Commands.Run] goes on trying, of whichever process. It returns the events
// of both steps; [RevocationIn] reads them. A forge that is no longer configured can be disconnected, but not told. It fails
// with [projections.ErrNotConnected], or [ErrUnknownConnection] for a name that is neither configured nor connected.
func (c *Commands) DisconnectForge(ctx context.Context, caller Caller, forgeType string) ([]events.Event, error) {
	caller = c.identified(caller)
	connection, configured := c.policy.connections[forgeType]
	if !configured && forge.ValidName(forgeType) != nil {
		return nil, ErrUnknownConnection // nor was it ever, and not every text can be looked for
	}
	d := disconnectForge{forgeType: forgeType, configured: configured, connection: connection}
	appended, err := c.append(ctx, caller, decision{
		Streams: []events.Stream{events.TokenStream(forgeType), events.StreamActiveForge},
		Decide:  d.decide,
	})
	if err != nil {
		return nil, err
	}
	requested, ok := pendingRevocation(appended)
	if !ok {
		return appended, nil
	}
	settled, err := c.firstAttempt(ctx, Caller{Actor: actorRevoker, Correlation: caller.Correlation}, requested.DataKey)
	c.revocationRequested(appended) // wakes Run, which then knows when the next one is due
	if err != nil {
		c.logger.WarnContext(ctx, "the forge has not been told of a revocation yet; it will be",
			slog.String("forge_type", forgeType), slog.Any("error", err))
	}
	return append(appended, settled...), nil
}

// firstAttempt carries out the attempt that was claimed as the token was disconnected.
func (c *Commands) firstAttempt(ctx context.Context, caller Caller, dataKey uuid.UUID) ([]events.Event, error) {
	pending, ok, err := c.reader.Revocation(ctx, dataKey)
	if err != nil || !ok {
		return nil, err
	}
	return c.tellForge(ctx, caller, pending, c.grantsPage(ctx, pending))
}

// RevocationStatus says what has become of a token that a command took out of use.
type RevocationStatus struct {
	// Outcome is confirmed (the forge has revoked it), unsupported (it cannot), given_up, or pending.
	Outcome string `json:"outcome"`
	// NextAttemptAt is when the forge of a pending one is told again, null for the others.
	NextAttemptAt *time.Time `json:"next_attempt_at"`
	// Page is where the account's owner can withdraw the grant that forgeauth has not revoked, empty where that is not
	// needed.
	Page string `json:"page"`
}

// RevocationIn reads the events of a command: what they say last about the token that they took out of use, nil if there was
// none.
func RevocationIn(appended []events.Event) *RevocationStatus {
	var status *RevocationStatus
	for _, e := range appended {
		if fact, ok := e.Fact.(events.TokenRevoked); ok {
			status = &RevocationStatus{Outcome: fact.Outcome, Page: fact.Page}
		} else if next := nextAttemptIn(e); next != nil {
			status = &RevocationStatus{Outcome: outcomePending, NextAttemptAt: next}
		}
	}
	return status
}

// nextAttemptIn is when an event says that a forge is told next, nil if it is about something else.
func nextAttemptIn(e events.Event) *time.Time {
	if _, ok := e.Fact.(events.TokenRevocationRequested); ok {
		return &e.OccurredAt
	}
	if fact, ok := e.Fact.(events.TokenRevocationAttempted); ok {
		return &fact.NextAt
	}
	if fact, ok := e.Fact.(events.TokenRevocationsPostponed); ok {
		return &fact.Until
	}
	return nil
}

type disconnectForge struct {
	forgeType  string
	configured bool
	connection forge.Connection
}

func (d disconnectForge) decide(state *projections.State, now time.Time) (events.Outcome, error) {
	token, ok := state.Token(d.forgeType)
	switch {
	case !ok && !d.configured:
		return events.Outcome{}, ErrUnknownConnection
	case !ok:
		return events.Outcome{}, projections.ErrNotConnected
	}
	stream := events.TokenStream(d.forgeType)
	out := events.Outcome{Drafts: []events.Draft{{Stream: stream, Fact: revocationOf(token, reasonDisconnected)}}}
	if outcome := foregone(d.connection, d.configured, token.BaseURL); outcome != "" {
		settle(&out, d.forgeType, token.DataKey, outcome, forge.GrantsPage(forge.Kind(token.Kind), token.BaseURL))
	} else {
		out.Drafts = append(out.Drafts, attempting(d.forgeType, token.DataKey, 1, now, now))
	}
	out.Drafts = append(out.Drafts, deactivate(state, d.forgeType, deactivatedDisconnected)...)
	return out, nil
}
