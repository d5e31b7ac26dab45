package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/vault"
)

const (
	// revokeTimeout bounds one attempt to tell a forge.
	revokeTimeout = 15 * time.Second
	// revocationPatience is how long a forge is told before it is given up.
	revocationPatience = 7 * 24 * time.Hour
)

// settleRevocation tells the forge, once, about a pending revocation and records what became of it. Without an event and
// with an error it stays pending; without either somebody else has settled it. Any number of processes may try the same
// one: a forge that is told twice finds the token dead, and only one of them records it.
func (c *Commands) settleRevocation(ctx context.Context, caller Caller, dataKey uuid.UUID) ([]events.Event, error) {
	pending, ok, err := c.reader.Revocation(ctx, dataKey)
	if err != nil || !ok {
		return nil, err
	}
	outcome, failure := c.attemptRevocation(ctx, pending)
	if outcome == "" {
		if c.now().Before(pending.RequestedAt.Add(revocationPatience)) {
			return nil, failure
		}
		outcome = outcomeGivenUp
	}
	if outcome == outcomeGivenUp {
		c.logger.WarnContext(ctx, "gave up revoking a token: withdraw it at the forge by hand",
			slog.String("forge_type", pending.ForgeType), slog.String("account_id", pending.AccountID), slog.Any("error", failure))
	}
	return c.append(ctx, caller, decision{
		Streams: []events.Stream{events.TokenStream(pending.ForgeType)},
		Decide:  settleRevocation{pending.ForgeType, dataKey, outcome}.decide,
	})
}

type settleRevocation struct {
	forgeType string
	dataKey   uuid.UUID
	outcome   string
}

func (s settleRevocation) decide(state *projections.State, _ time.Time) (events.Outcome, error) {
	var out events.Outcome
	if _, ok := state.Revocation(s.dataKey); ok {
		settle(&out, s.forgeType, s.dataKey, s.outcome)
	}
	return out, nil
}

// errNotSent says why a token was not presented to its forge.
var (
	errNotSentElsewhere = errors.New("the connection is no longer configured, or for another base URL")
	errNotSentInUse     = errors.New("the same token has become the connection's again")
)

// attemptRevocation opens the token and tells its forge. An empty outcome leaves it pending, err says why.
func (c *Commands) attemptRevocation(ctx context.Context, pending projections.Revocation) (outcome string, err error) {
	provider, err := c.provider(pending.ForgeType)
	if err != nil || provider.Connection().BaseURL != pending.BaseURL {
		return outcomeGivenUp, errNotSentElsewhere
	}
	token, err := c.openRevoked(ctx, pending)
	switch {
	case errors.Is(err, vault.ErrShredded), errors.Is(err, vault.ErrCannotOpen), errors.Is(err, vault.ErrWrongContext),
		errors.Is(err, errNotSentInUse):
		return outcomeGivenUp, err
	case err != nil:
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, revokeTimeout)
	defer cancel()
	err = bindFresh(provider, token).Revoke(ctx)
	switch {
	case err == nil:
		return outcomeConfirmed, nil
	case errors.Is(err, forge.ErrUnsupported):
		return outcomeUnsupported, nil
	}
	return "", err
}

// grantedBy returns whose token a fact's sealed part holds, and the key that seals it.
func grantedBy(fact events.Fact) (account events.Account, dataKey uuid.UUID, ok bool) {
	if issued, ok := fact.(events.TokenIssued); ok {
		return issued.Account, issued.DataKey, true
	}
	refreshed, ok := fact.(events.TokenRefreshed)
	return refreshed.Account, refreshed.DataKey, ok
}

// openRevoked opens the token of a pending revocation out of the event that holds it.
func (c *Commands) openRevoked(ctx context.Context, pending projections.Revocation) (forge.Token, error) {
	key, err := c.vault.Load(ctx, c.pool, pending.DataKey)
	if err != nil {
		return forge.Token{}, fmt.Errorf("revocation: %w", err)
	}
	event, err := c.log.At(ctx, pending.IssuedAt)
	if err != nil {
		return forge.Token{}, fmt.Errorf("revocation: %w", err)
	}
	account, dataKey, ok := grantedBy(event.Fact)
	// What the token is sealed for is where it may go: the row alone could have been repointed.
	if !ok || dataKey != pending.DataKey || account.ForgeType != pending.ForgeType || account.BaseURL != pending.BaseURL {
		return forge.Token{}, fmt.Errorf("revocation: event %d did not grant that token: %w", event.Position, vault.ErrWrongContext)
	}
	sealed, err := events.ParseSealedTokens(event.Sealed)
	if err != nil {
		return forge.Token{}, fmt.Errorf("revocation: event %d: %w", event.Position, err)
	}
	living, err := c.reader.Token(ctx, pending.ForgeType)
	if err != nil && !errors.Is(err, projections.ErrNotConnected) {
		return forge.Token{}, fmt.Errorf("revocation: %w", err)
	}
	if sameToken(living.Fingerprint, sealed.Fingerprint) {
		return forge.Token{}, errNotSentInUse
	}
	access, err := key.Open(accessContext(account, pending.DataKey), sealed.Access)
	if err != nil {
		return forge.Token{}, fmt.Errorf("revocation: %w", err)
	}
	return forge.Token{Access: access}, nil
}

// settleRevocations tries every pending revocation once, oldest first.
func (c *Commands) settleRevocations(ctx context.Context) error {
	pending, err := c.reader.Revocations(ctx)
	if err != nil {
		return err
	}
	for _, revocation := range pending {
		if _, err := c.settleRevocation(ctx, Caller{Actor: actorRevoker}, revocation.DataKey); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			c.logger.WarnContext(ctx, "the forge has not been told of a revocation yet",
				slog.String("forge_type", revocation.ForgeType), slog.Any("error", err))
		}
	}
	return nil
}
