package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

// revokeTimeout bounds one request that tells a forge, or two where a pair is traded first: an attempt takes at most twice as
// long, which has to be well below firstBackoff.
const revokeTimeout = 15 * time.Second

// settleRevocation makes one attempt at a pending revocation: it claims the attempt on the log, tells the forge, and records
// what became of it. Without an event and without an error it is not due, because somebody else has claimed it or it is
// settled. With an error it stays pending.
func (c *Commands) settleRevocation(ctx context.Context, caller Caller, dataKey uuid.UUID) ([]events.Event, error) {
	pending, ok, err := c.reader.Revocation(ctx, dataKey)
	if err != nil || !ok {
		return nil, err
	}
	caller = c.identified(caller)
	connection, configured := c.policy.connections[pending.ForgeType]
	page := c.grantsPage(ctx, pending)
	claimed, err := c.append(ctx, caller, decision{
		Streams: []events.Stream{events.TokenStream(pending.ForgeType)},
		Decide: claimRevocation{
			forgeType: pending.ForgeType, dataKey: dataKey, connection: connection, configured: configured, page: page,
		}.decide,
	})
	if err != nil || !attempts(claimed, dataKey) {
		return claimed, err
	}
	told, err := c.tellForge(ctx, caller, pending, page)
	return append(claimed, told...), err
}

// attempts reports whether events claim an attempt at the revocation of that token.
func attempts(appended []events.Event, dataKey uuid.UUID) bool {
	for _, e := range appended {
		if claim, ok := e.Fact.(events.TokenRevocationAttempted); ok && claim.DataKey == dataKey {
			return true
		}
	}
	return false
}

// grantsPage is where the account's owner can withdraw what forgeauth cannot revoke. The kind is that of the token's own
// forge, which its connection may no longer be.
func (c *Commands) grantsPage(ctx context.Context, pending projections.Revocation) string {
	event, err := c.log.At(ctx, pending.IssuedAt)
	if err != nil {
		return ""
	}
	pair, _ := grantedBy(event.Fact)
	return forge.GrantsPage(pair.kind, pending.BaseURL)
}

// claimRevocation is the decision to tell a forge of a revocation now, and so that nobody else does.
type claimRevocation struct {
	forgeType  string
	dataKey    uuid.UUID
	connection forge.Connection
	configured bool
	page       string
}

func (r claimRevocation) decide(state *projections.State, now time.Time) (events.Outcome, error) {
	var out events.Outcome
	pending, ok := state.Revocation(r.dataKey)
	if !ok || now.Before(pending.NextAttemptAt) {
		return out, nil
	}
	if outcome := foregone(r.connection, r.configured, pending.BaseURL); outcome != "" {
		settle(&out, r.forgeType, r.dataKey, outcome, r.page)
		return out, nil
	}
	out.Drafts = append(out.Drafts, attempting(r.forgeType, r.dataKey, pending.Attempts+1, pending.RequestedAt, now))
	return out, nil
}

// foregone is how a revocation ends that its forge need not be asked about, empty for all others.
func foregone(connection forge.Connection, configured bool, baseURL string) string {
	info, _ := forge.Info(connection.Kind)
	switch {
	case !configured || connection.BaseURL != baseURL:
		return outcomeGivenUp
	case !info.Revocable:
		return outcomeUnsupported
	}
	return ""
}

// attempting is the fact that a process sets out to tell the forge at now, for the n-th time.
func attempting(forgeType string, dataKey uuid.UUID, n int, requestedAt, now time.Time) events.Draft {
	return events.Draft{Stream: events.TokenStream(forgeType), Fact: events.TokenRevocationAttempted{
		ForgeType: forgeType, DataKey: dataKey, Attempt: n, NextAt: nextAttempt(dataKey, n, requestedAt, now),
	}}
}

// tellForge carries out an attempt that was claimed. The page is that of [Commands.grantsPage].
func (c *Commands) tellForge(
	ctx context.Context, caller Caller, pending projections.Revocation, page string,
) ([]events.Event, error) {
	outcome, failure := c.attemptRevocation(ctx, pending)
	s := settleRevocation{forgeType: pending.ForgeType, dataKey: pending.DataKey, outcome: outcome, page: page}
	if limited, ok := errors.AsType[*forge.RateLimitedError](failure); ok && !limited.Until.IsZero() {
		s.until = stored(limited.Until)
	}
	settled, err := c.append(ctx, caller, decision{
		Streams: []events.Stream{events.TokenStream(pending.ForgeType)}, Decide: s.decide,
	})
	if err != nil {
		return nil, err
	}
	for _, e := range settled {
		if revoked, ok := e.Fact.(events.TokenRevoked); ok {
			if revoked.Outcome == outcomeGivenUp {
				c.logger.WarnContext(ctx, "gave up revoking a token: withdraw it at the forge by hand",
					slog.String("forge_type", pending.ForgeType), slog.String("account_id", pending.AccountID),
					slog.String("page", revoked.Page), slog.Any("error", failure))
			}
			return settled, nil
		}
	}
	return settled, failure
}

// settleRevocation is the decision after an attempt.
type settleRevocation struct {
	forgeType string
	dataKey   uuid.UUID
	outcome   string // empty if the attempt has settled nothing
	page      string
	until     time.Time // when the forge wants to be asked again; zero if it does not say
}

func (s settleRevocation) decide(state *projections.State, now time.Time) (events.Outcome, error) {
	var out events.Outcome
	pending, ok := state.Revocation(s.dataKey)
	switch {
	case !ok:
	case s.outcome != "":
		settle(&out, s.forgeType, s.dataKey, s.outcome, s.page)
	case !now.Before(pending.RequestedAt.Add(revocationPatience)):
		settle(&out, s.forgeType, s.dataKey, outcomeGivenUp, s.page)
	case s.until.After(pending.NextAttemptAt):
		out.Drafts = append(out.Drafts, events.Draft{
			Stream: events.TokenStream(s.forgeType),
			Fact:   events.TokenRevocationsPostponed{ForgeType: s.forgeType, Until: s.until},
		})
	}
	return out, nil
}

// settle ends a revocation: from then on nobody can open the token. The page is for those that the forge has not confirmed.
func settle(out *events.Outcome, forgeType string, dataKey uuid.UUID, outcome, page string) {
	if outcome == outcomeConfirmed {
		page = ""
	}
	out.Drafts = append(out.Drafts, events.Draft{
		Stream: events.TokenStream(forgeType),
		Fact:   events.TokenRevoked{ForgeType: forgeType, DataKey: dataKey, Outcome: outcome, Page: page},
	})
	out.Effects = append(out.Effects, vault.ShredKey{ID: dataKey})
}

// Why a token was not presented to its forge.
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
	err = revokeOnce(ctx, provider, token)
	if errors.Is(err, forge.ErrUnsupported) && !token.Refresh.IsZero() {
		err = revokeRefreshed(ctx, provider, token.Refresh)
	}
	switch {
	case err == nil:
		return outcomeConfirmed, nil
	case errors.Is(err, forge.ErrUnsupported):
		return outcomeUnsupported, nil
	}
	return "", err
}

func revokeOnce(ctx context.Context, provider forge.Provider, token forge.Token) error {
	ctx, cancel := context.WithTimeout(ctx, revokeTimeout)
	defer cancel()
	return bindFresh(provider, token).Revoke(ctx)
}

// revokeRefreshed revokes by a new pair, had for the refresh token of one whose access token its forge does not know any more
// (a GitHub App's, eight hours after it was granted). The new pair is nowhere but here, so whoever leaves does not end this. If
// it is lost all the same, then the next attempt finds the refresh token spent, which is [forge.ErrUnsupported]: something of the
// grant may live, and the operator is told where it can be withdrawn.
func revokeRefreshed(ctx context.Context, provider forge.Provider, spend secret.Text) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	fresh, err := provider.Refresh(ctx, forge.RefreshRequest{RefreshToken: spend})
	if _, spent := errors.AsType[*forge.RefreshRejectedError](err); spent {
		return forge.ErrUnsupported
	}
	if err != nil {
		return err
	}
	return revokeOnce(ctx, provider, fresh)
}

// grantedPair is what a fact says about the token pair in its sealed part.
type grantedPair struct {
	account   events.Account
	kind      forge.Kind
	dataKey   uuid.UUID
	expiresAt *time.Time
}

// grantedBy returns the pair that a fact holds; false for one that holds none.
func grantedBy(fact events.Fact) (grantedPair, bool) {
	if issued, ok := fact.(events.TokenIssued); ok {
		return grantedPair{issued.Account, forge.Kind(issued.Kind), issued.DataKey, issued.ExpiresAt}, true
	}
	if overtaken, ok := fact.(events.TokenRefreshOvertaken); ok {
		return grantedPair{overtaken.Account, forge.Kind(overtaken.Kind), overtaken.DataKey, overtaken.ExpiresAt}, true
	}
	refreshed, ok := fact.(events.TokenRefreshed)
	return grantedPair{refreshed.Account, forge.Kind(refreshed.Kind), refreshed.DataKey, refreshed.ExpiresAt}, ok
}

// openRevoked opens the token pair of a pending revocation out of the event that holds it.
func (c *Commands) openRevoked(ctx context.Context, pending projections.Revocation) (forge.Token, error) {
	key, err := c.vault.Load(ctx, c.pool, pending.DataKey)
	if err != nil {
		return forge.Token{}, fmt.Errorf("revocation: %w", err)
	}
	event, err := c.log.At(ctx, pending.IssuedAt)
	if err != nil {
		return forge.Token{}, fmt.Errorf("revocation: %w", err)
	}
	pair, ok := grantedBy(event.Fact)
	// What the token is sealed for is where it may go: the row alone could have been repointed.
	if !ok || pair.dataKey != pending.DataKey || pair.account.ForgeType != pending.ForgeType || pair.account.BaseURL != pending.BaseURL {
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
	var token forge.Token
	if token.Access, err = key.Open(accessContext(pair.account, pending.DataKey), sealed.Access); err != nil {
		return forge.Token{}, fmt.Errorf("revocation: %w", err)
	}
	if len(sealed.Refresh) > 0 {
		if token.Refresh, err = key.Open(refreshContext(pair.account, pending.DataKey), sealed.Refresh); err != nil {
			return forge.Token{}, fmt.Errorf("revocation: %w", err)
		}
	}
	if pair.expiresAt != nil {
		token.ExpiresAt = *pair.expiresAt
	}
	return token, nil
}

// settleRevocations makes one attempt at every pending revocation that is due. Forges are told side by side, so that one
// that hangs delays no other.
func (c *Commands) settleRevocations(ctx context.Context) error {
	pending, err := c.reader.Revocations(ctx)
	if err != nil {
		return err
	}
	now := c.now()
	due := map[string][]uuid.UUID{}
	for _, revocation := range pending {
		if !now.Before(revocation.NextAttemptAt) {
			due[revocation.ForgeType] = append(due[revocation.ForgeType], revocation.DataKey)
		}
	}
	var forges sync.WaitGroup
	for forgeType, dataKeys := range due {
		forges.Go(func() {
			for _, dataKey := range dataKeys {
				if _, err := c.settleRevocation(ctx, Caller{Actor: actorRevoker}, dataKey); err != nil && ctx.Err() == nil {
					c.logger.WarnContext(ctx, "the forge has not been told of a revocation yet",
						slog.String("forge_type", forgeType), slog.Any("error", err))
				}
			}
		})
	}
	forges.Wait()
	return context.Cause(ctx)
}
