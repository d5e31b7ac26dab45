package forgeauth_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

// childVariable makes the test binary a program that signs in and in again until it is killed. It holds a childConfig.
const childVariable = "FORGEAUTH_TEST_CHILD"

// httptestPeer is where a request of httptest comes from.
var httptestPeer = netip.MustParsePrefix("192.0.2.0/24")

// childConfig is what the parent tells the child, as JSON.
type childConfig struct {
	DatabaseURL string            `json:"database_url"`
	Key         string            `json:"key"`
	PublicURL   string            `json:"public_url"`
	Forges      map[string]string `json:"forges"`  // base URLs by connection
	Secrets     map[string]string `json:"secrets"` // client secrets by connection
}

// The kinds of the connections, and what they are called, in the order in which the child takes turns.
var childForges = []string{"gitea", "gitlab"}

// child serves callbacks in this process, in two goroutines, until it is killed. It prints "open" when it begins, and after each
// callback that was answered with a session the value of that session's cookie; if one was not, "failed" and how, and then it waits
// for its end.
func child() int {
	err := runChild(context.Background(), os.Getenv(childVariable), os.Stdout)
	_, _ = fmt.Fprintln(os.Stderr, err) // it never returns without one
	return 1
}

func runChild(ctx context.Context, text string, out io.Writer) error {
	var config childConfig
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return err
	}
	service, err := forgeauth.Open(ctx, forgeauth.Config{
		DatabaseURL: secret.New(config.DatabaseURL), EncryptionKey: secret.New(config.Key), PublicURL: config.PublicURL,
		TrustedProxies: []netip.Prefix{httptestPeer},
		Connections:    config.connections(),
	})
	if err != nil {
		return err
	}
	go func() { _ = service.Run(ctx) }()
	if _, err := fmt.Fprintln(out, "open"); err != nil {
		return err
	}
	failed := make(chan error)
	var clients atomic.Uint64
	for lane := range 2 {
		go func() {
			cookie := ""
			for turn := lane; ; turn++ {
				value, err := childSignIn(ctx, service.Handler(), config.PublicURL, childForges[turn%2], cookie, clients.Add(1))
				if err == nil {
					_, err = fmt.Fprintln(out, value)
				}
				if err != nil {
					failed <- err
					return
				}
				if cookie = value; turn%3 == 0 { // a browser without a session
					cookie = ""
				}
			}
		}()
	}
	for {
		if _, err := fmt.Fprintln(out, "failed", <-failed); err != nil {
			return err // nobody is there any more
		}
	}
}

func (c childConfig) connections() []forge.Connection {
	var list []forge.Connection
	for _, name := range childForges {
		info, _ := forge.Info(forge.Kind(name))
		list = append(list, forge.Connection{
			Name: name, Kind: info.Kind, BaseURL: c.Forges[name], ClientID: "child", ClientSecret: secret.New(c.Secrets[name]),
			Scopes: info.Scopes, Login: true,
		})
	}
	return list
}

// childSignIn goes through a sign-in, with the session of that cookie if there is one, and returns the new session's cookie.
func childSignIn(ctx context.Context, handler http.Handler, origin, connection, cookie string, client uint64) (string, error) {
	at, err := url.Parse(origin)
	if err != nil {
		return "", err
	}
	var jar []*http.Cookie
	if cookie != "" {
		jar = cookiesOf(http.Header{"Set-Cookie": {"forgeauth_" + at.Port() + "=" + cookie}})
	}
	visit := func(method, target string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(ctx, method, target, nil)
		r.Header.Set("X-Forwarded-For", fmt.Sprintf("198.51.%d.%d", client/250%250, client%250+1))
		for _, c := range jar {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	started := visit(http.MethodPost, origin+"/oauth/"+connection+"/init").Header()
	jar = append(jar, cookiesOf(started)...)
	// The stand-ins consent at once.
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, started.Get("Location"), nil)
	if err != nil {
		return "", err
	}
	consented, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return "", err
	}
	if err := consented.Body.Close(); err != nil {
		return "", err
	}
	done := visit(http.MethodGet, consented.Header.Get("Location"))
	for _, c := range cookiesOf(done.Header()) {
		if c.Name == "forgeauth_"+at.Port() && c.Value != "" && done.Code == http.StatusSeeOther {
			return c.Value, nil
		}
	}
	return "", fmt.Errorf("the callback was answered with status %d to %s", done.Code, done.Header().Get("Location"))
}

// cookiesOf returns the cookies that an answer sets.
func cookiesOf(answered http.Header) []*http.Cookie {
	var set []*http.Cookie
	for _, line := range answered.Values("Set-Cookie") {
		if cookie, err := http.ParseSetCookie(line); err == nil {
			set = append(set, cookie)
		}
	}
	return set
}

// A process is killed at any moment of its callbacks, by time or at a message to the database that it has or has not got out.
// Whatever the next process finds: each sign-in is there whole or not at all, and those that were answered are there.
func TestKillAtAnyMomentLeavesSignInsWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	c := newCrash(t)
	for round := range rounds(15, 500) {
		if !t.Run(fmt.Sprint("round ", round), func(t *testing.T) { c.round(t, round) }) {
			return
		}
	}
	t.Logf("%d sign-ins were answered, %d more had been committed", len(c.answered), c.unanswered)
}

type crash struct {
	db         *pgtest.DB
	pool       *pgxpool.Pool
	config     childConfig
	service    *forgeauth.Service // another process, which goes on all the time
	answered   []string           // cookies of sign-ins that were answered
	unanswered int
}

func newCrash(t *testing.T) *crash {
	t.Helper()
	h := newHouse(t)
	c := &crash{db: h.db, pool: h.db.Pool(t), config: childConfig{
		Key: h.config.EncryptionKey.Reveal(), PublicURL: h.server.URL, Forges: map[string]string{}, Secrets: map[string]string{},
	}}
	for _, name := range childForges {
		c.config.Secrets[name] = rand.Text()
		h.forges[name] = forgetest.Start(t, forgetest.Config{
			Dialect: dialects[name], Users: []forgetest.User{ada}, AutoConsent: true, RequirePKCE: true, Clients: []forgetest.Client{{
				ID: "child", Secret: c.config.Secrets[name], RedirectURIs: []string{h.server.URL + "/oauth/" + name + "/callback"},
			}},
		})
		c.config.Forges[name] = h.forges[name].URL()
	}
	h.config.Connections = c.config.connections()
	c.service = h.open(t)
	b := h.claimByAutoConsent(t)
	c.answered = append(c.answered, b.session())
	mustCome(t, b, "gitlab")
	c.answered = append(c.answered, b.session())
	return c
}

// claimByAutoConsent is claim at forges that show no pages.
func (h *house) claimByAutoConsent(t *testing.T) *browser {
	t.Helper()
	code, _, _, err := h.service().Commands().EnsureSetupCode(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := h.browser()
	to, err := b.start(t.Context(), "gitea", url.Values{"setup_code": {code.Reveal()}})
	if err != nil {
		t.Fatal(err)
	}
	b.follow(t, to)
	return b
}

func mustCome(t *testing.T, b *browser, connection string) {
	t.Helper()
	to, err := b.start(t.Context(), connection, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.follow(t, to)
}

// follow goes to the forge and back and expects to be signed in.
func (b *browser) follow(t *testing.T, to string) {
	t.Helper()
	for _, want := range []int{http.StatusFound, http.StatusSeeOther} {
		a, err := b.get(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		if a.StatusCode/100 != 3 || strings.Contains(a.Header.Get("Location"), "error=") {
			t.Fatalf("status %d, want %d: %s %s", a.StatusCode, want, a.Header.Get("Location"), a.body)
		}
		to = a.Header.Get("Location")
	}
}

// round starts a child, kills it at a random moment, and looks at what it has left.
func (c *crash) round(t *testing.T, round int) {
	t.Helper()
	proxy, proxied := c.db.Proxied(t)
	c.config.DatabaseURL = proxied
	config, err := json.Marshal(c.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(ctx, executable) //nolint:gosec // this very binary
	command.Env = append(os.Environ(), childVariable+"="+string(config))
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() || lines.Text() != "open" {
		t.Fatalf("round %d: the child does not open: %s", round, stderr.String())
	}
	moment, cuts := c.moment(t, proxy, round)
	killed := make(chan error, 1)
	go func() {
		select {
		case <-moment:
		case <-ctx.Done():
		}
		killed <- command.Process.Kill()
	}()
	stop := make(chan struct{})
	beside := c.signInBeside(ctx, stop)
	for lines.Scan() { // until it is killed
		failure, failed := strings.CutPrefix(lines.Text(), "failed ")
		switch {
		case !failed:
			c.answered = append(c.answered, lines.Text())
		case !cuts: // else it may have missed its database before it was killed
			t.Errorf("round %d: a sign-in failed: %s", round, failure)
		}
	}
	close(stop)
	other := <-beside
	if c.answered = append(c.answered, other.answered...); other.err != nil {
		t.Errorf("round %d: a sign-in in the other process: %v", round, other.err)
	}
	if err := errors.Join(<-killed, ctx.Err()); err != nil {
		t.Fatalf("round %d: the moment did not come: %v %s", round, err, stderr.String())
	}
	if err := command.Wait(); command.ProcessState.ExitCode() != -1 {
		t.Fatalf("round %d: the child ended by itself: %v %s", round, err, stderr.String())
	}
	c.look(t, round)
}

// signedIn is what came of sign-ins.
type signedIn struct {
	answered []string
	err      error
}

// signInBeside signs in by the other process until stop, and once more. None of that may fail because a process was killed.
func (c *crash) signInBeside(ctx context.Context, stop <-chan struct{}) <-chan signedIn {
	result := make(chan signedIn, 1)
	go func() {
		var done signedIn
		client := uint64(len(c.answered)) // no limit is shared with the rounds before
		cookie := c.answered[0]           // ended long ago, perhaps; then the next one is without a session
		for turn, last := 0, false; !last && done.err == nil; turn++ {
			select {
			case <-stop:
				last = true
			default:
			}
			if cookie, done.err = childSignIn(ctx, c.service.Handler(), c.config.PublicURL, childForges[turn%2], cookie, client); done.err == nil {
				done.answered = append(done.answered, cookie)
			}
		}
		result <- done
	}()
	return result
}

// moment picks when to kill: after some milliseconds, or at some message to the database, which then still arrives or
// does not, because its connection is cut there. A sign-in sends about fifty.
func (c *crash) moment(t *testing.T, proxy *pgtest.Proxy, round int) (moment <-chan struct{}, cuts bool) {
	t.Helper()
	if round%3 == 0 {
		over := make(chan struct{})
		timer := time.AfterFunc(time.Duration(random(t, 300_000))*time.Microsecond, func() { close(over) })
		t.Cleanup(func() { timer.Stop() })
		return over, false
	}
	left := random(t, 600)
	match := func(pgtest.Message) bool {
		left-- // under the proxy's lock
		return left < 0
	}
	if round%2 == 0 { // within an append, which is where it matters
		left = random(t, 8)
		at := []string{"pg_advisory_xact_lock", "INSERT INTO events", "INSERT INTO operator_sessions", "data_keys", "pg_notify"}[random(t, 5)]
		match = func(m pgtest.Message) bool {
			if m.Type != 'E' || !strings.Contains(m.SQL, at) {
				return false
			}
			left--
			return left < 0
		}
	}
	if random(t, 2) == 0 {
		return proxy.CutBefore(match), true
	}
	return proxy.Seen(match), false
}

func random(t *testing.T, n int64) int64 {
	t.Helper()
	drawn, err := rand.Int(rand.Reader, big.NewInt(n))
	if err != nil {
		t.Fatal(err)
	}
	return drawn.Int64()
}

// look opens the deployment anew, as the next process does, and compares what is there with what was answered.
func (c *crash) look(t *testing.T, round int) {
	t.Helper()
	service, err := forgeauth.Open(t.Context(), forgeauth.Config{
		DatabaseURL: secret.New(c.db.URL), EncryptionKey: secret.New(c.config.Key), PublicURL: c.config.PublicURL, Connections: c.config.connections(),
	})
	if err != nil {
		t.Fatalf("round %d: %v", round, err)
	}
	defer closeService(t, service)
	// An append waits for whatever the server still does for the killed process.
	if err := service.ClearActiveForge(t.Context()); err != nil {
		t.Fatalf("round %d: %v", round, err)
	}
	if err := service.SetActiveForge(t.Context(), "gitea"); err != nil {
		t.Fatalf("round %d: %v", round, err)
	}
	log := checkInvariants(t.Context(), t, service, c.pool)
	sessions := map[string]bool{}
	for _, facts := range byCommand(log) {
		checkSignIn(t, facts)
		for _, e := range facts {
			if e.Type == events.TypeOf(events.SessionStarted{}) {
				sessions[string(e.Sealed)] = true
			}
		}
	}
	for _, cookie := range c.answered {
		if !sessions[sessionHash(t, c.config.Key, cookie)] {
			t.Errorf("round %d: a sign-in was answered that is not in the log", round)
		}
	}
	c.unanswered = len(sessions) - len(c.answered)
	if t.Failed() {
		t.FailNow()
	}
}

// sessionHash is what the log holds of a session's cookie.
func sessionHash(t *testing.T, key, cookie string) string {
	t.Helper()
	master, err := vault.ParseKey(secret.New(key))
	if err != nil {
		t.Fatal(err)
	}
	value, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil {
		t.Fatal(err)
	}
	hash := vault.New(master, nil).SessionHash(value)
	return string(hash[:])
}
