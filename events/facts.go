package events

import (
	"time"

	"github.com/google/uuid"
)

// Fact is what an event says: one of the structs of this file. They are plain data with stable JSON: every payload ever
// written decodes forever (testdata/payloads holds one of each type and schema).
//
//sumtype:decl
type Fact interface {
	// fact closes the sum: facts are defined here and nowhere else.
	fact() kind
}

// Account is a forge account as facts name it. Identity is (forge type, base URL, account id); the login is what it was
// called then.
type Account struct {
	ForgeType    string `json:"forge_type"`
	BaseURL      string `json:"base_url"`
	AccountID    string `json:"account_id"`
	AccountLogin string `json:"account_login"`
}

// Same reports whether a and b are the same account, whatever it was called.
func (a Account) Same(b Account) bool {
	return a.ForgeType == b.ForgeType && a.BaseURL == b.BaseURL && a.AccountID == b.AccountID
}

type (
	// OperatorClaimed says that the deployment now belongs to the account. Stream operator, once.
	OperatorClaimed struct {
		Account
	}

	// AccountLinked says that another account may sign in. Stream operator.
	AccountLinked struct {
		Account
	}

	// AccountRemoved says that the account may no longer sign in. Stream operator.
	AccountRemoved struct {
		Account

		Reason string `json:"reason"` // removed, rebound
	}

	// OperatorRecovered says that somebody with access to the database had a one-time code printed that lets one more
	// account in. Stream operator.
	OperatorRecovered struct {
		CodeExpiresAt time.Time `json:"code_expires_at"`
	}

	// TokenIssued says that the forge granted a token, which replaces the connection's token if there was one. Stream
	// token/F; its sealed part is a [SealedTokens].
	TokenIssued struct {
		Account

		Kind string `json:"kind"` // the forge's kind
		// Grant is how the token was had: authorization_code, device_code, or imported by the embedding program.
		Grant string `json:"grant"`
		// Scopes as granted; null where the forge does not say.
		Scopes []string `json:"scopes"`
		// ExpiresAt is null for a token that does not expire.
		ExpiresAt   *time.Time `json:"expires_at"`
		Refreshable bool       `json:"refreshable"`
		// DataKey is the id of the key that seals this token pair and no other.
		DataKey uuid.UUID `json:"data_key"`
	}

	// TokenRefreshStarted says that a process is about to trade a token's refresh token for a new pair. Nobody else does
	// before the deadline, or until one of the facts below has the same attempt. Without one of them the outcome is not
	// known: the forge may have given the new pair to a process that is gone. Stream token/F.
	TokenRefreshStarted struct {
		ForgeType string `json:"forge_type"`
		// DataKey names the token that is refreshed.
		DataKey uuid.UUID `json:"data_key"`
		// Attempt is drawn for this attempt.
		Attempt uuid.UUID `json:"attempt"`
		// Deadline is by the database's clock, which need not agree with the time of the event.
		Deadline time.Time `json:"deadline"`
		// Recovering says that the outcome of an attempt before is not known.
		Recovering bool `json:"recovering"`
	}

	// TokenRefreshed says that the forge granted a new pair for the refresh token of the one that it replaces, whose data
	// key is gone with it. Stream token/F; its sealed part is a [SealedTokens].
	TokenRefreshed struct {
		Account

		Kind string `json:"kind"` // the forge's kind
		// Scopes as granted; those of the token before where the forge does not say.
		Scopes []string `json:"scopes"`
		// ExpiresAt is null for a token that does not expire.
		ExpiresAt   *time.Time `json:"expires_at"`
		Refreshable bool       `json:"refreshable"`
		// DataKey is the id of the key that seals this token pair and no other, Replaces that of the pair before.
		DataKey  uuid.UUID `json:"data_key"`
		Replaces uuid.UUID `json:"replaces"`
		Attempt  uuid.UUID `json:"attempt"`
	}

	// TokenRefreshFailed says that an attempt brought no new token, and what that says about the one there is. Stream token/F.
	TokenRefreshFailed struct {
		ForgeType string    `json:"forge_type"`
		DataKey   uuid.UUID `json:"data_key"`
		Attempt   uuid.UUID `json:"attempt"`
		// Verdict is rejected (the forge no longer takes the refresh token), unknown (it did not decide) or superseded (the
		// connection had another token by then, or none).
		Verdict string `json:"verdict"` // one of the Verdict constants
		// Code is the forge's error code in lower case letters and underscores, or unavailable, rate_limited, not_sent or
		// outcome_unknown (it rejects a token that an attempt before may have spent).
		Code string `json:"code"`
		// RetryAt is when it is tried again at the earliest; null if it is not.
		RetryAt *time.Time `json:"retry_at"`
		// NeedsReauth says that only a sign-in helps. The token stays sealed.
		NeedsReauth bool `json:"needs_reauth"`
	}

	// TokenRefreshOvertaken says that the forge granted a new pair for a token that the connection no longer had: a sign-in or a
	// disconnect was faster. The pair is never used and is to be revoked at the forge. Stream token/F; its sealed part is a
	// [SealedTokens].
	TokenRefreshOvertaken struct {
		Account

		Kind string `json:"kind"` // the forge's kind
		// ExpiresAt is null for a token that does not expire.
		ExpiresAt *time.Time `json:"expires_at"`
		// DataKey is the id of the key that seals this token pair and no other, Replaces that of the pair that was traded.
		DataKey  uuid.UUID `json:"data_key"`
		Replaces uuid.UUID `json:"replaces"`
		Attempt  uuid.UUID `json:"attempt"`
	}

	// TokenRejected says that the forge refused a living token twice, some time apart: only a sign-in helps. The token stays
	// sealed. Stream token/F.
	TokenRejected struct {
		ForgeType string    `json:"forge_type"`
		DataKey   uuid.UUID `json:"data_key"`
	}

	// TokenLost says that the data key of a living token is not in this database, because it was imported without keys: only a
	// sign-in helps. Stream token/F.
	TokenLost struct {
		ForgeType string    `json:"forge_type"`
		DataKey   uuid.UUID `json:"data_key"`
	}

	// ScopesChanged says what the forge now says that the connection's token may do, where that is something else than was
	// known. Stream token/F.
	ScopesChanged struct {
		ForgeType string    `json:"forge_type"`
		DataKey   uuid.UUID `json:"data_key"`
		Scopes    []string  `json:"scopes"`
		// Missing are those that the connection asks for and does not have, Excess those that it has and does not ask for,
		// as it was configured then.
		Missing []string `json:"missing"`
		Excess  []string `json:"excess"`
	}

	// AccountRenamed says that the forge calls an account otherwise than before; it is the same account. Stream token/F for
	// the one that a connection's token acts for, operator for one that may sign in.
	AccountRenamed struct {
		Account

		PreviousLogin string `json:"previous_login"`
	}

	// AccountChanged says that the forge now takes the connection's token for another account than the one that signed in.
	// The token must no longer be used: only a sign-in helps. Stream token/F.
	AccountChanged struct {
		Account // that signed in

		DataKey    uuid.UUID `json:"data_key"`
		FoundID    string    `json:"found_id"`
		FoundLogin string    `json:"found_login"`
	}

	// TokenRevocationRequested says that a token must no longer be used and is to be revoked at the forge. Stream
	// token/F. If it was the connection's current token, the connection is no longer connected.
	TokenRevocationRequested struct {
		Account

		DataKey uuid.UUID `json:"data_key"`
		// IssuedAt is the position of the event whose sealed part holds the token.
		IssuedAt int64 `json:"issued_at"`
		// Reason is disconnected, replaced or rebound.
		Reason string `json:"reason"`
	}

	// TokenRevocationAttempted says that a process is about to tell the forge of a requested revocation, and that nobody else
	// does before NextAt. Stream token/F.
	TokenRevocationAttempted struct {
		ForgeType string    `json:"forge_type"`
		DataKey   uuid.UUID `json:"data_key"`
		Attempt   int       `json:"attempt"` // 1, 2, 3, …
		NextAt    time.Time `json:"next_at"`
	}

	// TokenRevocationsPostponed says that the forge wants to be left alone: none of the connection's pending revocations is
	// attempted before Until. Stream token/F.
	TokenRevocationsPostponed struct {
		ForgeType string    `json:"forge_type"`
		Until     time.Time `json:"until"`
	}

	// TokenRevoked settles a requested revocation; the token's data key is gone with it. Stream token/F. Schema 1 had no
	// Page.
	TokenRevoked struct {
		ForgeType string    `json:"forge_type"`
		DataKey   uuid.UUID `json:"data_key"`
		// Outcome is confirmed (the forge says so), unsupported (the forge cannot), given_up (it did not answer, or the
		// connection is no longer configured) or shredded (a person did not want to wait for it).
		Outcome string `json:"outcome"`
		// Page is where the account's owner can withdraw the grant at the forge; empty where that is not needed.
		Page string `json:"page"`
	}

	// ConnectionRebound says that a connection's name now means another base URL. The token that was bound to the old one
	// is dropped. Stream token/F.
	ConnectionRebound struct {
		ForgeType string `json:"forge_type"`
		From      string `json:"from"`
		To        string `json:"to"`
		// AccountsKept says that a person vouched for it being the same forge: its accounts may go on signing in.
		AccountsKept bool `json:"accounts_kept"`
	}

	// ForgeActivated says that a forge is active, and which one was before, null for none. Stream active-forge.
	ForgeActivated struct {
		ForgeType string  `json:"forge_type"`
		Previous  *string `json:"previous"`
	}

	// ForgeDeactivated says that no forge is active any more. Stream active-forge.
	ForgeDeactivated struct {
		Previous string `json:"previous"`
		Reason   string `json:"reason"` // cleared, disconnected, rebound
	}

	// SessionStarted says that an account signed in. Stream session/U; its sealed part is the keyed hash of the cookie's
	// secret.
	SessionStarted struct {
		Account

		// IdleUntil is when the session ends if nobody uses it, ExpiresAt when it ends anyway.
		IdleUntil time.Time `json:"idle_until"`
		ExpiresAt time.Time `json:"expires_at"`
	}

	// SessionExtended says that a session is in use. At most once a day. Stream session/U.
	SessionExtended struct {
		IdleUntil time.Time `json:"idle_until"`
	}

	// SessionEnded says that a session is over. Stream session/U.
	SessionEnded struct {
		// Reason is logout, replaced (by the session of a new sign-in), expired, account_removed, or unknown_account (an
		// allow-list that let it in is no longer set).
		Reason string `json:"reason"`
	}

	// LoginDenied says who was turned away and why. Stream denials.
	LoginDenied struct {
		Account

		Reason string `json:"reason"`
	}

	// LoginsDenied counts refusals that were above the cap on single facts. Stream denials.
	LoginsDenied struct {
		Count int64     `json:"count"`
		From  time.Time `json:"from"`
		Until time.Time `json:"until"`
	}

	// RelayDisabled says that a consumer group of the feed is given nothing more until a person enables it. Stream relay/G.
	RelayDisabled struct {
		Group string `json:"group"`
		// Reason is unreachable (nothing was taken for longer than it is tried for), gone (it said so, HTTP 410) or requested.
		Reason string `json:"reason"`
		// FailingSince is null where it was not failing.
		FailingSince *time.Time `json:"failing_since"`
	}

	// RelayEnabled says that a group goes on where it was when it was disabled. Stream relay/G.
	RelayEnabled struct {
		Group string `json:"group"`
	}

	// DeliverySkipped says that a person decided that a group never handles an event that it could not. Stream relay/G.
	DeliverySkipped struct {
		Group string `json:"group"`
		// Stream and Position name the event.
		Stream   string `json:"stream"`
		Position int64  `json:"position"`
	}

	// ReplayRequested says that a group is to be given a part of the log once more. Stream relay/G.
	ReplayRequested struct {
		Group  string    `json:"group"`
		Replay uuid.UUID `json:"replay"` // that the deliveries are marked with
		// After and Through bound the positions: After < position ≤ Through.
		After   int64    `json:"after"`
		Through int64    `json:"through"`
		Types   []string `json:"types"` // none: all of the group's
	}

	// RelayRemoved says that a group was forgotten, with where it had got and what it held back. Stream relay/G.
	RelayRemoved struct {
		Group string `json:"group"`
		// Position is what its cursor was: events of its types behind that it was never given.
		Position int64 `json:"position"`
	}

	// KeysRotated says that what previous keys of the operator had sealed is sealed under the present one. Stream custody.
	KeysRotated struct {
		KeyID string `json:"key_id"` // of the present key; see vault.MasterKey.KeyID
		// DataKeys is how many data keys were wrapped anew.
		DataKeys int `json:"data_keys"`
	}

	// KeysReset says that every data key was shredded, so that another key of the operator can be taken. What became of each
	// token is said on its own stream. Stream custody.
	KeysReset struct {
		DataKeys int `json:"data_keys"` // how many
	}

	// RepairForced says that the tables were made equal to a log that contradicts what was signed. Stream custody.
	RepairForced struct {
		Findings    int `json:"findings"`    // what contradicts it
		Differences int `json:"differences"` // what was changed in the tables
	}
)

// The verdicts of a [TokenRefreshFailed] on the token that was to be refreshed.
const (
	VerdictRejected   = "rejected"
	VerdictUnknown    = "unknown"
	VerdictSuperseded = "superseded"
)

// kind names a type of fact and the schema in which this program writes it.
type kind struct {
	name   string
	schema int16
}

func (OperatorClaimed) fact() kind           { return kind{"OperatorClaimed", 1} }
func (AccountLinked) fact() kind             { return kind{"AccountLinked", 1} }
func (AccountRemoved) fact() kind            { return kind{"AccountRemoved", 1} }
func (OperatorRecovered) fact() kind         { return kind{"OperatorRecovered", 1} }
func (TokenIssued) fact() kind               { return kind{"TokenIssued", 1} }
func (TokenRefreshStarted) fact() kind       { return kind{"TokenRefreshStarted", 1} }
func (TokenRefreshed) fact() kind            { return kind{"TokenRefreshed", 1} }
func (TokenRefreshFailed) fact() kind        { return kind{"TokenRefreshFailed", 1} }
func (TokenRefreshOvertaken) fact() kind     { return kind{"TokenRefreshOvertaken", 1} }
func (TokenRejected) fact() kind             { return kind{"TokenRejected", 1} }
func (TokenLost) fact() kind                 { return kind{"TokenLost", 1} }
func (ScopesChanged) fact() kind             { return kind{"ScopesChanged", 1} }
func (AccountRenamed) fact() kind            { return kind{"AccountRenamed", 1} }
func (AccountChanged) fact() kind            { return kind{"AccountChanged", 1} }
func (TokenRevocationRequested) fact() kind  { return kind{"TokenRevocationRequested", 1} }
func (TokenRevocationAttempted) fact() kind  { return kind{"TokenRevocationAttempted", 1} }
func (TokenRevocationsPostponed) fact() kind { return kind{"TokenRevocationsPostponed", 1} }
func (TokenRevoked) fact() kind              { return kind{"TokenRevoked", 2} }
func (ConnectionRebound) fact() kind         { return kind{"ConnectionRebound", 1} }
func (ForgeActivated) fact() kind            { return kind{"ForgeActivated", 1} }
func (ForgeDeactivated) fact() kind          { return kind{"ForgeDeactivated", 1} }
func (SessionStarted) fact() kind            { return kind{"SessionStarted", 1} }
func (SessionExtended) fact() kind           { return kind{"SessionExtended", 1} }
func (SessionEnded) fact() kind              { return kind{"SessionEnded", 1} }
func (LoginDenied) fact() kind               { return kind{"LoginDenied", 1} }
func (LoginsDenied) fact() kind              { return kind{"LoginsDenied", 1} }

func (RelayDisabled) fact() kind   { return kind{"RelayDisabled", 1} }
func (RelayEnabled) fact() kind    { return kind{"RelayEnabled", 1} }
func (DeliverySkipped) fact() kind { return kind{"DeliverySkipped", 1} }
func (ReplayRequested) fact() kind { return kind{"ReplayRequested", 1} }
func (RelayRemoved) fact() kind    { return kind{"RelayRemoved", 1} }

func (KeysRotated) fact() kind  { return kind{"KeysRotated", 1} }
func (KeysReset) fact() kind    { return kind{"KeysReset", 1} }
func (RepairForced) fact() kind { return kind{"RepairForced", 1} }

// TypeOf returns the event type of a fact, as stored: the name of its struct.
func TypeOf(f Fact) string { return f.fact().name }
