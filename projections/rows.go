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
	CreatedAt  time.Time // when the connection was connected
	UpdatedAt  time.Time // when the row last changed
	Version    int64
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
	Version     int64
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
