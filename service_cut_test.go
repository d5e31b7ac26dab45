package forgeauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/secret"
)

// executing matches the message at which the server runs a statement.
func executing(fragment string) func(pgtest.Message) bool {
	return func(m pgtest.Message) bool { return m.Type == 'E' && strings.Contains(m.SQL, fragment) }
}

// proxiedHouse is a claimed house whose Service reaches its database through a proxy.
func proxiedHouse(t *testing.T) (*house, *browser, *pgtest.Proxy) {
	t.Helper()
	h := newHouse(t, "gitlab", "gitea")
	proxy, proxied := h.db.Proxied(t)
	h.open(t, func(c *forgeauth.Config) { c.DatabaseURL = secret.New(proxied) })
	b := h.claim(t, "gitlab")
	mustSignIn(t, b, "gitea", "ada", nil)
	return h, b, proxy
}

// The connection to the database is lost at every step of a callback's append. The browser is signed in all the same, and
// the log holds the sign-in once.
func TestCutConnectionsDoNotFailACallback(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{
		"pg_advisory_xact_lock", "INSERT INTO events", "INSERT INTO operator_sessions", "INSERT INTO data_keys", "pg_notify",
	} {
		for name, cut := range map[string]func(*pgtest.Proxy, func(pgtest.Message) bool) <-chan struct{}{
			"before": (*pgtest.Proxy).CutBefore, "after": (*pgtest.Proxy).CutAfter,
		} {
			t.Run(name+" "+statement, func(t *testing.T) {
				t.Parallel()
				h, b, proxy := proxiedHouse(t)
				before := len(readLog(t.Context(), t, h.service()))
				callback, err := b.callback(t.Context(), "gitlab", "ada", nil)
				if err != nil {
					t.Fatal(err)
				}
				session := b.session()
				happened := cut(proxy, executing(statement))
				a, err := b.get(t.Context(), callback)
				if err != nil {
					t.Fatal(err)
				}
				<-happened
				if a.Header.Get("Location") != "/" || b.session() == session {
					t.Fatalf("the callback was answered with %d to %q\n%s", a.StatusCode, a.Header.Get("Location"), a.body)
				}
				if a, err = b.get(t.Context(), "/me"); err != nil || a.StatusCode != http.StatusOK {
					t.Errorf("/me: %v %s", err, a.body)
				}
				log := checkInvariants(t.Context(), t, h.service(), h.db.Pool(t))
				signIns := 0
				for _, facts := range byCommand(log[before:]) {
					checkSignIn(t, facts)
					for _, e := range facts {
						if e.Type == events.TypeOf(events.SessionStarted{}) {
							signIns++
						}
					}
				}
				if signIns != 1 {
					t.Errorf("the log holds the sign-in %d times", signIns)
				}
			})
		}
	}
}

// A switch is told as what it is, too: done, once.
func TestCutConnectionsDoNotFailASwitch(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{"INSERT INTO events", "pg_notify"} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			h, b, proxy := proxiedHouse(t)
			before := len(readLog(t.Context(), t, h.service()))
			happened := proxy.CutAfter(executing(statement))
			a, err := b.do(t.Context(), http.MethodPost, "/forges/active", url.Values{"forge_type": {"gitlab"}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			<-happened
			log := checkInvariants(t.Context(), t, h.service(), h.db.Pool(t))
			if a.StatusCode != http.StatusOK || !strings.Contains(a.body, `"ForgeActivated"`) || len(log) != before+1 {
				t.Errorf("%d events more; %d %s", len(log)-before, a.StatusCode, a.body)
			}
		})
	}
}

// The database goes away in the very moment of a commit and stays away: the answer is that nobody knows, and not that it
// failed. The token is not revoked, because it may be the one that is stored; and it is.
func TestCutAtCommitForGoodIsUnknownAndNotFailed(t *testing.T) {
	t.Parallel()
	h, b, proxy := proxiedHouse(t)
	before := len(readLog(t.Context(), t, h.service()))
	callback, err := b.callback(t.Context(), "gitlab", "ada", nil)
	if err != nil {
		t.Fatal(err)
	}
	revocations := h.forges["gitlab"].Count(forgetest.RevokeEndpoint)
	happened := proxy.CutAfter(executing("pg_notify"))
	proxy.Refuse()
	a, err := b.get(t.Context(), callback)
	if err != nil {
		t.Fatal(err)
	}
	<-happened
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/login?error=commit_unknown" {
		t.Errorf("the callback was answered with %d to %q\n%s", a.StatusCode, a.Header.Get("Location"), a.body)
	}
	if h.forges["gitlab"].Count(forgetest.RevokeEndpoint) != revocations {
		t.Error("the token was revoked that may be stored")
	}
	proxy.Accept()
	log := checkInvariants(t.Context(), t, h.service(), h.db.Pool(t))
	for _, facts := range byCommand(log[before:]) {
		checkSignIn(t, facts)
	}
	if len(log) == before {
		t.Error("it was committed, and the log does not hold it")
	}
	// And on it goes.
	mustSignIn(t, h.browser(), "gitlab", "ada", nil)
	checkInvariants(t.Context(), t, h.service(), h.db.Pool(t))
}

// The database is away before anything could be committed: nothing is, the answer says so, and the token that was granted
// meanwhile is revoked.
func TestCutBeforeAnythingWasWrittenIsAFailureThatLeavesNothing(t *testing.T) {
	t.Parallel()
	h, b, proxy := proxiedHouse(t)
	if err := h.service().ClearActiveForge(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Another process appends, so that this one has to read before it writes.
	other := h.open(t)
	h.services = h.services[:1]
	if err := other.SetActiveForge(t.Context(), "gitea"); err != nil {
		t.Fatal(err)
	}
	before := len(readLog(t.Context(), t, other))
	callback, err := b.callback(t.Context(), "gitlab", "ada", nil)
	if err != nil {
		t.Fatal(err)
	}
	handlers := []http.Handler{h.services[0].Handler()}
	h.handlers.Store(&handlers)
	// Held at the exchange, until the writer has lost its connection.
	release := make(chan struct{})
	h.forges["gitlab"].Next(forgetest.TokenEndpoint, forgetest.Slow(release))
	exchanges := h.forges["gitlab"].Count(forgetest.TokenEndpoint)
	answered := make(chan answer, 1)
	go func() {
		a, err := b.get(t.Context(), callback)
		if err != nil {
			t.Error(err)
		}
		answered <- a
	}()
	if err := h.forges["gitlab"].Await(t.Context(), forgetest.TokenEndpoint, exchanges+1); err != nil {
		t.Fatal(err)
	}
	proxy.Refuse()
	proxy.CutNow()
	close(release)
	a := <-answered
	if location := a.Header.Get("Location"); location != "/login?error=temporarily_unwritable" && location != "/login?error=commit_unknown" {
		t.Errorf("the callback was answered with %d to %q\n%s", a.StatusCode, location, a.body)
	}
	if after := len(readLog(t.Context(), t, other)); after != before {
		t.Errorf("%d events were written", after-before)
	}
	var live int
	for _, token := range h.forges["gitlab"].Tokens() {
		if token.Live && token.Kind == forgetest.AccessTokenIssue {
			live++
		}
	}
	if live != 1 && a.Header.Get("Location") == "/login?error=temporarily_unwritable" {
		t.Errorf("%d tokens work at the forge, want the one that is stored", live)
	}
	proxy.Accept()
	h.clock.jump(time.Minute)
	checkInvariants(t.Context(), t, other, h.db.Pool(t))
}

// What a process answers when its database does not: that it is not ready, and nothing of the driver's error.
func TestCutDatabaseMakesItUnready(t *testing.T) {
	t.Parallel()
	h, b, proxy := proxiedHouse(t)
	if a, err := b.get(t.Context(), "/readyz"); err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("/readyz: %v %s", err, a.body)
	}
	proxy.Refuse()
	proxy.CutNow()
	h.clock.jump(time.Minute)
	a, err := b.get(t.Context(), "/readyz")
	if err != nil || a.StatusCode != http.StatusServiceUnavailable || strings.Contains(a.body, "127.0.0.1") || strings.Contains(a.body, "dial") {
		t.Errorf("/readyz: %v %d %s", err, a.StatusCode, a.body)
	}
	if a, err = b.get(t.Context(), "/healthz"); err != nil || a.StatusCode != http.StatusOK {
		t.Errorf("/healthz: %v %s", err, a.body)
	}
	a, err = b.get(t.Context(), "/me")
	t.Logf("/me without a database: %v %d %s", err, a.StatusCode, a.body)
	proxy.Accept()
	h.clock.jump(time.Minute)
	if a, err = b.get(t.Context(), "/readyz"); err != nil || a.StatusCode != http.StatusOK {
		t.Errorf("/readyz afterwards: %v %s", err, a.body)
	}
	if a, err = b.get(t.Context(), "/me"); err != nil || a.StatusCode != http.StatusOK {
		t.Errorf("/me afterwards: %v %s", err, a.body)
	}
}
