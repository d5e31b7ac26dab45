package relay_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/relay"
)

func TestHandlersOfAGroupAreCalledInTheOrderOfTheLog(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	heard := make(chan string, 10)
	err := l.relay.Subscribe(t.Context(), events.GroupConfig{Name: "watcher"},
		relay.On(func(ctx context.Context, fact events.ForgeActivated) error {
			if d, ok := events.DeliveryFrom(ctx); !ok || d.Attempt != 1 || d.Group != "watcher" {
				t.Errorf("delivery %+v", d)
			}
			heard <- "to " + fact.ForgeType
			return nil
		}),
		relay.On(func(_ context.Context, fact events.ForgeDeactivated) error {
			heard <- "from " + fact.Previous
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	l.activate(t, "github", "gitlab")
	l.append(t, events.StreamDenials, events.LoginDenied{Reason: "not of interest"})
	l.append(t, events.StreamActiveForge, events.ForgeDeactivated{Previous: "gitlab", Reason: "cleared"})
	l.activate(t, "gitea")
	for _, want := range []string{"to github", "to gitlab", "from gitlab", "to gitea"} {
		if got := receive(t, heard); got != want {
			t.Errorf("heard %q, want %q", got, want)
		}
	}
}

func TestHandlersThatCannotShareAGroupAreRefused(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	switched := relay.On(func(context.Context, events.ForgeActivated) error { return nil })
	every := relay.OnEvent(func(context.Context, events.Event) error { return nil })
	for name, handlers := range map[string][]relay.Handler{
		"none": {}, "one type twice": {switched, switched}, "everything and one type": {every, switched}, "everything twice": {every, every},
	} {
		if err := l.relay.Subscribe(t.Context(), events.GroupConfig{Name: "g"}, handlers...); !errors.Is(err, relay.ErrHandlers) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := l.relay.Subscribe(t.Context(), events.GroupConfig{Name: "a b"}, every); !errors.Is(err, events.ErrGroupName) {
		t.Errorf("a name that is none: %v", err)
	}
	if err := l.relay.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.relay.Subscribe(t.Context(), events.GroupConfig{Name: "g"}, every); !errors.Is(err, events.ErrFeedClosed) {
		t.Errorf("after the end: %v", err)
	}
}

var twoTries = events.Policy{Waits: []time.Duration{time.Millisecond}}

func TestAPanicIsTheFailureOfOneEvent(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	handled := make(chan string, 10)
	err := l.relay.Subscribe(t.Context(), events.GroupConfig{Name: "g", Policy: twoTries},
		relay.OnEvent(func(_ context.Context, e events.Event) error {
			if e.Stream == events.StreamActiveForge {
				panic("no such forge")
			}
			handled <- e.Type
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	l.activate(t, "github")
	l.append(t, events.StreamDenials, events.LoginDenied{Reason: "another stream"})
	receive(t, handled)
	eventually(t, "the stream is parked", func() bool { return len(l.subscription(t, "g").Parked) == 1 })
	s := l.subscription(t, "g")
	if p := s.Parked[0]; p.Error != "the handler panicked: no such forge" || p.Attempts != 2 || p.Stream != events.StreamActiveForge {
		t.Errorf("parked %+v", p)
	}
	if !s.Degraded() {
		t.Error("a group that holds back active-forge is not called degraded")
	}
}

func TestWhatThisProgramDoesNotKnowIsParkedAtOnce(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	l.activate(t, "github")
	for _, newer := range []string{"'ForgeActivated', 99", "'ForgePolished', 1"} {
		_, err := l.pool.Exec(t.Context(), `
			INSERT INTO events (position, event_id, stream, stream_version, type, schema, occurred_at, actor, correlation_id, payload)
			SELECT max(position) + 1, gen_random_uuid(), 'future/' || max(position), 1, `+newer+`, now(), 'test', gen_random_uuid(), '{}' FROM events`)
		if err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan int64, 10)
	err := l.relay.Subscribe(t.Context(), events.GroupConfig{Name: "g"}, relay.OnEvent(func(_ context.Context, e events.Event) error {
		got <- e.Position
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	if p := receive(t, got); p != 1 {
		t.Errorf("got event %d", p)
	}
	eventually(t, "both are parked", func() bool { return len(l.subscription(t, "g").Parked) == 2 })
	for _, p := range l.subscription(t, "g").Parked {
		if p.Attempts != 1 || !strings.Contains(p.Error, "run the newer version") {
			t.Errorf("parked %+v", p)
		}
	}
}

func TestAnEffectInTheTransactionHappensExactlyOnce(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	if _, err := l.pool.Exec(t.Context(), `CREATE TABLE moved (forge text)`); err != nil {
		t.Fatal(err)
	}
	tries := 0
	err := l.relay.Subscribe(t.Context(), events.GroupConfig{Name: "g", Policy: twoTries},
		relay.OnTx(func(ctx context.Context, tx pgx.Tx, fact events.ForgeActivated) error {
			if _, err := tx.Exec(ctx, `INSERT INTO moved VALUES ($1)`, fact.ForgeType); err != nil {
				return err
			}
			if tries++; tries == 2 {
				return errors.New("after the effect")
			}
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	l.activate(t, "github", "gitlab", "gitea")
	eventually(t, "all are handled", func() bool { return l.subscription(t, "g").Position == 3 })
	rows, err := l.pool.Query(t.Context(), `SELECT forge FROM moved ORDER BY ctid`)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"github", "gitlab", "gitea"}, moved); diff != "" || tries != 4 {
		t.Errorf("after %d tries (-want +got):\n%s", tries, diff)
	}
}

func TestCloseLetsTheHandlerFinish(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	under, finish := make(chan struct{}), make(chan struct{})
	err := l.relay.Subscribe(t.Context(), events.GroupConfig{Name: "g", CloseTimeout: patience},
		relay.On(func(context.Context, events.ForgeActivated) error {
			close(under)
			<-finish
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	l.activate(t, "github")
	receive(t, under)
	closed := make(chan error, 1)
	go func() { closed <- l.relay.Close() }()
	close(finish)
	if err := receive(t, closed); err != nil {
		t.Fatal(err)
	}
	if s := l.subscription(t, "g"); s.Position != 1 {
		t.Errorf("the cursor is at %d: what was handled will be given out again", s.Position)
	}
}

func TestAGroupThatEndsLeavesTheOthers(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	subscribe := func(ctx context.Context, name string) <-chan string {
		heard := make(chan string, 10)
		err := l.relay.Subscribe(ctx, events.GroupConfig{Name: name}, relay.On(func(_ context.Context, fact events.ForgeActivated) error {
			heard <- fact.ForgeType
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		return heard
	}
	first, end := context.WithCancel(t.Context())
	short, long := subscribe(first, "short"), subscribe(t.Context(), "long")
	l.activate(t, "github")
	receive(t, short)
	receive(t, long)
	end()
	eventually(t, "nobody runs the first", func() bool { return l.subscription(t, "short").Owner == "" })
	l.activate(t, "gitlab")
	if got := receive(t, long); got != "gitlab" {
		t.Errorf("heard %s", got)
	}
	if got := receive(t, subscribe(t.Context(), "short")); got != "gitlab" {
		t.Errorf("the first, subscribed anew, heard %s", got)
	}
}
