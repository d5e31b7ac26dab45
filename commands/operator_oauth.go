package commands

import (
	"context"
	"errors"
	"fmt"
	"sync"
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

// OperatorOAuth opens the token of a connection, be it active or not, expired or not. It fails with
// [ErrUnknownConnection], [projections.ErrNotConnected], [*OriginError] where the token is for another base URL than the
// configured one, and [forge.ErrNeedsReauth] where its key has been shredded.
func (c *Commands) OperatorOAuth(ctx context.Context, forgeType string) (OperatorOAuth, error) {
	if _, err := c.provider(forgeType); err != nil {
		return OperatorOAuth{}, err
	}
	row, _, key, err := c.living(ctx, forgeType)
	if err != nil {
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

// OperatorAdapter returns the port of the active forge's token. It stays bound to that token whatever becomes active later.
// One query says which token that is, each time; the first use of a token reads and opens it besides. It fails with
// [projections.ErrNoActiveForge]; with [forge.ErrNeedsReauth] for a token that has expired or whose key was shredded; with
// [*OriginError] for a token of another base URL than the configured one.
func (c *Commands) OperatorAdapter(ctx context.Context) (forge.Port, error) {
	for {
		active, err := c.reader.ActiveToken(ctx)
		if err != nil {
			return nil, err
		}
		if _, err := c.destination(active.ForgeType, active.BaseURL); err != nil {
			return nil, err
		}
		if active.ExpiresAt != nil && !c.now().Before(*active.ExpiresAt) {
			// Here an expired token will be refreshed. Until then the operator signs in again.
			return nil, needsReauth(active.ForgeType, nil)
		}
		if port, ok := c.ports.of(active.ForgeType, active.DataKey); ok {
			return port, nil
		}
		port, err := c.openPort(ctx, active.ForgeType)
		if errors.Is(err, projections.ErrNotConnected) {
			continue // disconnected since it was read: another one may be active now, or none
		}
		return port, err
	}
}

// openPort opens a connection's token and remembers its port.
func (c *Commands) openPort(ctx context.Context, forgeType string) (forge.Port, error) {
	row, provider, key, err := c.living(ctx, forgeType)
	if err != nil {
		return nil, err
	}
	access, err := key.Open(accessContext(row.Account, row.DataKey), row.AccessToken)
	if err != nil {
		return nil, fmt.Errorf("operator token: %w", err)
	}
	token := forge.Token{Access: access, Scopes: row.Scopes}
	if row.ExpiresAt != nil {
		token.ExpiresAt = *row.ExpiresAt
	}
	port := provider.Bind(forge.Binding{
		Connection: row.ForgeType,
		Kind:       provider.Connection().Kind,
		BaseURL:    row.BaseURL,
		Account:    forge.Account{ID: row.AccountID, Login: row.AccountLogin},
		Generation: row.Generation,
		Position:   row.IssuedAt,
	}, forge.StaticToken(token))
	c.ports.remember(row.ForgeType, row.DataKey, port)
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

// ports remembers, for each connection, the port of the token that was opened last, until this process ends that token or opens
// another. Whoever asks has just read from the database that this token is still the connection's. Safe for concurrent use.
type ports struct {
	mu   sync.RWMutex
	last map[string]openedPort // by forge type
}

type openedPort struct {
	dataKey uuid.UUID
	port    forge.Port
}

func (p *ports) of(forgeType string, dataKey uuid.UUID) (forge.Port, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	opened, ok := p.last[forgeType]
	return opened.port, ok && opened.dataKey == dataKey
}

func (p *ports) remember(forgeType string, dataKey uuid.UUID, port forge.Port) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last[forgeType] = openedPort{dataKey, port}
}

func (p *ports) forget(forgeType string) {
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
