package commands

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/forge/github"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/projections"
)

// told is how often github was asked to revoke something.
func (d *deployment) told() int { return d.forges["github"].Count(forgetest.RevokeEndpoint) }

// due moves the clock to when the next revocation is due.
func (d *deployment) due() {
	d.t.Helper()
	pending, err := d.reader.Revocations(d.t.Context())
	if err != nil || len(pending) == 0 {
		d.t.Fatalf("nothing is pending: %v", err)
	}
	d.clock.advance(pending[0].NextAttemptAt.Sub(d.clock.Now()))
}

// together has processes settle what is due, at the same time.
func (d *deployment) together(processes ...*Commands) {
	d.t.Helper()
	var all sync.WaitGroup
	for _, process := range processes {
		all.Go(func() {
			if err := process.settleRevocations(d.t.Context()); err != nil {
				d.t.Error(err)
			}
		})
	}
	all.Wait()
}

// settlements are the facts that ended revocations.
func (d *deployment) settlements() (all []events.TokenRevoked) {
	d.t.Helper()
	for e, err := range d.log.Read(d.t.Context(), events.Query{Types: []string{"TokenRevoked"}}) {
		if err != nil {
			d.t.Fatal(err)
		}
		settled, _ := e.Fact.(events.TokenRevoked)
		all = append(all, settled)
	}
	return all
}

// down has github answer nothing useful the next n times that it is asked to revoke.
func (d *deployment) down(n int) {
	for range n {
		d.forges["github"].Next(forgetest.RevokeEndpoint, forgetest.Status(503))
	}
}

// While a forge is down, processes come and go; of those that are there, one asks it each time that it is due.
func TestAForgeThatIsDownIsToldByWhoeverIsThere(t *testing.T) {
	t.Parallel()
	const outage = 6
	d := deploy(t)
	d.claim()
	d.down(outage)
	appended, err := d.DisconnectForge(t.Context(), Caller{Actor: "cli"}, "github")
	if err != nil {
		t.Fatal(err)
	}
	d.expectTypes(appended, "TokenRevocationRequested TokenRevocationAttempted ForgeDeactivated")
	if status := RevocationIn(appended); status.Outcome != "pending" || !status.NextAttemptAt.After(noon.Add(revokeTimeout)) {
		t.Errorf("%+v", status)
	}
	if _, err := d.OperatorOAuth(t.Context(), "github"); err == nil {
		t.Error("the token can be used")
	}
	for attempt := 1; attempt <= outage; attempt++ {
		restarted := []*Commands{d.process(), d.process()}
		d.together(restarted...)
		if n := d.told(); n != attempt {
			t.Fatalf("the forge was asked %d times, want %d: the next is not due", n, attempt)
		}
		if n := d.count(`SELECT count(*) FROM data_keys`); n != 1 {
			t.Fatalf("%d data keys; the revoker needs one", n)
		}
		d.due()
		d.together(restarted...)
		if n := d.told(); n != attempt+1 {
			t.Fatalf("the forge was asked %d times, want %d", n, attempt+1)
		}
	}
	want := "TokenRevocationRequested TokenRevocationAttempted ForgeDeactivated" +
		strings.Repeat(" TokenRevocationAttempted", outage) + " TokenRevoked"
	if !strings.HasSuffix(d.history(), want) {
		t.Errorf("the log holds %s", d.history())
	}
	if d.accessTokens("github")[0].Live || d.count(`SELECT count(*) FROM data_keys`) != 0 {
		t.Error("the token or its key lives on")
	}
	if diff := cmp.Diff([]string{outcomeConfirmed}, outcomes(d.settlements())); diff != "" {
		t.Error(diff)
	}
}

func outcomes(settled []events.TokenRevoked) (all []string) {
	for _, s := range settled {
		all = append(all, s.Outcome)
	}
	return all
}

// What a process leaves that dies after it has claimed an attempt is done by another one, after that attempt's time.
func TestAProcessThatDiesBetweenClaimAndAnswer(t *testing.T) {
	t.Parallel()
	for name, dies := range map[string]func(*deployment){
		"before it has asked": func(d *deployment) { d.forges["github"].Next(forgetest.RevokeEndpoint, forgetest.CutBefore()) },
		"before the answer":   func(d *deployment) { d.forges["github"].Next(forgetest.RevokeEndpoint, forgetest.CutAfter()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			d.claim()
			dies(d)
			if _, err := d.DisconnectForge(t.Context(), Caller{}, "github"); err != nil {
				t.Fatal(err)
			}
			next := d.process()
			d.together(next, next)
			if n := d.told(); n != 1 {
				t.Errorf("asked %d times while the first attempt may go on", n)
			}
			d.due()
			d.together(next, next)
			if diff := cmp.Diff([]string{outcomeConfirmed}, outcomes(d.settlements())); diff != "" || d.accessTokens("github")[0].Live {
				t.Errorf("the token lives: %v %s", d.accessTokens("github")[0].Live, diff)
			}
		})
	}
}

// The forge has revoked the token and the database is lost at that moment: the next attempt finds the token dead.
func TestAConfirmationThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.claim()
	proxy, through := d.db.Proxied(t)
	connect, err := pgx.ParseConfig(through)
	if err != nil {
		t.Fatal(err)
	}
	cut := d.process(func(c *Config) {
		if err := c.Writer.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Writer = events.NewWriter(events.WriterConfig{Conn: connect, Now: d.clock.Now, Patience: 2 * time.Second}, projections.NewState())
	})
	release := make(chan struct{})
	d.forges["github"].Next(forgetest.RevokeEndpoint, forgetest.Slow(release))
	done := make(chan error, 1)
	go func() {
		_, err := cut.DisconnectForge(t.Context(), Caller{}, "github")
		done <- err
	}()
	if err := d.forges["github"].Await(t.Context(), forgetest.RevokeEndpoint, 1); err != nil {
		t.Fatal(err)
	}
	lost := proxy.CutBefore(func(m pgtest.Message) bool { return m.Type == 'E' && strings.Contains(m.SQL, "pg_notify") })
	proxy.Refuse()
	close(release)
	<-lost
	if err := <-done; err != nil {
		t.Errorf("disconnecting succeeds all the same: %v", err)
	}
	if d.accessTokens("github")[0].Live || len(d.settlements()) != 0 || d.count(`SELECT count(*) FROM data_keys`) != 1 {
		t.Fatal("this is not the moment that was meant")
	}
	proxy.Accept()
	d.due()
	d.together(d.process())
	if diff := cmp.Diff([]string{outcomeConfirmed}, outcomes(d.settlements())); diff != "" || d.count(`SELECT count(*) FROM data_keys`) != 0 {
		t.Errorf("afterwards: %s", diff)
	}
}

func TestAForgeThatNeverAnswersIsGivenUpAfterSevenDays(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.claim()
	d.down(100)
	if _, err := d.DisconnectForge(t.Context(), Caller{}, "github"); err != nil {
		t.Fatal(err)
	}
	requestedAt := d.clock.Now()
	for len(d.settlements()) == 0 {
		if n := d.count(`SELECT count(*) FROM data_keys`); n != 1 {
			t.Fatalf("%d data keys while it is pending", n)
		}
		d.due()
		d.together(d.Commands)
	}
	if after := d.clock.Now().Sub(requestedAt); after != revocationPatience {
		t.Errorf("given up after %v", after)
	}
	if n := d.told(); n < 28 || n > 37 {
		t.Errorf("the forge was asked %d times", n)
	}
	page := d.forges["github"].URL() + "/settings/applications"
	if got := d.settlements()[0]; got.Outcome != outcomeGivenUp || got.Page != page {
		t.Errorf("settled as %+v", got)
	}
	if n := d.count(`SELECT count(*) FROM data_keys`); n != 0 {
		t.Errorf("%d data keys are left", n)
	}
	if !strings.Contains(d.logs.String(), "withdraw it at the forge by hand") {
		t.Error("nobody was told")
	}
}

func TestAForgeThatWantsToBeLeftAloneIs(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	session := d.claim()
	d.enter(d.login("github", "alice", &session.Session, "")) // and one token is replaced
	d.forges["github"].Next(forgetest.RevokeEndpoint, forgetest.TooManyRequests(2*time.Hour))
	appended, err := d.DisconnectForge(t.Context(), Caller{}, "github")
	if err != nil {
		t.Fatal(err)
	}
	d.expectTypes(appended, "TokenRevocationRequested TokenRevocationAttempted ForgeDeactivated TokenRevocationsPostponed")
	again := noon.Add(2 * time.Hour)
	if status := RevocationIn(appended); status.Outcome != outcomePending || !status.NextAttemptAt.Equal(again) {
		t.Errorf("%+v", status)
	}
	d.clock.advance(2*time.Hour - time.Microsecond)
	d.together(d.Commands, d.process())
	if n := d.told(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	d.clock.advance(time.Microsecond)
	d.together(d.Commands, d.process())
	if n := d.told(); n != 3 {
		t.Errorf("asked %d times, want once more for each of two tokens", n)
	}
	if diff := cmp.Diff([]string{outcomeConfirmed, outcomeConfirmed}, outcomes(d.settlements())); diff != "" {
		t.Error(diff)
	}
}

func TestRevocationsThatAreNotWorthAsking(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(*deployment) *Commands{
		"when the connection is gone": func(d *deployment) *Commands {
			return d.process(func(c *Config) { c.Connections = c.Connections[1:] })
		},
		"when the connection is for another base URL": func(d *deployment) *Commands {
			moved := d.provider("github", forge.GitHub, github.New, func(c *forge.Connection) { c.BaseURL = d.forges["gitlab"].URL() })
			return d.process(func(c *Config) { c.Connections = []forge.Provider{moved} })
		},
		"when somebody repoints the row to another base URL": func(d *deployment) *Commands {
			other := d.forges["gitlab"].URL()
			if _, err := d.pool.Exec(d.t.Context(), `UPDATE token_revocations SET base_url = $1`, other); err != nil {
				d.t.Fatal(err)
			}
			moved := d.provider("github", forge.GitHub, github.New, func(c *forge.Connection) { c.BaseURL = other })
			return d.process(func(c *Config) { c.Connections = []forge.Provider{moved} })
		},
		"when the key is gone": func(d *deployment) *Commands {
			if _, err := d.pool.Exec(d.t.Context(), `DELETE FROM data_keys`); err != nil {
				d.t.Fatal(err)
			}
			return d.Commands
		},
		"when the same token was imported again": func(d *deployment) *Commands {
			_, err := d.ImportToken(d.t.Context(), Caller{}, OperatorOAuth{
				ForgeType: "github", AccountID: "1", AccountLogin: "alice", AccessToken: d.accessTokens("github")[0].Value,
			})
			if err != nil {
				d.t.Fatal(err)
			}
			return d.Commands
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			d.claim()
			d.down(1)
			if _, err := d.DisconnectForge(t.Context(), Caller{}, "github"); err != nil {
				t.Fatal(err)
			}
			d.due()
			d.together(meanwhile(d))
			if diff := cmp.Diff([]string{outcomeGivenUp}, outcomes(d.settlements())); diff != "" {
				t.Error(diff)
			}
			if n := d.told() + d.forges["gitlab"].Count(forgetest.AnyEndpoint); n != 1 {
				t.Errorf("a forge was asked %d times, want once, before that", n)
			}
		})
	}
}

// After disconnecting a forge that cannot revoke, people are told where they can.
func TestWhereToWithdrawWhatCannotBeRevoked(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	session := d.claim()
	second := d.enter(d.login("gitea", "alice", &session.Session, ""))
	d.down(1)
	if _, err := d.DisconnectForge(t.Context(), Caller{}, "github"); err != nil {
		t.Fatal(err)
	}
	appended, err := d.DisconnectForge(t.Context(), Caller{}, "gitea")
	if err != nil {
		t.Fatal(err)
	}
	page := d.forges["gitea"].URL() + "/user/settings/applications"
	if diff := cmp.Diff(&RevocationStatus{Outcome: outcomeUnsupported, Page: page}, RevocationIn(appended)); diff != "" {
		t.Error(diff)
	}
	look := func() string {
		t.Helper()
		forges, err := d.Forges(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, f := range forges {
			lines = append(lines, fmt.Sprint(f.ForgeType, " ", f.PendingRevocations, " ", f.NextRevocationAt != nil, " ", f.WithdrawAt))
		}
		return strings.Join(lines, "\n")
	}
	want := "github 1 true \ngitlab 0 false \ngitea 0 false " + page + "\nforgejo 0 false "
	if diff := cmp.Diff(want, look()); diff != "" {
		t.Error(diff)
	}
	d.due()
	d.together(d.Commands)
	d.enter(d.login("gitea", "alice", &second.Session, "")) // connected again, there is a grant to keep
	if diff := cmp.Diff("github 0 false \ngitlab 0 false \ngitea 0 false \nforgejo 0 false ", look()); diff != "" {
		t.Error(diff)
	}
}

// A token that a new sign-in replaces is revoked where one token alone can be, and shredded at once elsewhere.
func TestAReplacedTokenIsRevoked(t *testing.T) {
	t.Parallel()
	for _, forgeType := range []string{"github", "gitlab", "gitea"} {
		t.Run(forgeType, func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			ctx := t.Context()
			running := make(chan error, 1)
			background, stop := context.WithCancel(t.Context())
			go func() { running <- d.Run(background) }()
			session := d.claim()
			first := d.enter(d.login(forgeType, "alice", &session.Session, ""))
			d.clock.advance(time.Second) // for Gitea, whose tokens of one second are one
			again := d.enter(d.login(forgeType, "alice", &first.Session, ""))
			info, _ := forge.Info(d.policy.connections[forgeType].Kind)
			if info.Revocable != strings.Contains(d.types(again.Events), "TokenIssued TokenRevocationRequested ") {
				t.Errorf("appended %s", d.types(again.Events))
			}
			d.eventually("the replaced token is settled", func() bool {
				return d.count(`SELECT count(*) FROM token_revocations`) == 0
			})
			tokens := d.accessTokens(forgeType)
			for _, replaced := range tokens[:len(tokens)-1] {
				if replaced.Live == info.Revocable {
					t.Errorf("a replaced one lives: %v", replaced.Live)
				}
			}
			port, err := d.OperatorAdapter(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := port.Account(ctx); err != nil {
				t.Errorf("the new token: %v", err)
			}
			stop()
			if err := <-running; err != nil {
				t.Error(err)
			}
		})
	}
}

// GitHub lets ten tokens of an account, application and scope live and revokes the oldest by itself. Then ours is dead when
// its turn comes, which is what was wanted, and the newest is never touched.
func TestMoreSignInsThanGitHubKeepsTokens(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	completed := d.claim()
	const more = 12
	for range more {
		d.clock.advance(time.Second)
		completed = d.enter(d.login("github", "alice", &completed.Session, ""))
	}
	d.together(d.Commands)
	if got := d.settlements(); len(got) != more {
		t.Errorf("%d were settled, want %d", len(got), more)
	}
	for _, settled := range d.settlements() {
		if settled.Outcome != outcomeConfirmed {
			t.Errorf("one is %s", settled.Outcome)
		}
	}
	tokens := d.accessTokens("github")
	for i, token := range tokens {
		if newest := i == len(tokens)-1; token.Live != newest {
			t.Errorf("token %d of %d lives: %v", i+1, len(tokens), token.Live)
		}
	}
}

// At GitLab an access token that has expired is no handle to the refresh token beside it: that one is presented itself.
func TestDisconnectingWithAnExpiredAccessToken(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	session := d.claim()
	d.enter(d.login("gitlab", "alice", &session.Session, ""))
	d.clock.advance(3 * time.Hour)
	appended, err := d.DisconnectForge(t.Context(), Caller{}, "gitlab")
	if err != nil {
		t.Fatal(err)
	}
	if status := RevocationIn(appended); status.Outcome != outcomeConfirmed {
		t.Errorf("%+v", status)
	}
	for _, token := range d.forges["gitlab"].Tokens() {
		if token.Live {
			t.Errorf("the %s lives on", token.Kind)
		}
	}
}

func TestHowLongNothingIsDue(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.claim()
	if wait := d.untilNextRevocation(t.Context()); wait != settleEvery {
		t.Errorf("with nothing pending: %v", wait)
	}
	d.down(1)
	if _, err := d.DisconnectForge(t.Context(), Caller{}, "github"); err != nil {
		t.Fatal(err)
	}
	if wait := d.untilNextRevocation(t.Context()); wait < firstBackoff || wait > firstBackoff*5/4 {
		t.Errorf("after the first attempt: %v", wait)
	}
	d.due()
	if wait := d.untilNextRevocation(t.Context()); wait != settleSoonest {
		t.Errorf("when it is due: %v", wait)
	}
}

// At GitHub nothing is revoked by an access token that has expired. What a GitHub App's refresh token is still good for is a new
// pair, by which the grant ends.
func TestDisconnectingAnExpiredTokenOfAGitHubApp(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		faults []forgetest.Fault // of the refreshes
		want   []string
		living int
	}{
		"at once":              {nil, []string{outcomeConfirmed}, 0},
		"after a while":        {[]forgetest.Fault{forgetest.Status(503)}, []string{outcomeConfirmed}, 0},
		"the answer is lost":   {[]forgetest.Fault{forgetest.CutAfter()}, []string{outcomeUnsupported}, 2},
		"a client that is off": {[]forgetest.Fault{forgetest.Status(500), forgetest.GarbageBody()}, []string{outcomeConfirmed}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			d.forges["github"] = forgetest.Start(t, forgetest.Config{
				Dialect: forgetest.GitHubApp, Now: d.clock.Now, RequirePKCE: true,
				Clients: []forgetest.Client{{ID: "client", Secret: "first-secret", RedirectURIs: []string{publicURL + "/oauth/github/callback"}}},
				Users:   []forgetest.User{{ID: 1, Login: "alice"}},
			})
			d.Commands = d.process()
			d.claim()
			d.clock.advance(9 * time.Hour)
			d.forges["github"].Next(forgetest.RefreshEndpoint, test.faults...)
			if _, err := d.DisconnectForge(t.Context(), Caller{}, "github"); err != nil {
				t.Fatal(err)
			}
			for range len(test.faults) {
				d.due()
				d.together(d.Commands, d.process())
			}
			var got []string
			for _, settled := range d.settlements() {
				got = append(got, settled.Outcome)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			living := 0
			for _, token := range d.forges["github"].Tokens() {
				if token.Live {
					living++
				}
			}
			if living != test.living {
				t.Errorf("%d tokens live on", living)
			}
		})
	}
}
