package commands

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/forge/gitlab"
	"github.com/forgeauth/forgeauth/projections"
)

// connected is a deployment with alice signed in at github and at a forge that gives refresh tokens.
func connected(t *testing.T, forgeType string) *deployment {
	t.Helper()
	d := deploy(t)
	session := d.claim()
	d.enter(d.login(forgeType, "alice", &session.Session, ""))
	return d
}

// since returns the types of the events of the log from then on.
func (d *deployment) since() func() string {
	d.t.Helper()
	before := len(strings.Fields(d.history()))
	return func() string {
		d.t.Helper()
		return strings.Join(strings.Fields(d.history())[before:], " ")
	}
}

func (d *deployment) row(forgeType string) projections.Token {
	d.t.Helper()
	row, err := d.reader.Token(d.t.Context(), forgeType)
	if err != nil {
		d.t.Fatal(err)
	}
	return row
}

// grants counts the refreshes at a forge.
func (d *deployment) grants(forgeType string) int {
	return d.forges[forgeType].Count(forgetest.RefreshEndpoint)
}

// background runs a process's background work until the test ends.
func (d *deployment) background(c *Commands) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(d.t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil {
			d.t.Error(err)
		}
	}()
	d.t.Cleanup(func() {
		cancel()
		<-done
	})
}

// works uses an adapter.
func works(t *testing.T, port forge.Port) {
	t.Helper()
	account, err := port.Account(t.Context())
	if err != nil || account.Login != "alice" {
		t.Errorf("an adapter that does not work: %+v, %v", account, err)
	}
}

func TestAnExpiredTokenIsRefreshedWhenItIsNeeded(t *testing.T) {
	t.Parallel()
	for forgeType, life := range map[string]time.Duration{"gitlab": 2 * time.Hour, "gitea": time.Hour, "forgejo": time.Hour} {
		t.Run(forgeType, func(t *testing.T) {
			t.Parallel()
			d := connected(t, forgeType)
			before := d.row(forgeType)
			port, err := d.OperatorAdapter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			appended, grants := d.since(), d.grants(forgeType)

			d.clock.advance(life - expiryMargin - time.Microsecond)
			if again, err := d.OperatorAdapter(t.Context()); err != nil || again != port || appended() != "" {
				t.Errorf("a token that is not near its end: %v, %s", err, appended())
			}
			works(t, port)
			d.clock.advance(time.Microsecond)
			works(t, port) // the port that was handed out before
			if got := appended(); got != "TokenRefreshStarted TokenRefreshed" || d.grants(forgeType) != grants+1 {
				t.Errorf("appended %s with %d grants", got, d.grants(forgeType)-grants)
			}
			after := d.row(forgeType)
			if after.Generation != before.Generation+2 || after.DataKey == before.DataKey || !after.CreatedAt.Equal(before.CreatedAt) ||
				!after.ExpiresAt.Equal(d.clock.Now().Add(life)) || !after.Same(before.Account) || after.AccountLogin != "alice" {
				t.Errorf("the row was %+v and is %+v", before, after)
			}
			d.clock.advance(100 * 24 * time.Hour / 10) // long expired, but the refresh token lives
			renewed, err := d.AdapterFor(t.Context(), forgeType)
			if err != nil {
				t.Fatal(err)
			}
			works(t, renewed)
			works(t, port)
			if b := renewed.Binding(); b.Generation != d.row(forgeType).Generation || b.Position != d.row(forgeType).IssuedAt || port.Binding() == b {
				t.Errorf("bound to %+v", b)
			}
			if n := d.count(`SELECT count(*) FROM data_keys`); n != 2 {
				t.Errorf("%d data keys for two living tokens", n)
			}
			for _, e := range d.events(forgeType) {
				if strings.HasPrefix(e.Type, "TokenRefresh") && e.Actor != actorRefresher {
					t.Errorf("%s was done by %s", e.Type, e.Actor)
				}
			}
			opened, err := d.OperatorOAuth(t.Context(), forgeType)
			tokens := d.accessTokens(forgeType)
			if err != nil || !opened.AccessToken.Equal(tokens[len(tokens)-1].Value) {
				t.Errorf("another token was opened: %v", err)
			}
		})
	}
}

func (d *deployment) events(forgeType string) (all []events.Event) {
	d.t.Helper()
	for e, err := range d.log.Read(d.t.Context(), events.Query{Stream: events.TokenStream(forgeType)}) {
		if err != nil {
			d.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func TestManyWhoNeedATokenCauseOneGrant(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	processes := []*Commands{d.Commands, d.process(), d.process(), d.process()}
	var ports []forge.Port
	for _, process := range processes {
		port, err := process.OperatorAdapter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port)
	}
	for range 3 {
		appended, grants := d.since(), d.grants("gitlab")
		d.clock.advance(2 * time.Hour)
		var all sync.WaitGroup
		for n := range 64 {
			all.Go(func() {
				if n%2 == 0 {
					works(t, ports[n%len(ports)])
				} else if port, err := processes[n%len(processes)].OperatorAdapter(t.Context()); err != nil {
					t.Error(err)
				} else {
					works(t, port)
				}
			})
		}
		all.Wait()
		if got := appended(); got != "TokenRefreshStarted TokenRefreshed" || d.grants("gitlab") != grants+1 {
			t.Errorf("appended %s with %d grants", got, d.grants("gitlab")-grants)
		}
	}
}

func TestTokensAreRefreshedInTheBackground(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	d.background(d.Commands)
	d.background(d.process())
	port, err := d.OperatorAdapter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		appended, grants := d.since(), d.grants("gitlab")
		d.clock.advance(time.Hour + 35*time.Minute) // 25 minutes are left: more than a fifth
		works(t, port)
		if got := appended(); got != "" {
			t.Errorf("too early: %s", got)
		}
		d.clock.advance(13*time.Minute + time.Second) // less than a tenth is left
		d.eventually("a token that is about to expire is refreshed", func() bool {
			return appended() == "TokenRefreshStarted TokenRefreshed"
		})
		works(t, port)
		if got := appended(); got != "TokenRefreshStarted TokenRefreshed" || d.grants("gitlab") != grants+1 {
			t.Errorf("appended %s with %d grants", got, d.grants("gitlab")-grants)
		}
		if left := d.row("gitlab").ExpiresAt.Sub(d.clock.Now()); left != 2*time.Hour {
			t.Errorf("%v are left", left)
		}
	}
}

func TestTheScheduleIsSpreadOverProcesses(t *testing.T) {
	t.Parallel()
	expires := noon.Add(2 * time.Hour)
	row := projections.Token{RefreshToken: []byte("r"), ExpiresAt: &expires, GrantedAt: noon}
	earliest, latest := expires, noon
	for n := range 200 {
		process := New(Config{})
		row.DataKey = numbered(byte(n))
		due, ok := process.refreshAt(row)
		again, _ := process.refreshAt(row)
		if !ok || !due.Equal(again) || due.After(expires.Add(-12*time.Minute)) || due.Before(expires.Add(-24*time.Minute)) {
			t.Fatalf("%v before the end, then %v", expires.Sub(due), expires.Sub(again))
		}
		if due.Before(earliest) {
			earliest = due
		}
		latest = later(latest, due)
	}
	if latest.Sub(earliest) < 8*time.Minute {
		t.Errorf("200 processes are spread over %v", latest.Sub(earliest))
	}
	row.GrantedAt = noon.Add(-30 * 24 * time.Hour)
	if due, _ := refreshDueAt(row, leadMost); !due.Equal(expires.Add(-longestLead)) {
		t.Errorf("a month's token is refreshed %v before its end", expires.Sub(due))
	}
	row.Refresh.RetryAt = new(expires.Add(time.Hour))
	if due, _ := refreshDueAt(row, leadMost); !due.Equal(expires.Add(time.Hour)) {
		t.Errorf("after a failure it is refreshed at %v", due)
	}
	row.NeedsReauthSince = &noon
	if due, ok := refreshDueAt(row, leadMost); ok {
		t.Errorf("only a sign-in helps, and it is refreshed at %v", due)
	}
}

func TestACallerWhoGivesUpCancelsNobody(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	release := make(chan struct{})
	d.forges["gitlab"].Next(forgetest.RefreshEndpoint, forgetest.SlowAfter(release))
	d.clock.advance(3 * time.Hour)
	grants := d.grants("gitlab")
	ctx, giveUp := context.WithCancel(t.Context())
	gaveUp := make(chan error, 1)
	go func() {
		_, err := d.OperatorAdapter(ctx)
		gaveUp <- err
	}()
	patient := make(chan error, 1)
	if err := d.forges["gitlab"].Await(t.Context(), forgetest.RefreshEndpoint, grants+1); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := d.OperatorAdapter(t.Context())
		patient <- err
	}()
	giveUp()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) || errors.Is(err, forge.ErrNeedsReauth) {
		t.Errorf("who gave up got %v", err)
	}
	close(release)
	if err := <-patient; err != nil {
		t.Errorf("who waited got %v", err)
	}
	if d.grants("gitlab") != grants+1 {
		t.Errorf("%d grants", d.grants("gitlab")-grants)
	}
}

// A token endpoint that does not decide says nothing against the token: one that still lives is handed out, and the refresh is
// tried again later.
func TestAForgeThatDoesNotDecide(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault forgetest.Fault
		code  string
		wait  time.Duration
		want  func(error) bool
	}{
		"is down":             {forgetest.Status(503), codeUnavailable, time.Second, isUnavailable},
		"cuts the connection": {forgetest.CutBefore(), codeUnavailable, time.Second, isUnavailable},
		"answers a page":      {forgetest.HTMLBody(), codeUnavailable, time.Second, isUnavailable},
		"wants to be left":    {forgetest.TooManyRequests(17 * time.Minute), codeRateLimited, 17 * time.Minute, isLimited},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := connected(t, "gitlab")
			d.clock.advance(2*time.Hour - time.Second)
			d.forges["gitlab"].Next(forgetest.RefreshEndpoint, test.fault)
			appended := d.since()
			port, err := d.OperatorAdapter(t.Context())
			if err != nil {
				t.Fatalf("the token lives: %v", err)
			}
			works(t, port)
			if got := appended(); got != "TokenRefreshStarted TokenRefreshFailed" {
				t.Errorf("appended %s", got)
			}
			row, retry := d.row("gitlab"), d.clock.Now().Add(test.wait)
			if row.Refresh.Verdict != events.VerdictUnknown || row.Refresh.Code != test.code || !row.Refresh.RetryAt.Equal(retry) {
				t.Errorf("the row says %+v", row.Refresh)
			}
			if test.wait > time.Second {
				d.clock.advance(time.Second)
			} else {
				d.clock.advance(test.wait - time.Microsecond)
				d.clock.advance(0)
			}
			grants := d.grants("gitlab")
			for range 3 {
				if _, err := port.Account(t.Context()); test.wait > time.Second && !test.want(err) {
					t.Errorf("expired: %v", err)
				}
			}
			if d.grants("gitlab") != grants {
				t.Error("it was not left alone")
			}
			d.clock.advance(test.wait)
			works(t, port)
			if d.row("gitlab").Refresh != (projections.Refresh{}) {
				t.Errorf("the row says %+v", d.row("gitlab").Refresh)
			}
		})
	}
}

func isUnavailable(err error) bool {
	return errors.Is(err, forge.ErrUnavailable) && !errors.Is(err, forge.ErrNeedsReauth)
}

func isLimited(err error) bool {
	_, ok := errors.AsType[*forge.RateLimitedError](err)
	return ok && !errors.Is(err, forge.ErrNeedsReauth)
}

func TestAnExpiredTokenThatTheForgeDoesNotRefresh(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	d.clock.advance(2 * time.Hour)
	d.forges["gitlab"].Next(forgetest.RefreshEndpoint, forgetest.Status(502), forgetest.CutAfter())
	if _, err := d.OperatorAdapter(t.Context()); !isUnavailable(err) {
		t.Errorf("the forge is down: %v", err)
	}
	if _, err := d.OperatorAdapter(t.Context()); !isUnavailable(err) {
		t.Errorf("a moment later: %v", err)
	}
	if n := d.forges["gitlab"].Pending(); n != 1 {
		t.Error("it was not left alone")
	}
}

// A misconfigured client is nothing against the token.
func TestAClientThatIsRefused(t *testing.T) {
	t.Parallel()
	for _, forgeType := range []string{"gitlab", "gitea", "forgejo"} {
		t.Run(forgeType, func(t *testing.T) {
			t.Parallel()
			d := connected(t, forgeType)
			d.forges[forgeType].RotateClientSecret("client", "another secret entirely")
			d.clock.advance(2 * time.Hour)
			for range 4 {
				_, err := d.AdapterFor(t.Context(), forgeType)
				if !isUnavailable(err) {
					t.Fatalf("%v", err)
				}
				d.clock.advance(time.Minute)
			}
			row := d.row(forgeType)
			if row.Refresh.Code != "invalid_client" || row.Refresh.Verdict != events.VerdictUnknown || row.NeedsReauthSince != nil {
				t.Errorf("the row says %+v", row)
			}
			d.forges[forgeType].RotateClientSecret("client", "the-secret-of-"+forgeType)
			d.clock.advance(lastRetry)
			port, err := d.AdapterFor(t.Context(), forgeType)
			if err != nil {
				t.Fatal(err)
			}
			works(t, port)
		})
	}
}

// A rejection is confirmed once, a while later; then the operator is asked for a sign-in. The token stays sealed.
func TestARefreshTokenThatIsRejected(t *testing.T) {
	t.Parallel()
	for _, forgeType := range []string{"gitlab", "gitea", "forgejo"} {
		t.Run(forgeType, func(t *testing.T) {
			t.Parallel()
			d := connected(t, forgeType)
			d.forges[forgeType].RevokeUser("alice")
			d.clock.advance(2 * time.Hour)
			appended, grants := d.since(), d.grants(forgeType)
			failed := make(chan error, 1)
			go func() {
				_, err := d.AdapterFor(t.Context(), forgeType)
				failed <- err
			}()
			d.eventually("it has been rejected once", func() bool { return d.row(forgeType).Refresh.RejectedAt != nil })
			if row := d.row(forgeType); row.NeedsReauthSince != nil {
				t.Errorf("the first no is taken for the last: %+v", row)
			}
			d.untilAsleep()
			d.clock.advance(confirmAfter)
			if err := <-failed; !errors.Is(err, forge.ErrNeedsReauth) {
				t.Errorf("%v", err)
			}
			const want = "TokenRefreshStarted TokenRefreshFailed TokenRefreshStarted TokenRefreshFailed"
			row := d.row(forgeType)
			if appended() != want || row.NeedsReauthSince == nil || !row.NeedsReauthSince.Equal(d.clock.Now()) || d.grants(forgeType) != grants+2 {
				t.Errorf("appended %s with %d grants; since %v", appended(), d.grants(forgeType)-grants, row.NeedsReauthSince)
			}
			d.clock.advance(time.Hour)
			if _, err := d.AdapterFor(t.Context(), forgeType); !errors.Is(err, forge.ErrNeedsReauth) || d.grants(forgeType) != grants+2 {
				t.Errorf("later: %v", err)
			}
			opened, err := d.OperatorOAuth(t.Context(), forgeType)
			if err != nil || opened.RefreshToken.IsZero() {
				t.Errorf("the token does not stay sealed: %v", err)
			}
			code, _, err := d.Recover(t.Context(), Caller{})
			if err != nil {
				t.Fatal(err)
			}
			d.mine = append(d.mine, code)
			session := d.enter(d.login("github", "alice", nil, ""))
			d.enter(d.login(forgeType, "alice", &session.Session, ""))
			port, err := d.AdapterFor(t.Context(), forgeType)
			if err != nil {
				t.Fatal(err)
			}
			works(t, port)
		})
	}
}

// untilAsleep waits until somebody waits for the clock.
func (d *deployment) untilAsleep() {
	d.t.Helper()
	d.eventually("somebody waits for the clock", func() bool {
		d.clock.mu.Lock()
		defer d.clock.mu.Unlock()
		return len(d.clock.alarms) > 0
	})
}

func TestAReplicaThatLagsCostsNoSignIn(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	d.clock.advance(2 * time.Hour)
	d.forges["gitlab"].Next(forgetest.RefreshEndpoint, forgetest.ReplicaLag())
	failed := make(chan error, 1)
	go func() {
		_, err := d.OperatorAdapter(t.Context())
		failed <- err
	}()
	d.untilAsleep()
	d.clock.advance(confirmAfter)
	if err := <-failed; err != nil {
		t.Error(err)
	}
}

// Clocks that differ from the forge's lose nothing: what counts is how long a token lives by its word.
func TestForgesWithAnotherTime(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			d.forges["gitlab"] = forgetest.Start(t, forgetest.Config{
				Dialect: forgetest.GitLab, Now: func() time.Time { return d.clock.Now().Add(skew) }, RequirePKCE: true,
				Clients: []forgetest.Client{{ID: "client", Secret: "first-secret", RedirectURIs: []string{publicURL + "/oauth/gitlab/callback"}}},
				Users:   []forgetest.User{{ID: 1, Login: "alice"}},
			})
			d.Commands = d.process(func(c *Config) { c.Connections[1] = d.provider("gitlab", forge.GitLab, gitlab.New) })
			session := d.claim()
			d.enter(d.login("gitlab", "alice", &session.Session, ""))
			d.background(d.Commands)
			port, err := d.OperatorAdapter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for range 20 {
				d.clock.advance(30 * time.Minute)
				works(t, port)
			}
			d.forges["gitlab"].Next(forgetest.RefreshEndpoint, forgetest.TooManyRequests(5*time.Minute))
			d.clock.advance(3 * time.Hour)
			_, err = port.Account(t.Context())
			if limited, ok := errors.AsType[*forge.RateLimitedError](err); !ok || limited.Until.Sub(d.clock.Now()) != 5*time.Minute {
				t.Errorf("%v", err)
			}
			d.clock.advance(5 * time.Minute)
			works(t, port)
		})
	}
}

// A refreshed token is revoked like any other.
func TestARefreshedTokenIsRevoked(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	d.clock.advance(2 * time.Hour)
	if _, err := d.OperatorAdapter(t.Context()); err != nil {
		t.Fatal(err)
	}
	appended, err := d.DisconnectForge(t.Context(), Caller{}, "gitlab")
	if err != nil {
		t.Fatal(err)
	}
	settled, ok := appended[len(appended)-1].Fact.(events.TokenRevoked)
	tokens := d.accessTokens("gitlab")
	if !ok || settled.Outcome != outcomeConfirmed || len(tokens) != 2 || tokens[1].Live {
		t.Errorf("settled as %+v by %s", settled, d.types(appended))
	}
}

// What /forges says of a token: when it is refreshed, how that failed, and since when only a sign-in helps.
func TestWhatRefreshesLookLike(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	status := func(forgeType string) ForgeStatus {
		t.Helper()
		forges, err := d.Forges(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range forges {
			if f.ForgeType == forgeType {
				return f
			}
		}
		t.Fatalf("no %s", forgeType)
		return ForgeStatus{}
	}
	if s := status("gitlab"); s.State != StateActive || s.Refresh == nil || !s.Refresh.DueAt.Equal(noon.Add(102*time.Minute)) || s.Refresh.Failure != nil {
		t.Errorf("fresh: %+v", s)
	}
	if s := status("github"); s.State != StateConnected || s.Refresh != nil || s.NeedsReauth != nil {
		t.Errorf("without a refresh token: %+v", s)
	}
	failedAt := noon.Add(2 * time.Hour)
	d.clock.advance(2 * time.Hour)
	d.forges["gitlab"].Next(forgetest.RefreshEndpoint, forgetest.Status(500))
	if _, err := d.OperatorAdapter(t.Context()); !isUnavailable(err) {
		t.Fatal(err)
	}
	want := RefreshStatus{DueAt: failedAt.Add(time.Second), Failure: &RefreshFailure{At: failedAt, Verdict: "unknown", Code: "unavailable"}}
	if s := status("gitlab"); s.State != StateExpired {
		t.Errorf("expired: %+v", s)
	} else if diff := cmp.Diff(&want, s.Refresh); diff != "" {
		t.Error(diff)
	}
	d.forges["gitlab"].RevokeUser("alice")
	for range 2 {
		d.clock.advance(confirmAfter)
		row, provider, key, err := d.living(t.Context(), "gitlab")
		if err != nil {
			t.Fatal(err)
		}
		_ = d.attemptRefresh(t.Context(), provider, row, key) // and not the whole flight, which waits for the clock
	}
	reauth := NeedsReauth{Since: d.clock.Now(), Reason: "invalid_grant"}
	if s := status("gitlab"); s.State != StateNeedsReauth || !s.Active || s.Refresh != nil || !s.Connected {
		t.Errorf("rejected: %+v", s)
	} else if diff := cmp.Diff(&reauth, s.NeedsReauth); diff != "" {
		t.Error(diff)
	}
}
