package history

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
)

// Event is an event of the log without what is sealed.
type Event struct {
	Position int64     `json:"position"`
	ID       uuid.UUID `json:"id"`
	Type     string    `json:"type"`
	Schema   int16     `json:"schema"`
	// OccurredAt is UTC, to the microsecond.
	OccurredAt    time.Time     `json:"occurred_at"`
	Stream        events.Stream `json:"stream"`
	StreamVersion int64         `json:"stream_version"`
	Actor         string        `json:"actor"`
	// CorrelationID is that of the command: all its events have the same.
	CorrelationID uuid.UUID       `json:"correlation_id"`
	Payload       json.RawMessage `json:"payload"`
	// Sealed says that the event has a sealed part.
	Sealed bool `json:"sealed"`
}

// EventOf returns a record as data.
func EventOf(r events.Record) Event {
	return Event{
		Position: r.Position, ID: r.ID, Type: r.Type, Schema: r.Schema, OccurredAt: r.OccurredAt.UTC(), Stream: r.Stream,
		StreamVersion: r.StreamVersion, Actor: r.Actor, CorrelationID: r.CorrelationID, Payload: r.Payload, Sealed: r.Sealed != nil || r.SealedHash != nil,
	}
}
