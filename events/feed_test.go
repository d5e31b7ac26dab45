package events_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// feed opens a feed over url, as one process would have it.
func (b *bench) feed(t *testing.T, url string) *events.Feed {
	t.Helper()
	conn, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	f := events.NewFeed(events.FeedConfig{
		Pool: b.pool, Conn: conn, Poll: 200 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return f
}

// subscription is one subscription to a group of a test's.
type subscription struct {
	messages <-chan *message.Message
	end      context.CancelFunc
}

func subscribe(t *testing.T, f *events.Feed, topic string, config events.GroupConfig) subscription {
	t.Helper()
	group, err := f.Group(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	messages, err := group.Subscribe(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	return subscription{messages, cancel}
}

const patience = 30 * time.Second

// next waits for a message.
func (s subscription) next(t *testing.T) *message.Message {
	t.Helper()
	select {
	case msg, ok := <-s.messages:
		if !ok {
			t.Fatal("the subscription has ended")
		}
		return msg
	case <-time.After(patience):
		t.Fatal("no message came")
	}
	return nil
}

// take waits for a message, checks its position, and acks it.
func (s subscription) take(t *testing.T, positions ...int64) {
	t.Helper()
	for _, want := range positions {
		msg := s.next(t)
		if got := position(t, msg); got != want {
			t.Fatalf("got event %d, want %d", got, want)
		}
		msg.Ack()
	}
}

func position(t *testing.T, msg *message.Message) int64 {
	t.Helper()
	p, err := strconv.ParseInt(msg.Metadata.Get(events.MetadataPosition), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// draft appends facts of a stream, depending on nothing.
func draft(stream events.Stream, facts ...events.Fact) decision {
	return decision{
		Actor: "test", Correlation: uuid.Must(uuid.NewV7()), Streams: []events.Stream{stream},
		Decide: func(*projections.State, time.Time) (events.Outcome, error) {
			var out events.Outcome
			for _, f := range facts {
				out.Drafts = append(out.Drafts, events.Draft{Stream: stream, Fact: f})
			}
			return out, nil
		},
	}
}

// deny appends n facts to the stream of denials, which nobody folds.
func deny(n int) decision {
	facts := make([]events.Fact, n)
	for i := range facts {
		facts[i] = events.LoginDenied{Reason: fmt.Sprintf("reason %d", i)}
	}
	return draft(events.StreamDenials, facts...)
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (b *bench) subscription(t *testing.T, name string) events.Subscription {
	t.Helper()
	s, err := events.NewSubscriptions(b.pool).Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAGroupGetsTheLogInOrderAndGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	mustAppend(t, w, deny(3))
	f := b.feed(t, b.db.URL)
	s := subscribe(t, f, events.TopicAll, events.GroupConfig{Name: "all"})
	s.take(t, 1, 2, 3)
	mustAppend(t, w, activate("github"))
	msg := s.next(t)
	record, replay, err := events.ParseMessage(msg)
	if err != nil {
		t.Fatal(err)
	}
	want := b.all(t)[3].Record
	if diff := cmp.Diff(want, record); diff != "" || replay != uuid.Nil {
		t.Errorf("the record came back otherwise (-want +got), replay %s:\n%s", replay, diff)
	}
	msg.Ack()
	s.end()
	for range s.messages {
		t.Error("a message came after the end")
	}
	mustAppend(t, w, deny(2))
	again := subscribe(t, b.feed(t, b.db.URL), events.TopicAll, events.GroupConfig{Name: "all"})
	again.take(t, 5, 6)
	eventually(t, "the cursor is written", func() bool { return b.subscription(t, "all").Position == 6 })
}

func TestATopicIsOneTypeOrSeveral(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	f := b.feed(t, b.db.URL)
	one := subscribe(t, f, "ForgeActivated", events.GroupConfig{Name: "one"})
	two := subscribe(t, f, "ForgeDeactivated, ForgeActivated", events.GroupConfig{Name: "two"})
	mustAppend(t, w, deny(2))
	mustAppend(t, w, activate("github"))
	mustAppend(t, w, draft(events.StreamActiveForge, events.ForgeDeactivated{Previous: "github", Reason: "cleared"}))
	mustAppend(t, w, deny(1))
	mustAppend(t, w, activate("github"))
	one.take(t, 3, 6)
	two.take(t, 3, 4, 6)
	eventually(t, "nothing lags", func() bool {
		return b.subscription(t, "one").Lag == 0 && b.subscription(t, "two").Lag == 0
	})
	// From history, type by type, it is the same as from the tail.
	subscribe(t, b.feed(t, b.db.URL), "ForgeDeactivated,ForgeActivated", events.GroupConfig{Name: "three"}).take(t, 3, 4, 6)
}

func TestAGroupStartsWhereItIsTold(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	clock := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	w := b.writer(t, b.db.URL, func(c *events.WriterConfig) { c.Now = func() time.Time { return clock } })
	for range 7 {
		mustAppend(t, w, deny(1))
		clock = clock.Add(time.Minute)
	}
	f := b.feed(t, b.db.URL)
	at := func(minutes float64) events.Start {
		return events.FromTime(time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC).Add(time.Duration(minutes * float64(time.Minute))))
	}
	for i, test := range []struct {
		start events.Start
		want  int64
	}{
		{nil, 1},
		{events.FromBeginning(), 1},
		{events.FromPosition(4), 4},
		{events.FromPosition(-2), 1},
		{at(-1), 1},
		{at(0), 1},
		{at(0.5), 2},
		{at(3), 4},
		{at(5.5), 7},
		{at(6), 7},
	} {
		name := "g" + strconv.Itoa(i)
		subscribe(t, f, events.TopicAll, events.GroupConfig{Name: name, Start: test.start}).take(t, test.want)
	}
	now := subscribe(t, f, events.TopicAll, events.GroupConfig{Name: "now", Start: events.FromNow()})
	late := subscribe(t, f, events.TopicAll, events.GroupConfig{Name: "late", Start: at(6.5)})
	mustAppend(t, w, deny(1))
	now.take(t, 8)
	late.take(t, 8)
}

func TestWhatFailsIsTriedAgainAndThenParked(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	mustAppend(t, w, activate("github")) // 1
	mustAppend(t, w, deny(1))            // 2
	mustAppend(t, w, activate("gitlab")) // 3
	f := b.feed(t, b.db.URL)
	policy := events.Policy{Waits: []time.Duration{time.Millisecond, time.Millisecond}}
	s := subscribe(t, f, events.TopicAll, events.GroupConfig{Name: "g", Policy: policy})
	for attempt := 1; attempt <= 3; attempt++ {
		msg := s.next(t)
		d, _ := events.DeliveryFrom(msg.Context())
		if d.Record.Position != 1 || d.Attempt != attempt || d.FailingSince.IsZero() != (attempt == 1) {
			t.Errorf("delivery %+v, want attempt %d at event 1", d, attempt)
		}
		events.Fail(msg, errors.New("no\nluck"))
		msg.Nack()
	}
	s.take(t, 2) // another stream goes on, event 3 waits
	eventually(t, "the stream is parked", func() bool { return len(b.subscription(t, "g").Parked) == 1 && b.subscription(t, "g").Position == 3 })
	got := b.subscription(t, "g").Parked[0]
	got.ParkedAt = time.Time{}
	want := events.ParkedStream{Stream: events.StreamActiveForge, Position: 1, Type: "ForgeActivated", Waiting: 2, Attempts: 3, Error: "no luck"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parked (-want +got):\n%s", diff)
	}
	subscriptions := events.NewSubscriptions(b.pool)
	if err := subscriptions.Retry(t.Context(), "g", events.StreamActiveForge); err != nil {
		t.Fatal(err)
	}
	msg := s.next(t) // once more in vain
	if position(t, msg) != 1 {
		t.Fatalf("got event %d, want 1", position(t, msg))
	}
	msg.Nack()
	eventually(t, "it is parked again", func() bool { return b.subscription(t, "g").Parked[0].Attempts == 4 })
	if err := subscriptions.Retry(t.Context(), "g", ""); err != nil {
		t.Fatal(err)
	}
	s.take(t, 1, 3)
	eventually(t, "nothing is parked", func() bool { return len(b.subscription(t, "g").Parked) == 0 })
	mustAppend(t, w, activate("github"))
	s.take(t, 4)
	if err := subscriptions.Retry(t.Context(), "g", ""); !errors.Is(err, events.ErrNothingToRetry) {
		t.Errorf("a retry of nothing: %v", err)
	}
	if err := subscriptions.Retry(t.Context(), "nobody", ""); !errors.Is(err, events.ErrNoGroup) {
		t.Errorf("a retry of nobody: %v", err)
	}
}
