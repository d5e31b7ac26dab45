package benchmark_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/localpg"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/projections"
)

// rounds is how often the two sides are measured in turn. The median of the rounds' ratios is reported, so that a machine
// that speeds up or slows down between rounds does not decide.
const rounds = 9

// compare runs ours and limit in turn, workers goroutines each, and reports how many times the limit's throughput ours has.
func compare(b *testing.B, workers, operations int, ours, limit func(ctx context.Context, worker int) error) {
	b.Helper()
	measure(b, workers, operations/4, ours) // warm up
	measure(b, workers, operations/4, limit)
	var ratios, oursTook, limitTook []float64
	for b.Loop() {
		ratios, oursTook, limitTook = ratios[:0], oursTook[:0], limitTook[:0]
		for range rounds {
			l, o := measure(b, workers, operations, limit), measure(b, workers, operations, ours)
			ratios, oursTook, limitTook = append(ratios, l/o), append(oursTook, o), append(limitTook, l)
		}
	}
	b.ReportMetric(0, "ns/op") // the time of all rounds says nothing
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(slices.Min(ratios), "ratio-min")
	b.ReportMetric(slices.Max(ratios), "ratio-max")
	b.ReportMetric(median(oursTook), "ours-µs/op")
	b.ReportMetric(median(limitTook), "limit-µs/op")
}

// measure returns the microseconds that an operation took, all workers together.
func measure(b *testing.B, workers, operations int, do func(ctx context.Context, worker int) error) float64 {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(operations))
	var wg sync.WaitGroup
	start := time.Now()
	for worker := range workers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := do(b.Context(), worker); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(time.Since(start).Microseconds()) / float64(operations)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

var server *localpg.Server

// TestMain runs a cluster with the settings of production: what is committed is on disk.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "forgeauth-benchmark-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the server's account has to get to the cluster below
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		server, err = localpg.Start(context.Background(), localpg.Config{
			Dir: dir + "/cluster", Settings: map[string]string{"max_connections": "200"},
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = server.Stop(context.Background()) }()
		return m.Run()
	}())
}

// database is a migrated schema of a benchmark's own.
func database(b *testing.B) (url string, pool *pgxpool.Pool) {
	b.Helper()
	conn, err := pgx.Connect(b.Context(), server.URL())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	schema := fmt.Sprintf("bench_%d", time.Now().UnixNano())
	if _, err := conn.Exec(b.Context(), "CREATE SCHEMA "+schema); err != nil {
		b.Fatal(err)
	}
	url = server.URL() + separator(server.URL()) + "search_path=" + schema
	if err := migrations.Up(b.Context(), url); err != nil {
		b.Fatal(err)
	}
	return url, poolOf(b, url)
}

func poolOf(b *testing.B, url string) *pgxpool.Pool {
	b.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		b.Fatal(err)
	}
	config.MaxConns = 40
	config.ConnConfig.RuntimeParams["plan_cache_mode"] = "force_generic_plan"
	pool, err := pgxpool.NewWithConfig(b.Context(), config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	return pool
}

func separator(url string) string {
	if slices.Contains([]byte(url), '?') {
		return "&"
	}
	return "?"
}

func writer(b *testing.B, url string) *events.Writer[*projections.State] {
	b.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		b.Fatal(err)
	}
	w := events.NewWriter(events.WriterConfig{Conn: config, Logger: slog.New(slog.DiscardHandler)}, projections.NewState())
	b.Cleanup(func() { _ = w.Close(context.Background()) })
	return w
}
