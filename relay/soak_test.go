package relay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/relay"
)

// consumerVariable makes the test binary a program that handles events until its standard input ends. It holds a consumerConfig.
const consumerVariable = "FORGEAUTH_TEST_CONSUMER"

// consumerConfig is what the parent tells a consumer, as JSON.
type consumerConfig struct {
	DatabaseURL string `json:"database_url"`
	// Journal is a file that all consumers append to: the position of each event that the group plain handled.
	Journal string `json:"journal"`
}

// consume runs two groups: plain, whose effect is a line in the journal, and exact, whose effect is a row in its transaction.
func consume() int {
	var config consumerConfig
	if err := json.Unmarshal([]byte(os.Getenv(consumerVariable)), &config); err != nil {
		panic(err)
	}
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, config.DatabaseURL)
	if err != nil {
		panic(err)
	}
	conn, err := pgx.ParseConfig(config.DatabaseURL)
	if err != nil {
		panic(err)
	}
	journal, err := os.OpenFile(config.Journal, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	feed := events.NewFeed(events.FeedConfig{Pool: pool, Conn: conn, Poll: 200 * time.Millisecond, Logger: logger})
	r := relay.New(relay.Config{Feed: feed, Logger: logger})
	write := func(_ context.Context, e events.Event) error {
		_, err := fmt.Fprintln(journal, e.Position) // one write, so that lines of several processes do not mix
		return err
	}
	err = r.Subscribe(ctx, events.GroupConfig{Name: "plain"}, relay.OnEvent(write))
	if err == nil {
		err = r.Subscribe(ctx, events.GroupConfig{Name: "exact"}, relay.OnTx(insert[events.ForgeActivated]), relay.OnTx(insert[events.LoginDenied]))
	}
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	_, _ = r.Close(), feed.Close()
	return 0
}

func insert[F events.Fact](ctx context.Context, tx pgx.Tx, _ F) error {
	d, _ := events.DeliveryFrom(ctx)
	_, err := tx.Exec(ctx, `INSERT INTO effects (position) VALUES ($1)`, d.Record.Position)
	return err
}

// consumer is a process with a proxy between it and the database.
type consumer struct {
	name    string
	proxy   *toxiproxy.Proxy
	command *exec.Cmd
	stdin   io.Closer
	log     string
}

// chaos is three consumers and what is done to them.
type chaos struct {
	*line

	random    *rand.Rand
	journal   string
	consumers []*consumer
	done      map[string]int // what was done, and how often
}

func newChaos(t *testing.T) *chaos {
	t.Helper()
	l := newLine(t)
	if _, err := l.pool.Exec(t.Context(), `CREATE TABLE effects (id bigserial, position bigint); CREATE TABLE unrelated (x int)`); err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	c := &chaos{
		line: l, random: rand.New(rand.NewPCG(seed, 0)), //nolint:gosec // not a secret
		journal: filepath.Join(t.TempDir(), "journal"), done: map[string]int{},
	}
	_, through := l.db.Proxied(t) // what toxiproxy needs: a TCP address
	upstream, err := url.Parse(through)
	if err != nil {
		t.Fatal(err)
	}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	for i := range 3 {
		one := &consumer{name: "consumer " + strconv.Itoa(i), proxy: toxiproxy.NewProxy(server, strconv.Itoa(i), "127.0.0.1:0", upstream.Host)}
		if err := one.proxy.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(one.proxy.Stop)
		at := *upstream
		at.Host = one.proxy.Listen
		query := at.Query()
		query.Set("connect_timeout", "5")
		at.RawQuery = query.Encode()
		c.consumers = append(c.consumers, one)
		one.log = filepath.Join(t.TempDir(), "log")
		c.start(t, one, at.String())
	}
	t.Cleanup(func() {
		for _, one := range c.consumers {
			one.kill()
			if text, err := os.ReadFile(one.log); t.Failed() && err == nil {
				t.Logf("the last of %s:\n%s", one.name, text[max(0, len(text)-4000):])
			}
		}
	})
	return c
}

func (c *chaos) start(t *testing.T, one *consumer, databaseURL string) {
	t.Helper()
	config, err := json.Marshal(consumerConfig{DatabaseURL: databaseURL, Journal: c.journal})
	if err != nil {
		t.Fatal(err)
	}
	one.run(t, consumerVariable+"="+string(config))
}

func (one *consumer) run(t *testing.T, variable string) {
	t.Helper()
	log, err := os.OpenFile(one.log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = log.Close() }()
	one.command = exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0]) //nolint:gosec // this very program
	one.command.Env = append(os.Environ(), variable)
	one.command.Stderr = log
	if one.stdin, err = one.command.StdinPipe(); err == nil {
		err = one.command.Start()
	}
	if err != nil {
		t.Error(err)
	}
}

func (one *consumer) kill() {
	_ = one.command.Process.Kill()
	_ = one.command.Wait()
}

// again starts a process like the one that was killed.
func (one *consumer) again(t *testing.T) {
	t.Helper()
	for _, variable := range one.command.Env {
		if strings.HasPrefix(variable, consumerVariable+"=") {
			one.run(t, variable)
			return
		}
	}
}

// toxic makes the connections of a consumer ill for a while.
func (c *chaos) toxic(t *testing.T, one *consumer, kind, attributes string, while time.Duration) {
	t.Helper()
	for _, direction := range []string{"upstream", "downstream"} {
		text := fmt.Sprintf(`{"name":"%s-%s","type":"%s","stream":"%s","attributes":%s}`, kind, direction, kind, direction, attributes)
		if _, err := one.proxy.Toxics.AddToxicJson(strings.NewReader(text)); err != nil {
			t.Error(err)
		}
	}
	<-time.After(while)
	one.proxy.Toxics.ResetToxics(t.Context())
}

// victim is one of the consumers, most often one that runs a group.
func (c *chaos) victim(t *testing.T) *consumer {
	t.Helper()
	group := []string{"plain", "exact"}[c.random.IntN(2)]
	if c.random.IntN(4) > 0 {
		all, err := events.NewSubscriptions(c.pool).List(t.Context())
		if err != nil {
			t.Error(err)
		}
		for _, one := range c.consumers {
			for _, s := range all {
				if s.Name == group && strings.HasSuffix(s.Owner, "/"+strconv.Itoa(one.command.Process.Pid)) {
					return one
				}
			}
		}
	}
	return c.consumers[c.random.IntN(len(c.consumers))]
}

// strike does something to a consumer, and has it well again when it returns.
func (c *chaos) strike(t *testing.T) {
	t.Helper()
	one := c.victim(t)
	while := time.Duration(50+c.random.IntN(300)) * time.Millisecond
	actions := []string{"killed", "killed", "stopped for long", "stopped for short", "reset", "cut", "held up", "silenced"}
	action := actions[c.random.IntN(len(actions))]
	if action == "silenced" && c.done[action] > 2 {
		action = "reset" // what was sent is lost, which costs a deadline each time
	}
	c.done[action]++
	switch action {
	case "killed":
		one.kill()
		one.again(t)
	case "stopped for long", "stopped for short": // longer or shorter than it takes to be replaced
		if action == "stopped for long" {
			while += 1200 * time.Millisecond
		}
		_ = one.command.Process.Signal(syscall.SIGSTOP)
		<-time.After(while)
		_ = one.command.Process.Signal(syscall.SIGCONT)
	case "reset":
		c.toxic(t, one, "reset_peer", `{"timeout":0}`, while)
	case "cut":
		one.proxy.Stop()
		<-time.After(while)
		if err := one.proxy.Start(); err != nil {
			t.Error(err)
		}
	case "held up":
		c.toxic(t, one, "latency", `{"latency":100,"jitter":90}`, while)
	case "silenced": // half-open
		c.toxic(t, one, "timeout", `{"timeout":0}`, while)
	}
}

// rollBack takes the next position and gives it back, as an append that fails at its end does.
func (c *chaos) rollBack(t *testing.T) {
	t.Helper()
	tx, err := c.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	_, err = tx.Exec(t.Context(), `
		INSERT INTO events (position, event_id, stream, stream_version, type, schema, occurred_at, actor, correlation_id, payload)
		SELECT max(position) + 1, gen_random_uuid(), 'phantom', 1, 'LoginDenied', 1, now(), 'test', gen_random_uuid(), '{}' FROM events`)
	if err != nil {
		t.Fatal(err)
	}
}

func TestNothingIsLostWhateverHappensToTheConsumers(t *testing.T) {
	t.Parallel()
	total, rounds := int64(5_000), 30
	if os.Getenv("FORGEAUTH_SOAK") != "" {
		total, rounds = 100_000, 600
	}
	c := newChaos(t)
	began := time.Now()
	unrelated, err := c.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unrelated.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := unrelated.Exec(t.Context(), `INSERT INTO unrelated VALUES (1)`); err != nil {
		t.Fatal(err)
	}

	appended := int64(0)
	for round := range rounds {
		struck := make(chan struct{})
		go func() {
			defer close(struck)
			c.strike(t)
		}()
		for appended < total*int64(round+1)/int64(rounds) {
			stream, facts := events.StreamActiveForge, []events.Fact{events.ForgeActivated{ForgeType: "github"}}
			if n := appended % 7; n > 0 {
				stream = events.Stream("denials/" + strconv.FormatInt(n, 10))
				facts = make([]events.Fact, min(1+appended%11, total-appended))
				for i := range facts {
					facts[i] = events.LoginDenied{Reason: "x"}
				}
			}
			c.append(t, stream, facts...)
			appended += int64(len(facts))
		}
		c.rollBack(t)
		<-struck
		c.done["rolled back"]++
	}
	for _, group := range []string{"plain", "exact"} {
		c.finish(t, group, total)
		if parked := c.subscription(t, group).Parked; len(parked) > 0 {
			t.Errorf("%s holds back %v", group, parked)
		}
	}
	takeovers := c.subscription(t, "plain").Epoch
	repeats, runs := c.checkJournal(t, total)
	if limit := takeovers + int64(c.done["stopped for long"]+c.done["stopped for short"]); runs > limit {
		t.Errorf("events were repeated %d times, with only %d occasions for it", runs, limit)
	}
	c.checkEffects(t, total)
	t.Logf("%d events in %s; %v; %d takeovers; %d events repeated in %d runs", total, time.Since(began).Round(time.Second), c.done, takeovers, repeats, runs)
}

// finish waits until a group is at the end, for as long as it gets on.
func (c *chaos) finish(t *testing.T, group string, total int64) {
	t.Helper()
	for position := int64(-1); position < total; {
		before := position
		eventually(t, fmt.Sprintf("%s goes on behind event %d", group, before), func() bool {
			position = c.subscription(t, group).Position
			return position > before
		})
	}
}

// checkJournal checks that every event was handled in the order of the log: each is the one after the last that was handled, or one
// that was handled before. It counts the latter, and how many times they began.
func (c *chaos) checkJournal(t *testing.T, total int64) (repeats, runs int64) {
	t.Helper()
	text, err := os.ReadFile(c.journal)
	if err != nil {
		t.Fatal(err)
	}
	last, previous := int64(0), int64(0)
	for i, word := range strings.Fields(string(text)) {
		position, err := strconv.ParseInt(word, 10, 64)
		switch {
		case err != nil:
			t.Fatalf("line %d of the journal is %q", i+1, word)
		case position == last+1:
			last = position
		case position > last:
			t.Fatalf("line %d of the journal: event %d was handled after %d: what is between them was passed over", i+1, position, last)
		default:
			repeats++
			if position != previous+1 {
				runs++
			}
		}
		previous = position
	}
	if last != total {
		t.Errorf("the last event that was handled is %d, want %d", last, total)
	}
	return repeats, runs
}

// checkEffects checks that every event had its effect in the database once, in the order of the log.
func (c *chaos) checkEffects(t *testing.T, total int64) {
	t.Helper()
	var count, distinct, first, last, disorder int64
	err := c.pool.QueryRow(t.Context(), `
		SELECT count(*), count(DISTINCT position), min(position), max(position), count(*) FILTER (WHERE position <= before)
		FROM (SELECT position, lag(position) OVER (ORDER BY id) AS before FROM effects) e`).Scan(&count, &distinct, &first, &last, &disorder)
	if err != nil {
		t.Fatal(err)
	}
	if count != total || distinct != total || first != 1 || last != total || disorder != 0 {
		t.Errorf("%d effects of %d events, from %d to %d, %d out of order; want each of %d once", count, distinct, first, last, disorder, total)
	}
}
