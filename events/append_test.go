package events_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// conflict is an effect that the database refuses.
type conflict struct{}

func (conflict) Queue(batch *pgx.Batch) { batch.Queue(`INSERT INTO vault_check VALUES (false, 'x')`) }

func TestAMemberThatIsRefusedSpoilsNothingForItsGroup(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Lock(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	results := make(chan error, 21)
	add := func(d decision) { go func() { _, err := w.Append(t.Context(), d); results <- err }() }
	add(activate("first"))
	b.waitForLock(t) // the others wait behind it, and become one group
	spoils := activate("spoils")
	decide := spoils.Decide
	spoils.Decide = func(s *projections.State, now time.Time) (events.Outcome, error) {
		outcome, err := decide(s, now)
		outcome.Effects = []events.Effect{conflict{}}
		return outcome, err
	}
	panics := activate("panics")
	panics.Decide = func(*projections.State, time.Time) (events.Outcome, error) { panic("at the disco") }
	undeclared := activate("undeclared")
	undeclared.Streams = nil
	for range 5 {
		add(activate("fine"))
	}
	add(spoils)
	add(panics)
	add(undeclared)
	for range 5 {
		add(activate("fine"))
	}
	for w.Queued() < 13 {
		runtime.Gosched()
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for range 14 {
		if err := <-results; err != nil {
			failed++
			t.Log(err)
		}
	}
	if failed != 3 {
		t.Errorf("%d of the decisions failed, want 3", failed)
	}
	if all := b.all(t); len(all) != 11 {
		t.Errorf("%d events, want 11", len(all))
	}
	b.verify(t)
}

// What a Query has read must hold when its decision is taken, so no other decision may come in between.
func TestADecisionWithReadsOfItsOwnSeesWhatWasDecidedBeforeIt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	const decisions = 20
	results := make(chan error, decisions)
	for range decisions {
		var read int64
		d := activate("a")
		decide := d.Decide
		d.Query = func(batch *pgx.Batch) {
			batch.Queue(`SELECT coalesce(max(version), 0) FROM active_forge_type`).QueryRow(func(row pgx.Row) error { return row.Scan(&read) })
		}
		d.Decide = func(s *projections.State, now time.Time) (events.Outcome, error) {
			if active, _ := s.Active(); active.Version != read {
				return events.Outcome{}, fmt.Errorf("read version %d, but it is %d", read, active.Version)
			}
			return decide(s, now)
		}
		go func() { _, err := w.Append(t.Context(), d); results <- err }()
	}
	for range decisions {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if all := b.all(t); len(all) != decisions {
		t.Errorf("%d events, want %d", len(all), decisions)
	}
}

func TestAClosedLogTakesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	mustAppend(t, w, activate("a"))
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Append(t.Context(), activate("b")); !errors.Is(err, events.ErrClosed) {
		t.Fatalf("append: %v", err)
	}
}

// What a writer remembers may be out of date when it refuses, too, and then nothing that it writes would show that.
func TestARefusalIsJudgedByWhatIsThere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	mustAppend(t, w, activate("a"))
	mustAppend(t, b.writer(t, b.db.URL), activate("b"))
	d := activate("a")
	decide := d.Decide
	d.Decide = func(s *projections.State, now time.Time) (events.Outcome, error) {
		if active, _ := s.Active(); active.ForgeType == "a" {
			return events.Outcome{}, errors.New("it is active already")
		}
		return decide(s, now)
	}
	mustAppend(t, w, d)
}

// What is appended to streams that begin and are never looked up again must not pile up in memory.
func TestTheWriterForgetsStreamsInTime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	const each = 250
	for range 2*events.RememberedStreams/each + 1 {
		var outcome events.Outcome
		d := decision{Actor: "test", Correlation: uuid.Must(uuid.NewV7())}
		for range each {
			id := uuid.New()
			d.Fresh = append(d.Fresh, events.SessionStream(id))
			outcome.Drafts = append(outcome.Drafts, events.Draft{
				Stream: events.SessionStream(id), Fact: events.SessionStarted{}, Sealed: id[:],
			})
		}
		d.Decide = func(*projections.State, time.Time) (events.Outcome, error) { return outcome, nil }
		mustAppend(t, w, d)
		if n := w.Remembered(); n > events.RememberedStreams+each {
			t.Fatalf("the writer remembers %d streams", n)
		}
	}
	b.verify(t)
}

// A backup can end anywhere: before what a running writer remembers, or, once another process has appended, just there.
func TestAWriterNoticesThatABackupWasRestoredUnderIt(t *testing.T) {
	t.Parallel()
	for name, since := range map[string][]string{"and nothing since": nil, "and as much as was lost since": {"other"}} {
		for path, remembered := range map[string]bool{"one trip": true, "two trips": false} {
			t.Run(name+", "+path, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				w := b.writer(t, b.db.URL)
				mustAppend(t, w, activate("a"))
				mustAppend(t, w, activate("lost"))
				for _, sql := range []string{
					`ALTER TABLE events DISABLE TRIGGER events_append_only`,
					`DELETE FROM events WHERE position = 2`,
					`ALTER TABLE events ENABLE ALWAYS TRIGGER events_append_only`,
					`UPDATE active_forge_type SET forge_type = 'a', version = 1, since = (SELECT occurred_at FROM events)`,
				} {
					if _, err := b.pool.Exec(t.Context(), sql); err != nil {
						t.Fatal(err)
					}
				}
				for _, forgeType := range since {
					mustAppend(t, b.writer(t, b.db.URL), activate(forgeType))
				}
				d := activate("b")
				if !remembered { // a stream of which the writer knows nothing
					d.Streams = append(d.Streams, events.TokenStream("b"))
				}
				mustAppend(t, w, d)
				all, before := b.all(t), append([]string{"a"}, since...)
				if len(all) != len(before)+1 {
					t.Fatalf("%d events, want %d", len(all), len(before)+1)
				}
				if got := all[len(before)].Fact.(events.ForgeActivated).Previous; *got != before[len(before)-1] {
					t.Errorf("it was decided on %s being active, but %s was", *got, before[len(before)-1])
				}
				b.verify(t)
			})
		}
	}
}

// A writer is closed while one decision is taken and others wait: it finishes with them all, and takes no more.
func TestClosingFinishesWhatIsQueued(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const queued = 4
	w := b.writer(t, b.db.URL, func(c *events.WriterConfig) { c.GroupSize = queued }) // so that the queue is full then
	ahead, running, leave := activate("a"), make(chan struct{}), make(chan struct{})
	decide := ahead.Decide
	ahead.Decide = func(s *projections.State, now time.Time) (events.Outcome, error) {
		close(running)
		<-leave
		return decide(s, now)
	}
	appended, closed := make(chan error, queued+1), make(chan error, 1)
	go func() { _, err := w.Append(t.Context(), ahead); appended <- err }()
	<-running
	for range queued {
		go func() { _, err := w.Append(t.Context(), activate("b")); appended <- err }()
	}
	for w.Queued() < queued {
		runtime.Gosched()
	}
	go func() { closed <- w.Close(t.Context()) }()
	<-w.Closing()
	if _, err := w.Append(t.Context(), activate("c")); !errors.Is(err, events.ErrClosed) {
		t.Errorf("append to a writer that is being closed: %v", err)
	}
	close(leave)
	for range queued + 1 {
		if err := <-appended; err != nil {
			t.Error(err)
		}
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if all := b.all(t); len(all) != queued+1 {
		t.Errorf("%d events, want %d", len(all), queued+1)
	}
}

// Every statement of a transaction can succeed and its COMMIT still fail.
func TestARefusalAtCommitIsARefusal(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, sql := range []string{
		`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not today''; END'`,
		`CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
		 WHEN (NEW.actor = 'refused') EXECUTE FUNCTION refuse()`,
	} {
		if _, err := b.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	w := b.writer(t, b.db.URL)
	refused := activate("a")
	refused.Actor = "refused"
	for _, path := range []string{"two trips", "one trip"} {
		if _, err := w.Append(t.Context(), refused); err == nil || errors.Is(err, events.ErrCommitUnknown) {
			t.Errorf("%s: %v", path, err)
		}
		mustAppend(t, w, activate("b")) // and the writer knows the tail again
	}
	if all := b.all(t); len(all) != 2 {
		t.Errorf("%d events, want 2", len(all))
	}
	b.verify(t)
}
