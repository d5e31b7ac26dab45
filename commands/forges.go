package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
)

// The states of a [ForgeStatus].
const (
	StateActive        = "active"         // its token is the one in use
	StateConnected     = "connected"      // there is a token
	StateExpired       = "expired"        // there is a token that has stopped working, be the forge active or not
	StateNotConnected  = "not_connected"  // configured, and nobody has signed in
	StateNotConfigured = "not_configured" // there is a token for a connection that the configuration does not have
)

// ForgeStatus is what can be shown of a connection. It holds no secret.
type ForgeStatus struct {
	ForgeType    string     `json:"forge_type"`
	Kind         forge.Kind `json:"kind"`
	BaseURL      string     `json:"base_url"`
	State        string     `json:"state"`
	Connected    bool       `json:"connected"`
	Active       bool       `json:"active"`
	AccountLogin string     `json:"account_login"`
	AccountID    string     `json:"account_id"`
	Scopes       []string   `json:"scopes"`       // null where the forge does not say
	ExpiresAt    *time.Time `json:"expires_at"`   // null for a token that does not expire
	ConnectedAt  *time.Time `json:"connected_at"` // null if it is not connected
	// Login says whether accounts of this forge can sign in here.
	Login bool `json:"login"`
}

// Forges returns every configured connection, in the order of the configuration, and after them those that hold a token
// although they are no longer configured.
func (c *Commands) Forges(ctx context.Context) ([]ForgeStatus, error) {
	active, err := c.reader.Active(ctx)
	if err != nil && !errors.Is(err, projections.ErrNoActiveForge) {
		return nil, fmt.Errorf("forges: %w", err)
	}
	tokens, err := c.reader.Tokens(ctx)
	if err != nil {
		return nil, fmt.Errorf("forges: %w", err)
	}
	now := c.now()
	statuses := make([]ForgeStatus, 0, len(c.order))
	for _, name := range c.order {
		connection := c.policy.connections[name]
		status := ForgeStatus{
			ForgeType: name, Kind: connection.Kind, BaseURL: connection.BaseURL, State: StateNotConnected, Login: connection.Login,
		}
		if i := slices.IndexFunc(tokens, func(t projections.Token) bool { return t.ForgeType == name }); i >= 0 {
			status.connected(tokens[i], active, now)
		}
		statuses = append(statuses, status)
	}
	for _, token := range tokens {
		if _, ok := c.providers[token.ForgeType]; ok {
			continue
		}
		status := ForgeStatus{ForgeType: token.ForgeType, Kind: forge.Kind(token.Kind)}
		status.connected(token, active, now)
		status.State = StateNotConfigured
		statuses = append(statuses, status)
	}
	return statuses, nil
}

func (s *ForgeStatus) connected(token projections.Token, active projections.ActiveForge, now time.Time) {
	s.Connected, s.Active = true, active.ForgeType == token.ForgeType
	s.BaseURL, s.AccountLogin, s.AccountID = token.BaseURL, token.AccountLogin, token.AccountID
	s.Scopes, s.ExpiresAt, s.ConnectedAt = token.Scopes, token.ExpiresAt, &token.CreatedAt
	switch {
	case token.Expired(now):
		s.State = StateExpired
	case s.Active:
		s.State = StateActive
	default:
		s.State = StateConnected
	}
}
