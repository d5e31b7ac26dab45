package commands

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/projections"
)

// hold takes the append lock until release is called, and has one decision wait for it, so that those which come after
// queue up behind and share a group as far as they may.
func (d *deployment) hold() (release func()) {
	d.t.Helper()
	tx, err := d.db.Conn(d.t).Begin(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	if err := events.Lock(d.t.Context(), tx); err != nil {
		d.t.Fatal(err)
	}
	var first sync.WaitGroup
	first.Go(func() {
		if _, err := d.EndSession(d.t.Context(), Caller{}, d.newID()); err != nil {
			d.t.Error(err)
		}
	})
	d.eventually("a decision waits for the lock", func() bool {
		return d.count(`SELECT count(*) FROM pg_locks w JOIN pg_locks h USING (locktype, classid, objid)
			WHERE NOT w.granted AND h.granted AND h.pid = $1`, tx.Conn().PgConn().PID()) > 0
	})
	return func() {
		if err := tx.Rollback(d.t.Context()); err != nil {
			d.t.Error(err)
		}
		first.Wait()
	}
}

func TestOneRecoveryCodeLetsOneInWithinAGroup(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.claim()
	code, _, err := d.Recover(t.Context(), Caller{Actor: "cli"})
	if err != nil {
		t.Fatal(err)
	}
	var requests []CompleteLogin
	for _, person := range []string{"bob", "carol"} {
		for range 4 {
			requests = append(requests, d.login("gitlab", person, nil, code.Reveal()))
		}
	}
	release := d.hold()
	var in int64
	var all sync.WaitGroup
	all.Go(func() { in = d.rush(t, requests) })
	if err := d.forges["gitlab"].Await(t.Context(), forgetest.UserEndpoint, len(requests)); err != nil {
		t.Fatal(err)
	}
	release()
	all.Wait()
	if in == 0 || in == int64(len(requests)) {
		t.Errorf("%d sign-ins succeeded", in)
	}
	if accounts, err := d.Accounts(t.Context()); err != nil || len(accounts) != 2 {
		t.Errorf("%v may sign in, %v", accounts, err)
	}
}

func TestASignInDecidedJustBeforeARemovalIsEndedByIt(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	ctx := t.Context()
	first := d.claim()
	d.enter(d.login("gitea", "bob", &first.Session, ""))
	req := d.login("gitea", "bob", nil, "")
	other := d.process() // the lock is had in the order in which processes asked for it
	release := d.hold()
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := other.CompleteLogin(ctx, req); err != nil {
			t.Error(err)
		}
	})
	d.eventually("the sign-in waits for the lock behind the decision that holds it up", func() bool {
		return d.count(`
			SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
			AND (classid::bigint << 32 | objid::bigint) = hashtextextended('forgeauth.' || current_schema(), 0)`) == 2
	})
	before := d.pool.Stat().AcquireCount()
	all.Go(func() {
		if _, err := d.RemoveAccount(ctx, Caller{}, "gitea", "2"); err != nil {
			t.Error(err)
		}
	})
	d.eventually("the removal has read what it reads first", func() bool { return d.pool.Stat().AcquireCount() >= before+2 })
	release()
	all.Wait()
	if n := d.count(`SELECT count(*) FROM operator_sessions WHERE forge_type = 'gitea'`); n != 0 {
		t.Errorf("%d sessions outlived their account", n)
	}
}

func TestATokenIsRevokedWhenItCannotBeStored(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.claim()
	var writer *events.Writer[*projections.State]
	closed := d.process(func(c *Config) { writer = c.Writer })
	if err := writer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := closed.CompleteLogin(t.Context(), d.login("github", "alice", nil, ""))
	if failed, ok := errors.AsType[*LoginError](err); !ok || failed.Code != CodeInternal || !errors.Is(err, events.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if tokens := d.accessTokens("github"); !tokens[0].Live || tokens[1].Live {
		t.Errorf("the stored token is live: %v, the other: %v", tokens[0].Live, tokens[1].Live)
	}
}

// TestRandomCommands has random commands race each other on two processes and checks after each round that the tables are
// the fold of the log, that the log is dense, and that the active forge is connected.
func TestRandomCommands(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	session := d.claim()
	processes := []*Commands{d.Commands, d.process()}
	forges := []string{"github", "gitlab", "gitea", "forgejo"}
	commands := map[string]func(context.Context, *Commands, string, CompleteLogin) error{
		"activate": func(ctx context.Context, c *Commands, forgeType string, _ CompleteLogin) error {
			_, err := c.ActivateForge(ctx, Caller{}, forgeType)
			return err
		},
		"deactivate": func(ctx context.Context, c *Commands, _ string, _ CompleteLogin) error {
			_, err := c.DeactivateForge(ctx, Caller{})
			return err
		},
		"disconnect": func(ctx context.Context, c *Commands, forgeType string, _ CompleteLogin) error {
			_, err := c.DisconnectForge(ctx, Caller{}, forgeType)
			return err
		},
		"import": func(ctx context.Context, c *Commands, forgeType string, _ CompleteLogin) error {
			_, err := c.ImportToken(ctx, Caller{}, OperatorOAuth{
				ForgeType: forgeType, AccountID: "7", AccountLogin: "robot", AccessToken: session.SessionSecret, // any secret will do
			})
			return err
		},
		"settle": func(ctx context.Context, c *Commands, _ string, _ CompleteLogin) error {
			return c.settleRevocations(ctx)
		},
		"expire": func(ctx context.Context, c *Commands, _ string, _ CompleteLogin) error {
			d.clock.advance(sessionIdle / 8)
			return c.expireSessions(ctx)
		},
		"sign in": func(ctx context.Context, c *Commands, _ string, callback CompleteLogin) error {
			_, err := c.CompleteLogin(ctx, callback)
			return err
		},
		"remove": func(ctx context.Context, c *Commands, _ string, _ CompleteLogin) error {
			_, err := c.RemoveAccount(ctx, Caller{}, "gitea", "1")
			return err
		},
		"recover": func(ctx context.Context, c *Commands, _ string, _ CompleteLogin) error {
			_, _, err := c.Recover(ctx, Caller{})
			return err
		},
	}
	names := slices.Sorted(maps.Keys(commands))
	rapid.Check(t, func(rt *rapid.T) {
		var race sync.WaitGroup
		for n := range rapid.IntRange(1, 6).Draw(rt, "commands") {
			name := rapid.SampledFrom(names).Draw(rt, "command")
			forgeType := rapid.SampledFrom(forges).Draw(rt, "forge")
			var callback CompleteLogin
			if name == "sign in" {
				callback = d.login("github", "alice", nil, "")
			}
			race.Go(func() {
				err := commands[name](t.Context(), processes[n%2], forgeType, callback)
				if err != nil && !errors.Is(err, projections.ErrNotConnected) && !errors.Is(err, ErrUnknownAccount) &&
					!isLateCallback(err) {
					t.Errorf("%s %s: %v", name, forgeType, err)
				}
			})
		}
		race.Wait()
		report, err := projections.Verify(t.Context(), d.pool, projections.VerifyOptions{})
		if err != nil || len(report.Differences) > 0 {
			rt.Fatal(fmt.Sprint(report.Differences), err)
		}
		if n := d.count(`SELECT count(*) FROM active_forge_type WHERE forge_type NOT IN (SELECT forge_type FROM operator_oauth_tokens)`); n > 0 {
			rt.Fatal("the active forge is not connected")
		}
	})
}

// isLateCallback reports whether the clock, which another command has moved, made a callback too late.
func isLateCallback(err error) bool {
	failed, ok := errors.AsType[*LoginError](err)
	return ok && (failed.Code == CodeExpiredAttempt || failed.Code == CodeExchangeFailed)
}
