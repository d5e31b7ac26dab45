package events

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
)

// The metadata of a message are the context attributes of its CloudEvent, version 1.0, in binary mode: each by its name with
// this prefix. What is an extension of ours is marked so.
const (
	MetadataSpecVersion     = attributePrefix + "specversion"
	MetadataID              = attributePrefix + "id"     // the deduplication key: the event's id, on replays with "/" and the replay's id
	MetadataSource          = attributePrefix + "source" // urn:uuid: and the deployment's id
	MetadataType            = attributePrefix + "type"   // the name of the fact, such as ForgeActivated
	MetadataSubject         = attributePrefix + "subject"
	MetadataTime            = attributePrefix + "time"
	MetadataDataContentType = attributePrefix + "datacontenttype"

	MetadataActor         = attributePrefix + "actor"         // extension: who did it
	MetadataCorrelationID = attributePrefix + "correlationid" // extension: the command that caused it
	MetadataPartitionKey  = attributePrefix + "partitionkey"  // documented extension: the stream
	MetadataPosition      = attributePrefix + "position"      // extension: the place in the log, in decimal
	MetadataReplayID      = attributePrefix + "replayid"      // extension: only on what is given once more
	MetadataSchema        = attributePrefix + "schema"        // extension: version of the payload's shape
	MetadataSealedSHA256  = attributePrefix + "sealedsha256"  // extension: hash of what stays sealed at home, in hexadecimal; only if something is
	MetadataStream        = attributePrefix + "stream"        // extension
	MetadataStreamVersion = attributePrefix + "streamversion" // extension: the place in the stream, in decimal

	attributePrefix = "ce_"
)

// metadataCorrelation is where Watermill's middleware looks for a correlation id.
const metadataCorrelation = "correlation_id"

// Source is what the CloudEvents of a deployment name as their source.
func Source(deployment uuid.UUID) string { return "urn:uuid:" + deployment.String() }

// newMessage returns the record as a message: a CloudEvent in binary mode. What is sealed stays behind. replay is zero unless
// the event is given once more.
func newMessage(source string, r Record, replay uuid.UUID) *message.Message {
	id := r.ID.String()
	if replay != uuid.Nil {
		id += "/" + replay.String()
	}
	msg := message.NewMessage(id, message.Payload(r.Payload))
	msg.Metadata = message.Metadata{
		MetadataSpecVersion:     "1.0",
		MetadataID:              id,
		MetadataSource:          source,
		MetadataType:            r.Type,
		MetadataSubject:         string(r.Stream),
		MetadataTime:            r.OccurredAt.Format(time.RFC3339Nano),
		MetadataDataContentType: "application/json",
		MetadataActor:           r.Actor,
		MetadataCorrelationID:   r.CorrelationID.String(),
		MetadataPartitionKey:    string(r.Stream),
		MetadataPosition:        strconv.FormatInt(r.Position, 10),
		MetadataSchema:          strconv.Itoa(int(r.Schema)),
		MetadataStream:          string(r.Stream),
		MetadataStreamVersion:   strconv.FormatInt(r.StreamVersion, 10),
		metadataCorrelation:     r.CorrelationID.String(),
	}
	if hash := r.HashOfSealed(); hash != nil {
		msg.Metadata[MetadataSealedSHA256] = hex.EncodeToString(hash)
	}
	if replay != uuid.Nil {
		msg.Metadata[MetadataReplayID] = replay.String()
	}
	return msg
}

// Structured returns a message of the feed as one JSON document, the CloudEvent in structured mode
// (application/cloudevents+json): the attributes in the order of their names after the required ones, then data, byte for byte
// as in the log.
func Structured(msg *message.Message) ([]byte, error) {
	required := []string{MetadataSpecVersion, MetadataID, MetadataSource, MetadataType}
	for _, name := range required {
		if msg.Metadata.Get(name) == "" {
			return nil, fmt.Errorf("message %q is no CloudEvent: it has no %s", msg.UUID, name)
		}
	}
	if !json.Valid(msg.Payload) {
		return nil, fmt.Errorf("message %q: its payload is no JSON", msg.UUID)
	}
	names := required
	for _, name := range slices.Sorted(maps.Keys(msg.Metadata)) {
		if strings.HasPrefix(name, attributePrefix) && !slices.Contains(required, name) {
			names = append(names, name)
		}
	}
	b := make([]byte, 0, 640+len(msg.Payload))
	b = append(b, '{')
	for _, name := range names {
		value, err := json.Marshal(msg.Metadata[name])
		if err != nil {
			return nil, fmt.Errorf("message %q: %s: %w", msg.UUID, name, err)
		}
		b = append(b, '"')
		b = append(b, strings.TrimPrefix(name, attributePrefix)...)
		b = append(b, '"', ':')
		b = append(b, value...)
		b = append(b, ',')
	}
	b = append(b, `"data":`...)
	b = append(b, msg.Payload...)
	return append(b, '}'), nil
}

// ErrNotOurs says that a message is not one of a forgeauth feed, or was damaged on its way.
var ErrNotOurs = errors.New("this is no event of a forgeauth feed")

// ParseMessage is the inverse of what the feed does to a record: it reads a message in binary mode. Only what is sealed is
// missing from the record, which has its hash. replay is zero unless the message is marked as replayed. The error is [ErrNotOurs]; whether this
// program knows the event's type is for [Record.Decode] to say.
func ParseMessage(msg *message.Message) (r Record, replay uuid.UUID, err error) {
	var faults []error
	fault := func(name string, err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
		}
	}
	get := msg.Metadata.Get
	number := func(name string, bits int) int64 {
		n, err := strconv.ParseInt(get(name), 10, bits)
		fault(name, err)
		return n
	}
	id := func(name, text string) uuid.UUID {
		id, err := uuid.Parse(text)
		fault(name, err)
		return id
	}
	if get(MetadataSpecVersion) != "1.0" {
		return Record{}, uuid.Nil, fmt.Errorf("%w: it is no CloudEvent of version 1.0", ErrNotOurs)
	}
	eventID, replayID, replayed := strings.Cut(get(MetadataID), "/")
	if replayed != (get(MetadataReplayID) != "") || replayID != get(MetadataReplayID) {
		faults = append(faults, errors.New("its id and its replay's id do not match"))
	}
	if replayed {
		replay = id(MetadataReplayID, replayID)
	}
	occurred, err := time.Parse(time.RFC3339Nano, get(MetadataTime))
	fault(MetadataTime, err)
	r = Record{
		Position:      number(MetadataPosition, 64),
		ID:            id(MetadataID, eventID),
		Stream:        Stream(get(MetadataStream)),
		StreamVersion: number(MetadataStreamVersion, 64),
		Type:          get(MetadataType),
		Schema:        int16(number(MetadataSchema, 16)), //nolint:gosec // parsed with 16 bits
		OccurredAt:    occurred.UTC(),
		Actor:         get(MetadataActor),
		CorrelationID: id(MetadataCorrelationID, get(MetadataCorrelationID)),
		Payload:       json.RawMessage(msg.Payload),
	}
	if text := get(MetadataSealedSHA256); text != "" {
		if r.SealedHash, err = hex.DecodeString(text); err == nil && len(r.SealedHash) != sha256.Size {
			err = errors.New("it is no SHA-256")
		}
		fault(MetadataSealedSHA256, err)
	}
	if r.Stream == "" || r.Type == "" || r.Position <= 0 || r.StreamVersion <= 0 || !json.Valid(r.Payload) {
		faults = append(faults, errors.New("stream, type, position, version or payload is missing or malformed"))
	}
	if len(faults) > 0 {
		return Record{}, uuid.Nil, fmt.Errorf("%w: %w", ErrNotOurs, errors.Join(faults...))
	}
	return r, replay, nil
}

// ParseStructured reads a document of [Structured] back into a message in binary mode. The error is [ErrNotOurs].
func ParseStructured(document []byte) (*message.Message, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(document, &members); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotOurs, err)
	}
	data, ok := members["data"]
	if !ok {
		return nil, fmt.Errorf("%w: it has no data", ErrNotOurs)
	}
	delete(members, "data")
	metadata := message.Metadata{}
	for name, value := range members {
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			return nil, fmt.Errorf("%w: attribute %s is no string", ErrNotOurs, name)
		}
		metadata[attributePrefix+name] = text
	}
	if id := metadata[MetadataCorrelationID]; id != "" {
		metadata[metadataCorrelation] = id
	}
	msg := message.NewMessage(metadata[MetadataID], message.Payload(data))
	msg.Metadata = metadata
	return msg, nil
}
