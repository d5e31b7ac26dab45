package archive

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
)

// Format is the name and version of the layout, the first thing in a file.
const Format = "forgeauth/1"

// maxLine bounds a line, in bytes: an event has 64 KiB at most, and some more for its sealed part and for escapes.
const maxLine = 4 << 20

// line is a line of a file: one of its fields is set.
type line struct {
	Header *header  `json:"header,omitempty"`
	Event  *event   `json:"event,omitempty"`
	Key    *dataKey `json:"data_key,omitempty"`
	Canary *[]byte  `json:"canary,omitempty"`
	End    *trailer `json:"end,omitempty"`
}

type header struct {
	Format     string    `json:"format"`
	Deployment uuid.UUID `json:"deployment"`
	ExportedAt time.Time `json:"exported_at"`
	Events     int64     `json:"events"`
	Keys       bool      `json:"keys"`
	// Checkpoint is the newest signed one, empty if nothing was signed.
	Checkpoint string `json:"checkpoint"`
}

// event is a record. The payload is a string and not JSON in JSON, so that no reader or writer on the way changes a byte of it.
type event struct {
	Position      int64     `json:"position"`
	ID            uuid.UUID `json:"id"`
	Stream        string    `json:"stream"`
	StreamVersion int64     `json:"stream_version"`
	Type          string    `json:"type"`
	Schema        int16     `json:"schema"`
	OccurredAt    time.Time `json:"occurred_at"`
	Actor         string    `json:"actor"`
	CorrelationID uuid.UUID `json:"correlation_id"`
	Payload       string    `json:"payload"`
	Sealed        *[]byte   `json:"sealed,omitempty"` // base64
}

func eventOf(r events.Record) *event {
	e := &event{
		r.Position, r.ID, string(r.Stream), r.StreamVersion, r.Type, r.Schema, r.OccurredAt, r.Actor, r.CorrelationID, string(r.Payload), nil,
	}
	if r.Sealed != nil {
		e.Sealed = &r.Sealed
	}
	return e
}

func (e *event) record() events.Record {
	r := events.Record{
		Position: e.Position, ID: e.ID, Stream: events.Stream(e.Stream), StreamVersion: e.StreamVersion, Type: e.Type, Schema: e.Schema,
		OccurredAt: e.OccurredAt.UTC(), Actor: e.Actor, CorrelationID: e.CorrelationID, Payload: []byte(e.Payload),
	}
	if e.Sealed != nil {
		r.Sealed = append([]byte{}, *e.Sealed...)
	}
	return r
}

type dataKey struct {
	ID        uuid.UUID `json:"id"`
	Wrapped   []byte    `json:"wrapped"` // base64
	CreatedAt time.Time `json:"created_at"`
}

type trailer struct {
	Events int64  `json:"events"`
	Root   []byte `json:"root"` // base64
}

var (
	// ErrNotEmpty says that the database has a history already.
	ErrNotEmpty = errors.New("this database has a history of its own: import into an empty one")
	// ErrOtherFile says that an unfinished import is of another file.
	ErrOtherFile = errors.New("what was imported before it was broken off is not from this file: use that one, or another empty database")
)

// DamagedError says that a file is not what was exported.
type DamagedError struct {
	Line    int64
	Problem string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the file is damaged at line %d: %s", e.Line, e.Problem)
}
