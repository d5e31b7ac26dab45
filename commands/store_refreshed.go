package commands

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/vault"
)

// storeRefreshed commits a new pair, which exists nowhere else: the forge has rotated. So the commit is tried again, and never
// the grant, for as long as [storePatience], whoever has given up waiting. It may come late: it counts as long as the
// connection still has the token that was traded, whatever others have concluded meanwhile.
//
// A pair that comes too late is revoked like any other, where it can be, and returned as errTokenMoved.
func (c *Commands) storeRefreshed(
	ctx context.Context, caller Caller, provider forge.Provider, start *startRefresh, account events.Account, fresh forge.Token,
) error {
	pair, err := c.sealPair(account, fresh)
	if err != nil {
		return err
	}
	info, _ := forge.Info(provider.Connection().Kind)
	r := &finishRefresh{startRefresh: start, account: account, kind: info.Kind, canRevoke: info.Revocable, fresh: fresh, pair: pair}
	isPatient := within(storePatience)
	for delay := 50 * time.Millisecond; ; delay = min(2*delay, 5*time.Second) {
		_, err = c.append(ctx, caller, decision{
			Streams: []events.Stream{events.TokenStream(start.forgeType)}, Decide: r.decide,
		})
		if err == nil || errors.Is(err, events.ErrClosed) || !isPatient() {
			break
		}
		c.logger.WarnContext(ctx, "a refreshed token is not stored yet; trying again",
			slog.String("forge_type", start.forgeType), slog.Any("error", err))
		if err := pause(ctx, delay); err != nil {
			return err
		}
	}
	switch {
	case err != nil:
		c.logger.ErrorContext(ctx, "a refreshed token could not be stored: the connection may need a new sign-in",
			slog.String("forge_type", start.forgeType), slog.Any("error", err))
		return err
	case r.superseded:
		c.wakeRevoker()
		return errTokenMoved
	}
	c.grantChanged(start.forgeType)
	return nil
}

// finishRefresh makes a new pair its connection's.
type finishRefresh struct {
	*startRefresh

	account   events.Account // whose token was traded
	kind      forge.Kind
	canRevoke bool // the kind has an endpoint that revokes one token alone
	fresh     forge.Token
	pair      sealedPair

	superseded bool // the connection has another token by now, or none
}

// decide replaces the token that was traded, and shreds its data key: the forge has ended it, or cannot be told to. That
// other attempts were made meanwhile, that they failed, and even that a sign-in was asked for, does not count against a token
// that the forge has granted.
func (r *finishRefresh) decide(state *projections.State, _ time.Time) (events.Outcome, error) {
	row, ok := state.Token(r.forgeType)
	stream := events.TokenStream(r.forgeType)
	_, pending := state.Revocation(r.pair.key.Key.ID)
	r.superseded = !ok || row.DataKey != r.dataKey && row.DataKey != r.pair.key.Key.ID
	switch {
	case pending, ok && row.DataKey == r.pair.key.Key.ID:
		return events.Outcome{}, nil // it was committed, although nobody said so
	case r.superseded && r.canRevoke && !sameToken(row.Fingerprint, r.pair.fingerprint):
		return events.Outcome{
			Drafts: []events.Draft{{Stream: stream, Sealed: r.pair.sealed, Fact: events.TokenRefreshOvertaken{
				Account: r.account, Kind: string(r.kind), ExpiresAt: expiry(r.fresh),
				DataKey: r.pair.key.Key.ID, Replaces: r.dataKey, Attempt: r.attempt,
			}}},
			Effects: []events.Effect{r.pair.key},
		}, nil
	case r.superseded:
		return events.Outcome{Drafts: []events.Draft{{Stream: stream, Fact: events.TokenRefreshFailed{
			ForgeType: r.forgeType, DataKey: r.dataKey, Attempt: r.attempt, Verdict: events.VerdictSuperseded,
		}}}}, nil
	}
	fact := events.TokenRefreshed{
		Account:     row.Account,
		Kind:        row.Kind,
		Scopes:      r.fresh.Scopes,
		ExpiresAt:   expiry(r.fresh),
		Refreshable: !r.fresh.Refresh.IsZero(),
		DataKey:     r.pair.key.Key.ID,
		Replaces:    r.dataKey,
		Attempt:     r.attempt,
	}
	if fact.Scopes == nil {
		fact.Scopes = row.Scopes // RFC 6749 §5.1: they are what they were
	}
	return events.Outcome{
		Drafts:  []events.Draft{{Stream: stream, Fact: fact, Sealed: r.pair.sealed}},
		Effects: []events.Effect{r.pair.key, vault.ShredKey{ID: r.dataKey}},
	}, nil
}
