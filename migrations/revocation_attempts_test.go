package migrations_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/projections"
)

// A revocation that was pending before attempts were journalled is due afterwards, and its row is what the newer fold says.
func TestAPendingRevocationIsMigrated(t *testing.T) {
	t.Parallel()
	db := pgtest.Migrated(t, migrations.Up)
	connect, err := pgx.ParseConfig(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	writer := events.NewWriter(events.WriterConfig{Conn: connect}, projections.NewState())
	t.Cleanup(func() {
		if err := writer.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	stream := events.TokenStream("github")
	if _, err := writer.Append(t.Context(), events.Decision[*projections.State]{
		Actor: "test", Correlation: uuid.New(), Streams: []events.Stream{stream},
		Decide: func(*projections.State, time.Time) (events.Outcome, error) {
			return events.Outcome{Drafts: []events.Draft{{Stream: stream, Fact: events.TokenRevocationRequested{
				Account: events.Account{ForgeType: "github"}, DataKey: uuid.New(), IssuedAt: 1, Reason: "disconnected",
			}}}}, nil
		},
	}); err != nil {
		t.Fatal(err)
	}
	migration, err := os.ReadFile("0005_revocation_attempts.sql")
	if err != nil {
		t.Fatal(err)
	}
	up, down, _ := strings.Cut(string(migration), "-- +goose Down")
	run(t, db, down)
	run(t, db, up)
	report, err := projections.Verify(t.Context(), db.Pool(t), projections.VerifyOptions{})
	if err != nil || len(report.Differences) > 0 || report.Rows != 1 {
		t.Errorf("after the migration: %+v, %v", report, err)
	}
}
