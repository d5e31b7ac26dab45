package projections

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
)

var sessionsTable = table[uuid.UUID, Session]{
	name:    "operator_sessions",
	version: 1,
	columns: []string{
		"session_id", "secret_hash", "forge_type", "base_url", "account_id", "account_login", "started_at", "extended_at",
		"idle_until", "expires_at", "version",
	},
	by:    "session_id",
	keyOf: func(s Session) uuid.UUID { return s.ID },
	fields: func(s *Session) []any {
		return []any{
			asUUID(&s.ID), &s.SecretHash, &s.Account.ForgeType, &s.Account.BaseURL, &s.Account.AccountID, &s.Account.AccountLogin,
			&s.StartedAt, &s.ExtendedAt, &s.IdleUntil, &s.ExpiresAt, &s.Version,
		}
	},
}

// applySession folds an event of a stream session/U into the row of U.
func applySession(sessions *rows[uuid.UUID, Session], e events.Event) error {
	id, ok := e.Stream.SessionID()
	if !ok {
		return fmt.Errorf("event %d: %s on stream %s", e.Position, e.Type, e.Stream)
	}
	switch fact := e.Fact.(type) {
	case events.SessionStarted:
		sessions.put(Session{
			ID:         id,
			SecretHash: e.Sealed,
			Account:    fact.Account,
			StartedAt:  e.OccurredAt,
			ExtendedAt: e.OccurredAt,
			IdleUntil:  micros(fact.IdleUntil),
			ExpiresAt:  micros(fact.ExpiresAt),
			Version:    e.StreamVersion,
		})
	case events.SessionExtended:
		sessions.change(id, func(s *Session) {
			s.ExtendedAt, s.IdleUntil, s.Version = e.OccurredAt, micros(fact.IdleUntil), e.StreamVersion
		})
	case events.SessionEnded:
		sessions.drop(id)
	}
	return nil
}
