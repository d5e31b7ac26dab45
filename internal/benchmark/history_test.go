package benchmark_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/forgeauth/forgeauth/archive"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/history"
	"github.com/forgeauth/forgeauth/internal/plausible"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/proof"
)

// historySize is the length of the made-up log: 100,000 events, or as many as FORGEAUTH_EVENTS says.
func historySize(b *testing.B) int64 {
	b.Helper()
	text := os.Getenv("FORGEAUTH_EVENTS")
	if text == "" {
		return 100_000
	}
	size, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return size
}

// made is a database with a made-up log that is folded and signed, shared by the benchmarks that only read.
var made struct {
	once sync.Once
	url  string
	keys *proof.Keys
}

// madeUp returns that database.
func madeUp(b *testing.B) (*pgxpool.Pool, *proof.Keys, int64) {
	b.Helper()
	size := historySize(b)
	made.once.Do(func() {
		var pool *pgxpool.Pool
		made.url, pool = database(b)
		fillPlausibly(b, pool, int(size))
		if _, err := projections.Verify(b.Context(), pool, projections.VerifyOptions{Repair: true}); err != nil {
			b.Fatal(err)
		}
		made.keys = signingKeys(b)
		signer := proof.NewSigner(proof.SignerConfig{Pool: pool, Keys: made.keys, Kept: keptFile(b)})
		if err := signer.Advance(b.Context()); err != nil {
			b.Fatal(err)
		}
	})
	return poolOf(b, made.url), made.keys, size
}

func keptFile(b *testing.B) proof.Kept {
	b.Helper()
	return proof.Kept(filepath.Join(b.TempDir(), "checkpoint"))
}

func signingKeys(b *testing.B) *proof.Keys {
	b.Helper()
	private, _, err := proof.GenerateKey("auth.example.org/log")
	if err != nil {
		b.Fatal(err)
	}
	keys, err := proof.ParseKeys(private)
	if err != nil {
		b.Fatal(err)
	}
	return keys
}

func fillPlausibly(b *testing.B, pool *pgxpool.Pool, size int) {
	b.Helper()
	var batch []events.Record
	flush := func() {
		if err := pgx.BeginFunc(b.Context(), pool, func(tx pgx.Tx) error { return events.Import(b.Context(), tx, batch) }); err != nil {
			b.Fatal(err)
		}
		batch = batch[:0]
	}
	for record := range plausible.History(size, 1) {
		if batch = append(batch, record); len(batch) == 5000 {
			flush()
		}
	}
	flush()
	if _, err := pool.Exec(b.Context(), `VACUUM ANALYZE events`); err != nil {
		b.Fatal(err)
	}
}

// bareRead reads a part of the log with bare pgx, in order, and decodes each payload into the struct of its type.
func bareRead(ctx context.Context, pool *pgxpool.Pool, through int64) error {
	rows, err := pool.Query(ctx, `
		SELECT position, event_id, stream, stream_version, type, schema, occurred_at, actor, correlation_id, payload, sealed
		FROM events WHERE position <= $1 ORDER BY position`, through)
	if err != nil {
		return err
	}
	var (
		r    events.Record
		read int64
	)
	_, err = pgx.ForEachRow(rows, []any{
		&r.Position, (*[16]byte)(&r.ID), (*string)(&r.Stream), &r.StreamVersion, &r.Type, &r.Schema, &r.OccurredAt, &r.Actor,
		(*[16]byte)(&r.CorrelationID), (*[]byte)(&r.Payload), &r.Sealed,
	}, func() error {
		read++
		switch r.Type {
		case "TokenIssued":
			return decodeInto[events.TokenIssued](r.Payload)
		case "TokenRefreshed":
			return decodeInto[events.TokenRefreshed](r.Payload)
		case "TokenRefreshStarted":
			return decodeInto[events.TokenRefreshStarted](r.Payload)
		case "ForgeActivated":
			return decodeInto[events.ForgeActivated](r.Payload)
		case "SessionStarted":
			return decodeInto[events.SessionStarted](r.Payload)
		case "SessionExtended":
			return decodeInto[events.SessionExtended](r.Payload)
		case "SessionEnded":
			return decodeInto[events.SessionEnded](r.Payload)
		case "LoginDenied":
			return decodeInto[events.LoginDenied](r.Payload)
		case "TokenRevocationRequested":
			return decodeInto[events.TokenRevocationRequested](r.Payload)
		case "TokenRevoked":
			return decodeInto[events.TokenRevoked](r.Payload)
		case "ForgeDeactivated":
			return decodeInto[events.ForgeDeactivated](r.Payload)
		default:
			return decodeInto[events.OperatorClaimed](r.Payload)
		}
	})
	if err == nil && read != through {
		err = fmt.Errorf("read %d events, want %d", read, through)
	}
	return err
}

func decodeInto[F any](payload []byte) error {
	var fact F
	return json.Unmarshal(payload, &fact)
}

// peak watches the heap while do runs and reports its most, in MiB beyond what there was before.
func peak(b *testing.B, do func() error) {
	b.Helper()
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	most := before.HeapInuse
	done := make(chan error, 1)
	go func() { done <- do() }()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(most-before.HeapInuse)/(1<<20), "peak-MiB")
			return
		case <-tick.C:
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapInuse)
		}
	}
}

// BenchmarkHistoryFold is folding a made-up history beside reading and decoding it.
func BenchmarkHistoryFold(b *testing.B) {
	pool, _, size := madeUp(b)
	log := events.NewLog(pool)
	ours := func(ctx context.Context, _ int) error {
		state := projections.NewState()
		for e, err := range log.Read(ctx, events.Query{}) {
			if err != nil {
				return err
			}
			if err := state.Apply(e); err != nil {
				return err
			}
		}
		return nil
	}
	compare(b, 1, 1, ours, func(ctx context.Context, _ int) error { return bareRead(ctx, pool, size) })
}

// BenchmarkHistoryVerify is folding a made-up history and comparing it with the tables, beside reading and decoding it.
func BenchmarkHistoryVerify(b *testing.B) {
	pool, _, size := madeUp(b)
	ours := func(ctx context.Context, _ int) error {
		_, err := projections.Verify(ctx, pool, projections.VerifyOptions{})
		return err
	}
	compare(b, 1, 1, ours, func(ctx context.Context, _ int) error { return bareRead(ctx, pool, size) })
	peak(b, func() error { return ours(b.Context(), 0) })
}

// BenchmarkHistoryHash is hashing a made-up history and comparing it with tree and checkpoints, beside reading and decoding it.
func BenchmarkHistoryHash(b *testing.B) {
	pool, keys, size := madeUp(b)
	policy := keys.Policy()
	ours := func(ctx context.Context, _ int) error {
		report, err := proof.Verify(ctx, pool, proof.VerifyOptions{Policy: &policy})
		if err == nil && (len(report.Findings) > 0 || report.Signed != size) {
			err = fmt.Errorf("verify: %+v", report)
		}
		return err
	}
	compare(b, 1, 1, ours, func(ctx context.Context, _ int) error { return bareRead(ctx, pool, size) })
	peak(b, func() error { return ours(b.Context(), 0) })
}

// BenchmarkHistoryState is telling the state in the middle of a made-up history, beside reading and decoding the half before.
func BenchmarkHistoryState(b *testing.B) {
	pool, _, size := madeUp(b)
	log := events.NewLog(pool)
	reader := history.New(log, commands.New(commands.Config{Log: log, Reader: projections.NewReader(pool), Pool: pool}), time.Now)
	middle, err := events.ParseMoment(strconv.FormatInt(size/2, 10), time.Time{})
	if err != nil {
		b.Fatal(err)
	}
	ours := func(ctx context.Context, _ int) error {
		_, err := reader.At(ctx, middle)
		return err
	}
	compare(b, 1, 1, ours, func(ctx context.Context, _ int) error { return bareRead(ctx, pool, size/2) })
	peak(b, func() error { return ours(b.Context(), 0) })
}

// BenchmarkHistorySwitches is a page of 100 switches with all that is said of them, beside reading 100 events by index.
func BenchmarkHistorySwitches(b *testing.B) {
	pool, _, size := madeUp(b)
	log := events.NewLog(pool)
	reader := history.New(log, commands.New(commands.Config{Log: log, Reader: projections.NewReader(pool), Pool: pool}), time.Now)
	middle, err := events.ParseMoment(strconv.FormatInt(size/2, 10), time.Time{})
	if err != nil {
		b.Fatal(err)
	}
	compare(b, 1, 20, func(ctx context.Context, _ int) error {
		page, err := reader.Switches(ctx, history.Span{From: &middle, Limit: 100}, "")
		if err == nil && len(page.Items) != 100 {
			err = fmt.Errorf("%d switches", len(page.Items))
		}
		return err
	}, readPage(pool, size/2))
}

// BenchmarkHistoryEvents is a page of 100 events, beside the bare query.
func BenchmarkHistoryEvents(b *testing.B) {
	pool, _, size := madeUp(b)
	log := events.NewLog(pool)
	reader := history.New(log, commands.New(commands.Config{Log: log, Reader: projections.NewReader(pool), Pool: pool}), time.Now)
	middle, err := events.ParseMoment(strconv.FormatInt(size/2, 10), time.Time{})
	if err != nil {
		b.Fatal(err)
	}
	compare(b, 1, 100, func(ctx context.Context, _ int) error {
		_, err := reader.Events(ctx, history.EventQuery{Span: history.Span{From: &middle, Limit: 100}})
		return err
	}, readPage(pool, size/2))
}

func readPage(pool *pgxpool.Pool, after int64) func(context.Context, int) error {
	return func(ctx context.Context, _ int) error {
		rows, err := pool.Query(ctx, `SELECT * FROM events WHERE position >= $1 ORDER BY position LIMIT 100`, after)
		if err != nil {
			return err
		}
		_, err = pgx.CollectRows(rows, pgx.RowToMap)
		return err
	}
}

// BenchmarkHistoryExport is exporting a made-up history beside COPY TO of the table.
func BenchmarkHistoryExport(b *testing.B) {
	pool, _, _ := madeUp(b)
	ours := func(ctx context.Context, _ int) error {
		_, err := archive.Export(ctx, pool, io.Discard, archive.ExportOptions{})
		return err
	}
	compare(b, 1, 1, ours, func(ctx context.Context, _ int) error {
		return pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
			_, err := conn.Conn().PgConn().CopyTo(ctx, io.Discard, `COPY (SELECT * FROM events ORDER BY position) TO STDOUT`)
			return err
		})
	})
	peak(b, func() error { return ours(b.Context(), 0) })
}

// BenchmarkHistoryImport is importing that beside COPY FROM into the same table, each into an empty schema.
func BenchmarkHistoryImport(b *testing.B) {
	pool, _, _ := madeUp(b)
	var exported, copied bytes.Buffer
	if _, err := archive.Export(b.Context(), pool, &exported, archive.ExportOptions{}); err != nil {
		b.Fatal(err)
	}
	err := pool.AcquireFunc(b.Context(), func(conn *pgxpool.Conn) error {
		_, err := conn.Conn().PgConn().CopyTo(b.Context(), &copied, `COPY (SELECT * FROM events ORDER BY position) TO STDOUT`)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	compare(b, 1, 1,
		func(ctx context.Context, _ int) error {
			_, fresh := database(b) //nolint:contextcheck // of the benchmark
			_, err := archive.Import(ctx, fresh, bytes.NewReader(exported.Bytes()), archive.ImportOptions{})
			fresh.Close()
			return err
		},
		func(ctx context.Context, _ int) error {
			_, fresh := database(b) //nolint:contextcheck // of the benchmark
			defer fresh.Close()
			return fresh.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
				_, err := conn.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(copied.Bytes()), `COPY events FROM STDIN`)
				return err
			})
		})
}

// BenchmarkTreeAppend is what appending comes to while a signer advances the tree, beside none.
func BenchmarkTreeAppend(b *testing.B) {
	with, pool := database(b)
	without, _ := database(b)
	ctx, stop := context.WithCancel(b.Context())
	signer := proof.NewSigner(proof.SignerConfig{Pool: pool, Feed: feedOf(b, with, nil), Keys: signingKeys(b), Kept: keptFile(b)})
	var signing sync.WaitGroup
	signing.Go(func() { signer.Run(ctx) })
	b.Cleanup(func() { stop(); signing.Wait() })
	busy, quiet := writer(b, with), writer(b, without)
	compare(b, 1, 300,
		func(ctx context.Context, _ int) error { return appendOne(busy)(ctx) },
		func(ctx context.Context, _ int) error { return appendOne(quiet)(ctx) })
}
