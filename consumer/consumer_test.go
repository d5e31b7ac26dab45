package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/consumer"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// told is an event as a deployment tells it.
type told struct {
	id       uuid.UUID
	replay   uuid.UUID
	position int64
	stream   events.Stream
	kind     string
	schema   string
	payload  string
	source   string
}

// switched is that a forge became active, at a position. Each call is another event.
func switched(position int64, forge string) told {
	return told{
		id: uuid.Must(uuid.NewV7()), position: position, stream: events.StreamActiveForge, kind: "ForgeActivated", schema: "1",
		payload: `{"forge_type":"` + forge + `","previous":null}`, source: events.Source(uuid.Max),
	}
}

func (e told) message(t *testing.T) *message.Message {
	t.Helper()
	id := e.id.String()
	metadata := message.Metadata{
		events.MetadataSpecVersion: "1.0", events.MetadataSource: e.source, events.MetadataType: e.kind,
		events.MetadataSubject: string(e.stream), events.MetadataStream: string(e.stream), events.MetadataPartitionKey: string(e.stream),
		events.MetadataTime: "2026-11-26T12:00:00.123456Z", events.MetadataDataContentType: "application/json", events.MetadataActor: "cli",
		events.MetadataCorrelationID: uuid.Max.String(), events.MetadataPosition: fmt.Sprint(e.position), events.MetadataSchema: e.schema,
		events.MetadataStreamVersion: fmt.Sprint(e.position),
	}
	if e.replay != uuid.Nil {
		id += "/" + e.replay.String()
		metadata[events.MetadataReplayID] = e.replay.String()
	}
	metadata[events.MetadataID] = id
	msg := message.NewMessage(id, message.Payload(e.payload))
	msg.Metadata = metadata
	document, err := events.Structured(msg)
	if err != nil {
		t.Fatal(err)
	}
	msg.Payload = document
	return msg
}

// log is what a handler was given.
type log struct {
	heard []string
	fail  error // returned once, after the event was noted
}

func (l *log) handler() consumer.Handler {
	return consumer.On(func(_ context.Context, e consumer.Event, fact events.ForgeActivated) error {
		text := fmt.Sprintf("%d %s", e.Position, fact.ForgeType)
		if e.Replay != uuid.Nil {
			text += " again"
		}
		l.heard = append(l.heard, text)
		err := l.fail
		l.fail = nil
		return err
	})
}

func (l *log) want(t *testing.T, what string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, l.heard); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// stores are all there are, each made anew on what it kept before.
func stores(t *testing.T) map[string]func() consumer.Store {
	t.Helper()
	memory := consumer.NewMemory()
	path := filepath.Join(t.TempDir(), "store.json")
	pool := pgtest.Schema(t).Pool(t)
	return map[string]func() consumer.Store{
		"memory": func() consumer.Store { return memory },
		"file": func() consumer.Store {
			s, err := consumer.OpenFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		"postgres": func() consumer.Store {
			s, err := consumer.NewPostgres(t.Context(), pool, "watcher")
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	}
}

func newConsumer(t *testing.T, config consumer.Config, handlers ...consumer.Handler) *consumer.Consumer {
	t.Helper()
	c, err := consumer.New(config, handlers...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAnEventIsHandledOnceWhateverTheStore(t *testing.T) {
	t.Parallel()
	for name, open := range stores(t) {
		l := &log{}
		c := newConsumer(t, consumer.Config{Store: open()}, l.handler())
		first, second, third := switched(3, "github"), switched(5, "gitlab"), switched(9, "gitea")
		handle := func(e told) error { return c.Handle(t.Context(), e.message(t).Payload) }
		for _, e := range []told{first, first, second, first, second} {
			if err := handle(e); err != nil {
				t.Fatal(err)
			}
		}
		l.want(t, name+": duplicates, also late ones, are dropped", "3 github", "5 gitlab")

		l.fail = errors.New("no luck")
		if err := handle(third); err == nil {
			t.Errorf("%s: the handler's failure is lost", name)
		}
		if err := handle(third); err != nil {
			t.Fatal(err)
		}
		l.want(t, name+": what failed is handled again", "3 github", "5 gitlab", "9 gitea", "9 gitea")

		c = newConsumer(t, consumer.Config{Store: open()}, l.handler())
		if err := handle(third); err != nil {
			t.Fatal(err)
		}
		l.want(t, name+": the store remembers", "3 github", "5 gitlab", "9 gitea", "9 gitea")

		once := first
		once.replay = uuid.Must(uuid.NewV7())
		for _, e := range []told{once, once} {
			if err := handle(e); err != nil {
				t.Fatal(err)
			}
		}
		l.want(t, name+": a replay is handled once, and again", "3 github", "5 gitlab", "9 gitea", "9 gitea", "3 github again")
		if position, err := open().Position(t.Context()); err != nil || position != 9 {
			t.Errorf("%s: the position is %d: %v", name, position, err)
		}

		if err := handle(switched(9, "another history")); !errors.Is(err, consumer.ErrForked) {
			t.Errorf("%s: another event at the same place: %v", name, err)
		}
	}
}

func TestAnEffectInTheStoresTransactionIsThereOnce(t *testing.T) {
	t.Parallel()
	pool := pgtest.Schema(t).Pool(t)
	if _, err := pool.Exec(t.Context(), `CREATE TABLE moved (forge text)`); err != nil {
		t.Fatal(err)
	}
	store, err := consumer.NewPostgres(t.Context(), pool, "watcher")
	if err != nil {
		t.Fatal(err)
	}
	fail := errors.New("after the effect")
	c := newConsumer(t, consumer.Config{Store: store}, consumer.On(func(ctx context.Context, _ consumer.Event, fact events.ForgeActivated) error {
		tx, ok := consumer.TxFrom(ctx)
		if !ok {
			t.Fatal("there is no transaction")
		}
		_, err := tx.Exec(ctx, `INSERT INTO moved VALUES ($1)`, fact.ForgeType)
		return errors.Join(err, fail)
	}))
	msg := switched(1, "github").message(t)
	if err := c.Message(msg); !errors.Is(err, fail) {
		t.Fatal(err)
	}
	fail = nil
	for range 2 {
		if err := c.Message(msg); err != nil {
			t.Fatal(err)
		}
	}
	var moved int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM moved`).Scan(&moved); err != nil || moved != 1 {
		t.Errorf("%d effects: %v", moved, err)
	}
}

func TestWhatIsNotForTheConsumerIsToldApart(t *testing.T) {
	t.Parallel()
	l := &log{}
	c := newConsumer(t, consumer.Config{Source: events.Source(uuid.Max)}, l.handler())
	with := func(change func(*told)) string {
		e := switched(1, "github")
		change(&e)
		return string(e.message(t).Payload)
	}
	for name, test := range map[string]struct {
		document string
		want     error
	}{
		"a type without a handler":     {with(func(e *told) { e.kind, e.payload = "LoginDenied", `{}` }), nil},
		"a type that nobody knows yet": {with(func(e *told) { e.kind = "ForgePolished" }), nil},
		"a newer schema":               {with(func(e *told) { e.schema = "9" }), events.ErrUnknownEvent},
		"another deployment":           {with(func(e *told) { e.source = events.Source(uuid.UUID{1}) }), consumer.ErrSource},
		"no JSON":                      {"{", events.ErrNotOurs},
		"no CloudEvent":                {`{"data":{}}`, events.ErrNotOurs},
		"somebody else's CloudEvent":   {`{"specversion":"1.0","id":"1","source":"/x","type":"y","data":{}}`, events.ErrNotOurs},
	} {
		err := c.Handle(t.Context(), []byte(test.document))
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	l.want(t, "nothing was handled")

	all := newConsumer(t, consumer.Config{}, consumer.OnEvent(func(context.Context, consumer.Event) error { return errors.New("handled") }))
	if err := all.Handle(t.Context(), []byte(with(func(e *told) { e.kind = "ForgePolished" }))); err != nil {
		t.Errorf("a handler for all events, and a type that nobody knows yet: %v", err)
	}
	if err := all.Handle(t.Context(), []byte(with(func(e *told) { e.schema = "9" }))); !errors.Is(err, events.ErrUnknownEvent) {
		t.Errorf("a handler for all events, and a newer schema: %v", err)
	}
}

func TestAPanicIsAFailure(t *testing.T) {
	t.Parallel()
	c := newConsumer(t, consumer.Config{}, consumer.OnEvent(func(context.Context, consumer.Event) error { panic("no such forge") }))
	if err := c.Message(switched(1, "github").message(t)); err == nil || !strings.Contains(err.Error(), "panicked") {
		t.Error(err)
	}
}

func TestHandlersThatWouldMeetAreRefused(t *testing.T) {
	t.Parallel()
	one := (&log{}).handler()
	all := consumer.OnEvent(func(context.Context, consumer.Event) error { return nil })
	for _, handlers := range [][]consumer.Handler{nil, {one, one}, {one, all}, {all, all}} {
		if _, err := consumer.New(consumer.Config{}, handlers...); !errors.Is(err, consumer.ErrHandlers) {
			t.Errorf("%d handlers: %v", len(handlers), err)
		}
	}
}

func TestAFileThatCannotBeKeptSaysSoAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	damaged := filepath.Join(dir, "damaged")
	if err := os.WriteFile(damaged, []byte(`{"active-forge":{"pos`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{damaged, filepath.Join(dir, "no", "such", "folder"), dir} {
		if _, err := consumer.OpenFile(path); err == nil {
			t.Errorf("%s was opened", path)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.*")); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

func TestTheFileForgetsStreamsOfWhichNothingCame(t *testing.T) {
	t.Parallel()
	store := consumer.NewMemory()
	ran := 0
	do := func(key string, position int64) {
		err := store.Do(t.Context(), key, consumer.Mark{Position: position}, func(context.Context) error { ran++; return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range int64(12_000) {
		do(fmt.Sprint("session/", i), i+1)
	}
	do("session/11999", 12_000) // remembered
	if ran != 12_000 {
		t.Errorf("%d events were handled", ran)
	}
	do("session/1", 2) // forgotten, which is better than to keep all there ever were
	if ran != 12_001 {
		t.Errorf("%d events were handled", ran)
	}
}
