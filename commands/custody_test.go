package commands

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/forge/gitea"
	"github.com/forgeauth/forgeauth/forge/github"
	"github.com/forgeauth/forgeauth/forge/gitlab"
	"github.com/forgeauth/forgeauth/projections"
)

func TestReplicasShareTheSetupCode(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	ctx := t.Context()
	var boots sync.WaitGroup
	var mu sync.Mutex
	var printed []string
	for range 4 {
		replica := d.process()
		boots.Go(func() {
			code, expires, needed, err := replica.EnsureSetupCode(ctx)
			if err != nil || !needed || !expires.Equal(noon.Add(codeLifetime)) {
				t.Errorf("%v, %v, %v", expires, needed, err)
			}
			if !code.IsZero() {
				mu.Lock()
				defer mu.Unlock()
				printed = append(printed, code.Reveal())
			}
		})
	}
	boots.Wait()
	if len(printed) != 1 {
		t.Fatalf("%d replicas printed a code", len(printed))
	}
	d.clock.advance(codeLifetime - time.Microsecond)
	if code, _, needed, err := d.EnsureSetupCode(ctx); err != nil || !needed || !code.IsZero() {
		t.Errorf("a restart while the code is good: %v, %v", needed, err)
	}
	if _, err := d.StartLogin(ctx, StartLogin{ForgeType: "github", SetupCode: printed[0]}); err != nil {
		t.Errorf("the code that was printed: %v", err)
	}
	d.clock.advance(time.Microsecond)
	code, _, needed, err := d.EnsureSetupCode(ctx)
	if err != nil || !needed || code.IsZero() {
		t.Fatalf("a restart after it: %v, %v", needed, err)
	}
	another, _, err := d.process().IssueSetupCode(ctx, Caller{Actor: "cli"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.StartLogin(ctx, StartLogin{ForgeType: "github", SetupCode: code.Reveal()}); !errors.Is(err, ErrSetupCodeWrong) {
		t.Errorf("the code that was replaced: %v", err)
	}
	d.mine = append(d.mine, code, another)
	d.enter(d.login("github", "alice", nil, another.Reveal()))
}

func TestManyDenialsAreSummarised(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.claim()
	req := d.login("github", "bob", nil, "")
	singles := func() int { return d.count(`SELECT count(*) FROM events WHERE type = 'LoginDenied'`) }
	for n := range denialsPerHour + 7 {
		d.denyLogin(t.Context(), d.identified(Caller{}), events.LoginDenied{Reason: fmt.Sprint(n)})
		d.clock.advance(time.Second)
	}
	if n := singles(); n != denialsPerHour {
		t.Errorf("%d single facts", n)
	}
	d.refuse(req, CodeNotAllowed) // above the cap it is 403 all the same
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := d.Run(ctx); err != nil { // at shutdown, too
		t.Fatal(err)
	}
	var summaries []events.LoginsDenied
	for e, err := range d.log.Read(t.Context(), events.Query{Types: []string{"LoginsDenied"}}) {
		if err != nil {
			t.Fatal(err)
		}
		summary, _ := e.Fact.(events.LoginsDenied)
		summaries = append(summaries, summary)
	}
	want := events.LoginsDenied{
		Count: 8, From: noon.Add(denialsPerHour * time.Second), Until: noon.Add((denialsPerHour + 7) * time.Second),
	}
	if len(summaries) != 1 || summaries[0] != want {
		t.Errorf("summarised as %+v, want %+v", summaries, want)
	}
	if err := d.summariseDenials(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.clock.advance(time.Hour)
	d.refuse(d.login("github", "bob", nil, ""), CodeNotAllowed)
	if n := singles(); n != denialsPerHour+1 {
		t.Errorf("%d single facts an hour later", n)
	}
	if n := d.count(`SELECT count(*) FROM events WHERE type = 'LoginsDenied'`); n != 1 {
		t.Errorf("%d summaries", n)
	}
}

func TestRebinding(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("keeping accounts: %v", keep), func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			ctx := t.Context()
			session := d.claim()
			if err := d.CheckOrigins(ctx); err != nil {
				t.Fatalf("nothing has changed: %v", err)
			}
			old := d.forges["github"].URL()
			d.forges["github"] = forgetest.Start(t, forgetest.Config{
				Dialect: forgetest.GitHub, Now: d.clock.Now,
				Clients: []forgetest.Client{{ID: "client", Secret: "first-secret", RedirectURIs: []string{publicURL + "/oauth/github/callback"}}},
				Users:   []forgetest.User{{ID: 1, Login: "alice"}},
			})
			moved := d.process(func(c *Config) {
				c.Connections = []forge.Provider{d.provider("github", forge.GitHub, github.New)}
			})
			err := moved.CheckOrigins(ctx)
			rebound, ok := errors.AsType[*ReboundError](err)
			if !ok || len(rebound.Connections) != 1 || rebound.Connections[0].Stored != old {
				t.Fatalf("the base URL has changed: %v", err)
			}
			if !strings.Contains(err.Error(), "forgeauth connections rebind github") {
				t.Errorf("no remedy in %q", err)
			}
			if err := live(ctx, moved, session.SessionSecret); !errors.Is(err, projections.ErrNoSession) {
				t.Errorf("a session of the old base URL: %v", err)
			}

			appended, err := moved.Rebind(ctx, Caller{Actor: "cli"}, "github", keep)
			if err != nil {
				t.Fatal(err)
			}
			want := "TokenRevocationRequested TokenRevoked ConnectionRebound ForgeDeactivated AccountRemoved "
			if keep {
				want += "AccountLinked "
			}
			d.expectTypes(appended, want+"SessionEnded")
			if n := d.count(`SELECT count(*) FROM data_keys`); n != 0 {
				t.Errorf("%d data keys", n)
			}
			if err := moved.CheckOrigins(ctx); err != nil {
				t.Errorf("after it: %v", err)
			}
			if again, err := moved.Rebind(ctx, Caller{}, "github", keep); err != nil || len(again) > 0 {
				t.Errorf("again: %v, %v", again, err)
			}
			d.Commands = moved
			req := d.login("github", "alice", nil, "")
			if keep {
				d.enter(req)
			} else {
				d.refuse(req, CodeNotAllowed)
			}
		})
	}
	d := deploy(t)
	if _, err := d.Rebind(t.Context(), Caller{}, "nobody", false); !errors.Is(err, ErrUnknownConnection) {
		t.Errorf("%v", err)
	}
	if appended, err := d.Rebind(t.Context(), Caller{}, "github", false); err != nil || len(appended) > 0 {
		t.Errorf("without a history: %v, %v", appended, err)
	}
}

func TestADisconnectedForgeHasAHistory(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	ctx := t.Context()
	first := d.claim()
	d.enter(d.login("forgejo", "bob", &first.Session, "")) // not linked: the log alone remembers
	if _, err := d.DisconnectForge(ctx, Caller{}, "forgejo"); err != nil {
		t.Fatal(err)
	}
	moved := d.process(func(c *Config) {
		c.Connections = []forge.Provider{d.provider("forgejo", forge.Forgejo, gitea.New, func(c *forge.Connection) {
			c.BaseURL = "https://elsewhere.example"
		})}
	})
	if _, ok := errors.AsType[*ReboundError](moved.CheckOrigins(ctx)); !ok {
		t.Fatal("the change was not noticed")
	}
	appended, err := moved.Rebind(ctx, Caller{Actor: "cli"}, "forgejo", false)
	if err != nil {
		t.Fatal(err)
	}
	d.expectTypes(appended, "ConnectionRebound")
	if err := moved.CheckOrigins(ctx); err != nil {
		t.Error(err)
	}
}

func TestANameDoesNotGoFromOneKindOfForgeToAnother(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	session := d.claim()
	d.enter(d.login("gitea", "bob", &session.Session, ""))
	configured := func(kind forge.Kind, adapter func(forge.Connection, forge.Options) (forge.Provider, error)) *Commands {
		return d.process(func(c *Config) { c.Connections = []forge.Provider{d.provider("gitea", kind, adapter)} })
	}
	var other *KindError
	if err := configured(forge.GitLab, gitlab.New).CheckOrigins(t.Context()); !errors.As(err, &other) || other.Stored != forge.Gitea {
		t.Errorf("a GitLab in place of a Gitea: %v", err)
	}
	if err := configured(forge.Forgejo, gitea.New).CheckOrigins(t.Context()); err != nil {
		t.Errorf("a Forgejo in place of the Gitea it grew out of: %v", err)
	}
}

// Somebody who writes to the database can put rows back, but not a data key that nobody has.
func TestAShreddedTokenStaysShreddedInTheProcessThatHadIt(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	ctx := t.Context()
	d.claim()
	if _, err := d.OperatorAdapter(ctx); err != nil {
		t.Fatal(err)
	}
	exec := func(sql string) {
		if _, err := d.pool.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	tables := []string{"operator_oauth_tokens", "active_forge_type"}
	for _, table := range tables {
		exec(`CREATE TABLE kept_` + table + ` AS TABLE ` + table)
	}
	if _, err := d.DisconnectForge(ctx, Caller{}, "github"); err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		exec(`INSERT INTO ` + table + ` SELECT * FROM kept_` + table)
	}
	if port, err := d.OperatorAdapter(ctx); !errors.Is(err, forge.ErrNeedsReauth) {
		t.Errorf("%v, %v", port, err)
	}
	if _, err := projections.Verify(ctx, d.pool, projections.VerifyOptions{Repair: true}); err != nil {
		t.Error(err)
	}
}
