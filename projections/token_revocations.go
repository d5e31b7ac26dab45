package projections

import (
	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
)

var revocationsTable = table[uuid.UUID, Revocation]{
	name:    "token_revocations",
	version: 2,
	columns: []string{
		"data_key", "forge_type", "base_url", "account_id", "issued_at", "reason", "requested_at", "attempts", "next_attempt_at",
		"version",
	},
	by:    "forge_type",
	keyOf: func(r Revocation) uuid.UUID { return r.DataKey },
	fields: func(r *Revocation) []any {
		return []any{
			asUUID(&r.DataKey), &r.ForgeType, &r.BaseURL, &r.AccountID, &r.IssuedAt, &r.Reason, &r.RequestedAt,
			&r.Attempts, &r.NextAttemptAt, &r.Version,
		}
	},
}

// ReasonOvertaken is the reason of a row whose token came by a refresh when the connection had another one already, or none.
const ReasonOvertaken = "overtaken"

// applyRevocation folds an event of a stream token/F into the row of the token it is about.
func applyRevocation(revocations *rows[uuid.UUID, Revocation], e events.Event) {
	switch fact := e.Fact.(type) {
	case events.TokenRevocationRequested:
		revocations.put(Revocation{
			DataKey:       fact.DataKey,
			ForgeType:     fact.ForgeType,
			BaseURL:       fact.BaseURL,
			AccountID:     fact.AccountID,
			IssuedAt:      fact.IssuedAt,
			Reason:        fact.Reason,
			RequestedAt:   e.OccurredAt,
			NextAttemptAt: e.OccurredAt,
			Version:       e.StreamVersion,
		})
	case events.TokenRefreshOvertaken:
		revocations.put(Revocation{
			DataKey:       fact.DataKey,
			ForgeType:     fact.ForgeType,
			BaseURL:       fact.BaseURL,
			AccountID:     fact.AccountID,
			IssuedAt:      e.Position,
			Reason:        ReasonOvertaken,
			RequestedAt:   e.OccurredAt,
			NextAttemptAt: e.OccurredAt,
			Version:       e.StreamVersion,
		})
	case events.TokenRevocationAttempted:
		revocations.change(fact.DataKey, func(r *Revocation) {
			r.Attempts, r.NextAttemptAt, r.Version = fact.Attempt, micros(fact.NextAt), e.StreamVersion
		})
	case events.TokenRevocationsPostponed:
		until := micros(fact.Until)
		for key, row := range revocations.live {
			if row.ForgeType == fact.ForgeType && row.NextAttemptAt.Before(until) {
				revocations.change(key, func(r *Revocation) { r.NextAttemptAt, r.Version = until, e.StreamVersion })
			}
		}
	case events.TokenRevoked:
		revocations.drop(fact.DataKey)
	}
}
