package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
)

// envelope carries a message of the suite in an event's payload, which is JSON.
type envelope struct {
	UUID     string           `json:"uuid"` // the suite gives one to several messages, on different topics
	Payload  []byte           `json:"payload"`
	Metadata message.Metadata `json:"metadata"`
}

// appender publishes the suite's messages: as events of a type that is the topic, one stream to a topic. The log takes facts of this
// module's types only, by the writer; so this writes the table as the writer does, under a lock and with a notification.
type appender struct {
	*bench

	closed atomic.Bool
}

func (a *appender) Publish(topic string, messages ...*message.Message) error {
	if a.closed.Load() {
		return errors.New("closed")
	}
	ctx := context.Background()
	return pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext(current_schema()))`); err != nil {
			return err
		}
		for _, msg := range messages {
			payload, err := json.Marshal(envelope{msg.UUID, msg.Payload, msg.Metadata})
			if err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `
				INSERT INTO events (position, event_id, stream, stream_version, type, schema, occurred_at, actor, correlation_id, payload)
				SELECT coalesce((SELECT max(position) FROM events), 0) + 1, gen_random_uuid(), $1,
				       coalesce((SELECT max(stream_version) FROM events WHERE stream = $1), 0) + 1, $1, 1, now(), 'test', gen_random_uuid(), $2`,
				topic, payload)
			if err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `SELECT pg_notify('forgeauth_' || md5(current_schema()), (SELECT max(position) FROM events)::text)`)
		return err
	})
}

func (a *appender) Close() error {
	a.closed.Store(true)
	return nil
}

// groups subscribes to the suite's topics: each by a group of its own, whose name begins alike.
type groups struct {
	feed *events.Feed
	name string
}

func (g *groups) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	waits := make([]time.Duration, 10_000) // the suite nacks as often as it likes
	for i := range waits {
		waits[i] = time.Millisecond
	}
	group, err := g.feed.Group(events.GroupConfig{Name: g.name + topic, Policy: events.Policy{Waits: waits}, CloseTimeout: 100 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	from, err := group.Subscribe(ctx, topic)
	if err != nil {
		return nil, err
	}
	to := make(chan *message.Message)
	go func() {
		defer close(to)
		for msg := range from {
			var e envelope
			if err := json.Unmarshal(msg.Payload, &e); err != nil {
				panic(err)
			}
			msg.UUID, msg.Payload = e.UUID, e.Payload
			maps.Copy(msg.Metadata, e.Metadata)
			to <- msg
		}
	}()
	return to, nil
}

func (g *groups) Close() error { return g.feed.Close() }

// TestWatermillsPubSubSuite runs the tests that Watermill has for every Pub/Sub, as far as a log that is only read can pass them.
// Two are not run:
//
//   - TestReconnect restarts the broker by a command. What happens when the database goes, or the connection to it, is shown by this
//     package's own tests and by the soak in package relay.
//   - TestNewSubscriberReceivesOldMessages wants each new subscriber to get everything, where others of the suite want it to go on
//     where the one before it was. Here that is the group's to say: TestAGroupStartsWhereItIsTold.
func TestWatermillsPubSubSuite(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	open := func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		t.Helper()
		return &appender{bench: b}, &groups{b.feed(t, b.db.URL), group}
	}
	tests.TestPubSub(t, tests.Features{
		ConsumerGroups:                   true,
		GuaranteedOrder:                  true,
		Persistent:                       true,
		NewSubscriberReceivesOldMessages: false,
	}, func(t *testing.T) (message.Publisher, message.Subscriber) {
		t.Helper()
		return open(t, "g-")
	}, open)
}
