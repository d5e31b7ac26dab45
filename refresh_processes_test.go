package forgeauth_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/secret"
)

// workerVariable makes the test binary a program that uses the active forge when it is told to. It holds a workerConfig.
const workerVariable = "FORGEAUTH_TEST_WORKER"

// workerConfig is what the parent tells a worker, as JSON.
type workerConfig struct {
	DatabaseURL string        `json:"database_url"`
	Key         string        `json:"key"`
	PublicURL   string        `json:"public_url"`
	Connection  string        `json:"connection"`
	Kind        forge.Kind    `json:"kind"`
	Forge       string        `json:"forge"`
	ClientID    string        `json:"client_id"`
	Client      string        `json:"client"`
	Timeout     time.Duration `json:"timeout"` // of a request to the forge
	// Background says that it does the background work too, which refreshes what has expired without being told.
	Background bool `json:"background"`
}

// workerProgram is a program that acts on the active forge. It obeys lines on stdin: "clock <nanoseconds>" sets how far its clock
// is ahead of the system's, "use <n>" asks for the operator's adapter and whose token that is. It prints "open" when it begins and
// answers each line by one that begins alike and ends with ok or what went wrong.
func workerProgram() int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := runWorker(ctx, os.Getenv(workerVariable), os.Stdin, os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runWorker(ctx context.Context, text string, in io.Reader, out io.Writer) error {
	var config workerConfig
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return err
	}
	at := &clock{}
	info, _ := forge.Info(config.Kind)
	service, err := forgeauth.Open(ctx, forgeauth.Config{
		DatabaseURL: secret.New(config.DatabaseURL), EncryptionKey: secret.New(config.Key), PublicURL: config.PublicURL,
		Connections: []forge.Connection{{
			Name: config.Connection, Kind: config.Kind, BaseURL: config.Forge, ClientID: config.ClientID,
			ClientSecret: secret.New(config.Client), Scopes: info.Scopes, Login: true,
		}},
		Now: at.Now, ForgeTimeout: config.Timeout,
	})
	if err != nil {
		return err
	}
	if config.Background {
		go func() { _ = service.Run(ctx) }()
	}
	var writing sync.Mutex
	say := func(line string) {
		writing.Lock()
		defer writing.Unlock()
		_, _ = fmt.Fprintln(out, line) // fails only when the parent has gone, and then stdin ends
	}
	say("open")
	for lines := bufio.NewScanner(in); lines.Scan(); {
		line := lines.Text()
		if ahead, ok := strings.CutPrefix(line, "clock "); ok {
			offset, err := strconv.ParseInt(ahead, 10, 64)
			if err != nil {
				return err
			}
			at.offset.Store(offset)
			say(line + " ok")
			continue
		}
		go func() { say(line + " " + useForge(ctx, service)) }()
	}
	return nil
}

func useForge(ctx context.Context, service *forgeauth.Service) string {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	port, err := service.GetOperatorAdapter(ctx)
	if err == nil {
		_, err = port.Account(ctx)
	}
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, forge.ErrNeedsReauth):
		return "needs a sign-in"
	}
	return err.Error()
}

// worker is such a program as its parent sees it.
type worker struct {
	process *exec.Cmd
	stdin   io.WriteCloser
	stderr  *strings.Builder
	orders  int

	mu      sync.Mutex
	answers map[string]chan string
}

func startWorker(t *testing.T, config workerConfig) *worker {
	t.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{
		process: exec.CommandContext(t.Context(), executable), //nolint:gosec // this very binary
		stderr:  &strings.Builder{}, answers: map[string]chan string{},
	}
	w.process.Env = append(os.Environ(), workerVariable+"="+string(text))
	w.process.Stderr = w.stderr
	if w.stdin, err = w.process.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := w.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.kill(t) })
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() || lines.Text() != "open" {
		t.Fatalf("a worker does not open: %s", w.stderr)
	}
	go w.listen(lines)
	return w
}

func (w *worker) listen(lines *bufio.Scanner) {
	for lines.Scan() {
		words := strings.SplitN(lines.Text(), " ", 3)
		w.mu.Lock()
		answer := w.answers[words[0]+" "+words[1]]
		w.mu.Unlock()
		answer <- words[2]
	}
}

// tell gives an order. Its answer comes on the channel, which is buffered.
func (w *worker) tell(t *testing.T, order string) <-chan string {
	t.Helper()
	answer := make(chan string, 1)
	w.mu.Lock()
	w.answers[order] = answer
	w.mu.Unlock()
	if _, err := fmt.Fprintln(w.stdin, order); err != nil {
		t.Fatalf("a worker is gone: %v %s", err, w.stderr)
	}
	return answer
}

func (w *worker) use(t *testing.T) <-chan string {
	t.Helper()
	w.orders++
	return w.tell(t, fmt.Sprint("use ", w.orders))
}

func (w *worker) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := w.process.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// kill ends the process at once, and may be called again.
func (w *worker) kill(t *testing.T) {
	t.Helper()
	if w.process.ProcessState == nil {
		_ = w.process.Process.Kill() // may have ended
		_ = w.process.Wait()         // says that it was killed
	}
}

// patience is how long anything here may take that is not stuck.
const patience = time.Minute

func expect(t *testing.T, what string, answer <-chan string, want string) {
	t.Helper()
	select {
	case got := <-answer:
		if got != want {
			t.Errorf("%s: %s; want %s", what, got, want)
		}
	case <-time.After(patience):
		t.Fatalf("%s: no answer", what)
	}
}

// crew is some workers on one database, whose one connection has a token that expires.
type crew struct {
	house   *house
	name    string // of the connection
	forge   *forgetest.Forge
	browser *browser
	config  workerConfig
	workers []*worker
	elapsed time.Duration
}

func newCrew(t *testing.T, connection string, timeout time.Duration) *crew {
	t.Helper()
	h := newHouse(t, connection)
	h.open(t)
	c := h.config.Connections[0]
	return &crew{
		house: h, name: connection, forge: h.forges[connection], browser: h.claim(t, connection),
		config: workerConfig{
			DatabaseURL: h.db.URL, Key: h.config.EncryptionKey.Reveal(), PublicURL: h.server.URL, Connection: connection, Kind: c.Kind,
			Forge: c.BaseURL, ClientID: c.ClientID, Client: c.ClientSecret.Reveal(), Timeout: timeout,
		},
	}
}

// hire starts workers; change, if not nil, is applied to their configuration.
func (c *crew) hire(t *testing.T, n int, change func(*workerConfig)) {
	t.Helper()
	config := c.config
	if change != nil {
		change(&config)
	}
	for range n {
		w := startWorker(t, config)
		c.workers = append(c.workers, w)
		expect(t, "clock", w.tell(t, fmt.Sprint("clock ", int64(c.elapsed))), "ok")
	}
}

// expire lets the token's life pass, at the forge first: nobody refreshes it before the forge agrees that it has expired.
func (c *crew) expire(t *testing.T) {
	t.Helper()
	const life = 9 * time.Hour // of any dialect's token
	c.elapsed += life
	c.house.clock.jump(life)
	for _, w := range c.workers {
		if w.process.ProcessState == nil {
			expect(t, "clock", w.tell(t, fmt.Sprint("clock ", int64(c.elapsed))), "ok")
		}
	}
}

// allUse has workers use the forge at the same time.
func (c *crew) allUse(t *testing.T, want string, workers ...*worker) {
	t.Helper()
	var answers []<-chan string
	for _, w := range workers {
		answers = append(answers, w.use(t))
	}
	for i, answer := range answers {
		expect(t, fmt.Sprintf("worker %d of %d", i+1, len(workers)), answer, want)
	}
}

// grants counts the refreshes that reached the forge, and those of them that it granted. GitHub answers 200 either way, so that
// what was issued is counted, less what sign-ins were.
func (c *crew) grants() (reached, granted int) {
	for _, r := range c.forge.Requests() {
		if r.Endpoint == forgetest.RefreshEndpoint {
			reached++
		}
		if r.Endpoint == forgetest.TokenEndpoint {
			granted--
		}
	}
	for _, issue := range c.forge.Issued() {
		if issue.Kind == forgetest.AccessTokenIssue {
			granted++
		}
	}
	return reached, granted
}

// arrived waits until a refresh has come to the forge after n others.
func (c *crew) arrived(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.forge.Await(ctx, forgetest.RefreshEndpoint, n+1); err != nil {
		t.Fatal(err)
	}
}

// Processes that find the token expired at the same moment refresh it once between them, and all of them go on.
func TestProcessesRefreshOnceBetweenThem(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]int{"gitlab": 2, "forgejo": 8} { // which rotate
		t.Run(fmt.Sprint(n, " at ", name), func(t *testing.T) {
			t.Parallel()
			c := newCrew(t, name, 30*time.Second)
			c.hire(t, n, func(w *workerConfig) { w.Background = true })
			for round := range rounds(10, 100) {
				before, _ := c.grants()
				c.expire(t)
				c.allUse(t, "ok", c.workers...)
				c.allUse(t, "ok", c.workers...)
				if reached, _ := c.grants(); reached != before+1 {
					t.Errorf("round %d: %d grants reached the forge", round, reached-before)
				}
				if t.Failed() {
					t.FailNow()
				}
			}
			checkInvariants(t.Context(), t, c.house.service(), c.house.db.Pool(t))
		})
	}
}

const (
	needsSignIn = "needs a sign-in"
	// hurry is a timeout of requests to the forge at which nobody waits long for the deadline of a process that is gone.
	hurry = 8 * time.Second
)

// trouble is one worker that comes to grief while it refreshes, and two that want to go on.
type trouble struct {
	*crew
	victim *worker
	others []*worker
	proxy  *pgtest.Proxy // between the victim and the database
	// reached and granted are what crew.grants returned before.
	reached, granted int
}

// startTrouble lets the victim refresh, with fault striking its request, and returns when that has come to the forge.
func startTrouble(t *testing.T, connection string, fault forgetest.Fault) (t2 *trouble, answer <-chan string) {
	t.Helper()
	c := newCrew(t, connection, hurry)
	proxy, proxied := c.house.db.Proxied(t)
	c.hire(t, 1, func(w *workerConfig) { w.DatabaseURL = proxied })
	c.hire(t, 2, nil)
	x := &trouble{crew: c, victim: c.workers[0], others: c.workers[1:], proxy: proxy}
	c.allUse(t, "ok", c.workers...)
	c.expire(t)
	x.reached, x.granted = c.grants()
	c.forge.Next(forgetest.RefreshEndpoint, fault)
	answer = x.victim.use(t)
	c.arrived(t, x.reached)
	return x, answer
}

// goesOn says that everybody named works, and that the forge granted one refresh since the trouble began.
func (x *trouble) goesOn(t *testing.T, workers ...*worker) {
	t.Helper()
	x.allUse(t, "ok", workers...)
	if _, got := x.grants(); got != x.granted+1 {
		t.Errorf("the forge granted %d refreshes", got-x.granted)
	}
	checkInvariants(t.Context(), t, x.house.service(), x.house.db.Pool(t))
}

// reconnect lets the victim find out which of its connections to the database were cut: each costs a read.
func (x *trouble) reconnect(t *testing.T) {
	t.Helper()
	for said := ""; said == "" || strings.Contains(said, events.ErrUnreadable.Error()); said = <-x.victim.use(t) {
		if t.Context().Err() != nil {
			t.Fatal("the victim does not get back to its database: " + said)
		}
	}
}

// commits matches the message with which events are committed: the Sync after they were inserted.
func commits() func(pgtest.Message) bool {
	isInsert, inserted := pgtest.Runs("INSERT INTO events"), false
	return func(m pgtest.Message) bool { // under the proxy's lock
		inserted = inserted || isInsert(m)
		return inserted && m.Type == 'S'
	}
}

func TestTroubleWhileAProcessRefreshes(t *testing.T) {
	t.Parallel()
	t.Run("killed before the forge has answered", func(t *testing.T) {
		t.Parallel()
		x, _ := startTrouble(t, "gitlab", forgetest.Slow(nil))
		x.victim.kill(t)
		x.goesOn(t, x.others...)
	})
	t.Run("killed when the forge has rotated", func(t *testing.T) {
		t.Parallel()
		x, _ := startTrouble(t, "forgejo", forgetest.SlowAfter(nil))
		x.victim.kill(t)
		x.allUse(t, needsSignIn, x.others...)
		// The old token was tried once more, and no process tries it again.
		x.allUse(t, needsSignIn, x.others...)
		if reached, _ := x.grants(); reached != x.reached+2 {
			t.Errorf("%d grants reached the forge", reached-x.reached)
		}
		mustSignIn(t, x.browser, x.name, "ada", nil)
		x.goesOn(t, x.others...)
	})
	t.Run("stopped past its deadline before the forge has answered", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		x, answer := startTrouble(t, "github-app", forgetest.Slow(release))
		x.victim.signal(t, syscall.SIGSTOP)
		x.allUse(t, "ok", x.others...)
		close(release)
		x.victim.signal(t, syscall.SIGCONT)
		expect(t, "the one that was stopped", answer, "ok")
		x.goesOn(t, x.workers...)
	})
	t.Run("stopped past its deadline with the answer on its way", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		x, answer := startTrouble(t, "gitlab", forgetest.SlowAfter(release))
		x.victim.signal(t, syscall.SIGSTOP)
		x.allUse(t, needsSignIn, x.others...)
		close(release)
		x.victim.signal(t, syscall.SIGCONT)
		expect(t, "the one that was stopped", answer, "ok")
		x.goesOn(t, x.workers...)
	})
	t.Run("cut off from the database while the forge thinks", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		x, answer := startTrouble(t, "forgejo", forgetest.Slow(release))
		x.proxy.CutNow()
		close(release)
		<-answer // it may have read from the database right when that was away
		x.reconnect(t)
		x.goesOn(t, x.workers...)
	})
	for what, cut := range map[string]func(*pgtest.Proxy, func(pgtest.Message) bool) <-chan struct{}{
		"before": (*pgtest.Proxy).CutBefore, "after": (*pgtest.Proxy).CutAfter,
	} {
		t.Run("cut off right "+what+" it commits what the forge has granted", func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			x, answer := startTrouble(t, "gitlab", forgetest.Slow(release))
			done := cut(x.proxy, commits())
			close(release)
			expect(t, "the one that was cut off", answer, "ok")
			select {
			case <-done:
			default:
				t.Error("the connection was not cut")
			}
			x.reconnect(t)
			x.goesOn(t, x.workers...)
		})
	}
	t.Run("killed before it commits what the forge has granted", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		x, _ := startTrouble(t, "github-app", forgetest.Slow(release))
		reached, forward := x.proxy.HoldBefore(pgtest.Mentions("INSERT INTO events"))
		close(release)
		<-reached
		x.victim.kill(t)
		x.proxy.CutNow()
		forward()
		x.allUse(t, needsSignIn, x.others...)
		mustSignIn(t, x.browser, x.name, "ada", nil)
		x.goesOn(t, x.others...)
	})
}
