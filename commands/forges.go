package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
)

// The states of a [ForgeStatus].
const (
	StateActive        = "active"         // its token is the one in use
	StateConnected     = "connected"      // there is a token
	StateExpired       = "expired"        // there is a token that has stopped working, be the forge active or not
	StateNeedsReauth   = "needs_reauth"   // there is a token, and only a sign-in helps, be the forge active or not
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
	Scopes       []string   `json:"scopes"` // null where the forge does not say
	// MissingScopes are those that the connection asks for and its token does not have, as far as the forge says, ExcessScopes
	// those that the token has and nobody asks for. A grant that was once given can stand in the way: withdraw it at the
	// forge, and sign in again.
	MissingScopes []string   `json:"missing_scopes"`
	ExcessScopes  []string   `json:"excess_scopes"`
	ExpiresAt     *time.Time `json:"expires_at"`   // null for a token that does not expire
	ConnectedAt   *time.Time `json:"connected_at"` // null if it is not connected
	// NeedsReauth is null for a token that is good as far as is known.
	NeedsReauth *NeedsReauth `json:"needs_reauth"`
	// Refresh is null for a token that is not refreshed: it does not expire, the forge gave no refresh token, or only a
	// sign-in helps.
	Refresh *RefreshStatus `json:"refresh"`
	// Login says whether accounts of this forge can sign in here.
	Login bool `json:"login"`
	// PendingRevocations counts former tokens of this connection whose forge has yet to be told that they are revoked.
	PendingRevocations int        `json:"pending_revocations"`
	NextRevocationAt   *time.Time `json:"next_revocation_at"` // when it is told next; null if there is none
	// WithdrawAt is the page of the forge where the account's owner can withdraw the grant that forgeauth could not revoke when
	// the connection was disconnected. Empty while it is connected, or if there is nothing to withdraw.
	WithdrawAt string `json:"withdraw_at"`
}

// NeedsReauth says since when only a sign-in helps, and why: the error code with which the forge refused to refresh the token,
// or outcome_unknown, unauthorized or account_changed ([projections.ReasonOutcomeUnknown] and the others).
type NeedsReauth struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// RefreshStatus says how a token is kept fresh.
type RefreshStatus struct {
	// DueAt is when it is refreshed next, about: each process has a schedule of its own.
	DueAt time.Time `json:"due_at"`
	// Failure is the last attempt for this token, null if none has failed.
	Failure *RefreshFailure `json:"failure"`
}

// RefreshFailure is an attempt to refresh a token that brought none.
type RefreshFailure struct {
	At time.Time `json:"at"`
	// Verdict is rejected (and to be confirmed) or unknown, Code as in [events.TokenRefreshFailed].
	Verdict string `json:"verdict"`
	Code    string `json:"code"`
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
	pending, err := c.reader.Revocations(ctx)
	if err != nil {
		return nil, fmt.Errorf("forges: %w", err)
	}
	return c.statuses(standing{active, tokens, pending}, c.now(), func(forgeType string) (page string, err error) {
		newest := events.Query{Stream: events.TokenStream(forgeType), Types: []string{events.TypeOf(events.TokenRevoked{})}, Latest: 1}
		for event, err := range c.log.Read(ctx, newest) {
			if err != nil {
				return "", fmt.Errorf("forges: %w", err)
			}
			revoked, _ := event.Fact.(events.TokenRevoked)
			page = revoked.Page
		}
		return page, nil
	})
}

// ForgesAt is what [Commands.Forges] would have answered where the log had been folded into state, at that time; the configuration is the
// present one. pages has the page of the last TokenRevoked of each connection.
func (c *Commands) ForgesAt(state *projections.State, pages map[string]string, at time.Time) []ForgeStatus {
	active, _ := state.Active()
	statuses, err := c.statuses(standing{active, state.Tokens(), state.Revocations()}, at, func(forgeType string) (string, error) {
		return pages[forgeType], nil
	})
	if err != nil {
		panic(err) // nothing was asked
	}
	return statuses
}

// standing is what the tables say of connections.
type standing struct {
	active  projections.ActiveForge
	tokens  []projections.Token
	pending []projections.Revocation // by their turn
}

func (c *Commands) statuses(s standing, now time.Time, lastPage func(forgeType string) (string, error)) ([]ForgeStatus, error) {
	active, tokens := s.active, s.tokens
	statuses := make([]ForgeStatus, 0, len(c.order))
	for _, name := range c.order {
		connection := c.policy.connections[name]
		status := ForgeStatus{
			ForgeType: name, Kind: connection.Kind, BaseURL: connection.BaseURL, State: StateNotConnected, Login: connection.Login,
			MissingScopes: []string{}, ExcessScopes: []string{},
		}
		if i := slices.IndexFunc(tokens, func(t projections.Token) bool { return t.ForgeType == name }); i >= 0 {
			status.connected(tokens[i], active, now)
			status.MissingScopes = forge.MissingScopes(connection.Kind, connection.Scopes, tokens[i].Scopes)
			status.ExcessScopes = forge.ExcessScopes(connection.Kind, connection.Scopes, tokens[i].Scopes)
		}
		statuses = append(statuses, status)
	}
	for _, token := range tokens {
		if _, ok := c.providers[token.ForgeType]; ok {
			continue
		}
		status := ForgeStatus{
			ForgeType: token.ForgeType, Kind: forge.Kind(token.Kind), MissingScopes: []string{}, ExcessScopes: []string{},
		}
		status.connected(token, active, now)
		status.State = StateNotConfigured
		statuses = append(statuses, status)
	}
	for i := range statuses {
		statuses[i].revocations(s.pending)
		if statuses[i].Connected {
			continue // withdrawing the grant would end the living token, too
		}
		var err error
		if statuses[i].WithdrawAt, err = lastPage(statuses[i].ForgeType); err != nil {
			return nil, err
		}
	}
	return statuses, nil
}

// revocations adds what has become of a connection's former tokens.
func (s *ForgeStatus) revocations(pending []projections.Revocation) {
	for _, revocation := range pending {
		if revocation.ForgeType != s.ForgeType {
			continue
		}
		if s.PendingRevocations++; s.NextRevocationAt == nil {
			s.NextRevocationAt = &revocation.NextAttemptAt
		}
	}
}

func (s *ForgeStatus) connected(token projections.Token, active projections.ActiveForge, now time.Time) {
	s.Connected, s.Active = true, active.ForgeType == token.ForgeType
	s.BaseURL, s.AccountLogin, s.AccountID = token.BaseURL, token.AccountLogin, token.AccountID
	s.Scopes, s.ExpiresAt, s.ConnectedAt = token.Scopes, token.ExpiresAt, &token.CreatedAt
	if token.NeedsReauthSince != nil {
		s.NeedsReauth = &NeedsReauth{Since: *token.NeedsReauthSince, Reason: token.NeedsReauthReason}
	}
	if due, ok := refreshDueAt(token, (leadLeast+leadMost)/2); ok {
		s.Refresh = &RefreshStatus{DueAt: due}
		if token.Refresh.FailedAt != nil {
			s.Refresh.Failure = &RefreshFailure{At: *token.Refresh.FailedAt, Verdict: token.Refresh.Verdict, Code: token.Refresh.Code}
		}
	}
	switch {
	case s.NeedsReauth != nil:
		s.State = StateNeedsReauth
	case token.Expired(now):
		s.State = StateExpired
	case s.Active:
		s.State = StateActive
	default:
		s.State = StateConnected
	}
}
