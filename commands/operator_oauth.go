package commands

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

// OperatorOAuth is a connection's token, opened.
type OperatorOAuth struct {
	ForgeType               string
	Kind                    forge.Kind
	BaseURL                 string
	AccountID, AccountLogin string
	AccessToken             secret.Text
	RefreshToken            secret.Text // zero if there is none
	ExpiresAt               time.Time   // zero for a token that does not expire
	Scopes                  []string    // nil where the forge does not say
	CreatedAt, UpdatedAt    time.Time   // when it was connected, and when the row last changed
	// Generation counts the grants of the connection's token; it is the stream version of the one that gave this.
	Generation int64
}

// OperatorOAuth opens the token of a connection, be it active or not. Near its end it is refreshed first; where only a sign-in
// helps it is returned as it is stored, expired or not, which ExpiresAt says. It fails with [ErrUnknownConnection],
// [projections.ErrNotConnected], [*OriginError] where the token is for another base URL than the configured one,
// [forge.ErrNeedsReauth] where its key has been shredded, and with what keeps an expired token from being refreshed.
//
// The refresh token is not its holder's to use: a forge that rotates gives the next one to whoever used it.
func (c *Commands) OperatorOAuth(ctx context.Context, forgeType string) (OperatorOAuth, error) {
	if _, err := c.provider(forgeType); err != nil {
		return OperatorOAuth{}, err
	}
	row, _, key, err := c.freshRow(ctx, forgeType, nil)
	if err != nil && (!errors.Is(err, forge.ErrNeedsReauth) || key.ID() != row.DataKey) {
		return OperatorOAuth{}, err
	}
	opened := OperatorOAuth{
		ForgeType: row.ForgeType, Kind: forge.Kind(row.Kind), BaseURL: row.BaseURL,
		AccountID: row.AccountID, AccountLogin: row.AccountLogin, Scopes: row.Scopes,
		CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt, Generation: row.Generation,
	}
	if row.ExpiresAt != nil {
		opened.ExpiresAt = *row.ExpiresAt
	}
	if opened.AccessToken, err = key.Open(accessContext(row.Account, row.DataKey), row.AccessToken); err != nil {
		return OperatorOAuth{}, fmt.Errorf("operator token: %w", err)
	}
	if len(row.RefreshToken) > 0 {
		if opened.RefreshToken, err = key.Open(refreshContext(row.Account, row.DataKey), row.RefreshToken); err != nil {
			return OperatorOAuth{}, fmt.Errorf("operator token: %w", err)
		}
	}
	return opened, nil
}

// OperatorAdapter returns the port of the active forge's token. It stays bound to that forge and account whatever becomes active
// later, and goes on with the tokens that replace this one. One query says which token that is, each time; the first use of a
// token reads and opens it besides, and one that is near its end is refreshed, which is waited for as long as ctx lasts. It
// fails with [projections.ErrNoActiveForge]; with [forge.ErrNeedsReauth] where only a sign-in helps; with [*OriginError] for a
// token of another base URL than the configured one; with [forge.ErrUnavailable] or *[forge.RateLimitedError] for an expired
// token that the forge does not refresh at the moment.
func (c *Commands) OperatorAdapter(ctx context.Context) (forge.Port, error) {
	for {
		active, err := c.reader.ActiveToken(ctx)
		if err != nil {
			return nil, err
		}
		port, err := c.adapter(ctx, active)
		if errors.Is(err, projections.ErrNotConnected) {
			continue // disconnected since it was read: another one may be active now, or none
		}
		return port, err
	}
}

// AdapterFor is [Commands.OperatorAdapter] for a connection by its name, be it active or not. It fails with
// [ErrUnknownConnection] and [projections.ErrNotConnected] instead of [projections.ErrNoActiveForge].
func (c *Commands) AdapterFor(ctx context.Context, forgeType string) (forge.Port, error) {
	if _, err := c.provider(forgeType); err != nil {
		return nil, err
	}
	token, err := c.reader.TokenInUse(ctx, forgeType)
	if err != nil {
		return nil, err
	}
	return c.adapter(ctx, token)
}

// HookVerifier checks the deliveries of a connection's webhooks. It fails with [ErrUnknownConnection].
func (c *Commands) HookVerifier(forgeType string) (forge.HookVerifier, error) {
	provider, err := c.provider(forgeType)
	if err != nil {
		return nil, err
	}
	return provider.HookVerifier(), nil
}

func (c *Commands) adapter(ctx context.Context, current projections.TokenInUse) (forge.Port, error) {
	if _, err := c.destination(current.ForgeType, current.BaseURL); err != nil {
		return nil, err
	}
	if current.Refused {
		return nil, needsReauth(current.ForgeType, nil)
	}
	if port, ok := c.ports.of(current.ForgeType, current.DataKey, c.now()); ok {
		return port, nil
	}
	return c.openPort(ctx, current.ForgeType)
}

// openPort opens a connection's token and remembers its port.
func (c *Commands) openPort(ctx context.Context, forgeType string) (forge.Port, error) {
	changes := c.ports.changes.Load()
	row, provider, token, err := c.fresh(ctx, forgeType, nil)
	if err != nil {
		return nil, err
	}
	keep := &keeper{commands: c, account: row.Account}
	keep.hold(row, token, changes)
	port := provider.Bind(forge.Binding{
		Connection: row.ForgeType,
		Kind:       provider.Connection().Kind,
		BaseURL:    row.BaseURL,
		Account:    forge.Account{ID: row.AccountID, Login: row.AccountLogin},
		Generation: row.Generation,
		Position:   row.IssuedAt,
	}, keep)
	c.ports.remember(row.ForgeType, openedPort{dataKey: row.DataKey, until: handedOutUntil(row), port: port})
	return port, nil
}

// living reads a connection's token, where it may be sent, and its key.
func (c *Commands) living(ctx context.Context, forgeType string) (row projections.Token, to forge.Provider, key vault.DataKey, err error) {
	row, wrapped, err := c.reader.TokenAndKey(ctx, forgeType)
	if err != nil {
		return row, nil, key, err
	}
	if to, err = c.destination(row.ForgeType, row.BaseURL); err != nil {
		return row, nil, key, err
	}
	if wrapped == nil {
		return row, nil, key, needsReauth(forgeType, vault.ErrShredded)
	}
	if key, err = c.vault.Unwrap(vault.WrappedKey{ID: row.DataKey, Wrapped: wrapped}); err != nil {
		return row, nil, key, fmt.Errorf("operator token: %w", err)
	}
	return row, to, key, nil
}

// ports remembers, for each connection, the port of the token that was opened last, until this process changes something about
// that token or opens another. Whoever asks has just read from the database that this token is still the connection's. Safe for
// concurrent use.
type ports struct {
	mu   sync.RWMutex
	last map[string]openedPort // by forge type
	// changes counts what this process has changed about tokens.
	changes atomic.Int64
}

type openedPort struct {
	dataKey uuid.UUID
	until   time.Time // when the token is to be refreshed; zero if never
	port    forge.Port
}

func (p *ports) of(forgeType string, dataKey uuid.UUID, now time.Time) (forge.Port, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	opened, ok := p.last[forgeType]
	return opened.port, ok && opened.dataKey == dataKey && (opened.until.IsZero() || now.Before(opened.until))
}

func (p *ports) remember(forgeType string, opened openedPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last[forgeType] = opened
}

func (p *ports) forget(forgeType string) {
	p.changes.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.last, forgeType)
}

// destination is the forge that a stored token is sent to: the configured one, if that is still where it came from.
func (c *Commands) destination(forgeType, baseURL string) (forge.Provider, error) {
	provider, err := c.provider(forgeType)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", forgeType, err)
	}
	if configured := provider.Connection().BaseURL; configured != baseURL {
		return nil, &OriginError{ForgeType: forgeType, Stored: baseURL, Configured: configured}
	}
	return provider, nil
}

func needsReauth(forgeType string, cause error) error {
	return &forge.Error{Connection: forgeType, Op: "token", Err: errors.Join(forge.ErrNeedsReauth, cause)}
}

// accessContext and refreshContext are what a connection's two tokens are sealed for.
func accessContext(account events.Account, dataKey uuid.UUID) vault.Context {
	return vault.Context{
		Connection: account.ForgeType, Origin: account.BaseURL, AccountID: account.AccountID,
		Field: vault.FieldAccessToken, KeyID: dataKey,
	}
}

func refreshContext(account events.Account, dataKey uuid.UUID) vault.Context {
	sealed := accessContext(account, dataKey)
	sealed.Field = vault.FieldRefreshToken
	return sealed
}
