package commands

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/forge/gitea"
	"github.com/forgeauth/forgeauth/forge/gitlab"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/projections"
)

// halted is a provider whose process stops at a refresh: before the request is made, or with the answer in its hands.
type halted struct {
	forge.Provider

	before, after func()
}

// Refresh implements [forge.Provider].
func (h halted) Refresh(ctx context.Context, r forge.RefreshRequest) (forge.Token, error) {
	if h.before != nil {
		h.before()
	}
	token, err := h.Provider.Refresh(ctx, r)
	if h.after != nil {
		h.after()
	}
	return token, err
}

// twice is the begin of a history in which the first attempt has come to nothing.
const twice = "TokenRefreshStarted" + " " + "TokenRefreshStarted" + " "

// shortTimeout is that of a process whose attempts are over soon: others wait twice as long.
const shortTimeout = 1500 * time.Millisecond

// stopping is a process that stops with its first refresh until it is let go: before it sends anything, or when the forge has
// answered.
func (d *deployment) stopping(forgeType string, beforehand bool) (process *Commands, stopped, goOn chan struct{}) {
	d.t.Helper()
	stopped, goOn = make(chan struct{}), make(chan struct{})
	halt := sync.OnceFunc(func() {
		close(stopped)
		<-goOn
	})
	process = d.process(func(c *Config) {
		c.ForgeTimeout = shortTimeout
		for i, provider := range c.Connections {
			if provider.Connection().Name != forgeType {
				continue
			}
			h := halted{Provider: provider, after: halt}
			if beforehand {
				h = halted{Provider: provider, before: halt}
			}
			c.Connections[i] = h
		}
	})
	return process, stopped, goOn
}

// needs asks a process for an adapter, in the background.
func needs(ctx context.Context, c *Commands, forgeType string) <-chan error {
	done := make(chan error, 1)
	go func() {
		port, err := c.AdapterFor(ctx, forgeType)
		if err == nil {
			_, err = port.Account(ctx)
		}
		done <- err
	}()
	return done
}

// A process ends after it has announced a refresh and before it has sent anything. The next one waits for the deadline and
// refreshes; the first, should it only have been paused, sends nothing any more.
func TestAProcessThatStopsBeforeItsGrant(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	d.clock.advance(2 * time.Hour)
	stopped, released, goOn := d.stopping("gitlab", true)
	appended, grants := d.since(), d.grants("gitlab")
	late := needs(t.Context(), stopped, "gitlab")
	<-released
	if err := <-needs(t.Context(), d.Commands, "gitlab"); err != nil {
		t.Fatal(err)
	}
	started, ok := d.events("gitlab")[2].Fact.(events.TokenRefreshStarted)
	if got := appended(); got != twice+"TokenRefreshed" || !ok || !started.Recovering {
		t.Errorf("appended %s, recovering: %v", got, started.Recovering)
	}
	close(goOn)
	if err := <-late; err != nil {
		t.Errorf("the process that was paused: %v", err)
	}
	if d.grants("gitlab") != grants+1 {
		t.Errorf("%d grants", d.grants("gitlab")-grants)
	}
}

// A process ends with the answer in its hands: the forge has rotated, and nobody has the new pair. The next one tries the old
// refresh token once, and then asks for a sign-in at once.
func TestAProcessThatStopsAfterTheForgeHasRotated(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]bool{"for good": false, "and goes on": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := connected(t, "gitlab")
			d.clock.advance(2 * time.Hour)
			process, stopped, goOn := d.stopping("gitlab", false)
			appended, grants := d.since(), d.grants("gitlab")
			paused := needs(t.Context(), process, "gitlab")
			<-stopped
			if err := <-needs(t.Context(), d.Commands, "gitlab"); !errors.Is(err, forge.ErrNeedsReauth) {
				t.Fatal(err)
			}
			if got := appended(); got != twice+"TokenRefreshFailed" || d.grants("gitlab") != grants+2 {
				t.Errorf("appended %s with %d grants", got, d.grants("gitlab")-grants)
			}
			if row := d.row("gitlab"); row.NeedsReauthSince == nil || row.NeedsReauthReason != codeOutcomeUnknown {
				t.Errorf("the row says %+v", row)
			}
			if late {
				close(goOn)
				if err := <-paused; err != nil {
					t.Errorf("the process that was paused: %v", err)
				}
				if got := appended(); !strings.HasSuffix(got, "TokenRefreshFailed TokenRefreshed") {
					t.Errorf("appended %s", got)
				}
				if err := <-needs(t.Context(), d.Commands, "gitlab"); err != nil {
					t.Errorf("the other one: %v", err)
				}
				return
			}
			session := d.enter(d.login("github", "alice", nil, ""))
			d.enter(d.login("gitlab", "alice", &session.Session, ""))
			if err := <-needs(t.Context(), d.Commands, "gitlab"); err != nil {
				t.Errorf("after a sign-in: %v", err)
			}
			close(goOn) // so that the test can end; the pair comes too late
			if err := <-paused; err != nil {
				t.Errorf("the process that was paused: %v", err)
			}
			d.tellForges()
			if tokens := d.accessTokens("gitlab"); tokens[1].Live || !tokens[2].Live {
				t.Errorf("the pair that came too late lives: %v; that of the sign-in: %v", tokens[1].Live, tokens[2].Live)
			}
		})
	}
}

// A sign-in overtakes a refresh: its token stays, the refreshed pair is revoked where it can be, and nothing alarms. On Gitea the
// sign-in has killed the refresh token.
func TestASignInDuringARefresh(t *testing.T) {
	t.Parallel()
	rotating := true
	for name, test := range map[string]struct {
		forgeType  string
		beforehand bool // the sign-in comes before the forge hears of the refresh
	}{
		"at GitLab, before the grant":  {"gitlab", true},
		"at GitLab, after the grant":   {"gitlab", false},
		"at Gitea, before the grant":   {"gitea", true},
		"at Gitea, after the grant":    {"gitea", false},
		"at Forgejo, before the grant": {"forgejo", true},
		"at Forgejo, after the grant":  {"forgejo", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			if test.forgeType == "gitea" {
				d.forges["gitea"] = forgetest.Start(t, forgetest.Config{
					Dialect: forgetest.Gitea, Now: d.clock.Now, RequirePKCE: true, Rotation: &rotating,
					Clients: []forgetest.Client{{ID: "client", Secret: "first-secret", RedirectURIs: []string{publicURL + "/oauth/gitea/callback"}}},
					Users:   []forgetest.User{{ID: 1, Login: "alice"}},
				})
				d.Commands = d.process(func(c *Config) { c.Connections[2] = d.provider("gitea", forge.Gitea, gitea.New) })
			}
			session := d.claim()
			session = d.enter(d.login(test.forgeType, "alice", &session.Session, ""))
			d.clock.advance(2 * time.Hour)
			process, stopped, goOn := d.stopping(test.forgeType, test.beforehand)
			if test.forgeType == "gitea" {
				inner, ok := process.providers["gitea"].(halted)
				if !ok {
					t.Fatal("the provider does not halt")
				}
				inner.Provider = d.providers["gitea"]
				process.providers["gitea"] = inner
			}
			overtaken := needs(t.Context(), process, test.forgeType)
			<-stopped
			d.enter(d.login(test.forgeType, "alice", &session.Session, ""))
			appended := d.since()
			close(goOn)
			if err := <-overtaken; err != nil {
				t.Errorf("whoever needed a token has one: %v", err)
			}
			all := d.events(test.forgeType)
			switch last := all[len(all)-1].Fact.(type) {
			case events.TokenRefreshFailed:
				if test.forgeType == "gitlab" || last.Verdict != events.VerdictSuperseded || last.NeedsReauth {
					t.Errorf("recorded %+v", last)
				}
			case events.TokenRefreshOvertaken: // the pair can be revoked
				if test.forgeType != "gitlab" {
					t.Errorf("recorded %+v", last)
				}
			default:
				t.Errorf("recorded %+v", last)
			}
			if got := strings.Fields(appended()); len(got) != 1 {
				t.Errorf("appended %s", got)
			}
			d.tellForges()
			if row := d.row(test.forgeType); row.NeedsReauthSince != nil || row.Refresh != (projections.Refresh{}) {
				t.Errorf("the row says %+v", row)
			}
			if test.forgeType == "gitlab" {
				ofSignIn := map[bool]int{true: 1, false: 2}[test.beforehand]
				for n, token := range d.accessTokens("gitlab") {
					if token.Live != (n == ofSignIn) {
						t.Errorf("token %d lives: %v", n, token.Live)
					}
				}
			}
			d.clock.advance(90 * time.Minute)
			if err := <-needs(t.Context(), d.Commands, test.forgeType); err != nil {
				t.Errorf("the token of the sign-in cannot be refreshed: %v", err)
			}
		})
	}
}

func TestADisconnectDuringARefresh(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	d.clock.advance(2 * time.Hour)
	process, stopped, goOn := d.stopping("gitlab", false)
	overtaken := needs(t.Context(), process, "gitlab")
	<-stopped
	if _, err := d.DisconnectForge(t.Context(), Caller{}, "gitlab"); err != nil {
		t.Fatal(err)
	}
	appended := d.since()
	close(goOn)
	if err := <-overtaken; !errors.Is(err, projections.ErrNotConnected) {
		t.Errorf("%v", err)
	}
	if got := appended(); got != "TokenRefreshOvertaken" {
		t.Errorf("appended %s", got)
	}
	d.forges["gitlab"].Next(forgetest.RevokeEndpoint, forgetest.Status(http.StatusServiceUnavailable))
	d.tellForges()
	if got := appended(); got != "TokenRefreshOvertaken TokenRevocationAttempted" {
		t.Errorf("while the forge is down the log has %s", got)
	}
	d.clock.advance(2 * firstBackoff)
	d.tellForges()
	for n, token := range d.accessTokens("gitlab") {
		if token.Live {
			t.Errorf("token %d lives on at the forge", n)
		}
	}
}

// tellForges makes an attempt at every revocation that is due.
func (d *deployment) tellForges() {
	d.t.Helper()
	if err := d.settleRevocations(d.t.Context()); err != nil {
		d.t.Error(err)
	}
}

// through is a process that writes through a proxy.
func (d *deployment) through() (*Commands, *pgtest.Proxy) {
	d.t.Helper()
	proxy, url := d.db.Proxied(d.t)
	connect, err := pgx.ParseConfig(url)
	if err != nil {
		d.t.Fatal(err)
	}
	return d.process(func(c *Config) {
		c.Writer = events.NewWriter(events.WriterConfig{Conn: connect, Now: d.clock.Now, Logger: c.Logger}, projections.NewState())
	}), proxy
}

// The database is lost at each statement that a refresh is written with, before and after it has been executed. The forge is
// asked once, and its answer is stored.
func TestTheDatabaseIsCutWhileARefreshIsWritten(t *testing.T) {
	t.Parallel()
	for _, nth := range []int{0, 1} { // the announcement, the result
		for _, at := range []string{"pg_advisory_xact_lock", "INSERT INTO events", "INSERT INTO operator_oauth_tokens", "pg_notify"} {
			for _, after := range []bool{false, true} {
				t.Run(strings.Join([]string{[]string{"announced", "stored"}[nth], at, map[bool]string{false: "before", true: "after"}[after]}, " "), func(t *testing.T) {
					t.Parallel()
					d := connected(t, "gitlab")
					d.clock.advance(2 * time.Hour)
					process, proxy := d.through()
					left := nth
					match := func(m pgtest.Message) bool {
						if !strings.Contains(m.SQL, at) || m.Type != 'E' && m.Type != 'Q' {
							return false
						}
						left--
						return left < 0
					}
					reached := proxy.CutBefore(match)
					if after {
						reached = proxy.CutAfter(match)
					}
					appended, grants := d.since(), d.grants("gitlab")
					if err := <-needs(t.Context(), process, "gitlab"); err != nil {
						t.Error(err)
					}
					select {
					case <-reached:
					default:
						t.Error("the connection was not cut")
					}
					if got := appended(); got != "TokenRefreshStarted TokenRefreshed" || d.grants("gitlab") != grants+1 {
						t.Errorf("appended %s with %d grants", got, d.grants("gitlab")-grants)
					}
					if err := <-needs(t.Context(), d.Commands, "gitlab"); err != nil {
						t.Errorf("another process: %v", err)
					}
				})
			}
		}
	}
}

// The database is away when the forge has rotated, for longer than a writer is patient. The answer is kept and stored
// when it is back, although its caller has left, and the forge is not asked again.
func TestAnAnswerOutlivesADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	d.clock.advance(2 * time.Hour)
	proxy, url := d.db.Proxied(t)
	connect, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	process := d.process(func(c *Config) {
		c.Writer = events.NewWriter(events.WriterConfig{
			Conn: connect, Now: d.clock.Now, Logger: c.Logger, Patience: 300 * time.Millisecond,
		}, projections.NewState())
		c.Connections[1] = halted{Provider: d.provider("gitlab", forge.GitLab, gitlab.New), after: func() {
			proxy.Refuse()
			proxy.CutNow()
		}}
	})
	appended, grants := d.since(), d.grants("gitlab")
	ctx, leave := context.WithCancel(t.Context())
	left := needs(ctx, process, "gitlab")
	d.eventually("it was tried and will be again", func() bool {
		return strings.Contains(d.logs.String(), "a refreshed token is not stored yet")
	})
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	proxy.Accept()
	d.eventually("it is stored", func() bool { return appended() == "TokenRefreshStarted TokenRefreshed" })
	if err := <-needs(t.Context(), process, "gitlab"); err != nil || d.grants("gitlab") != grants+1 {
		t.Errorf("%v; %d grants", err, d.grants("gitlab")-grants)
	}
}

// An announcement that took so long that its deadline is near is followed by nothing: the forge never hears of it. Then the
// process begins anew.
func TestAnAnnouncementThatTookTooLong(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	d.clock.advance(2 * time.Hour)
	process, stopped, goOn := d.stopping("gitlab", true)
	appended, grants := d.since(), d.grants("gitlab")
	slow := needs(t.Context(), process, "gitlab")
	<-stopped
	time.AfterFunc(shortTimeout, func() { close(goOn) })
	if err := <-slow; err != nil {
		t.Error(err)
	}
	if got := appended(); got != "TokenRefreshStarted TokenRefreshFailed TokenRefreshStarted TokenRefreshed" || d.grants("gitlab") != grants+1 {
		t.Errorf("appended %s with %d grants", got, d.grants("gitlab")-grants)
	}
	failed, ok := d.events("gitlab")[2].Fact.(events.TokenRefreshFailed)
	if !ok || failed.Code != codeNotSent || failed.Verdict != events.VerdictUnknown {
		t.Errorf("recorded %+v", failed)
	}
}

// A process that is told to end while the forge answers a refresh waits for that and stores it.
func TestAProcessEndsWithItsAnswersStored(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	d.clock.advance(2 * time.Hour)
	release := make(chan struct{})
	d.forges["gitlab"].Next(forgetest.RefreshEndpoint, forgetest.SlowAfter(release))
	appended := d.since()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan string, 1)
	go func() {
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
		ended <- appended()
	}()
	if err := d.forges["gitlab"].Await(t.Context(), forgetest.RefreshEndpoint, 1); err != nil {
		t.Fatal(err)
	}
	stop()
	select {
	case <-ended:
		t.Fatal("it did not wait")
	case <-time.After(10 * pollFirst): // it is told by now, and has nothing else to wait for
	}
	close(release)
	if got := <-ended; got != "TokenRefreshStarted TokenRefreshed" {
		t.Errorf("when it ended the log had %s", got)
	}
}

// A program that does not run the background work closes while the forge answers a refresh, whose caller has left: it waits for
// the answer and stores it, and begins no other.
func TestClosingStoresWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	d.clock.advance(2 * time.Hour)
	release := make(chan struct{})
	d.forges["gitlab"].Next(forgetest.RefreshEndpoint, forgetest.SlowAfter(release))
	appended := d.since()
	ctx, leave := context.WithCancel(t.Context())
	used := needs(ctx, d.Commands, "gitlab")
	if err := d.forges["gitlab"].Await(t.Context(), forgetest.RefreshEndpoint, 1); err != nil {
		t.Fatal(err)
	}
	leave()
	if err := <-used; !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v", err)
	}
	closed := make(chan string, 1)
	go func() {
		d.Close(t.Context())
		closed <- appended()
	}()
	d.eventually("it closes", func() bool {
		d.flights.mu.Lock()
		defer d.flights.mu.Unlock()
		return d.flights.grounded
	})
	close(release)
	if got := <-closed; got != "TokenRefreshStarted TokenRefreshed" {
		t.Errorf("when it had closed the log had %s", got)
	}
	d.clock.advance(3 * time.Hour)
	grants := d.grants("gitlab")
	if err := <-needs(t.Context(), d.Commands, "gitlab"); !errors.Is(err, events.ErrClosed) || d.grants("gitlab") != grants {
		t.Errorf("after that: %v, %d grants", err, d.grants("gitlab")-grants)
	}
	other := d.process()
	works(t, adapterFor(t, other, "gitlab"))
}

func adapterFor(t *testing.T, c *Commands, forgeType string) forge.Port {
	t.Helper()
	port, err := c.AdapterFor(t.Context(), forgeType)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
