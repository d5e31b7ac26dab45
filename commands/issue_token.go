package commands

import (
	"fmt"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/vault"
)

// How a token was had.
const (
	grantAuthorizationCode = "authorization_code"
	grantDeviceCode        = "device_code"
	grantImported          = "imported"
)

// Why a token is to be revoked.
const (
	reasonDisconnected = "disconnected"
	reasonReplaced     = "replaced"
	reasonRebound      = "rebound"
	reasonForgotten    = "forgotten"
)

// How a revocation was settled.
const (
	outcomeConfirmed   = "confirmed"
	outcomeUnsupported = "unsupported"
	outcomeGivenUp     = "given_up"
	outcomeShredded    = "shredded"
	outcomePending     = "pending" // not yet
)

// issue is a token that is ready to become its connection's: sealed under a data key of its own.
type issue struct {
	fact        events.TokenIssued
	sealed      []byte
	fingerprint []byte
	key         vault.StoreKey
	// canRevoke says that the connection's forge has an endpoint that revokes one token alone.
	canRevoke bool
}

// seal prepares a token of a connection.
func (c *Commands) seal(connection forge.Connection, account forge.Account, token forge.Token, grant string) (issue, error) {
	fact := events.TokenIssued{
		Account: events.Account{
			ForgeType: connection.Name, BaseURL: connection.BaseURL, AccountID: account.ID, AccountLogin: account.Login,
		},
		Kind:        string(connection.Kind),
		Grant:       grant,
		Scopes:      token.Scopes,
		ExpiresAt:   expiry(token),
		Refreshable: !token.Refresh.IsZero(),
	}
	pair, err := c.sealPair(fact.Account, token)
	if err != nil {
		return issue{}, err
	}
	fact.DataKey = pair.key.Key.ID
	info, _ := forge.Info(connection.Kind)
	return issue{
		fact:        fact,
		sealed:      pair.sealed,
		fingerprint: pair.fingerprint,
		key:         pair.key,
		canRevoke:   info.Revocable,
	}, nil
}

// sealedPair is a token pair, sealed under a data key of its own.
type sealedPair struct {
	sealed      []byte
	fingerprint []byte
	key         vault.StoreKey
}

func (c *Commands) sealPair(account events.Account, token forge.Token) (sealedPair, error) {
	id := c.newID()
	key, wrapped, err := c.vault.NewDataKey(id)
	if err != nil {
		return sealedPair{}, fmt.Errorf("seal token: %w", err)
	}
	sealed := events.SealedTokens{Fingerprint: c.vault.Fingerprint(token.Access)}
	if sealed.Access, err = key.Seal(accessContext(account, id), token.Access); err != nil {
		return sealedPair{}, fmt.Errorf("seal token: %w", err)
	}
	if !token.Refresh.IsZero() {
		if sealed.Refresh, err = key.Seal(refreshContext(account, id), token.Refresh); err != nil {
			return sealedPair{}, fmt.Errorf("seal token: %w", err)
		}
	}
	return sealedPair{sealed: sealed.Bytes(), fingerprint: sealed.Fingerprint, key: vault.StoreKey{Key: wrapped}}, nil
}

// expiry is when a token expires as the log holds it, nil for one that does not.
func expiry(token forge.Token) *time.Time {
	if token.ExpiresAt.IsZero() {
		return nil
	}
	return new(stored(token.ExpiresAt))
}

// decide makes the token its connection's. A token that it replaces is revoked at the forge, where that can be done to
// one token alone and it is not the same token again; else its data key goes at once.
func (i issue) decide(state *projections.State) events.Outcome {
	stream := events.TokenStream(i.fact.ForgeType)
	out := events.Outcome{
		Drafts:  []events.Draft{{Stream: stream, Fact: i.fact, Sealed: i.sealed}},
		Effects: []events.Effect{i.key},
	}
	before, ok := state.Token(i.fact.ForgeType)
	switch {
	case !ok:
	case i.canRevoke && before.BaseURL == i.fact.BaseURL && !sameToken(before.Fingerprint, i.fingerprint):
		// After TokenIssued: the row is the new token's by then, and stays.
		out.Drafts = append(out.Drafts, events.Draft{Stream: stream, Fact: revocationOf(before, reasonReplaced)})
	default:
		out.Effects = append(out.Effects, vault.ShredKey{ID: before.DataKey})
	}
	return out
}

// revocationOf is the request to revoke a living token.
func revocationOf(token projections.Token, reason string) events.TokenRevocationRequested {
	return events.TokenRevocationRequested{
		Account: token.Account, DataKey: token.DataKey, IssuedAt: token.IssuedAt, Reason: reason,
	}
}

// pendingRevocation reports whether events hold a revocation that is still to be settled.
func pendingRevocation(appended []events.Event) (pending events.TokenRevocationRequested, ok bool) {
	for _, e := range appended {
		if requested, is := e.Fact.(events.TokenRevocationRequested); is {
			pending, ok = requested, true
		}
		if revoked, is := e.Fact.(events.TokenRevoked); is && revoked.DataKey == pending.DataKey {
			ok = false
		}
	}
	return pending, ok
}

// revocationRequested wakes the background work; it never waits.
func (c *Commands) revocationRequested(appended []events.Event) {
	if _, ok := pendingRevocation(appended); ok {
		c.wakeRevoker()
	}
}

func (c *Commands) wakeRevoker() {
	select {
	case c.unsettled <- struct{}{}:
	default:
	}
}
