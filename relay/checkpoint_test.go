package relay_test

import (
	"errors"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/relay"
)

// publisher keeps what it is given.
type publisher struct {
	topic string
	given []*message.Message
	err   error
}

func (p *publisher) Publish(topic string, messages ...*message.Message) error {
	p.topic, p.given = topic, append(p.given, messages...)
	return p.err
}

func (*publisher) Close() error { return nil }

func TestACheckpointIsACloudEventOfItsOwn(t *testing.T) {
	t.Parallel()
	to := &publisher{}
	id, at := uuid.MustParse("0197a000-0000-7000-8000-000000000001"), time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	destination := relay.Destination{Publisher: to, Address: func(msg *message.Message) string { return "prefix." + msg.Metadata.Get("ce_stream") }}
	const checkpoint = "auth.example.org/log\n1\nAAAA=\n\n— auth.example.org/log BBBB=\n"
	if err := relay.PublishCheckpoint(t.Context(), destination, "urn:uuid:x", id, at, checkpoint); err != nil {
		t.Fatal(err)
	}
	if to.topic != "prefix.checkpoints" || len(to.given) != 1 || to.given[0].UUID != id.String() {
		t.Fatalf("published to %s: %+v", to.topic, to.given)
	}
	var got map[string]any
	if err := json.Unmarshal(to.given[0].Payload, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"specversion": "1.0", "id": id.String(), "source": "urn:uuid:x", "type": "LogCheckpoint", "datacontenttype": "application/json",
		"time": "2026-11-27T12:00:00Z", "stream": "checkpoints", "partitionkey": "checkpoints", "data": map[string]any{"checkpoint": checkpoint},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	to.err = errors.New("away")
	if err := relay.PublishCheckpoint(t.Context(), destination, "urn:uuid:x", id, at, checkpoint); !errors.Is(err, to.err) {
		t.Errorf("a destination that is away: %v", err)
	}
}
