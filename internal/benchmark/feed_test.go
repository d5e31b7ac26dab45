package benchmark_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	watermillsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/relay"
)

// feedOf is a feed as a process has it; tracer, if there is one, sees its statements.
func feedOf(b *testing.B, url string, tracer pgx.QueryTracer) *events.Feed {
	b.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		b.Fatal(err)
	}
	config.ConnConfig.Tracer = tracer
	pool, err := pgxpool.NewWithConfig(b.Context(), config)
	if err != nil {
		b.Fatal(err)
	}
	f := events.NewFeed(events.FeedConfig{Pool: pool, Conn: config.ConnConfig.Copy()})
	b.Cleanup(func() {
		_ = f.Close()
		pool.Close()
	})
	return f
}

// group subscribes to all events from now on, and acks each after handle.
func group(b *testing.B, f *events.Feed, name string, start events.Start, handle func()) (stop func()) {
	b.Helper()
	g, err := f.Group(events.GroupConfig{Name: name, Start: start})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	messages, err := g.Subscribe(ctx, events.TopicAll)
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for msg := range messages {
			handle()
			msg.Ack()
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// appendOne appends one event that no table depends on.
func appendOne(w *events.Writer[*projections.State]) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := w.Append(ctx, events.Decision[*projections.State]{
			Actor: "bench", Correlation: uuid.Must(uuid.NewV7()), Streams: []events.Stream{events.StreamDenials},
			Decide: func(*projections.State, time.Time) (events.Outcome, error) {
				return events.Outcome{Drafts: []events.Draft{{Stream: events.StreamDenials, Fact: events.LoginDenied{Reason: "bench"}}}}, nil
			},
		})
		return err
	}
}

// latencies publishes one after the other and returns how long after it was committed each was handled, in microseconds, sorted.
// Between two it waits for longest at most, so that they come when nobody is at work.
func latencies(b *testing.B, n int, longest time.Duration, publish func(context.Context) error, handled <-chan time.Time) []float64 {
	b.Helper()
	var all []float64
	for range n {
		if longest > 0 {
			<-time.After(time.Duration(rand.Int64N(int64(longest)))) //nolint:gosec // any will do
		}
		if err := publish(b.Context()); err != nil {
			b.Fatal(err)
		}
		committed := time.Now()
		all = append(all, float64((<-handled).Sub(committed).Nanoseconds())/1000)
	}
	slices.Sort(all)
	return all
}

func percentile(sorted []float64, p int) float64 { return sorted[len(sorted)*p/100] }

// report gives latencies of both sides in turn, median of the rounds; the ratio is that of the limit's p50 to ours.
func report(b *testing.B, ours, limit func() []float64) {
	b.Helper()
	var ratios, our50, our99, limit50, limit99 []float64
	for b.Loop() {
		for range 5 {
			l, o := limit(), ours()
			ratios = append(ratios, percentile(l, 50)/percentile(o, 50))
			our50, our99 = append(our50, percentile(o, 50)), append(our99, percentile(o, 99))
			limit50, limit99 = append(limit50, percentile(l, 50)), append(limit99, percentile(l, 99))
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(slices.Min(ratios), "ratio-min")
	b.ReportMetric(slices.Max(ratios), "ratio-max")
	b.ReportMetric(median(our50), "ours-µs/op")
	b.ReportMetric(median(limit50), "limit-µs/op")
	b.ReportMetric(median(our99), "ours-p99-µs")
	b.ReportMetric(median(limit99), "limit-p99-µs")
}

// BenchmarkFeedLatency is from a commit to the handler, beside bare LISTEN and one fetch over the same log.
func BenchmarkFeedLatency(b *testing.B) {
	url, pool := database(b)
	w := writer(b, url)
	publish := appendOne(w)
	const n = 300
	ours := func() []float64 {
		handled := make(chan time.Time, 1)
		f := feedOf(b, url, nil)
		stop := group(b, f, fmt.Sprint("latency-", time.Now().UnixNano()), events.FromNow(), func() { handled <- time.Now() })
		defer stop()
		for range 20 { // until it is connected, and warm
			_ = publish(b.Context())
			<-handled
		}
		return latencies(b, n, 0, publish, handled)
	}
	limit := func() []float64 {
		handled := make(chan time.Time, 1)
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = conn.Close(context.Background()) }()
		var channel string
		var last int64
		err = pool.QueryRow(ctx, `SELECT 'forgeauth_' || md5(current_schema()), coalesce((SELECT max(position) FROM events), 0)`).Scan(&channel, &last)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Exec(ctx, `LISTEN `+channel); err != nil {
			b.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				if _, err := conn.WaitForNotification(ctx); err != nil {
					return
				}
				rows, err := conn.Query(ctx, `SELECT position, type, payload FROM events WHERE position > $1 ORDER BY position`, last)
				if err != nil {
					return
				}
				var kind string
				var payload []byte
				_, _ = pgx.ForEachRow(rows, []any{&last, &kind, &payload}, func() error { return nil })
				handled <- time.Now()
			}
		}()
		for range 20 {
			_ = publish(b.Context())
			<-handled
		}
		all := latencies(b, n, 0, publish, handled)
		cancel()
		<-ended
		return all
	}
	report(b, ours, limit)
}

// watermillSQL is watermill-sql's subscriber on a table of its own.
func watermillSQL(b *testing.B, pool *pgxpool.Pool, topic string, poll time.Duration, batch int, handle func()) (publish func(context.Context) error, stop func()) {
	b.Helper()
	db := watermillsql.BeginnerFromPgx(pool)
	schema := watermillsql.DefaultPostgreSQLSchema{SubscribeBatchSize: batch}
	publisher, err := watermillsql.NewPublisher(db, watermillsql.PublisherConfig{SchemaAdapter: schema, AutoInitializeSchema: true}, watermill.NopLogger{})
	if err != nil {
		b.Fatal(err)
	}
	subscriber, err := watermillsql.NewSubscriber(db, watermillsql.SubscriberConfig{
		SchemaAdapter: schema, OffsetsAdapter: watermillsql.DefaultPostgreSQLOffsetsAdapter{}, InitializeSchema: true, PollInterval: poll,
	}, watermill.NopLogger{})
	if err != nil {
		b.Fatal(err)
	}
	messages, err := subscriber.Subscribe(b.Context(), topic)
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		for msg := range messages {
			handle()
			msg.Ack()
		}
	}()
	publish = func(context.Context) error {
		return publisher.Publish(topic, message.NewMessage(watermill.NewUUID(), []byte(`{"reason":"bench"}`)))
	}
	return publish, func() { _ = subscriber.Close() }
}

// BenchmarkFeedLatencyWatermillSQL sets the feed beside watermill-sql as it comes, and polling each 10 ms.
func BenchmarkFeedLatencyWatermillSQL(b *testing.B) {
	for name, test := range map[string]struct {
		poll, pause time.Duration
		n           int
	}{"default": {0, 2 * time.Second, 10}, "10ms": {10 * time.Millisecond, 20 * time.Millisecond, 200}} {
		b.Run(name, func(b *testing.B) {
			url, pool := database(b)
			w := writer(b, url)
			handled, theirs := make(chan time.Time, 1), make(chan time.Time, 1)
			f := feedOf(b, url, nil)
			b.Cleanup(group(b, f, "latency", events.FromNow(), func() { handled <- time.Now() }))
			publish, stop := watermillSQL(b, pool, "latency", test.poll, 0, func() { theirs <- time.Now() })
			defer stop()
			ours := appendOne(w)
			for range 3 {
				_ = ours(b.Context())
				<-handled
				_ = publish(b.Context())
				<-theirs
			}
			report(b,
				func() []float64 { return latencies(b, test.n, test.pause, ours, handled) },
				func() []float64 { return latencies(b, test.n, test.pause, publish, theirs) })
		})
	}
}

const backlog = 100_000

// fill makes a log of so many events.
func fill(b *testing.B, pool *pgxpool.Pool) {
	b.Helper()
	_, err := pool.Exec(b.Context(), `
		INSERT INTO events (position, event_id, stream, stream_version, type, schema, occurred_at, actor, correlation_id, payload)
		SELECT i, gen_random_uuid(), 'denials', i, 'LoginDenied', 1, now(), 'bench', gen_random_uuid(), '{"forge_type":"github","reason":"bench"}'
		FROM generate_series(1, $1::bigint) i`, backlog)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := pool.Exec(b.Context(), `ANALYZE events`); err != nil {
		b.Fatal(err)
	}
}

// drains measures how long each side takes for the backlog, in turn, and reports it for one event.
func drains(b *testing.B, rounds int, ours, limit func(round int)) {
	b.Helper()
	var ratios, oursTook, limitTook []float64
	took := func(drain func(int), round int) float64 {
		start := time.Now()
		drain(round)
		return float64(time.Since(start).Nanoseconds()) / 1000 / backlog
	}
	for b.Loop() {
		for round := range rounds {
			l, o := took(limit, round), took(ours, round)
			ratios, oursTook, limitTook = append(ratios, l/o), append(oursTook, o), append(limitTook, l)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(slices.Min(ratios), "ratio-min")
	b.ReportMetric(slices.Max(ratios), "ratio-max")
	b.ReportMetric(median(oursTook), "ours-µs/op")
	b.ReportMetric(median(limitTook), "limit-µs/op")
}

// countTo returns a handler that closes the channel when it was called so often.
func countTo(n int64) (handle func(), done chan struct{}) {
	var count atomic.Int64
	done = make(chan struct{})
	return func() {
		if count.Add(1) == n {
			close(done)
		}
	}, done
}

// drainFeed has a new group handle the backlog.
func drainFeed(b *testing.B, f *events.Feed) func(int) {
	b.Helper()
	return func(round int) {
		handle, done := countTo(backlog)
		stop := group(b, f, fmt.Sprint("drain-", round, "-", time.Now().UnixNano()), events.FromBeginning(), handle)
		<-done
		stop()
	}
}

// drainRelay does it by a typed handler behind the router.
func drainRelay(b *testing.B, f *events.Feed) func(int) {
	b.Helper()
	r := relay.New(relay.Config{Feed: f})
	b.Cleanup(func() { _ = r.Close() })
	return func(round int) {
		handle, done := countTo(backlog)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		err := r.Subscribe(ctx, events.GroupConfig{Name: fmt.Sprint("relay-", round, "-", time.Now().UnixNano())},
			relay.On(func(context.Context, events.LoginDenied) error {
				handle()
				return nil
			}))
		if err != nil {
			b.Fatal(err)
		}
		<-done
	}
}

// drainByHand reads in batches, each with one write of how far it got.
func drainByHand(b *testing.B, pool *pgxpool.Pool) func(int) {
	b.Helper()
	if _, err := pool.Exec(b.Context(), `CREATE TABLE by_hand (position bigint); INSERT INTO by_hand VALUES (0)`); err != nil {
		b.Fatal(err)
	}
	return func(int) {
		for position := int64(0); position < backlog; {
			rows, err := pool.Query(b.Context(), `
				SELECT position, event_id, stream, stream_version, type, schema, occurred_at, actor, correlation_id, payload
				FROM events WHERE position > $1 ORDER BY position LIMIT 500`, position)
			if err != nil {
				b.Fatal(err)
			}
			var r events.Record
			var payload []byte
			var id, correlation [16]byte
			fields := []any{&position, &id, (*string)(&r.Stream), &r.StreamVersion, &r.Type, &r.Schema, &r.OccurredAt, &r.Actor, &correlation, &payload}
			if _, err := pgx.ForEachRow(rows, fields, func() error { return nil }); err != nil {
				b.Fatal(err)
			}
			if _, err := pool.Exec(b.Context(), `UPDATE by_hand SET position = $1`, position); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkFeedDrain is for a backlog, beside a reader by hand.
func BenchmarkFeedDrain(b *testing.B) {
	url, pool := database(b)
	fill(b, pool)
	f := feedOf(b, url, nil)
	byHand := drainByHand(b, pool)
	b.Run("group", func(b *testing.B) { drains(b, 5, drainFeed(b, f), byHand) })
	b.Run("handler", func(b *testing.B) { drains(b, 5, drainRelay(b, f), byHand) })
}

// BenchmarkFeedDrainWatermillSQL is the same beside watermill-sql's default schema, with its default batch and a larger one.
func BenchmarkFeedDrainWatermillSQL(b *testing.B) {
	for name, batch := range map[string]int{"batch 100": 0, "batch 1000": 1000} {
		b.Run(name, func(b *testing.B) {
			url, pool := database(b)
			fill(b, pool)
			theirs := func(round int) {
				topic := fmt.Sprint("drain-", round)
				handle, done := countTo(backlog)
				// The table has to be there before it can be filled, which is not measured: it takes no tenth of a second.
				publish, stop := watermillSQL(b, pool, topic+"-unused", time.Hour, batch, func() {})
				stop()
				_ = publish
				schema := watermillsql.DefaultPostgreSQLSchema{}
				table := schema.MessagesTable(topic)
				_, err := pool.Exec(b.Context(), `CREATE TABLE IF NOT EXISTS `+table+` (LIKE `+schema.MessagesTable(topic+"-unused")+` INCLUDING ALL)`)
				if err == nil {
					_, err = pool.Exec(b.Context(), `INSERT INTO `+table+` (uuid, payload, metadata, transaction_id)
						SELECT gen_random_uuid()::text, '{"forge_type":"github","reason":"bench"}', '{}', pg_current_xact_id() FROM generate_series(1, $1::bigint)`, backlog)
				}
				if err != nil {
					b.Fatal(err)
				}
				_, stop = watermillSQL(b, pool, topic, 0, batch, handle)
				<-done
				stop()
			}
			drains(b, 1, drainFeed(b, feedOf(b, url, nil)), theirs)
		})
	}
}

// counter counts statements.
type counter struct{ n atomic.Int64 }

func (c *counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.n.Add(1)
	return ctx
}

func (*counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// BenchmarkFeedIdle counts what ten groups ask of the database while nothing happens.
func BenchmarkFeedIdle(b *testing.B) {
	url, _ := database(b)
	w := writer(b, url)
	statements := &counter{}
	f := feedOf(b, url, statements)
	heard := make(chan struct{}, 10)
	for i := range 10 {
		b.Cleanup(group(b, f, fmt.Sprint("idle-", i), events.FromNow(), func() { heard <- struct{}{} }))
	}
	if err := appendOne(w)(b.Context()); err != nil {
		b.Fatal(err)
	}
	for range 10 {
		<-heard
	}
	<-time.After(time.Second) // for the cursors to be written
	const span = 30 * time.Second
	for b.Loop() {
		statements.n.Store(0)
		<-time.After(span)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(statements.n.Load())/span.Seconds(), "queries/s")
	}
}

// BenchmarkFeedAppend is what appending comes to while groups handle every event, beside none.
func BenchmarkFeedAppend(b *testing.B) {
	for _, groups := range []int{1, 10, 50} {
		b.Run(fmt.Sprint(groups, "_groups"), func(b *testing.B) {
			with, _ := database(b)
			without, _ := database(b)
			f := feedOf(b, with, nil)
			for i := range groups {
				b.Cleanup(group(b, f, fmt.Sprint("g", i), events.FromNow(), func() {}))
			}
			busy, quiet := writer(b, with), writer(b, without)
			compare(b, 1, 300,
				func(ctx context.Context, _ int) error { return appendOne(busy)(ctx) },
				func(ctx context.Context, _ int) error { return appendOne(quiet)(ctx) })
		})
	}
}
