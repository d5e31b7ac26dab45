package projections

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
)

var tokensTable = table[string, Token]{
	name:    "operator_oauth_tokens",
	version: 1,
	columns: []string{
		"forge_type", "kind", "base_url", "account_id", "account_login", "access_token", "refresh_token",
		"token_fingerprint", "data_key", "scopes", "expires_at", "issued_at", "generation", "created_at", "updated_at",
		"version",
	},
	by:    "forge_type",
	keyOf: func(t Token) string { return t.ForgeType },
	fields: func(t *Token) []any {
		return []any{
			&t.ForgeType, &t.Kind, &t.BaseURL, &t.AccountID, &t.AccountLogin, &t.AccessToken, &t.RefreshToken,
			&t.Fingerprint, asUUID(&t.DataKey), &t.Scopes, &t.ExpiresAt, &t.IssuedAt, &t.Generation, &t.CreatedAt, &t.UpdatedAt,
			&t.Version,
		}
	},
}

// applyToken folds an event of a stream token/F into the row of F.
func applyToken(tokens *rows[string, Token], e events.Event) error {
	forgeType, ok := e.Stream.ForgeType()
	if !ok {
		return fmt.Errorf("event %d: %s on stream %s", e.Position, e.Type, e.Stream)
	}
	switch fact := e.Fact.(type) {
	case events.TokenIssued:
		sealed, err := events.ParseSealedTokens(e.Sealed)
		if err != nil {
			return fmt.Errorf("event %d: %w", e.Position, err)
		}
		issued := Token{
			Account:      fact.Account,
			Kind:         fact.Kind,
			AccessToken:  sealed.Access,
			RefreshToken: sealed.Refresh,
			Fingerprint:  sealed.Fingerprint,
			DataKey:      fact.DataKey,
			Scopes:       fact.Scopes,
			IssuedAt:     e.Position,
			Generation:   e.StreamVersion,
			CreatedAt:    e.OccurredAt,
		}
		if fact.ExpiresAt != nil {
			issued.ExpiresAt = new(micros(*fact.ExpiresAt))
		}
		if before, ok := tokens.live[forgeType]; ok {
			issued.CreatedAt = before.CreatedAt
		}
		tokens.put(issued)
	case events.TokenRevocationRequested:
		if tokens.live[forgeType].DataKey == fact.DataKey {
			tokens.drop(forgeType)
		}
	case events.ConnectionRebound:
		tokens.drop(forgeType)
	}
	tokens.change(forgeType, func(t *Token) { t.Version, t.UpdatedAt = e.StreamVersion, e.OccurredAt })
	return nil
}

var revocationsTable = table[uuid.UUID, Revocation]{
	name:    "token_revocations",
	version: 1,
	columns: []string{
		"data_key", "forge_type", "base_url", "account_id", "issued_at", "reason", "requested_at", "version",
	},
	by:    "forge_type",
	keyOf: func(r Revocation) uuid.UUID { return r.DataKey },
	fields: func(r *Revocation) []any {
		return []any{
			asUUID(&r.DataKey), &r.ForgeType, &r.BaseURL, &r.AccountID, &r.IssuedAt, &r.Reason, &r.RequestedAt, &r.Version,
		}
	},
}

// applyRevocation folds an event of a stream token/F into the row of the token it is about.
func applyRevocation(revocations *rows[uuid.UUID, Revocation], e events.Event) {
	switch fact := e.Fact.(type) {
	case events.TokenRevocationRequested:
		revocations.put(Revocation{
			DataKey:     fact.DataKey,
			ForgeType:   fact.ForgeType,
			BaseURL:     fact.BaseURL,
			AccountID:   fact.AccountID,
			IssuedAt:    fact.IssuedAt,
			Reason:      fact.Reason,
			RequestedAt: e.OccurredAt,
			Version:     e.StreamVersion,
		})
	case events.TokenRevoked:
		revocations.drop(fact.DataKey)
	}
}
