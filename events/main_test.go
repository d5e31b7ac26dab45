package events_test

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/projections"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

type (
	writer   = *events.Writer[*projections.State]
	decision = events.Decision[*projections.State]
)

// bench is a log of a test's own.
type bench struct {
	db   *pgtest.DB
	pool *pgxpool.Pool
	log  *events.Log
}

func newBench(t *testing.T) *bench {
	t.Helper()
	db := pgtest.Migrated(t, migrations.Up)
	pool := db.Pool(t)
	return &bench{db: db, pool: pool, log: events.NewLog(pool)}
}

// writer opens a writer over url; edit changes its configuration.
func (b *bench) writer(t *testing.T, url string, edit ...func(*events.WriterConfig)) writer {
	t.Helper()
	conn, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config := events.WriterConfig{
		Conn:   conn,
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, edit := range edit {
		edit(&config)
	}
	w := events.NewWriter(config, projections.NewState())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := w.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return w
}

// all returns the whole log, after checking that its positions, versions and times are as they must be.
func (b *bench) all(t *testing.T) []events.Event {
	t.Helper()
	var found []events.Event
	versions, last := map[events.Stream]int64{}, time.Time{}
	for e, err := range b.log.Read(t.Context(), events.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		versions[e.Stream]++
		if e.Position != int64(len(found)+1) || e.StreamVersion != versions[e.Stream] || e.OccurredAt.Before(last) {
			t.Fatalf("event %d follows %d events; %s version %d, want %d; at %s, after %s",
				e.Position, len(found), e.Stream, e.StreamVersion, versions[e.Stream], e.OccurredAt, last)
		}
		last = e.OccurredAt
		found = append(found, e)
	}
	return found
}

// verify fails the test unless the tables equal the fold of the log.
func (b *bench) verify(t *testing.T) {
	t.Helper()
	report, err := projections.Verify(t.Context(), b.pool, projections.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Differences) > 0 {
		t.Fatalf("the tables differ from the fold of the log: %+v", report.Differences)
	}
}

// activate makes a forge active; it depends on what was active before.
func activate(forgeType string) decision {
	return decision{
		Actor:       "test",
		Correlation: uuid.Must(uuid.NewV7()),
		Streams:     []events.Stream{events.StreamActiveForge},
		Decide: func(state *projections.State, _ time.Time) (events.Outcome, error) {
			activated := events.ForgeActivated{ForgeType: forgeType}
			if active, ok := state.Active(); ok {
				activated.Previous = &active.ForgeType
			}
			return events.Outcome{Drafts: []events.Draft{{Stream: events.StreamActiveForge, Fact: activated}}}, nil
		},
	}
}

func mustAppend(t *testing.T, w writer, d decision) []events.Event {
	t.Helper()
	appended, err := w.Append(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return appended
}
