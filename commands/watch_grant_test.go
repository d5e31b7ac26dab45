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
	"github.com/forgeauth/forgeauth/projections"
)

func TestGrantDecisions(t *testing.T) {
	t.Parallel()
	connected := []events.Draft{claimed(alice), issued(alice, key1, "a")} // granted repo
	alicia := alice
	alicia.AccountLogin = "alicia"
	says := func(id, login string, scopes ...string) forge.Grant {
		return forge.Grant{Account: forge.Account{ID: id, Login: login}, Scopes: scopes}
	}
	onToken := func(fact events.Fact) events.Draft { return events.Draft{Stream: "token/github", Fact: fact} }
	scopesChanged := func(scopes, missing, excess []string) events.Draft {
		return onToken(events.ScopesChanged{ForgeType: "github", DataKey: key1, Scopes: scopes, Missing: missing, Excess: excess})
	}
	renamed := events.AccountRenamed{Account: alicia, PreviousLogin: "alice"}
	changed := events.AccountChanged{Account: alice, DataKey: key1, FoundID: "9", FoundLogin: "mallory"}
	none := []string{}

	for name, test := range map[string]struct {
		given []events.Draft
		grant forge.Grant
		then  []events.Draft
	}{
		"all is as it was":                  {given: connected, grant: says("1", "alice", "repo")},
		"the forge does not say the scopes": {given: connected, grant: says("1", "alice")},
		"the same scopes in another order": {
			given: append(connected, scopesChanged([]string{"repo", "read:org"}, none, none)), grant: says("1", "alice", "read:org", "repo", "repo"),
		},
		"narrowed": {
			given: connected, grant: says("1", "alice", "public_repo"),
			then: []events.Draft{scopesChanged([]string{"public_repo"}, []string{"repo"}, none)},
		},
		"narrowed to nothing": {
			given: connected, grant: forge.Grant{Account: forge.Account{ID: "1", Login: "alice"}, Scopes: none},
			then: []events.Draft{scopesChanged(none, []string{"repo"}, none)},
		},
		"widened": {
			given: connected, grant: says("1", "alice", "repo", "admin:org"),
			then: []events.Draft{scopesChanged([]string{"repo", "admin:org"}, none, []string{"admin:org"})},
		},
		"renamed, and with it the account that may sign in": {
			given: connected, grant: says("1", "alicia", "repo"),
			then: []events.Draft{onToken(renamed), {Stream: events.StreamOperator, Fact: renamed}},
		},
		"renamed, and may not sign in": {
			given: []events.Draft{claimed(bob), issued(alice, key1, "a")}, grant: says("1", "alicia", "repo"),
			then: []events.Draft{onToken(renamed)},
		},
		"renamed before the last sign-in, which the list of accounts has not heard of": {
			given: []events.Draft{claimed(alice), issued(alicia, key1, "a")}, grant: says("1", "alicia", "repo"),
			then: []events.Draft{{Stream: events.StreamOperator, Fact: renamed}},
		},
		"renamed and narrowed": {
			given: []events.Draft{claimed(bob), issued(alice, key1, "a")}, grant: says("1", "alicia", "gist"),
			then: []events.Draft{onToken(renamed), scopesChanged([]string{"gist"}, []string{"repo"}, []string{"gist"})},
		},
		"another account, whatever it may do": {
			given: connected, grant: says("9", "mallory", "gist"), then: []events.Draft{onToken(changed)},
		},
		"another account: once is enough": {given: append(connected, onToken(changed)), grant: says("9", "mallory", "gist")},
		"another token by then":           {given: append(connected, issued(alice, key2, "b")), grant: says("9", "mallory", "gist")},
		"disconnected by then": {
			given: append(connected, requested(alice, key1, 2, reasonDisconnected)), grant: says("1", "alicia", "gist"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watchGrant{forgeType: "github", dataKey: key1, kind: forge.GitHub, asked: []string{"repo"}, grant: test.grant}
			state := given(t, test.given...)
			got, err := w.decide(state, then)
			expect(t, got, err, events.Outcome{Drafts: test.then}, nil)
			// And what was recorded is nothing new the next time.
			fold(t, state, then, 100, got.Drafts)
			again, err := w.decide(state, then)
			expect(t, again, err, events.Outcome{}, nil)
		})
	}
}

// forgeStatus is what /forges shows of a connection.
func (d *deployment) forgeStatus(forgeType string) ForgeStatus {
	d.t.Helper()
	forges, err := d.Forges(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	for _, f := range forges {
		if f.ForgeType == forgeType {
			return f
		}
	}
	d.t.Fatalf("no connection %s", forgeType)
	return ForgeStatus{}
}

// asked asks a forge about its token and checks which events that comes to.
func (d *deployment) asked(forgeType, want string) []events.Event {
	d.t.Helper()
	appended, err := d.watchGrant(d.t.Context(), forgeType)
	if err != nil {
		d.t.Fatal(err)
	}
	d.expectTypes(appended, want)
	return appended
}

func TestARenamedAccountIsTheSameAccount(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	session := d.claim()
	d.asked("github", "")
	d.forges["github"].RenameUser("alice", "alicia")
	if appended := d.asked("github", strings.Join([]string{"AccountRenamed", "AccountRenamed"}, " ")); appended[1].Stream != events.StreamOperator {
		t.Errorf("the second is on %s", appended[1].Stream)
	}
	d.asked("github", "")
	if status := d.forgeStatus("github"); status.AccountLogin != "alicia" || status.AccountID != "1" || status.State != StateActive {
		t.Errorf("%+v", status)
	}
	operator, err := d.reader.Operator(t.Context())
	if err != nil || len(operator.Accounts) != 1 || operator.Accounts[0].AccountLogin != "alicia" {
		t.Errorf("who may sign in: %+v, %v", operator.Accounts, err)
	}
	if err := live(t.Context(), d.Commands, session.SessionSecret); err != nil {
		t.Errorf("the session: %v", err)
	}
	// A sign-in tells it, too.
	d.forges["github"].RenameUser("alicia", "ally")
	again := d.enter(d.login("github", "ally", &session.Session, ""))
	if !strings.HasPrefix(d.types(again.Events), "AccountRenamed TokenIssued ") {
		t.Errorf("appended %s", d.types(again.Events))
	}
	d.asked("github", "")
}

func TestATokenThatActsForAnotherAccountIsNotUsed(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	session := d.claim()
	port, err := d.OperatorAdapter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.forges["github"].Reassign(d.accessTokens("github")[0].Value.Reveal(), "bob")
	changed, _ := d.asked("github", "AccountChanged")[0].Fact.(events.AccountChanged)
	if changed.AccountID != "1" || changed.FoundID != "2" || changed.FoundLogin != "bob" {
		t.Errorf("recorded %+v", changed)
	}
	if _, err := d.OperatorAdapter(t.Context()); !errors.Is(err, forge.ErrNeedsReauth) {
		t.Errorf("the connection: %v", err)
	}
	if account, err := port.Account(t.Context()); !errors.Is(err, forge.ErrNeedsReauth) {
		t.Errorf("a port from before: %v, %v", account, err)
	}
	row, err := d.reader.Token(t.Context(), "github")
	if err != nil || row.NeedsReauthReason != projections.ReasonAccountChanged || row.AccountLogin != "alice" {
		t.Errorf("%+v, %v", row, err)
	}
	before := d.forges["github"].Count(forgetest.AnyEndpoint)
	d.asked("github", "")
	if d.forges["github"].Count(forgetest.AnyEndpoint) != before {
		t.Error("the forge is asked about a token that is not used")
	}
	if !strings.Contains(d.logs.String(), "a token acts for another account") {
		t.Error("nobody was told")
	}
	d.enter(d.login("github", "alice", &session.Session, ""))
	if _, err := d.OperatorAdapter(t.Context()); err != nil {
		t.Errorf("after a sign-in: %v", err)
	}
}

func TestScopesThatAreNarrowedAtTheForgeShow(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.claim()
	if status := d.forgeStatus("github"); len(status.MissingScopes) != 0 || status.MissingScopes == nil {
		t.Errorf("missing from the start: %q", status.MissingScopes)
	}
	d.forges["github"].SetScope(d.accessTokens("github")[0].Value.Reveal(), "public_repo,gist")
	d.asked("github", "ScopesChanged")
	status := d.forgeStatus("github")
	if diff := cmp.Diff([][]string{{"public_repo", "gist"}, {"repo", "read:org"}, {"gist"}},
		[][]string{status.Scopes, status.MissingScopes, status.ExcessScopes}); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(d.logs.String(), `missing="repo read:org" excess=gist`) {
		t.Error("nobody was told")
	}
}

// What a Gitea consented to once is what every token has, and the answer to a sign-in does not say it.
func TestGiteasFirstConsentShows(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		first           []string
		missing, excess []string
	}{
		"narrower":   {[]string{"read:user"}, []string{"write:repository", "write:issue", "read:organization"}, []string{}},
		"everything": {[]string{"read:user", "no-such-scope"}, []string{}, []string{"all", "no-such-scope"}},
		"the same":   {nil, []string{}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			session := d.claim()
			if test.first != nil {
				started, err := d.StartLogin(t.Context(), StartLogin{ForgeType: "gitea", Session: &session.Session, ReturnTo: "/me"})
				if err != nil {
					t.Fatal(err)
				}
				asks := strings.ReplaceAll(started.AuthorizeURL, "scope=read%3Auser+write%3Arepository+write%3Aissue+read%3Aorganization",
					"scope="+strings.ReplaceAll(strings.Join(test.first, "+"), ":", "%3A"))
				if asks == started.AuthorizeURL {
					t.Fatalf("the scope is not where it was: %s", asks)
				}
				if _, err := d.forges["gitea"].Consent(t.Context(), asks, "alice"); err != nil {
					t.Fatal(err)
				}
			}
			ctx, stop := context.WithCancel(t.Context())
			running := make(chan error, 1)
			go func() { running <- d.Run(ctx) }()
			d.enter(d.login("gitea", "alice", &session.Session, ""))
			d.eventually("the forge has said what it granted", func() bool { return d.forgeStatus("gitea").Scopes != nil })
			stop()
			if err := <-running; err != nil {
				t.Error(err)
			}
			status := d.forgeStatus("gitea")
			if diff := cmp.Diff([][]string{test.missing, test.excess}, [][]string{status.MissingScopes, status.ExcessScopes}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Asking a forge about a token is nothing that could cost the token.
func TestAForgeThatDoesNotSayChangesNothing(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	session := d.claim()
	d.enter(d.login("gitea", "alice", &session.Session, ""))
	gitea := d.forges["gitea"]
	before := d.history()
	for name, refuse := range map[string]func(){
		"down":               func() { gitea.Next(forgetest.UserEndpoint, forgetest.Status(503)) },
		"down in the middle": func() { gitea.Next(forgetest.IntrospectionEndpoint, forgetest.CutBefore()) },
		"garbage":            func() { gitea.Next(forgetest.IntrospectionEndpoint, forgetest.GarbageBody()) },
		"limited":            func() { gitea.Next(forgetest.IntrospectionEndpoint, forgetest.TooManyRequests(time.Hour)) },
		"a refusal":          func() { gitea.Next(forgetest.UserEndpoint, forgetest.Status(401)) },
	} {
		refuse()
		if _, err := d.watchGrant(t.Context(), "gitea"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	gitea.RotateClientSecret("client", "another secret")
	d.asked("gitea", "") // introspection is refused, and the account still known
	if d.history() != before {
		t.Errorf("the log holds %s", d.history())
	}
	if _, err := d.OperatorAdapter(t.Context()); err != nil {
		t.Errorf("the token: %v", err)
	}
}

// Each process asks once a day; one records what has changed.
func TestGrantsAreWatchedDaily(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.claim()
	var mu sync.Mutex
	var waits []time.Duration
	ticks := make(chan time.Time)
	watching := func() *Commands {
		c := d.process()
		c.after = func(wait time.Duration) <-chan time.Time {
			mu.Lock()
			defer mu.Unlock()
			waits = append(waits, wait)
			return ticks
		}
		return c
	}
	ctx, stop := context.WithCancel(t.Context())
	var processes sync.WaitGroup
	for range 2 {
		c := watching()
		processes.Go(func() { c.watchGrants(ctx) })
	}
	d.forges["github"].RenameUser("alice", "alicia")
	asked := d.forges["github"].Count(forgetest.UserEndpoint)
	for n := range 4 {
		ticks <- d.clock.Now()
		if err := d.forges["github"].Await(t.Context(), forgetest.UserEndpoint, asked+n+1); err != nil {
			t.Fatal(err)
		}
	}
	d.eventually("the rename is recorded", func() bool { return d.forgeStatus("github").AccountLogin == "alicia" })
	stop()
	processes.Wait()
	if n := d.count(`SELECT count(*) FROM events WHERE type = 'AccountRenamed' AND stream = 'token/github'`); n != 1 {
		t.Errorf("recorded %d times", n)
	}
	mu.Lock()
	defer mu.Unlock()
	first, daily := 0, 0
	for _, wait := range waits {
		switch {
		case wait == watchEvery:
			daily++
		case wait >= 0 && wait < firstWatch:
			first++
		}
	}
	if first != 2 || daily < 2 || first+daily != len(waits) {
		t.Errorf("waited for %v", waits)
	}
}

// A token turns out to act for another account while it is being refreshed: what comes of that acts for it as well.
func TestARefreshDoesNotUndoThatTheAccountChanged(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	d.clock.advance(119 * time.Minute)
	process, stopped, goOn := d.stopping("gitlab", false)
	row := d.row("gitlab")
	flight, _ := process.fly(t.Context(), "gitlab", row.DataKey)
	<-stopped
	found := watchGrant{forgeType: "gitlab", dataKey: row.DataKey, kind: forge.GitLab, grant: forge.Grant{Account: forge.Account{ID: "2", Login: "bob"}}}
	if _, err := d.append(t.Context(), Caller{}, decision{
		Streams: []events.Stream{events.TokenStream("gitlab"), events.StreamOperator}, Decide: found.decide,
	}); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if <-flight.done; flight.err != nil {
		t.Fatal(flight.err)
	}
	after := d.row("gitlab")
	if after.DataKey == row.DataKey || after.NeedsReauthReason != projections.ReasonAccountChanged || after.Refreshable() {
		t.Errorf("the row says %q of token %s", after.NeedsReauthReason, after.DataKey)
	}
	if _, err := d.AdapterFor(t.Context(), "gitlab"); !errors.Is(err, forge.ErrNeedsReauth) {
		t.Errorf("the token of another account is handed out: %v", err)
	}
}

// A token that was withdrawn at the forge and that nobody uses is found out by the daily question, and confirmed before it is
// said to be dead.
func TestAWithdrawnTokenIsFoundOutWithoutBeingUsed(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.claim()
	d.background(d.Commands)
	appended := d.since()
	d.forges["github"].RevokeToken(d.accessTokens("github")[0].Value.Reveal())
	if _, err := d.watchGrant(t.Context(), "github"); !errors.Is(err, forge.ErrNeedsReauth) {
		t.Fatalf("%v", err)
	}
	if got := appended(); got != "" {
		t.Errorf("after one refusal: %s", got)
	}
	d.eventually("the operator is told", func() bool {
		d.clock.advance(time.Second)
		return appended() == "TokenRejected"
	})
}
