package events_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
)

// A process is stopped in the middle of sending what it decided. Its session waits for the rest, which is not being idle, so
// the server's timeouts do not end it; another writer does, after one wait for the lock, whether it remembers the tail or not.
func TestAStoppedProcessFreesTheLock(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	proxy, url := b.db.Proxied(t)
	stopped := b.writer(t, url)
	other := b.writer(t, b.db.URL, func(c *events.WriterConfig) { c.Patience = 11 * time.Second })
	mustAppend(t, other, activate("before"))
	mustAppend(t, other, activate("before"))
	reached, release := proxy.HoldBefore(func(m pgtest.Message) bool { return m.Type == 'E' && strings.Contains(m.SQL, "INSERT INTO events") })
	late := make(chan error, 1)
	go func() { _, err := stopped.Append(t.Context(), activate("late")); late <- err }()
	<-reached
	mustAppend(t, other, activate("meanwhile"))
	release()
	if err := <-late; err != nil {
		t.Fatalf("the stopped one, when it goes on: %v", err)
	}
	all := b.all(t)
	if len(all) != 4 || all[3].Fact.(events.ForgeActivated).ForgeType != "late" || *all[3].Fact.(events.ForgeActivated).Previous != "meanwhile" {
		t.Fatalf("log: %+v", all)
	}
	b.verify(t)
}

// A process is stopped between its round trips, and nobody else wants the lock: the server frees it by itself.
func TestTheServerFreesTheLockOfAStoppedProcess(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	proxy, url := b.db.Proxied(t)
	w := b.writer(t, url, func(c *events.WriterConfig) { c.Patience = time.Minute }) // or it would give the lock up itself
	reached, release := proxy.HoldBefore(func(m pgtest.Message) bool { return strings.Contains(m.SQL, "INSERT INTO events") })
	done := make(chan error, 1)
	go func() { _, err := w.Append(t.Context(), activate("a")); done <- err }()
	<-reached
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tx, err := b.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Lock(ctx, tx); err != nil { // which waits until the other's is gone
		t.Fatal(err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	release()
	if err := <-done; err != nil {
		t.Fatalf("the stopped one, when it goes on: %v", err)
	}
	if all := b.all(t); len(all) != 1 {
		t.Fatalf("%d events, want 1", len(all))
	}
}

// A holder of the lock that was busy for long and has only just begun to wait for its client, as a repair between two of its
// statements, has not stopped.
func TestASlowHolderOfTheLockKeepsIt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	waited := make(chan struct{}, 16)
	w := b.writer(t, b.db.URL, func(c *events.WriterConfig) {
		c.Patience = time.Minute
		c.Logger = slog.New(slog.NewTextHandler(tell{waited}, nil))
	})
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Lock(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := w.Append(t.Context(), activate("a")); done <- err }()
	b.waitForLock(t)
	// The writer looks for a stopped holder after 6 seconds, and again after 12.
	if _, err := tx.Exec(t.Context(), `SELECT pg_sleep(10)`); err != nil {
		t.Fatal(err)
	}
	<-waited
	<-waited
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatalf("the holder lost the lock: %v", err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// tell is a log whose lines say no more than that there was one.
type tell struct{ lines chan<- struct{} }

func (l tell) Write(line []byte) (int, error) {
	l.lines <- struct{}{}
	return len(line), nil
}
