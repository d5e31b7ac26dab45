package events_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/projections"
)

func TestTheLogRefusesChangesEvenToItsOwner(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	mustAppend(t, b.writer(t, b.db.URL), activate("a"))
	for _, role := range []string{"origin", "replica"} {
		for _, sql := range []string{
			`UPDATE events SET actor = 'somebody else'`,
			`UPDATE events SET actor = 'nobody' WHERE false`,
			`DELETE FROM events`,
			`TRUNCATE events`,
		} {
			t.Run(role+": "+sql, func(t *testing.T) {
				t.Parallel()
				conn := b.db.Conn(t)
				if _, err := conn.Exec(t.Context(), `SET session_replication_role = `+role); err != nil {
					t.Fatal(err)
				}
				_, err := conn.Exec(t.Context(), sql)
				var pgErr *pgconn.PgError
				if !errors.As(err, &pgErr) || pgErr.Code != "42501" {
					t.Fatalf("not refused: %v", err)
				}
			})
		}
	}
}

func TestReading(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	for i := range 10 {
		mustAppend(t, w, activate(fmt.Sprintf("forge-%d", i)))
		if i%5 == 4 {
			mustAppend(t, w, decision{
				Streams: []events.Stream{events.StreamDenials},
				Decide: func(*projections.State, time.Time) (events.Outcome, error) {
					return events.Outcome{Drafts: []events.Draft{{Stream: events.StreamDenials, Fact: events.LoginDenied{Reason: "unknown_account"}}}}, nil
				},
			})
		}
	}
	for name, c := range map[string]struct {
		query events.Query
		want  []int64
	}{
		"everything":       {events.Query{}, []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
		"a range":          {events.Query{After: 4, Through: 7}, []int64{5, 6, 7}},
		"a stream":         {events.Query{Stream: events.StreamDenials}, []int64{6, 12}},
		"a stream, partly": {events.Query{Stream: events.StreamActiveForge, After: 9}, []int64{10, 11}},
		"a type":           {events.Query{Types: []string{"LoginDenied"}}, []int64{6, 12}},
		"two types":        {events.Query{Types: []string{"LoginDenied", "ForgeActivated"}, Through: 3}, []int64{1, 2, 3}},
		"the latest":       {events.Query{Latest: 3}, []int64{12, 11, 10}},
		"beyond the end":   {events.Query{After: 12}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []int64
			for e, err := range b.log.Read(t.Context(), c.query) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, e.Position)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("one position", func(t *testing.T) {
		t.Parallel()
		e, err := b.log.At(t.Context(), 6)
		if err != nil || e.Position != 6 || e.Type != "LoginDenied" {
			t.Errorf("%+v, %v", e, err)
		}
		for _, position := range []int64{13, 0, -1} {
			if e, err := b.log.At(t.Context(), position); !errors.Is(err, events.ErrNotFound) {
				t.Errorf("position %d: %+v, %v", position, e, err)
			}
		}
	})
	t.Run("a reader that stops gives its connection back", func(t *testing.T) {
		t.Parallel()
		pool := b.db.Pool(t)
		log := events.NewLog(pool)
		for range 2 * int(pool.Config().MaxConns) {
			for _, err := range log.Read(t.Context(), events.Query{}) {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
		}
		if n := pool.Stat().AcquiredConns(); n != 0 {
			t.Errorf("%d connections not given back", n)
		}
	})
}

func TestTimeNeverGoesBackwards(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	clock := []time.Time{
		time.Date(2026, 1, 1, 0, 0, 10, 999, time.FixedZone("", 3600)), time.Date(2026, 1, 1, 0, 0, 5, 0, time.UTC), time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	for _, now := range clock { // a process each, with a clock of its own
		w := b.writer(t, b.db.URL, func(c *events.WriterConfig) { c.Now = func() time.Time { return now } })
		mustAppend(t, w, activate("a"))
		mustAppend(t, w, activate("b"))
	}
	want := []time.Time{clock[0].UTC().Truncate(time.Microsecond), clock[1], clock[1]}
	for i, e := range b.all(t) {
		if !e.OccurredAt.Equal(want[i/2]) {
			t.Errorf("event %d at %s, want %s", e.Position, e.OccurredAt, want[i/2])
		}
	}
}

func TestALogOfANewerProgramStopsTheFold(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	mustAppend(t, b.writer(t, b.db.URL), activate("a"))
	_, err := b.pool.Exec(t.Context(), `
		INSERT INTO events SELECT 2, gen_random_uuid(), stream, 2, type, 99, occurred_at, actor, correlation_id, payload, sealed FROM events`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := projections.Verify(t.Context(), b.pool, projections.VerifyOptions{Repair: true}); !errors.Is(err, events.ErrUnknownEvent) {
		t.Fatalf("verify: %v", err)
	}
}

func TestPayloadsAreKeptByteForByte(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	appended := mustAppend(t, b.writer(t, b.db.URL), decision{
		Streams: []events.Stream{events.StreamDenials},
		Decide: func(*projections.State, time.Time) (events.Outcome, error) {
			fact := events.LoginDenied{Reason: "<&>\u2028\u0000 \"é\""}
			return events.Outcome{Drafts: []events.Draft{{Stream: events.StreamDenials, Fact: fact, Sealed: []byte{0, 1, 2}}}}, nil
		},
	})
	for record, err := range b.log.Records(t.Context(), events.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(appended[0].Record, record); diff != "" {
			t.Error(diff)
		}
	}
}

// Roles with a schema of their own, which they find first, find the log in another. They take its lock all the same.
func TestTheLockIsOfTheLogAndNotOfTheSearchPath(t *testing.T) {
	t.Parallel()
	b, own := newBench(t), pgtest.Schema(t)
	w := b.writer(t, b.db.URL, func(c *events.WriterConfig) { c.Conn.RuntimeParams["search_path"] = own.Schema + ", " + b.db.Schema })
	d := activate("a")
	var held int
	d.Query = func(batch *pgx.Batch) {
		batch.Queue(`
			SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
			    AND (classid::bigint << 32 | objid::bigint) = hashtextextended('forgeauth.' || $1, 0)`, b.db.Schema,
		).QueryRow(func(row pgx.Row) error { return row.Scan(&held) })
	}
	mustAppend(t, w, d)
	if held != 1 {
		t.Error("it was decided without the lock of the log")
	}
}

func TestAGroupNotifiesOnceOnTheChannelOfItsLog(t *testing.T) {
	t.Parallel()
	b, other := newBench(t), newBench(t)
	listener := b.db.Conn(t)
	var channel string
	if err := listener.QueryRow(t.Context(), `SELECT 'forgeauth_' || md5(current_schema())`).Scan(&channel); err != nil {
		t.Fatal(err)
	}
	if _, err := listener.Exec(t.Context(), "LISTEN "+channel); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, other.writer(t, other.db.URL), activate("elsewhere"))
	w := b.writer(t, b.db.URL)
	mustAppend(t, w, activate("a"))
	two := activate("b")
	decide := two.Decide
	two.Decide = func(s *projections.State, now time.Time) (events.Outcome, error) {
		outcome, err := decide(s, now)
		outcome.Drafts = append(outcome.Drafts, outcome.Drafts...)
		return outcome, err
	}
	mustAppend(t, w, two)
	// While one is decided, others gather behind it and become a group.
	ahead, running, gathered := activate("c"), make(chan struct{}), make(chan struct{})
	decide = ahead.Decide
	ahead.Decide = func(s *projections.State, now time.Time) (events.Outcome, error) {
		close(running)
		<-gathered
		return decide(s, now)
	}
	done := make(chan error, 6)
	go func() { _, err := w.Append(t.Context(), ahead); done <- err }()
	<-running
	for range 5 {
		go func() { _, err := w.Append(t.Context(), activate("d")); done <- err }()
	}
	for w.Queued() < 5 {
		runtime.Gosched()
	}
	close(gathered)
	for range 6 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"1", "3", "4", "9"} {
		heard, err := listener.WaitForNotification(t.Context())
		if err != nil || heard.Payload != want {
			t.Fatalf("heard %+v, %v; want position %s", heard, err, want)
		}
	}
}
