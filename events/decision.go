package events

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Decision is what a command hands to the log: what it reads, and a pure function from that to what happened. The
// writer runs it under the append lock, so that nothing it was given changes before its events are committed, and may run
// it more than once (after a lost connection, or when its group was refused); only the last run counts.
type Decision[S Tables] struct {
	Actor       string
	Correlation uuid.UUID
	// Streams are all that Decide reads or appends to.
	Streams []Stream
	// Fresh are streams that begin with this decision because their name holds an id drawn for it. They need not be
	// looked up.
	Fresh []Stream
	// Query, if not nil, queues reads of its own, of tables that are not projections or of many streams' rows. It runs under
	// the lock, before Decide, which uses what its callbacks left in the command's own variables. Such a decision is a group
	// of its own, because what another member decides would not show in what was read.
	Query func(*pgx.Batch)
	// Decide returns what happened, or the error with which the command is refused. state must not be kept; now is the
	// time the events will carry.
	Decide func(state S, now time.Time) (Outcome, error)
}

// Outcome is what a decision wants committed: all of it, or nothing.
type Outcome struct {
	Drafts []Draft
	// Effects are writes to tables that are not derived from the log.
	Effects []Effect
}

// Draft is an event before it has its place in the log.
type Draft struct {
	Stream Stream
	Fact   Fact
	Sealed []byte
}

// Effect is a statement that commits together with the events that cause it. Implementations are plain comparable
// values, so that a decision's outcome can be compared in a test.
type Effect interface {
	// Queue adds the statement. It must not have a callback that can fail: by then the transaction has committed.
	Queue(*pgx.Batch)
}

// Tables are the projections as the log sees them: a working set of rows that the writer loads before a decision, folds
// its events into, and writes back in the same transaction. Only the writer's goroutine calls it.
//
// A row is the image of exactly one stream, so rows are asked for by stream.
type Tables interface {
	// Versions are the versions of the folds by projection name. They must equal the table projections.
	Versions() map[string]int
	// Has reports whether the rows of a stream are in the working set.
	Has(Stream) bool
	// Begin puts streams into the working set that have no rows yet.
	Begin([]Stream)
	// Load queues the reads of the rows of streams; their callbacks fill the working set.
	Load(*pgx.Batch, []Stream)
	// Apply folds one event. It returns [ErrUnknownEvent] for a fact it does not know; the writer then resets the set.
	Apply(Event) error
	// Flush queues the writes of all rows changed since the last Flush.
	Flush(*pgx.Batch)
	// Reset empties the working set.
	Reset()
}
