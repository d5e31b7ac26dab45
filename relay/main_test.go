package relay_test

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/relay"
)

func TestMain(m *testing.M) {
	if os.Getenv(consumerVariable) != "" {
		os.Exit(consume())
	}
	os.Exit(pgtest.Main(m))
}

const patience = 60 * time.Second

// line is a log with a feed and a relay over it, as a process has them.
type line struct {
	db       *pgtest.DB
	pool     *pgxpool.Pool
	writer   *events.Writer[*projections.State]
	feed     *events.Feed
	relay    *relay.Relay
	registry *prometheus.Registry
}

func newLine(t *testing.T) *line {
	t.Helper()
	db := pgtest.Migrated(t, migrations.Up)
	conn, err := pgx.ParseConfig(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	l := &line{db: db, pool: db.Pool(t), registry: prometheus.NewRegistry()}
	l.writer = events.NewWriter(events.WriterConfig{Conn: conn, Logger: logger}, projections.NewState())
	l.feed = events.NewFeed(events.FeedConfig{Pool: l.pool, Conn: conn, Poll: 200 * time.Millisecond, Logger: logger})
	l.relay = relay.New(relay.Config{Feed: l.feed, Registry: l.registry, Logger: logger})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		for _, err := range []error{l.relay.Close(), l.feed.Close(), l.writer.Close(ctx)} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	return l
}

// append puts facts on a stream, in one transaction.
func (l *line) append(t *testing.T, stream events.Stream, facts ...events.Fact) []events.Event {
	t.Helper()
	appended, err := l.writer.Append(t.Context(), events.Decision[*projections.State]{
		Actor: "test", Correlation: uuid.Must(uuid.NewV7()), Streams: []events.Stream{stream},
		Decide: func(*projections.State, time.Time) (out events.Outcome, _ error) {
			for _, fact := range facts {
				out.Drafts = append(out.Drafts, events.Draft{Stream: stream, Fact: fact})
			}
			return out, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return appended
}

func (l *line) activate(t *testing.T, forges ...string) {
	t.Helper()
	for _, name := range forges {
		l.append(t, events.StreamActiveForge, events.ForgeActivated{ForgeType: name})
	}
}

func (l *line) subscription(t *testing.T, group string) events.Subscription {
	t.Helper()
	s, err := events.NewSubscriptions(l.pool).Get(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	return s
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

// receive waits for the next value.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
