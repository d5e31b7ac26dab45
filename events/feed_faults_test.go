package events_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
)

// effects makes a table for what handlers do.
func (b *bench) effects(t *testing.T) {
	t.Helper()
	if _, err := b.pool.Exec(t.Context(), `CREATE TABLE effects (position bigint)`); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) effectsSoFar(t *testing.T) []int64 {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), `SELECT position FROM effects ORDER BY ctid`)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func effect(t *testing.T, msg *message.Message) error {
	t.Helper()
	tx, ok := events.TxFrom(msg.Context())
	if !ok {
		t.Fatal("the message has no transaction")
	}
	// Not the message's context: the handler of this test takes no notice of its end.
	_, err := tx.Exec(context.WithoutCancel(t.Context()), `INSERT INTO effects VALUES ($1)`, position(t, msg))
	return err
}

func TestAHandlerThatHangsIsToldAndThenLeftBehind(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.effects(t)
	w := b.writer(t, b.db.URL)
	mustAppend(t, w, activate("github"))
	s := subscribe(t, b.feed(t, b.db.URL), events.TopicAll, events.GroupConfig{
		Name: "g", Transactional: true, AckTimeout: 20 * time.Millisecond, CloseTimeout: 20 * time.Millisecond,
		Policy: events.Policy{Waits: []time.Duration{time.Millisecond}},
	})
	hung := s.next(t)
	if err := effect(t, hung); err != nil {
		t.Fatal(err)
	}
	<-hung.Context().Done()
	again := s.next(t)
	if position(t, again) != 1 {
		t.Fatalf("got event %d", position(t, again))
	}
	if err := effect(t, hung); err == nil {
		t.Error("the handler that was left behind still has its transaction")
	}
	hung.Ack()
	if err := effect(t, again); err != nil {
		t.Fatal(err)
	}
	again.Ack()
	eventually(t, "the event is handled", func() bool { return b.subscription(t, "g").Position == 1 })
	if diff := cmp.Diff([]int64{1}, b.effectsSoFar(t)); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
}

func TestAHandlerThatTakesTheHintFailsInTime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	mustAppend(t, w, activate("github"))
	s := subscribe(t, b.feed(t, b.db.URL), events.TopicAll, events.GroupConfig{
		Name: "g", AckTimeout: 20 * time.Millisecond, CloseTimeout: time.Hour, Policy: events.Policy{Waits: []time.Duration{}},
	})
	msg := s.next(t)
	<-msg.Context().Done()
	events.Fail(msg, msg.Context().Err())
	msg.Nack()
	eventually(t, "the event is parked", func() bool { return len(b.subscription(t, "g").Parked) == 1 })
	if got := b.subscription(t, "g").Parked[0].Error; !strings.Contains(got, "did not answer in time") {
		t.Errorf("parked for %q", got)
	}
}

func TestATransactionThatCommittedAfterAllIsNotRepeated(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.effects(t)
	w := b.writer(t, b.db.URL)
	mustAppend(t, w, deny(2))
	s := subscribe(t, b.feed(t, b.db.URL), events.TopicAll, events.GroupConfig{Name: "g", Transactional: true})
	msg := s.next(t)
	if err := effect(t, msg); err != nil {
		t.Fatal(err)
	}
	// As by the transaction of a try before, whose connection broke while it committed.
	if _, err := b.pool.Exec(t.Context(), `UPDATE subscriptions SET position = 1`); err != nil {
		t.Fatal(err)
	}
	msg.Ack()
	msg = s.next(t)
	if position(t, msg) != 2 {
		t.Fatalf("event %d is given out again", position(t, msg))
	}
	if err := effect(t, msg); err != nil {
		t.Fatal(err)
	}
	msg.Ack()
	eventually(t, "all is handled", func() bool { return b.subscription(t, "g").Position == 2 })
	if diff := cmp.Diff([]int64{2}, b.effectsSoFar(t)); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
}

func TestAGroupWhoseRowIsLockedHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	f := b.feed(t, b.db.URL)
	mustAppend(t, w, deny(1))
	busy := subscribe(t, f, events.TopicAll, events.GroupConfig{Name: "busy"})
	busy.take(t, 1)
	eventually(t, "the cursor is written", func() bool { return b.subscription(t, "busy").Position == 1 })
	busy.end()
	eventually(t, "nobody has the group", func() bool { return b.subscription(t, "busy").Owner == "" })

	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), `SELECT FROM subscriptions WHERE name = 'busy' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	busy = subscribe(t, f, events.TopicAll, events.GroupConfig{Name: "busy"})
	free := subscribe(t, f, events.TopicAll, events.GroupConfig{Name: "free"})
	free.take(t, 1)
	mustAppend(t, w, deny(1))
	free.take(t, 2)
	select {
	case msg := <-busy.messages:
		t.Errorf("event %d of the group that is locked", position(t, msg))
	default:
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	busy.take(t, 2)
}

func TestTheServerEndsATransactionWhoseOwnerIsSilent(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	mustAppend(t, w, deny(1))
	s := subscribe(t, b.feed(t, b.db.URL), events.TopicAll, events.GroupConfig{
		Name: "g", Transactional: true, AckTimeout: time.Minute, CloseTimeout: time.Minute,
	})
	msg := s.next(t)
	defer msg.Ack()
	tx, _ := events.TxFrom(msg.Context())
	var timeout string
	if err := tx.QueryRow(t.Context(), `SHOW idle_in_transaction_session_timeout`).Scan(&timeout); err != nil {
		t.Fatal(err)
	}
	if timeout != "190s" {
		t.Errorf("it may be idle for %s", timeout)
	}
}

func TestASlowHandlerDelaysNoOtherGroup(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	f := b.feed(t, b.db.URL)
	slow := subscribe(t, f, events.TopicAll, events.GroupConfig{Name: "slow"})
	quick := subscribe(t, f, events.TopicAll, events.GroupConfig{Name: "quick"})
	mustAppend(t, w, deny(3000)) // more than the ring holds
	held := slow.next(t)
	for want := int64(1); want <= 3000; want++ {
		quick.take(t, want)
	}
	held.Ack()
	slow.take(t, 2, 3)
}

func TestALongTransactionOfSomebodyElseDelaysNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if _, err := b.pool.Exec(t.Context(), `CREATE TABLE unrelated (x int)`); err != nil {
		t.Fatal(err)
	}
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), `INSERT INTO unrelated VALUES (1)`); err != nil { // takes a transaction id, and keeps it
		t.Fatal(err)
	}
	w := b.writer(t, b.db.URL)
	s := subscribe(t, b.feed(t, b.db.URL), events.TopicAll, events.GroupConfig{Name: "g"})
	mustAppend(t, w, deny(2))
	s.take(t, 1, 2)
}

func TestTheListenerIsReplacedWhenItIsKilled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	s := subscribe(t, b.feed(t, b.db.URL), events.TopicAll, events.GroupConfig{Name: "g"})
	mustAppend(t, w, deny(1))
	s.take(t, 1)
	eventually(t, "the cursor is written", func() bool { return b.subscription(t, "g").Position == 1 })
	epoch := b.subscription(t, "g").Epoch
	var killed int
	err := b.pool.QueryRow(t.Context(), `
		SELECT count(pg_terminate_backend(pid)) FROM pg_locks JOIN pg_database d ON d.oid = database
		WHERE locktype = 'advisory' AND objsubid = 1 AND d.datname = current_database() AND pid <> pg_backend_pid()
		  AND (classid::bigint << 32 | objid::bigint) = hashtextextended('forgeauth.group.' || current_schema() || '.g', 0)`).Scan(&killed)
	if err != nil || killed != 1 {
		t.Fatalf("killed %d listeners: %v", killed, err)
	}
	mustAppend(t, w, deny(1))
	s.take(t, 2)
	if now := b.subscription(t, "g").Epoch; now <= epoch {
		t.Errorf("the epoch is %d after %d", now, epoch)
	}
}

func TestNotificationsAreOnlyHints(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	s := subscribe(t, b.feed(t, b.db.URL), events.TopicAll, events.GroupConfig{Name: "g"})
	mustAppend(t, w, deny(1))
	s.take(t, 1)
	// One that nobody hears: what the poll is for.
	_, err := b.pool.Exec(t.Context(), `
		INSERT INTO events (position, event_id, stream, stream_version, type, schema, occurred_at, actor, correlation_id, payload)
		SELECT 2, gen_random_uuid(), 'denials', 2, 'LoginDenied', 1, now(), 'test', gen_random_uuid(), '{}'`)
	if err != nil {
		t.Fatal(err)
	}
	s.take(t, 2)
}

func TestWhoWakesAfterALongPauseChangesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	mustAppend(t, w, deny(2))
	s := subscribe(t, b.feed(t, b.db.URL), events.TopicAll, events.GroupConfig{Name: "g", CloseTimeout: time.Millisecond})
	held := s.next(t)
	// As another process does that takes the group over.
	if _, err := b.pool.Exec(t.Context(), `UPDATE subscriptions SET epoch = epoch + 1, position = 2`); err != nil {
		t.Fatal(err)
	}
	held.Ack()
	mustAppend(t, w, deny(1))
	// It finds that the group is no longer its own, takes it again, and goes on where the other got to. What it was about to
	// give out may come twice.
	last := int64(0)
	eventually(t, "the cursor is at the end", func() bool {
		select {
		case msg := <-s.messages:
			if p := position(t, msg); p < 2 || p < last {
				t.Errorf("event %d after %d", p, last)
			} else {
				last = p
			}
			msg.Ack()
		default:
		}
		return b.subscription(t, "g").Position == 3
	})
	if last != 3 {
		t.Errorf("the last event was %d, want 3", last)
	}
}

func TestPoolersThatSwallowNotificationsAreFound(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := b.feed(t, b.db.URL).Check(t.Context()); err != nil {
		t.Errorf("a direct connection: %v", err)
	}
	other := newBench(t)
	conn, err := pgx.ParseConfig(other.db.URL)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := events.NewFeed(events.FeedConfig{Pool: b.pool, Conn: conn})
	if err := elsewhere.Check(t.Context()); !errors.Is(err, events.ErrPooler) {
		t.Errorf("a connection to another log: %v", err)
	}
}
