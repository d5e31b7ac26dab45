package events

import (
	"crypto/sha256"
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// Record is one row of the log, byte for byte as it is stored.
type Record struct {
	// Position counts the events of the log in commit order: 1, 2, 3, … without a gap.
	Position int64
	ID       uuid.UUID // UUIDv7
	Stream   Stream
	// StreamVersion counts the events of the stream: 1, 2, 3, … without a gap.
	StreamVersion int64
	Type          string
	Schema        int16 // version of the payload's shape
	// OccurredAt is the writer's clock, in UTC and whole microseconds, held back so that it never goes backwards
	// along the log.
	OccurredAt time.Time
	// Actor is who did it: session/<uuid>, cli, revoker, or the name an embedding program gave itself.
	Actor string
	// CorrelationID is the command that caused the event; events of one command share it.
	CorrelationID uuid.UUID
	// Payload is public: it leaves through the feed, and holds no secret.
	Payload json.RawMessage
	// Sealed is ciphertext or a keyed hash, and never leaves through the feed. It is nil for most events.
	Sealed []byte
	// SealedHash is the SHA-256 of Sealed, in records that came without it: through the feed, or out of the log's tree.
	SealedHash []byte
}

// HashOfSealed returns the SHA-256 of the sealed part, whether the record has that or only its hash; nil if there is none.
func (r Record) HashOfSealed() []byte {
	if r.Sealed == nil {
		return r.SealedHash
	}
	hash := sha256.Sum256(r.Sealed)
	return hash[:]
}

// Event is a record and the fact it holds, decoded and brought up to the newest schema.
type Event struct {
	Record

	Fact Fact
}
