package commands

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

func TestConcurrentCallbacks(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	first := d.claim()
	d.enter(d.login("gitea", "alice", &first.Session, ""))
	before := d.count(`SELECT count(*) FROM events`)
	other := d.process()
	const browsers = 24
	var all sync.WaitGroup
	var appended atomic.Int64
	for n := range browsers {
		forgeType, process := []string{"github", "gitea"}[n%2], []*Commands{d.Commands, other}[n/2%2]
		req := d.login(forgeType, "alice", nil, "")
		all.Go(func() {
			completed, err := process.CompleteLogin(t.Context(), req)
			if err != nil {
				t.Errorf("a callback for %s lost a race: %v", forgeType, err)
			}
			appended.Add(int64(len(completed.Events)))
		})
	}
	all.Wait()
	if n := d.count(`SELECT count(*) FROM events`) - before; int64(n) != appended.Load() {
		t.Errorf("%d events are in the log, %d were acknowledged", n, appended.Load())
	}
	if n := d.count(`SELECT count(*) FROM events WHERE type = 'SessionStarted'`); n != browsers+2 {
		t.Errorf("%d sessions were started", n)
	}
	if n := d.count(`SELECT count(*) FROM operator_oauth_tokens`); n != 2 {
		t.Errorf("%d connections", n)
	}
	last := ""
	for e, err := range d.log.Read(t.Context(), events.Query{Stream: events.StreamActiveForge}) {
		fact, ok := e.Fact.(events.ForgeActivated)
		if err != nil || !ok || (last != "" && (fact.Previous == nil || *fact.Previous != last)) {
			t.Fatalf("position %d: %+v follows %s, %v", e.Position, fact, last, err)
		}
		last = fact.ForgeType
	}
}

func TestOneSetupCodeClaimsOnce(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	code, _, err := d.IssueSetupCode(t.Context(), Caller{})
	if err != nil {
		t.Fatal(err)
	}
	in := d.rush(t, []CompleteLogin{
		d.login("github", "alice", nil, code.Reveal()), d.login("github", "bob", nil, code.Reveal()),
		d.login("gitea", "alice", nil, code.Reveal()), d.login("gitea", "bob", nil, code.Reveal()),
		d.login("gitlab", "carol", nil, code.Reveal()),
	})
	if in != 1 {
		t.Errorf("%d were let in", in)
	}
}

func TestOneRecoveryCodeLetsOneIn(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	ctx := t.Context()
	if _, _, err := d.Recover(ctx, Caller{Actor: "cli"}); !errors.Is(err, ErrUnclaimed) {
		t.Fatalf("unclaimed: %v", err)
	}
	d.claim()
	appended, err := d.RemoveAccount(ctx, Caller{Actor: "cli"}, "github", "1")
	if err != nil {
		t.Fatal(err)
	}
	d.expectTypes(appended, "AccountRemoved SessionEnded")
	d.refuse(d.login("github", "alice", nil, ""), CodeNotAllowed)

	if status, err := d.Status(ctx); err != nil || status.TakesCode() {
		t.Errorf("before: %+v, %v", status, err)
	}
	useless, _, err := d.Recover(ctx, Caller{Actor: "cli"})
	if err != nil {
		t.Fatal(err)
	}
	code, expires, err := d.Recover(ctx, Caller{Actor: "cli"})
	if err != nil || !expires.Equal(d.clock.Now().Add(codeLifetime)) {
		t.Fatal(err)
	}
	d.mine = append(d.mine, code, useless)
	if status, err := d.Status(ctx); err != nil || !status.TakesCode() || status.NeedsCode() {
		t.Errorf("after: %+v, %v", status, err)
	}
	if _, err := d.StartLogin(ctx, StartLogin{ForgeType: "github", SetupCode: useless.Reveal()}); !errors.Is(err, ErrSetupCodeWrong) {
		t.Errorf("the code before: %v", err)
	}
	in := d.rush(t, []CompleteLogin{
		d.login("github", "carol", nil, code.Reveal()), d.login("github", "bob", nil, code.Reveal()),
		d.login("gitea", "carol", nil, code.Reveal()), d.login("gitea", "bob", nil, code.Reveal()),
		d.login("gitlab", "bob", nil, code.Reveal()), d.login("gitlab", "carol", nil, code.Reveal()),
	})
	if in != 1 {
		t.Errorf("%d were let in", in)
	}
	if accounts, err := d.Accounts(ctx); err != nil || len(accounts) != 1 {
		t.Errorf("%v, %v", accounts, err)
	}
	if n := d.count(`SELECT count(*) FROM setup_code`); n != 0 {
		t.Error("the code was not used up")
	}
}

// rush completes sign-ins at once and returns how many succeeded.
func (d *deployment) rush(t *testing.T, requests []CompleteLogin) int64 {
	t.Helper()
	var in atomic.Int64
	var all sync.WaitGroup
	for _, req := range requests {
		all.Go(func() {
			_, err := d.CompleteLogin(t.Context(), req)
			failed, ok := errors.AsType[*LoginError](err)
			switch {
			case err == nil:
				in.Add(1)
			case !ok || failed.Code != CodeNotAllowed && failed.Code != CodeSetupCodeWrong:
				t.Errorf("refused with %v", err)
			}
		})
	}
	all.Wait()
	return in.Load()
}

func TestTheActiveForgeIsAlwaysConnected(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	ctx := t.Context()
	d.claim()
	other := d.process()
	token := OperatorOAuth{ForgeType: "gitea", AccountID: "7", AccountLogin: "robot", AccessToken: d.accessTokens("github")[0].Value}
	const rounds = 60
	outcomes := map[string]int{}
	for range rounds {
		if _, err := d.ImportToken(ctx, Caller{}, token); err != nil {
			t.Fatal(err)
		}
		var race sync.WaitGroup
		var activation, disconnection error
		race.Go(func() { _, activation = d.ActivateForge(ctx, Caller{}, "gitea") })
		race.Go(func() { _, disconnection = other.DisconnectForge(ctx, Caller{}, "gitea") })
		race.Wait()
		if disconnection != nil {
			t.Fatal(disconnection)
		}
		switch {
		case activation == nil:
			outcomes["activated first"]++
		case errors.Is(activation, projections.ErrNotConnected):
			outcomes["disconnected first"]++
		default:
			t.Fatal(activation)
		}
		if n := d.count(`SELECT count(*) FROM active_forge_type a WHERE a.forge_type NOT IN (SELECT forge_type FROM operator_oauth_tokens)`); n > 0 {
			t.Fatal("the active forge is not connected")
		}
	}
	t.Log(outcomes)
	// And never was, at any position.
	state := projections.NewState()
	for e, err := range d.log.Read(ctx, events.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if err := state.Apply(e); err != nil {
			t.Fatal(err)
		}
		active, ok := state.Active()
		_, connected := state.Token(active.ForgeType)
		_, requested := e.Fact.(events.TokenRevocationRequested)
		_, settled := e.Fact.(events.TokenRevoked)
		if ok && !connected && !requested && !settled { // those two are followed by ForgeDeactivated in their transaction
			t.Fatalf("position %d: %s is active and not connected", e.Position, active.ForgeType)
		}
	}
}

func TestRemovingAnAccountEndsEverySession(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	ctx := t.Context()
	first := d.claim()
	d.enter(d.login("gitea", "bob", &first.Session, ""))
	for round := range 8 {
		var all sync.WaitGroup
		var in sync.Map
		for n := range 3 {
			req, process := d.login("gitea", "bob", nil, ""), []*Commands{d.Commands, d.process()}[n%2]
			all.Go(func() {
				completed, err := process.CompleteLogin(ctx, req)
				if err == nil {
					in.Store(completed.SessionSecret.Reveal(), true)
				} else if _, ok := errors.AsType[*LoginError](err); !ok {
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			if _, err := d.RemoveAccount(ctx, Caller{Actor: "cli"}, "gitea", "2"); err != nil && !errors.Is(err, ErrBusy) {
				t.Error(err)
			}
		})
		all.Wait()
		removed := d.count(`SELECT count(*) FROM operator, json_array_elements(accounts) a WHERE a->>'forge_type' = 'gitea'`) == 0
		in.Range(func(cookie, _ any) bool {
			if _, err := authenticate(ctx, d.Commands, cookie.(string)); removed && err == nil {
				t.Errorf("round %d: a session outlived its account", round)
			}
			return true
		})
		alice := d.enter(d.login("github", "alice", nil, ""))
		d.enter(d.login("gitea", "bob", &alice.Session, ""))
	}
	if _, err := d.RemoveAccount(ctx, Caller{}, "gitea", "99"); !errors.Is(err, ErrUnknownAccount) {
		t.Errorf("%v", err)
	}
}
