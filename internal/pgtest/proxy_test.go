package pgtest_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/internal/pgtest"
)

// counted is a schema with an empty table, a proxy before it and a direct connection to it.
type counted struct {
	proxy  *pgtest.Proxy
	url    string
	direct *pgx.Conn
}

func newCounted(t *testing.T) counted {
	t.Helper()
	db := pgtest.Schema(t)
	direct := db.Conn(t)
	if _, err := direct.Exec(t.Context(), "CREATE TABLE kept (value int)"); err != nil {
		t.Fatal(err)
	}
	proxy, url := db.Proxied(t)
	return counted{proxy: proxy, url: url, direct: direct}
}

func (c counted) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), c.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// insert writes one row in a transaction.
func (c counted) insert(ctx context.Context, conn *pgx.Conn) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO kept VALUES ($1)", 1)
		return err
	})
}

// insertBatch does the same in one round trip.
func (c counted) insertBatch(ctx context.Context, conn *pgx.Conn) error {
	batch := &pgx.Batch{}
	batch.Queue("BEGIN")
	batch.Queue("INSERT INTO kept VALUES (1)")
	batch.Queue("COMMIT")
	return conn.SendBatch(ctx, batch).Close()
}

// rows counts what is in the table once no transaction that writes to it is open any more.
func (c counted) rows(t *testing.T) (n int) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), c.direct, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "LOCK TABLE kept IN SHARE MODE"); err != nil {
			return err
		}
		return tx.QueryRow(t.Context(), "SELECT count(*) FROM kept").Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestProxyForwards(t *testing.T) {
	t.Parallel()
	c := newCounted(t)
	conn := c.connect(t)
	if err := c.insert(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	if err := c.insertBatch(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	if got := c.rows(t); got != 2 {
		t.Errorf("%d rows, want 2", got)
	}
}

func TestProxyCutsAtCommit(t *testing.T) {
	t.Parallel()
	writes := map[string]func(counted, context.Context, *pgx.Conn) error{
		"statement by statement": counted.insert,
		"in one batch":           counted.insertBatch,
	}
	cuts := map[string]struct {
		cut  func(*pgtest.Proxy) <-chan struct{}
		rows int
	}{
		"a COMMIT that never arrives leaves nothing": {
			func(p *pgtest.Proxy) <-chan struct{} { return p.CutBefore(pgtest.Runs("commit")) }, 0,
		},
		"a COMMIT whose answer is lost has happened": {
			func(p *pgtest.Proxy) <-chan struct{} { return p.CutAfter(pgtest.Runs("commit")) }, 1,
		},
		"a lost INSERT leaves nothing": {
			func(p *pgtest.Proxy) <-chan struct{} { return p.CutBefore(pgtest.Runs("INSERT INTO kept")) }, 0,
		},
	}
	for how, write := range writes {
		for name, tt := range cuts {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				c := newCounted(t)
				conn := c.connect(t)
				done := tt.cut(c.proxy)
				if err := write(c, t.Context(), conn); err == nil {
					t.Error("the write succeeded on a connection that was cut")
				}
				<-done
				if got := c.rows(t); got != tt.rows {
					t.Errorf("%d rows, want %d", got, tt.rows)
				}
				if err := write(c, t.Context(), c.connect(t)); err != nil {
					t.Errorf("the next connection is cut too: %v", err)
				}
			})
		}
	}
}

func TestProxyCutsAfterBytes(t *testing.T) {
	t.Parallel()
	c := newCounted(t)
	for n := range 60 { // somewhere within BEGIN, the INSERT or COMMIT
		conn := c.connect(t)
		c.proxy.CutAfterClientBytes(n)
		if err := c.insertBatch(t.Context(), conn); err == nil {
			t.Fatalf("the write succeeded on a connection that was cut after %d bytes", n)
		}
		if got := c.rows(t); got != 0 {
			t.Fatalf("%d rows after a cut at %d bytes, want 0", got, n)
		}
	}
}

func TestProxyCutsWhileAStatementWaits(t *testing.T) {
	t.Parallel()
	c := newCounted(t)
	lock, err := c.direct.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(t.Context(), "LOCK TABLE kept"); err != nil {
		t.Fatal(err)
	}
	conn := c.connect(t)
	seen := c.proxy.Seen(pgtest.Mentions("INSERT"))
	result := make(chan error, 1)
	go func() { result <- c.insert(t.Context(), conn) }()
	<-seen
	c.proxy.CutNow()
	if err := <-result; err == nil {
		t.Error("the write succeeded on a connection that was cut")
	}
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := c.rows(t); got != 0 {
		t.Errorf("%d rows, want 0", got)
	}
}

func TestProxyLeavesTheServerBehind(t *testing.T) {
	t.Parallel()
	c := newCounted(t)
	conn := c.connect(t)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "INSERT INTO kept VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	c.proxy.CutClients()
	if err := tx.Commit(t.Context()); err == nil {
		t.Error("COMMIT succeeded on a connection that was cut")
	}
	var locks int
	err = c.direct.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE relation = 'kept'::regclass AND mode = 'RowExclusiveLock'").Scan(&locks)
	if err != nil {
		t.Fatal(err)
	}
	if locks != 1 {
		t.Errorf("%d locks, want the one of the transaction that the server has not given up", locks)
	}
	c.proxy.CutServers()
	if got := c.rows(t); got != 0 {
		t.Errorf("%d rows, want 0", got)
	}
}

func TestProxyHolds(t *testing.T) {
	t.Parallel()
	holds := map[string]struct {
		hold func(*pgtest.Proxy) (reached <-chan struct{}, release func())
		rows int // while it holds
	}{
		"answers: the server has done what the client waits for": {
			func(p *pgtest.Proxy) (<-chan struct{}, func()) {
				seen := p.Seen(pgtest.Runs("SELECT"))
				return seen, p.HoldServerReplies()
			}, 1,
		},
		"everything: the server hears nothing": {
			func(p *pgtest.Proxy) (<-chan struct{}, func()) {
				p.Pause()
				reached := make(chan struct{})
				close(reached)
				return reached, p.Resume
			}, 0,
		},
		"a message: the server has what came before it": {
			func(p *pgtest.Proxy) (<-chan struct{}, func()) { return p.HoldBefore(pgtest.Runs("SELECT")) }, 1,
		},
	}
	for name, tt := range holds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCounted(t)
			conn := c.connect(t)
			reached, release := tt.hold(c.proxy)
			result := make(chan error, 1)
			go func() {
				// Two requests without waiting in between, so that the first needs no answer for the second to follow.
				pipeline := conn.PgConn().StartPipeline(t.Context())
				pipeline.SendQueryParams("INSERT INTO kept VALUES (1)", nil, nil, nil, nil)
				if err := pipeline.Sync(); err != nil {
					result <- err
					return
				}
				pipeline.SendQueryParams("SELECT 1", nil, nil, nil, nil)
				if err := pipeline.Sync(); err != nil {
					result <- err
					return
				}
				result <- pipeline.Close()
			}()
			<-reached
			for c.rows(t) < tt.rows {
				// The server may not have come to the INSERT yet.
				if err := t.Context().Err(); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case err := <-result:
				t.Errorf("the client was answered during the hold: %v", err)
			default:
			}
			release()
			if err := <-result; err != nil {
				t.Errorf("after the hold: %v", err)
			}
			if got := c.rows(t); got != 1 {
				t.Errorf("%d rows, want 1", got)
			}
		})
	}
}

func TestProxyRefuses(t *testing.T) {
	t.Parallel()
	c := newCounted(t)
	c.proxy.Refuse()
	if conn, err := pgx.Connect(t.Context(), c.url); err == nil {
		_ = conn.Close(t.Context())
		t.Error("connected through a proxy that refuses")
	}
	c.proxy.Accept()
	c.connect(t)
}
