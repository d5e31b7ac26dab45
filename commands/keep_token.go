package commands

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/vault"
)

const (
	// expiryMargin is how long before its end a token is no longer handed out without having been refreshed: a request takes
	// time, too. Of tokens that live for a moment only, it is a tenth of their life.
	expiryMargin = 10 * time.Second
	// recheckEvery is how long a port goes on with a token before it asks whether that is still its connection's. What this
	// process changes, it asks at once.
	recheckEvery = 30 * time.Second
	// settleIn is how long after it was granted a token is not refreshed because the forge refused it: a forge that refuses
	// whatever it has granted would get one refresh for each request.
	settleIn = time.Minute
)

// keeper is the [forge.Keeper] of one port: it is pinned to a connection, base URL and account, and goes on with whatever
// token the connection has for that account. Which forge is active is nothing to it. Safe for concurrent use.
type keeper struct {
	commands *Commands
	account  events.Account
	held     atomic.Pointer[held]
}

// held is a token as a keeper has opened it.
type held struct {
	token   forge.Token
	dataKey uuid.UUID
	until   time.Time // when it is to be refreshed; zero if never
	recheck time.Time
	changes int64 // of [ports], when it was read
}

// Token implements [forge.Keeper]. A token that is not near its end costs no query, but for one each [recheckEvery].
func (k *keeper) Token(ctx context.Context) (forge.Token, error) {
	h, now := k.held.Load(), k.commands.now()
	changes := k.commands.ports.changes.Load()
	switch {
	case !h.until.IsZero() && !now.Before(h.until):
		return k.reload(ctx)
	case h.changes == changes && now.Before(h.recheck):
		return h.token, nil
	}
	row, err := k.commands.reader.TokenInUse(ctx, k.account.ForgeType)
	switch {
	case errors.Is(err, events.ErrUnreadable):
		return h.token, nil // that the database is away says nothing about the token
	case err == nil && row.DataKey == h.dataKey && !row.Refused:
		again := *h
		again.recheck, again.changes = now.Add(recheckEvery), changes
		k.held.CompareAndSwap(h, &again)
		return h.token, nil
	}
	return k.reload(ctx)
}

// Refused implements [forge.Keeper].
func (k *keeper) Refused(ctx context.Context, refused forge.Token) (forge.Token, error) {
	token, err := k.reload(ctx)
	if err != nil || token.Generation != refused.Generation {
		return token, err
	}
	row, err := k.commands.reader.Token(ctx, k.account.ForgeType)
	if err != nil {
		return forge.Token{}, k.ended(err)
	}
	switch {
	case row.Generation != refused.Generation:
		return k.reload(ctx)
	case !row.Refreshable(), k.commands.now().Sub(row.GrantedAt) < settleIn:
		k.commands.doubt(row)
		return forge.Token{}, needsReauth(k.account.ForgeType, nil)
	}
	if err := k.commands.refresh(ctx, k.account.ForgeType, row.DataKey); err != nil {
		return forge.Token{}, k.ended(err)
	}
	return k.reload(ctx)
}

// reload opens the token that the connection has now, refreshed if it is near its end.
func (k *keeper) reload(ctx context.Context) (forge.Token, error) {
	changes := k.commands.ports.changes.Load()
	row, _, token, err := k.commands.fresh(ctx, k.account.ForgeType, &k.account)
	if err != nil {
		return forge.Token{}, k.ended(err)
	}
	k.hold(row, token, changes)
	return token, nil
}

func (k *keeper) hold(row projections.Token, token forge.Token, changes int64) {
	k.held.Store(&held{
		token: token, dataKey: row.DataKey, until: handedOutUntil(row), recheck: k.commands.now().Add(recheckEvery), changes: changes,
	})
}

// ended says of a connection without a token what it means to a port.
func (k *keeper) ended(err error) error {
	if errors.Is(err, projections.ErrNotConnected) {
		return needsReauth(k.account.ForgeType, err)
	}
	return err
}

// handedOutUntil is from when on a token has to be refreshed before it is handed out; zero if it does not expire.
func handedOutUntil(row projections.Token) time.Time {
	if row.ExpiresAt == nil {
		return time.Time{}
	}
	life := max(row.ExpiresAt.Sub(row.GrantedAt), 0)
	return row.ExpiresAt.Add(-min(expiryMargin, life/10))
}

// fresh opens the token of a connection that is good for use; see freshRow.
func (c *Commands) fresh(
	ctx context.Context, forgeType string, pinned *events.Account,
) (row projections.Token, to forge.Provider, token forge.Token, err error) {
	row, to, key, err := c.freshRow(ctx, forgeType, pinned)
	if err == nil {
		token, err = openAccess(row, key)
	}
	return row, to, token, err
}

// freshRow reads the token of a connection and its key. Near its end it is refreshed first, which takes as long as that takes;
// while the forge is unavailable, and also when it no longer refreshes it, a token that still lives is good as it is. With an account, another account's token is refused.
// Where only a sign-in helps, the row comes along with [forge.ErrNeedsReauth], and the key unless that is gone.
func (c *Commands) freshRow(
	ctx context.Context, forgeType string, pinned *events.Account,
) (row projections.Token, to forge.Provider, key vault.DataKey, err error) {
	for refreshed := false; ; refreshed = true {
		if row, to, key, err = c.living(ctx, forgeType); err != nil {
			return row, to, key, err
		}
		now := c.now()
		until, lives := handedOutUntil(row), !row.Expired(now)
		switch {
		case pinned != nil && !row.Same(*pinned):
			return row, to, key, needsReauth(forgeType, &OtherAccountError{ForgeType: forgeType, Was: pinned.AccountID, Is: row.AccountID})
		case row.Refused():
			return row, to, key, needsReauth(forgeType, nil)
		case until.IsZero(), now.Before(until), lives && (refreshed || !row.Refreshable()):
			return row, to, key, nil
		case !row.Refreshable():
			return row, to, key, needsReauth(forgeType, nil)
		case refreshed:
			return row, to, key, &forge.Error{Connection: forgeType, Op: "token", Err: errExpiredAtOnce}
		}
		err = c.refresh(ctx, forgeType, row.DataKey)
		switch {
		case err == nil:
		case ctx.Err() == nil && !errors.Is(err, projections.ErrNotConnected) && !row.Expired(c.now()):
			return row, to, key, nil
		default:
			return row, to, key, err
		}
	}
}

var errExpiredAtOnce = fmt.Errorf("%w (the token that it has just granted is over already)", forge.ErrUnavailable)

// openAccess opens a connection's access token.
func openAccess(row projections.Token, key vault.DataKey) (forge.Token, error) {
	access, err := key.Open(accessContext(row.Account, row.DataKey), row.AccessToken)
	if err != nil {
		return forge.Token{}, fmt.Errorf("operator token: %w", err)
	}
	token := forge.Token{Access: access, Scopes: row.Scopes, Generation: row.Generation}
	if row.ExpiresAt != nil {
		token.ExpiresAt = *row.ExpiresAt
	}
	return token, nil
}
