package projections

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
)

var tokensTable = table[string, Token]{
	name:    "operator_oauth_tokens",
	version: 2, // 2: refreshes
	columns: []string{
		"forge_type", "kind", "base_url", "account_id", "account_login", "access_token", "refresh_token",
		"token_fingerprint", "data_key", "scopes", "expires_at", "issued_at", "generation", "created_at", "updated_at",
		"version", "granted_at", "refresh_attempt", "refresh_deadline", "refresh_recovering", "refresh_failures",
		"refresh_failed_at", "refresh_verdict", "refresh_code", "refresh_retry_at", "refresh_rejected_at",
		"needs_reauth_since", "needs_reauth_reason",
	},
	by:    "forge_type",
	keyOf: func(t Token) string { return t.ForgeType },
	fields: func(t *Token) []any {
		return []any{
			&t.ForgeType, &t.Kind, &t.BaseURL, &t.AccountID, &t.AccountLogin, &t.AccessToken, &t.RefreshToken,
			&t.Fingerprint, asUUID(&t.DataKey), &t.Scopes, &t.ExpiresAt, &t.IssuedAt, &t.Generation, &t.CreatedAt, &t.UpdatedAt,
			&t.Version, &t.GrantedAt, asUUID(&t.Refresh.Attempt), &t.Refresh.Deadline, &t.Refresh.Recovering, &t.Refresh.Failures,
			&t.Refresh.FailedAt, &t.Refresh.Verdict, &t.Refresh.Code, &t.Refresh.RetryAt, &t.Refresh.RejectedAt,
			&t.NeedsReauthSince, &t.NeedsReauthReason,
		}
	},
}

// applyToken folds an event of a stream token/F into the row of F.
func applyToken(tokens *rows[string, Token], e events.Event) error {
	forgeType, ok := e.Stream.ForgeType()
	if !ok {
		return fmt.Errorf("event %d: %s on stream %s", e.Position, e.Type, e.Stream)
	}
	stamp := func(t *Token) { t.Version, t.UpdatedAt = e.StreamVersion, e.OccurredAt }
	switch fact := e.Fact.(type) {
	case events.TokenIssued:
		granted := Token{Account: fact.Account, Kind: fact.Kind, DataKey: fact.DataKey, Scopes: fact.Scopes, ExpiresAt: fact.ExpiresAt}
		stamp(&granted)
		return putToken(tokens, forgeType, e, granted)
	case events.TokenRefreshed:
		granted := Token{Account: fact.Account, Kind: fact.Kind, DataKey: fact.DataKey, Scopes: fact.Scopes, ExpiresAt: fact.ExpiresAt}
		if before, _ := tokens.get(forgeType); before.NeedsReauthReason == ReasonAccountChanged {
			// The answer to a refresh that was under way then: it acts for whom the token before it acted for.
			granted.NeedsReauthSince, granted.NeedsReauthReason = before.NeedsReauthSince, before.NeedsReauthReason
		}
		stamp(&granted)
		return putToken(tokens, forgeType, e, granted)
	case events.TokenRevocationRequested:
		if before, _ := tokens.get(forgeType); before.DataKey == fact.DataKey {
			tokens.drop(forgeType)
		}
	case events.ConnectionRebound:
		tokens.drop(forgeType)
	}
	tokens.change(forgeType, func(t *Token) {
		applyRefresh(t, e)
		applyGrant(t, e.Fact, e.OccurredAt)
		stamp(t)
	})
	return nil
}

// putToken makes what an event granted its connection's token.
func putToken(tokens *rows[string, Token], forgeType string, e events.Event, granted Token) error {
	sealed, err := events.ParseSealedTokens(e.Sealed)
	if err != nil {
		return fmt.Errorf("event %d: %w", e.Position, err)
	}
	granted.AccessToken, granted.RefreshToken, granted.Fingerprint = sealed.Access, sealed.Refresh, sealed.Fingerprint
	granted.IssuedAt, granted.Generation = e.Position, e.StreamVersion
	granted.GrantedAt, granted.CreatedAt = e.OccurredAt, e.OccurredAt
	if granted.ExpiresAt != nil {
		granted.ExpiresAt = new(micros(*granted.ExpiresAt))
	}
	if before, ok := tokens.get(forgeType); ok {
		granted.CreatedAt = before.CreatedAt
	}
	tokens.put(granted)
	return nil
}

// applyRefresh folds what happened to a token into its row. What is about a token that the connection has no more, or an
// attempt that another one has taken over from, changes nothing.
func applyRefresh(t *Token, e events.Event) {
	switch fact := e.Fact.(type) {
	case events.TokenRefreshStarted:
		if t.DataKey == fact.DataKey {
			t.Refresh.Attempt, t.Refresh.Deadline = fact.Attempt, new(micros(fact.Deadline))
			t.Refresh.Recovering = fact.Recovering
		}
	case events.TokenRefreshFailed:
		r := &t.Refresh
		if t.DataKey != fact.DataKey || r.Attempt != fact.Attempt {
			return
		}
		r.Attempt, r.Deadline = uuid.Nil, nil
		r.Failures++
		r.FailedAt, r.Verdict, r.Code, r.RetryAt = new(e.OccurredAt), fact.Verdict, fact.Code, nil
		if fact.RetryAt != nil {
			r.RetryAt = new(micros(*fact.RetryAt))
		}
		if fact.Verdict == events.VerdictRejected && r.RejectedAt == nil {
			r.RejectedAt = new(e.OccurredAt)
		}
		if fact.NeedsReauth {
			t.NeedsReauthSince, t.NeedsReauthReason = new(e.OccurredAt), fact.Code
		}
	case events.TokenRejected:
		if t.DataKey == fact.DataKey {
			refuse(t, e.OccurredAt, ReasonUnauthorized)
		}
	case events.TokenLost:
		if t.DataKey == fact.DataKey {
			refuse(t, e.OccurredAt, ReasonKeyMissing)
		}
	}
}

// applyGrant folds what the forge says about a token into its row. What is about a token that the connection has no more
// changes nothing.
func applyGrant(t *Token, fact events.Fact, at time.Time) {
	switch fact := fact.(type) {
	case events.ScopesChanged:
		if t.DataKey == fact.DataKey {
			t.Scopes = fact.Scopes
		}
	case events.AccountRenamed:
		if t.Same(fact.Account) {
			t.AccountLogin = fact.AccountLogin
		}
	case events.AccountChanged:
		if t.DataKey == fact.DataKey {
			refuse(t, at, ReasonAccountChanged)
		}
	}
}

// refuse says that the access token itself is of no use. That only a sign-in helps may be known for longer.
func refuse(t *Token, at time.Time, reason string) {
	switch {
	case t.Refused():
		return
	case t.NeedsReauthSince == nil:
		t.NeedsReauthSince = &at
	}
	t.NeedsReauthReason = reason
}

// ReasonAccountChanged is the reason of a row that needs a sign-in because its token acts for another account.
const ReasonAccountChanged = "account_changed"

// ReasonKeyMissing is the reason of a row that needs a sign-in because the log was imported without the key of its token.
const ReasonKeyMissing = "key_missing"

// ReasonUnauthorized is the reason of a row that needs a sign-in because the forge refused its token in use.
const ReasonUnauthorized = "unauthorized"

// ReasonOutcomeUnknown is the reason of a row that needs a sign-in because the forge refused to refresh its token after an
// attempt that nobody knows the outcome of.
const ReasonOutcomeUnknown = "outcome_unknown"
