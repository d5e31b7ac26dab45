package projections_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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

type house struct {
	db     *pgtest.DB
	pool   *pgxpool.Pool
	writer *events.Writer[*projections.State]
	log    *events.Log
	reader *projections.Reader
}

func newHouse(t *testing.T) *house {
	t.Helper()
	db := pgtest.Migrated(t, migrations.Up)
	pool := db.Pool(t)
	return &house{db: db, pool: pool, writer: newWriter(t, db.URL), log: events.NewLog(pool), reader: projections.NewReader(pool)}
}

func newWriter(t *testing.T, url string) *events.Writer[*projections.State] {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	w := events.NewWriter(events.WriterConfig{
		Conn:   config,
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, projections.NewState())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = w.Close(ctx)
	})
	return w
}

type decision = events.Decision[*projections.State]

// signIn is the callback's append in small: a token and the active forge.
func signIn(forgeType string) decision {
	token := events.TokenStream(forgeType)
	return decision{
		Actor:       "test",
		Correlation: uuid.Must(uuid.NewV7()),
		Streams:     []events.Stream{token, events.StreamActiveForge},
		Decide: func(state *projections.State, _ time.Time) (events.Outcome, error) {
			activated := events.ForgeActivated{ForgeType: forgeType}
			if active, ok := state.Active(); ok {
				activated.Previous = &active.ForgeType
			}
			return events.Outcome{Drafts: []events.Draft{
				{
					Stream: token,
					Fact: events.TokenIssued{
						Account: events.Account{ForgeType: forgeType, BaseURL: "https://" + forgeType + ".example", AccountID: "1", AccountLogin: "op"},
						Kind:    "gitea", Grant: "authorization_code", DataKey: uuid.New(),
					},
					Sealed: events.SealedTokens{Access: []byte("a"), Refresh: []byte("r"), Fingerprint: []byte("f")}.Bytes(),
				},
				{Stream: events.StreamActiveForge, Fact: activated},
			}}, nil
		},
	}
}

func TestConcurrentSignInsAreSerialAndDense(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	writers := []*events.Writer[*projections.State]{h.writer, newWriter(t, h.db.URL)}
	var wg sync.WaitGroup
	const goroutines, rounds = 16, 10
	for i := range goroutines {
		wg.Go(func() {
			for range rounds {
				appended, err := writers[i%2].Append(t.Context(), signIn(fmt.Sprintf("forge-%d", i%3)))
				if err != nil || len(appended) != 2 {
					t.Errorf("append: %v, %d events", err, len(appended))
				}
			}
		})
	}
	wg.Wait()
	previous, versions := "", map[events.Stream]int64{}
	position := int64(0)
	var last time.Time
	for e, err := range h.log.Read(t.Context(), events.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		position++
		versions[e.Stream]++
		if e.Position != position || e.StreamVersion != versions[e.Stream] || e.OccurredAt.Before(last) {
			t.Fatalf("event %d of %s has version %d and time %s", e.Position, e.Stream, e.StreamVersion, e.OccurredAt)
		}
		last = e.OccurredAt
		if fact, ok := e.Fact.(events.ForgeActivated); ok {
			if got := fact.Previous; got != nil && *got != previous || got == nil && previous != "" {
				t.Fatalf("event %d says that %v was active before, but it was %q", e.Position, got, previous)
			}
			previous = fact.ForgeType
		}
	}
	if position != 2*goroutines*rounds {
		t.Fatalf("%d events, want %d", position, 2*goroutines*rounds)
	}
	active, err := h.reader.Active(t.Context())
	if err != nil || active.ForgeType != previous || active.Version != goroutines*rounds {
		t.Fatalf("active: %+v, %v; want %s", active, err, previous)
	}
}

func TestARefusalIsItsCallersAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	refusal := errors.New("no")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			d := signIn("forge")
			if i%2 == 0 {
				d.Decide = func(*projections.State, time.Time) (events.Outcome, error) { return events.Outcome{}, refusal }
			}
			_, err := h.writer.Append(t.Context(), d)
			if refused := i%2 == 0; refused != errors.Is(err, refusal) || !refused && err != nil {
				t.Errorf("append %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	head, err := h.log.Head(t.Context())
	if err != nil || head.Position != 20 {
		t.Fatalf("head %+v, %v", head, err)
	}
}

// Rows that change together are written by one statement, whose arrays must say the same as a statement for each row.
func TestRowsWrittenTogetherAreAsTheyWereFolded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	expires := time.Date(2027, 1, 2, 3, 4, 5, 678_901_234, time.FixedZone("", -3600))
	scopes := map[string][]string{
		"unknown": nil, "none": {}, "two": {"read:user", "write:repository"}, "odd": {`qu"ote`, `back\slash`, "com,ma", "{brace}", "", "NULL"},
	}
	d := decision{Actor: "test", Correlation: uuid.Must(uuid.NewV7())}
	for name := range scopes {
		d.Streams = append(d.Streams, events.TokenStream(name))
	}
	d.Decide = func(*projections.State, time.Time) (events.Outcome, error) {
		var out events.Outcome
		for name, granted := range scopes {
			issued := events.TokenIssued{Account: events.Account{ForgeType: name, AccountID: "1"}, Scopes: granted, DataKey: uuid.New()}
			if granted != nil {
				issued.ExpiresAt = &expires
			}
			sealed := events.SealedTokens{Access: []byte{0, 1, 0xff}, Fingerprint: []byte(name)}
			out.Drafts = append(out.Drafts, events.Draft{Stream: events.TokenStream(name), Fact: issued, Sealed: sealed.Bytes()})
		}
		return out, nil
	}
	if _, err := h.writer.Append(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if report := verify(t, h, projections.VerifyOptions{}); len(report.Differences) != 0 || report.Rows != len(scopes) {
		t.Fatalf("%+v", report)
	}
}
