package benchmark_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// The callback's append: two events and the two rows that they change.

var (
	sealedAccess  = bytes.Repeat([]byte{0x5a}, 900) // a JWT of some 800 characters, sealed
	sealedRefresh = bytes.Repeat([]byte{0xa5}, 900)
	fingerprint   = bytes.Repeat([]byte{0x77}, 32)
	sealedPair    = events.SealedTokens{Access: sealedAccess, Refresh: sealedRefresh, Fingerprint: fingerprint}.Bytes()
)

func tokenIssued(forgeType string) events.TokenIssued {
	expires := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	return events.TokenIssued{
		Account: events.Account{
			ForgeType: forgeType, BaseURL: "https://" + forgeType + ".example", AccountID: "1001", AccountLogin: "operator",
		},
		Kind: "gitea", Grant: "authorization_code", ExpiresAt: &expires, Refreshable: true, DataKey: uuid.New(),
	}
}

// signIn is that append; where it does not activate the forge, its second event begins a session, on a stream of its own.
func signIn(w *events.Writer[*projections.State], forgeType string, activate bool) func(context.Context) error {
	token, second := events.TokenStream(forgeType), events.StreamActiveForge
	if !activate {
		second = events.SessionStream(uuid.Must(uuid.NewV7()))
	}
	secretHash := sha256.Sum256([]byte(second))
	return func(ctx context.Context) error {
		_, err := w.Append(ctx, events.Decision[*projections.State]{
			Actor:       "session/00000000-0000-0000-0000-000000000000",
			Correlation: uuid.Must(uuid.NewV7()),
			Streams:     []events.Stream{token, second},
			Decide: func(state *projections.State, now time.Time) (events.Outcome, error) {
				issued := tokenIssued(forgeType)
				drafts := []events.Draft{{Stream: token, Fact: issued, Sealed: sealedPair}}
				if activate {
					activated := events.ForgeActivated{ForgeType: forgeType}
					if active, ok := state.Active(); ok {
						activated.Previous = &active.ForgeType
					}
					return events.Outcome{Drafts: append(drafts, events.Draft{Stream: second, Fact: activated})}, nil
				}
				started := events.SessionStarted{Account: issued.Account, IdleUntil: now.Add(time.Hour), ExpiresAt: now.Add(time.Hour)}
				return events.Outcome{Drafts: append(drafts, events.Draft{Stream: second, Fact: started, Sealed: secretHash[:]})}, nil
			},
		})
		return err
	}
}

// bareAppend is the limit: one statement and one round trip that insert two events and change two rows, with no lock, no order
// among writers and nothing decided. Positions come from a sequence.
const bareAppend = `
WITH issued AS (
    INSERT INTO bare_events (event_id, stream, stream_version, type, schema, occurred_at, actor, correlation_id, payload, sealed)
    VALUES ($1, $2, $3, 'TokenIssued', 1, $4, $5, $6, $7, $8)
), activated AS (
    INSERT INTO bare_events (event_id, stream, stream_version, type, schema, occurred_at, actor, correlation_id, payload)
    VALUES ($9, $10, $11, 'ForgeActivated', 1, $4, $5, $6, $12)
), token AS (
    INSERT INTO bare_tokens (forge_type, access_token, refresh_token, account_login, updated_at, version)
    VALUES ($13, $14, $15, $16, $4, $3)
    ON CONFLICT (forge_type) DO UPDATE SET access_token = EXCLUDED.access_token, refresh_token = EXCLUDED.refresh_token,
        account_login = EXCLUDED.account_login, updated_at = EXCLUDED.updated_at, version = EXCLUDED.version
)
INSERT INTO bare_active (singleton, forge_type, since, version) VALUES ($17, $13, $4, $11)
ON CONFLICT (singleton) DO UPDATE SET forge_type = EXCLUDED.forge_type, since = EXCLUDED.since, version = EXCLUDED.version`

const bareTables = `
CREATE TABLE IF NOT EXISTS bare_events (LIKE events INCLUDING ALL);
CREATE SEQUENCE IF NOT EXISTS bare_position OWNED BY bare_events.position;
ALTER TABLE bare_events ALTER position SET DEFAULT nextval('bare_position');
CREATE TABLE IF NOT EXISTS bare_tokens (
    forge_type text PRIMARY KEY, access_token bytea, refresh_token bytea, account_login text, updated_at timestamptz, version bigint);
CREATE TABLE IF NOT EXISTS bare_active (singleton text PRIMARY KEY, forge_type text, since timestamptz, version bigint)`

func bare(b *testing.B, pool *pgxpool.Pool, forgeType, activeKey string) func(context.Context) error {
	b.Helper()
	version := int64(0)
	return func(ctx context.Context) error {
		version++
		now := time.Now().UTC()
		issued, err := json.Marshal(tokenIssued(forgeType))
		if err != nil {
			return err
		}
		activated, err := json.Marshal(events.ForgeActivated{ForgeType: forgeType, Previous: &forgeType})
		if err != nil {
			return err
		}
		correlation := uuid.Must(uuid.NewV7())
		_, err = pool.Exec(ctx, bareAppend,
			uuid.Must(uuid.NewV7()), "token/"+forgeType, version, now, "session/00000000-0000-0000-0000-000000000000", correlation,
			issued, sealedPair, uuid.Must(uuid.NewV7()), activeKey, version, activated, forgeType, sealedAccess, sealedRefresh,
			"operator", activeKey)
		return err
	}
}

func perWorker(workers int, operation func(worker int) func(context.Context) error) func(context.Context, int) error {
	operations := make([]func(context.Context) error, workers)
	for worker := range operations {
		operations[worker] = operation(worker)
	}
	return func(ctx context.Context, worker int) error { return operations[worker](ctx) }
}

func benchmarkAppend(b *testing.B, workers int, activate bool) {
	b.Helper()
	url, pool := database(b)
	if _, err := pool.Exec(b.Context(), bareTables); err != nil {
		b.Fatal(err)
	}
	w := writer(b, url)
	forgeType := func(worker int) string { return fmt.Sprintf("forge-%d", worker) }
	compare(b, workers, 100*workers+200,
		perWorker(workers, func(worker int) func(context.Context) error { return signIn(w, forgeType(worker), activate) }),
		perWorker(workers, func(worker int) func(context.Context) error {
			return bare(b, pool, forgeType(worker), "active/"+forgeType(worker))
		}))
}

// BenchmarkAppendLone is one callback at a time.
func BenchmarkAppendLone(b *testing.B) { benchmarkAppend(b, 1, true) }

// BenchmarkAppend32Streams is 32 callbacks at once, each on streams of its own.
func BenchmarkAppend32Streams(b *testing.B) { benchmarkAppend(b, 32, false) }

// BenchmarkAppend32Switching is 32 callbacks at once that all switch the one active forge.
func BenchmarkAppend32Switching(b *testing.B) { benchmarkAppend(b, 32, true) }

// BenchmarkOptimistic32Switching is what 32 callbacks that switch the one active forge come to when each reads the stream's
// version, appends behind it, and starts again when somebody else was faster.
func BenchmarkOptimistic32Switching(b *testing.B) {
	_, pool := database(b)
	if _, err := pool.Exec(b.Context(), bareTables); err != nil {
		b.Fatal(err)
	}
	const workers = 32
	forgeType := func(worker int) string { return fmt.Sprintf("forge-%d", worker) }
	compare(b, workers, 400,
		perWorker(workers, func(worker int) func(context.Context) error { return optimistic(pool, "optimistic-"+forgeType(worker)) }),
		perWorker(workers, func(worker int) func(context.Context) error {
			return bare(b, pool, forgeType(worker), "active/"+forgeType(worker))
		}))
}

func optimistic(pool *pgxpool.Pool, forgeType string) func(context.Context) error {
	own := int64(0)
	return func(ctx context.Context) error {
		for {
			var version int64
			err := pool.QueryRow(ctx, `SELECT coalesce(max(stream_version), 0) FROM bare_events WHERE stream = 'active-forge'`).Scan(&version)
			if err != nil {
				return err
			}
			issued, err := json.Marshal(tokenIssued(forgeType))
			if err != nil {
				return err
			}
			activated, err := json.Marshal(events.ForgeActivated{ForgeType: forgeType, Previous: &forgeType})
			if err != nil {
				return err
			}
			own++
			_, err = pool.Exec(ctx, bareAppend,
				uuid.Must(uuid.NewV7()), "token/"+forgeType, own, time.Now().UTC(), "session/00000000-0000-0000-0000-000000000000",
				uuid.Must(uuid.NewV7()), issued, sealedPair, uuid.Must(uuid.NewV7()), "active-forge", version+1, activated, forgeType,
				sealedAccess, sealedRefresh, "operator", "active-forge")
			var pgErr *pgconn.PgError
			if errors.As(err, &pgErr) && pgErr.Code == "23505" {
				continue
			}
			return err
		}
	}
}
