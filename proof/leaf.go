package proof

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/forgeauth/forgeauth/events"
)

// leafVersion is the first byte of every leaf: another layout gets another.
const leafVersion = 1

// MaxLeaf is how many bytes a leaf has at most: entry bundles say the length of each in 16 bits.
const MaxLeaf = math.MaxUint16

// ErrMalformedLeaf says that bytes are not what [Leaf] makes.
var ErrMalformedLeaf = errors.New("this is not an entry of a log of forgeauth")

// Leaf returns the bytes of an event that its leaf is the hash of. There is one form for an event, and the layout never changes
// (testdata/leaves holds one of each shape). Integers are big-endian; a text has its length before it, in 4 bytes:
//
//	version          1 byte: 1
//	position         8 bytes
//	event id         16 bytes
//	stream           text
//	stream version   8 bytes
//	type             text
//	schema           2 bytes
//	occurred at      8 bytes, microseconds since 1970-01-01T00:00:00Z, two's complement
//	actor            text
//	correlation id   16 bytes
//	payload          text, JSON as stored
//	sealed           1 byte: 0 for none, 1 if the SHA-256 of the sealed part follows
//	sealed hash      32 bytes, or nothing
//
// A record of the feed has the hash of what is sealed already; otherwise it is computed.
func Leaf(r events.Record) []byte {
	hash := r.HashOfSealed()
	const fixed = 1 + 8 + 16 + 4 + 8 + 4 + 2 + 8 + 4 + 16 + 4 + 1 + sha256.Size
	b := make([]byte, 0, fixed+len(r.Stream)+len(r.Type)+len(r.Actor)+len(r.Payload))
	text := func(s string) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s))) //nolint:gosec // Postgres holds no text that long
		b = append(b, s...)
	}
	b = append(b, leafVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Position)) //nolint:gosec // positions are not negative
	b = append(b, r.ID[:]...)
	text(string(r.Stream))
	b = binary.BigEndian.AppendUint64(b, uint64(r.StreamVersion)) //nolint:gosec // versions are not negative
	text(r.Type)
	b = binary.BigEndian.AppendUint16(b, uint16(r.Schema)) //nolint:gosec // schemas are not negative
	b = binary.BigEndian.AppendUint64(b, uint64(r.OccurredAt.UnixMicro()))
	text(r.Actor)
	b = append(b, r.CorrelationID[:]...)
	text(string(r.Payload))
	if hash == nil {
		return append(b, 0)
	}
	return append(append(b, 1), hash...)
}

// ParseLeaf is the inverse of [Leaf], or returns [ErrMalformedLeaf]: it accepts no second form of an entry. The result aliases b.
func ParseLeaf(b []byte) (events.Record, error) {
	var e events.Record
	r := leafReader{rest: b}
	if version := r.take(1); r.failed || version[0] != leafVersion {
		return events.Record{}, fmt.Errorf("%w: it does not begin with the version %d", ErrMalformedLeaf, leafVersion)
	}
	e.Position = r.integer()
	copy(e.ID[:], r.take(len(uuid.UUID{})))
	e.Stream = events.Stream(r.text())
	e.StreamVersion = r.integer()
	e.Type = string(r.text())
	if schema := r.take(2); !r.failed {
		e.Schema = int16(binary.BigEndian.Uint16(schema)) //nolint:gosec // checked below
	}
	e.OccurredAt = time.UnixMicro(r.integer()).UTC()
	e.Actor = string(r.text())
	copy(e.CorrelationID[:], r.take(len(uuid.UUID{})))
	e.Payload = r.text()
	switch sealed := r.take(1); {
	case r.failed, sealed[0] > 1:
		return events.Record{}, fmt.Errorf("%w: it ends early", ErrMalformedLeaf)
	case sealed[0] == 1:
		e.SealedHash = r.take(sha256.Size)
	}
	if r.failed || len(r.rest) > 0 || e.Position < 0 || e.StreamVersion < 0 || e.Schema < 0 {
		return events.Record{}, fmt.Errorf("%w: its fields do not fit", ErrMalformedLeaf)
	}
	return e, nil
}

// leafReader takes one field after the other from the front. After the first that is not there, all are empty.
type leafReader struct {
	rest   []byte
	failed bool
}

func (r *leafReader) take(n int) []byte {
	if r.failed || n > len(r.rest) {
		r.failed = true
		return nil
	}
	field := r.rest[:n:n]
	r.rest = r.rest[n:]
	return field
}

func (r *leafReader) integer() int64 {
	if field := r.take(8); !r.failed {
		return int64(binary.BigEndian.Uint64(field)) //nolint:gosec // two's complement
	}
	return 0
}

func (r *leafReader) text() []byte {
	size := r.take(4)
	if r.failed {
		return nil
	}
	return r.take(int(binary.BigEndian.Uint32(size)))
}

// leafHash returns the hash of an event's leaf, or an error if the leaf is too long for an entry bundle.
func leafHash(r events.Record) (tlog.Hash, error) {
	leaf := Leaf(r)
	if len(leaf) > MaxLeaf {
		return tlog.Hash{}, fmt.Errorf("event %d has a leaf of %d bytes: the most is %d", r.Position, len(leaf), MaxLeaf)
	}
	return tlog.RecordHash(leaf), nil
}
