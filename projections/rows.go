package projections

import (
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
)

// Token is a row of operator_oauth_tokens: a connection's living token, sealed.
type Token struct {
	events.Account

	Kind         string
	AccessToken  []byte // sealed
	RefreshToken []byte // sealed; empty if there is none
	// Fingerprint is a keyed hash of the access token: two tokens with the same one are the same token.
	Fingerprint []byte
	DataKey     uuid.UUID
	Scopes      []string   // nil where the forge does not say
	ExpiresAt   *time.Time // nil for a token that does not expire
	// IssuedAt is the position of the event that holds this token, Generation that event's stream version.
	IssuedAt   int64
	Generation int64
	GrantedAt  time.Time // when the forge granted this token, in a sign-in or a refresh
	Refresh    Refresh
	// NeedsReauthSince is since when only a sign-in helps, nil for a token that is good as far as is known. The reason is the
	// error code with which the forge refused to refresh it, or one of the Reason constants.
	NeedsReauthSince  *time.Time
	NeedsReauthReason string

	CreatedAt time.Time // when the connection was connected
	UpdatedAt time.Time // when the row last changed
	Version   int64
}

// Refresh is what a row of operator_oauth_tokens says about attempts to refresh its token. A new token begins with the zero
// value.
type Refresh struct {
	// Attempt is the one that is open, zero if none is. Until Deadline, by the database's clock, nobody begins another.
	Attempt  uuid.UUID
	Deadline *time.Time // nil if no attempt is open
	// Recovering says that the outcome of some attempt is not known, because its process ended without writing it.
	Recovering bool
	// Failures counts the attempts that failed; the rest is of the last one.
	Failures int64
	FailedAt *time.Time
	Verdict  string // one of the Verdict constants of package events, or empty
	Code     string
	// RetryAt is when the next attempt is due at the earliest.
	RetryAt *time.Time
	// RejectedAt is when the forge first rejected the refresh token.
	RejectedAt *time.Time
}

// Refreshable reports whether there is a refresh token that, as far as is known, can be used.
func (t Token) Refreshable() bool { return len(t.RefreshToken) > 0 && t.NeedsReauthSince == nil }

// Refused reports whether the access token must not be used, because its forge refuses it or takes it for another account's, or cannot
// be, because its key is missing.
// One whose refresh token was rejected is as good as before until it expires.
func (t Token) Refused() bool {
	return t.NeedsReauthReason == ReasonUnauthorized || t.NeedsReauthReason == ReasonAccountChanged ||
		t.NeedsReauthReason == ReasonKeyMissing
}

// Expired reports whether the access token has stopped working at now.
func (t Token) Expired(now time.Time) bool { return t.ExpiresAt != nil && !now.Before(*t.ExpiresAt) }

// Revocation is a row of token_revocations: a token that is no longer used and that its forge has yet to hear of.
type Revocation struct {
	DataKey     uuid.UUID
	ForgeType   string
	BaseURL     string
	AccountID   string
	IssuedAt    int64 // position of the event that holds the token
	Reason      string
	RequestedAt time.Time
	// Attempts is how often a process has set out to tell the forge.
	Attempts int
	// NextAttemptAt is when it is the next one's turn, on the log's clock.
	NextAttemptAt time.Time
	Version       int64
}

// ActiveForge is the row of active_forge_type.
type ActiveForge struct {
	ForgeType string
	// Since is when this forge became active; activating it again does not move it.
	Since   time.Time
	Version int64
}

// Operator is the row of operator: whether the deployment belongs to somebody, and which accounts may sign in.
type Operator struct {
	ClaimedAt *time.Time
	Accounts  []LinkedAccount
	Version   int64
}

// LinkedAccount is an account that may sign in.
type LinkedAccount struct {
	events.Account

	LinkedAt time.Time `json:"linked_at"`
}

// Claimed reports whether the deployment belongs to somebody.
func (o Operator) Claimed() bool { return o.ClaimedAt != nil }

// Knows reports whether the account may sign in.
func (o Operator) Knows(account events.Account) bool { return o.find(account) >= 0 }

func (o Operator) find(account events.Account) int {
	for i, known := range o.Accounts {
		if known.Same(account) {
			return i
		}
	}
	return -1
}

// Session is a row of operator_sessions.
type Session struct {
	ID uuid.UUID
	// SecretHash is the keyed hash of the cookie's secret.
	SecretHash []byte
	Account    events.Account
	StartedAt  time.Time
	ExtendedAt time.Time
	IdleUntil  time.Time
	ExpiresAt  time.Time
	Version    int64
}

// Live reports whether the session is still good at now.
func (s Session) Live(now time.Time) bool {
	return now.Before(s.IdleUntil) && now.Before(s.ExpiresAt)
}
