package relay

import (
	"context"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
)

// CheckpointType is the type of the CloudEvents that hold a signed checkpoint of the log, which is no event of it.
const CheckpointType = "LogCheckpoint"

// checkpointStream takes the place of a stream in subjects and keys.
const checkpointStream = "checkpoints"

// Checkpoint is the data of such a CloudEvent.
type Checkpoint struct {
	// Checkpoint is the signed note (C2SP tlog-checkpoint).
	Checkpoint string `json:"checkpoint"`
}

// PublishCheckpoint gives a signed checkpoint to a destination, as a CloudEvent in structured mode like those of the feed, from the
// given source, under the given id and of the given time. It returns what the publisher says.
func PublishCheckpoint(ctx context.Context, to Destination, source string, id uuid.UUID, at time.Time, checkpoint string) error {
	data, err := json.Marshal(Checkpoint{checkpoint})
	if err != nil {
		return fmt.Errorf("a checkpoint: %w", err)
	}
	msg := message.NewMessage(id.String(), data)
	msg.Metadata = message.Metadata{
		events.MetadataSpecVersion: "1.0", events.MetadataID: id.String(), events.MetadataSource: source, events.MetadataType: CheckpointType,
		events.MetadataDataContentType: "application/json", events.MetadataTime: at.UTC().Format(time.RFC3339Nano),
		events.MetadataStream: checkpointStream, events.MetadataPartitionKey: checkpointStream,
	}
	if msg.Payload, err = events.Structured(msg); err != nil {
		return err
	}
	msg.SetContext(ctx)
	address := ""
	if to.Address != nil {
		address = to.Address(msg)
	}
	return to.Publisher.Publish(address, msg) //nolint:wrapcheck // the publisher says what failed
}
