package events_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/projections"
)

// Connections are lost at every step of an append, on the path of two round trips (a writer that does not know the tail) and
// on the path of one (a writer that does). Each time the events are there once, and the caller is told so.
func TestAConnectionLostAnywhereLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	executing := func(fragment string) func(pgtest.Message) bool {
		return func(m pgtest.Message) bool { return m.Type == 'E' && strings.Contains(m.SQL, fragment) }
	}
	lock, insert := executing("pg_advisory_xact_lock"), executing("INSERT INTO events")
	flush, notify := executing("INSERT INTO active_forge_type"), executing("pg_notify")
	places := map[string]func(*pgtest.Proxy) <-chan struct{}{
		"before the lock":           func(p *pgtest.Proxy) <-chan struct{} { return p.CutBefore(lock) },
		"after the lock":            func(p *pgtest.Proxy) <-chan struct{} { return p.CutAfter(lock) },
		"before the events":         func(p *pgtest.Proxy) <-chan struct{} { return p.CutBefore(insert) },
		"before the rows":           func(p *pgtest.Proxy) <-chan struct{} { return p.CutBefore(flush) },
		"before COMMIT is answered": func(p *pgtest.Proxy) <-chan struct{} { return p.CutAfter(notify) },
	}
	for name, cut := range places {
		for path, warm := range map[string]bool{"two trips": false, "one trip": true} {
			t.Run(name+", "+path, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				proxy, url := b.db.Proxied(t)
				w := b.writer(t, url)
				before := 0
				if warm {
					mustAppend(t, w, activate("warm"))
					mustAppend(t, w, activate("warm"))
					before = 2
				}
				happened := cut(proxy)
				appended := mustAppend(t, w, activate("a"))
				<-happened
				if len(appended) != 1 || appended[0].Position != int64(before+1) {
					t.Fatalf("appended %+v", appended)
				}
				all := b.all(t)
				if len(all) != before+1 || all[before].ID != appended[0].ID {
					t.Fatalf("%d events in the log, want %d, the last with id %s", len(all), before+1, appended[0].ID)
				}
				mustAppend(t, w, activate("b"))
				b.verify(t)
			})
		}
	}
}

func TestAConnectionLostWhileItWaitsForTheLock(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	proxy, url := b.db.Proxied(t)
	w := b.writer(t, url)
	mustAppend(t, w, activate("warm"))

	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Lock(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := w.Append(context.WithoutCancel(t.Context()), activate("a"))
		done <- err
	}()
	b.waitForLock(t)
	// Only the client's side: the server goes on waiting and would do what it was told once it has the lock.
	proxy.CutClients()
	b.waitForLock(t)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	proxy.CutServers()
	if all := b.all(t); len(all) != 2 {
		t.Fatalf("%d events, want 2", len(all))
	}
	b.verify(t)
}

// waitForLock returns when a session of the test's database waits for the append lock.
func (b *bench) waitForLock(t *testing.T) {
	t.Helper()
	for {
		var waiting bool
		err := b.pool.QueryRow(t.Context(), `
			SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
			    AND (classid::bigint << 32 | objid::bigint) = hashtextextended('forgeauth.' || current_schema(), 0))`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
		if waiting {
			return
		}
	}
}

func TestAnUnsettledCommitIsUnknownAndNotFailed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	proxy, url := b.db.Proxied(t)
	w := b.writer(t, url, func(c *events.WriterConfig) { c.Patience = 2 * time.Second })
	mustAppend(t, w, activate("warm"))
	cut := proxy.CutAfter(func(m pgtest.Message) bool { return m.Type == 'E' && strings.Contains(m.SQL, "pg_notify") })
	proxy.Refuse() // nobody gets through any more: it cannot be settled
	_, err := w.Append(t.Context(), activate("a"))
	<-cut
	if !errors.Is(err, events.ErrCommitUnknown) {
		t.Fatalf("append: %v", err)
	}
	if all := b.all(t); len(all) != 2 {
		t.Fatalf("%d events, want 2: it was committed", len(all))
	}
	proxy.Accept()
	mustAppend(t, w, activate("b"))
	b.verify(t)
}

// The server ends the writer's session, as it does when it is shut down, at whatever moment of the appends that are under way.
func TestSessionsThatTheServerEndsLoseAndRepeatNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL, func(c *events.WriterConfig) { c.Conn.RuntimeParams["application_name"] = b.db.Schema })
	const callers, each = 4, 25
	var mu sync.Mutex
	returned := map[uuid.UUID]bool{}
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for i := range each {
				appended, err := w.Append(t.Context(), activate("a"))
				if err != nil {
					t.Error(err)
					continue
				}
				mu.Lock()
				returned[appended[0].ID] = true
				mu.Unlock()
				if i%4 != 0 {
					continue
				}
				_, err = b.pool.Exec(t.Context(),
					`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1`, b.db.Schema)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	all := b.all(t)
	if len(all) != callers*each || len(returned) != callers*each {
		t.Errorf("%d events, %d returned, want %d", len(all), len(returned), callers*each)
	}
	for _, e := range all {
		if !returned[e.ID] {
			t.Errorf("event %d was not returned to anybody", e.Position)
		}
	}
	b.verify(t)
}

// pooled is a connection as a pooler gives it: the process id that it tells belongs to nobody.
type pooled struct {
	net.Conn

	left []byte // of a message of the server
}

func (p *pooled) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		head := make([]byte, 5)
		if _, err := io.ReadFull(p.Conn, head); err != nil {
			return 0, err
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(p.Conn, body); err != nil {
			return 0, err
		}
		if head[0] == 'K' { // BackendKeyData
			binary.BigEndian.PutUint32(body, math.MaxInt32)
		}
		p.left = slices.Concat(head, body)
	}
	n := copy(b, p.left)
	p.left = p.left[n:]
	return n, nil
}

// Behind a pooler the server's process lives on when the client's connection is lost, and holds the lock until it is ended.
func TestALostConnectionIsSettledBehindAPooler(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	proxy, url := b.db.Proxied(t)
	w := b.writer(t, url, func(c *events.WriterConfig) {
		c.Patience = 5 * time.Second
		dial := c.Conn.DialFunc
		c.Conn.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			return &pooled{Conn: conn}, err
		}
	})
	mustAppend(t, w, activate("warm"))
	mustAppend(t, w, activate("warm"))
	reached, _ := proxy.HoldBefore(func(m pgtest.Message) bool { return m.Type == 'E' && strings.Contains(m.SQL, "INSERT INTO events") })
	done := make(chan error, 1)
	go func() {
		_, err := w.Append(t.Context(), activate("a"))
		done <- err
	}()
	<-reached
	proxy.CutClients()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	proxy.CutServers()
	if all := b.all(t); len(all) != 3 {
		t.Fatalf("%d events, want 3", len(all))
	}
	b.verify(t)
}

func TestAMigrationUnderARunningWriterFailsNoDecision(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	mustAppend(t, w, activate("warm"))
	if _, err := b.pool.Exec(t.Context(), `ALTER TABLE active_forge_type ALTER version TYPE numeric`); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, b.writer(t, b.db.URL), activate("by another")) // so that the first has to read, by statements of before
	mustAppend(t, w, activate("a"))
	if all := b.all(t); len(all) != 3 {
		t.Fatalf("%d events, want 3", len(all))
	}
	b.verify(t)
}

func TestADatabaseThatIsAwayIsUnavailable(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	proxy, url := b.db.Proxied(t)
	w := b.writer(t, url, func(c *events.WriterConfig) { c.Patience = 2 * time.Second })
	proxy.Refuse()
	if _, err := w.Append(t.Context(), activate("a")); !errors.Is(err, events.ErrUnavailable) {
		t.Fatalf("append: %v", err)
	}
	proxy.Accept()
	mustAppend(t, w, activate("a"))
	if all := b.all(t); len(all) != 1 {
		t.Fatalf("%d events, want 1", len(all))
	}
}

func TestACallerThatGivesUpCancelsNobody(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	proxy, url := b.db.Proxied(t)
	w := b.writer(t, url)
	mustAppend(t, w, activate("warm"))
	reached, release := proxy.HoldBefore(func(m pgtest.Message) bool { return m.Type == 'E' && strings.Contains(m.SQL, "INSERT INTO events") })

	ctx, cancel := context.WithCancel(t.Context())
	started, queued, stays := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() { _, err := w.Append(ctx, activate("leaves while it is written")); started <- err }()
	<-reached
	run := make(chan struct{}, 1)
	leaves := activate("leaves while it is queued")
	leaves.Decide = func(*projections.State, time.Time) (events.Outcome, error) {
		run <- struct{}{}
		return events.Outcome{}, nil
	}
	go func() { _, err := w.Append(ctx, leaves); queued <- err }()
	go func() { _, err := w.Append(t.Context(), activate("stays")); stays <- err }()
	cancel()
	if err := <-started; !errors.Is(err, events.ErrCommitUnknown) || !errors.Is(err, context.Canceled) {
		t.Fatalf("left while it was written: %v", err)
	}
	if err := <-queued; !errors.Is(err, context.Canceled) || errors.Is(err, events.ErrCommitUnknown) {
		t.Fatalf("left while it was queued: %v", err)
	}
	release()
	if err := <-stays; err != nil {
		t.Fatalf("stayed: %v", err)
	}
	if all := b.all(t); len(all) != 3 {
		t.Fatalf("%d events, want 3", len(all))
	}
	select {
	case <-run:
		t.Fatal("a decision ran whose caller had left before")
	default:
	}
}

// Where several servers may answer, the one that does after a failure may be a standby that has not heard of the last commit.
// It is not asked. (Here it is this server that says so.)
func TestAStandbySettlesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, sql := range []string{
		`CREATE TABLE standby ()`,
		`CREATE FUNCTION pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM standby)'`,
	} {
		if _, err := b.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	proxy, url := b.db.Proxied(t)
	edit := func(c *events.WriterConfig) {
		c.Patience = 4 * time.Second
		c.Conn.RuntimeParams["search_path"] = b.db.Schema + ", pg_catalog"
	}
	w := b.writer(t, url, edit)
	mustAppend(t, w, activate("warm"))
	if _, err := b.pool.Exec(t.Context(), `INSERT INTO standby DEFAULT VALUES`); err != nil {
		t.Fatal(err)
	}
	cut := proxy.CutAfter(func(m pgtest.Message) bool { return m.Type == 'E' && strings.Contains(m.SQL, "pg_notify") })
	if _, err := w.Append(t.Context(), activate("a")); !errors.Is(err, events.ErrCommitUnknown) {
		t.Errorf("append: %v", err)
	}
	<-cut
	if _, err := b.writer(t, url, edit).Append(t.Context(), activate("b")); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("another process: %v", err)
	}
	if _, err := b.pool.Exec(t.Context(), `DELETE FROM standby`); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, w, activate("c"))
	if all := b.all(t); len(all) != 3 {
		t.Errorf("%d events, want 3", len(all))
	}
}
