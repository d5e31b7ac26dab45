package proof_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/proof"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// bench is a signed log of a test's own.
type bench struct {
	db     *pgtest.DB
	pool   *pgxpool.Pool
	log    *events.Log
	writer *events.Writer[*projections.State]
	tree   *proof.Tree
	keys   *proof.Keys
	kept   proof.Kept
	signer *proof.Signer
}

func newBench(t *testing.T) *bench {
	t.Helper()
	db := pgtest.Migrated(t, migrations.Up)
	pool := db.Pool(t)
	conn, err := pgx.ParseConfig(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		db: db, pool: pool, log: events.NewLog(pool), tree: proof.NewTree(pool), keys: newKeys(t),
		kept:   proof.Kept(filepath.Join(t.TempDir(), "checkpoint")),
		writer: events.NewWriter(events.WriterConfig{Conn: conn, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}, projections.NewState()),
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := b.writer.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	b.signer = b.newSigner(t)
	return b
}

func newKeys(t *testing.T) *proof.Keys {
	t.Helper()
	private, _, err := proof.GenerateKey("auth.example.org/log")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := proof.ParseKeys(private)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func (b *bench) newSigner(t *testing.T, edit ...func(*proof.SignerConfig)) *proof.Signer {
	t.Helper()
	config := proof.SignerConfig{
		Pool: b.pool, Keys: b.keys, Kept: b.kept, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, edit := range edit {
		edit(&config)
	}
	return proof.NewSigner(config)
}

// append appends n switches of the active forge.
func (b *bench) append(tb testing.TB, n int) {
	tb.Helper()
	for n > 0 {
		part := min(n, 500)
		n -= part
		_, err := b.writer.Append(tb.Context(), events.Decision[*projections.State]{
			Actor: "test", Correlation: uuid.New(), Streams: []events.Stream{events.StreamActiveForge},
			Decide: func(s *projections.State, _ time.Time) (events.Outcome, error) {
				var outcome events.Outcome
				var previous *string
				if active, ok := s.Active(); ok {
					previous = &active.ForgeType
				}
				for i := range part {
					next := fmt.Sprintf("forge-%d", i)
					outcome.Drafts = append(outcome.Drafts, events.Draft{
						Stream: events.StreamActiveForge, Fact: events.ForgeActivated{ForgeType: next, Previous: previous},
						Sealed: []byte("sealed " + next),
					})
					previous = &next
				}
				return outcome, nil
			},
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// sign has everything signed.
func (b *bench) sign(tb testing.TB) {
	tb.Helper()
	if err := b.signer.Advance(tb.Context()); err != nil {
		tb.Fatalf("advance: %v", err)
	}
}

// verify returns what there is to find.
func (b *bench) verify(t *testing.T) proof.Report {
	t.Helper()
	policy := b.keys.Policy()
	kept, err := b.kept.Read()
	if err != nil {
		t.Fatal(err)
	}
	report, err := proof.Verify(t.Context(), b.pool, proof.VerifyOptions{Policy: &policy, Kept: kept})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// exec does what only who owns the database can.
func (b *bench) exec(t *testing.T, statements ...string) {
	t.Helper()
	for _, statement := range append([]string{`ALTER TABLE events DISABLE TRIGGER USER`}, statements...) {
		if _, err := b.pool.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}
