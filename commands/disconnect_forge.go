package commands

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/vault"
)

// DisconnectForge drops a connection's token. In one transaction the token stops being used, and if the forge was the
// active one then none is. The forge is then told in one bounded attempt; if that does not settle it, the command
// succeeds all the same and [Commands.Run] goes on trying. It returns the events of both steps. A forge that is no
// longer configured can be disconnected, but not told. It fails with [projections.ErrNotConnected], or
// [ErrUnknownConnection] for a name that is neither configured nor connected.
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
	pending, ok := pendingRevocation(appended)
	if !ok {
		return appended, nil
	}
	settled, err := c.settleRevocation(ctx, Caller{Actor: actorRevoker, Correlation: caller.Correlation}, pending.DataKey)
	if err != nil {
		c.logger.WarnContext(ctx, "the forge has not been told of a revocation yet; it will be",
			slog.String("forge_type", forgeType), slog.Any("error", err))
	}
	return append(appended, settled...), nil
}

type disconnectForge struct {
	forgeType  string
	configured bool
	connection forge.Connection
}

func (d disconnectForge) decide(state *projections.State, _ time.Time) (events.Outcome, error) {
	token, ok := state.Token(d.forgeType)
	switch {
	case !ok && !d.configured:
		return events.Outcome{}, ErrUnknownConnection
	case !ok:
		return events.Outcome{}, projections.ErrNotConnected
	}
	stream := events.TokenStream(d.forgeType)
	out := events.Outcome{Drafts: []events.Draft{{Stream: stream, Fact: revocationOf(token, reasonDisconnected)}}}
	info, _ := forge.Info(d.connection.Kind)
	switch {
	case !d.configured || d.connection.BaseURL != token.BaseURL:
		settle(&out, d.forgeType, token.DataKey, outcomeGivenUp)
	case !info.Revocable:
		settle(&out, d.forgeType, token.DataKey, outcomeUnsupported)
	}
	out.Drafts = append(out.Drafts, deactivate(state, d.forgeType, deactivatedDisconnected)...)
	return out, nil
}

// settle ends a revocation: from then on nobody can open the token.
func settle(out *events.Outcome, forgeType string, dataKey uuid.UUID, outcome string) {
	out.Drafts = append(out.Drafts, events.Draft{
		Stream: events.TokenStream(forgeType),
		Fact:   events.TokenRevoked{ForgeType: forgeType, DataKey: dataKey, Outcome: outcome},
	})
	out.Effects = append(out.Effects, vault.ShredKey{ID: dataKey})
}
