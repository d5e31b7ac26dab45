package forgeauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge/forgetest"
)

// Whatever is done to a deployment, in whatever order and by however many at once, over two processes and while clocks
// jump and forges fail: afterwards all of [checkInvariants] holds, what was refused has left nothing, and what was
// accepted is there once.
func TestRaceOfRandomCommandsLeavesTheTablesEqualToTheFold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		phases := rapid.SliceOfN(rapid.SliceOfN(rapid.SliceOfN(rapid.Custom(drawStep), 1, 7), 1, 4), 1, 3).Draw(r, "phases")
		w := newWorld(t)
		defer w.close(t)
		for _, lanes := range phases {
			w.run(t.Context(), lanes)
			w.check(t.Context(), r)
		}
		w.settle(t.Context(), r)
	})
}

// step is one thing that somebody does.
type step struct {
	What    string
	Forge   string
	Login   string
	Browser int
	Fault   forgetest.Fault
	Where   forgetest.Endpoint
	Jump    time.Duration
}

func (s step) String() string {
	return fmt.Sprint(s.What, " ", s.Forge, " ", s.Login, " ", s.Browser, " ", s.Fault, " ", s.Where, " ", s.Jump)
}

var propertyForges = []string{"gitea", "gitlab", "github-work"}

func drawStep(r *rapid.T) step {
	return step{
		What: rapid.SampledFrom([]string{
			"sign in", "sign in", "sign in", "sign in with code", "log out", "activate", "activate", "activate as page", "deactivate",
			"disconnect", "disconnect", "import", "import", "remove account", "recover", "verify", "jump", "fault",
			"use", "use", "withdraw consent",
		}).Draw(r, "what"),
		Forge:   rapid.SampledFrom(propertyForges).Draw(r, "forge"),
		Login:   rapid.SampledFrom([]string{"ada", "ada", "ada", "bob"}).Draw(r, "login"),
		Browser: rapid.IntRange(0, 2).Draw(r, "browser"),
		Fault: rapid.SampledFrom([]forgetest.Fault{
			forgetest.Status(http.StatusServiceUnavailable), forgetest.CutBefore(), forgetest.CutAfter(), forgetest.GarbageBody(),
			forgetest.ReplicaLag(), forgetest.TooManyRequests(time.Minute),
		}).Draw(r, "fault"),
		Where: rapid.SampledFrom([]forgetest.Endpoint{
			forgetest.TokenEndpoint, forgetest.RefreshEndpoint, forgetest.UserEndpoint, forgetest.RevokeEndpoint,
		}).Draw(r, "where"),
		Jump: rapid.SampledFrom([]time.Duration{
			time.Hour, 25 * time.Hour, 8 * 24 * time.Hour, 31 * 24 * time.Hour, -3 * time.Hour, -50 * time.Hour,
		}).Draw(r, "jump"),
	}
}

// world is a claimed deployment and what its commands have answered.
type world struct {
	*house

	pool     *pgxpool.Pool
	browsers []*browser
	code     atomic.Pointer[string] // the recovery code that was printed last

	mu       sync.Mutex
	accepted map[uuid.UUID]bool   // ids of events that commands have returned
	refused  map[uuid.UUID]string // correlation ids of commands that were refused, and why
	signIns  int                  // that ended at "/" with a new session
	faults   []string             // what no command should answer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{house: newHouse(t, propertyForges...), accepted: map[uuid.UUID]bool{}, refused: map[uuid.UUID]string{}}
	w.pool = w.db.Pool(t)
	w.open(t)
	w.open(t)
	w.browsers = []*browser{w.claim(t, "gitea"), w.browser(), w.browser()}
	w.signIns = 1
	w.code.Store(new(""))
	return w
}

// close frees what the next world needs, before the test itself ends.
func (w *world) close(t *testing.T) {
	t.Helper()
	w.server.Close()
	for _, service := range w.services {
		closeService(t, service)
	}
	w.pool.Close()
}

// run does the steps of all lanes, the lanes at once, beside the background work of both processes.
func (w *world) run(ctx context.Context, lanes [][]step) {
	ctx, cancel := context.WithCancel(ctx)
	var background, foreground sync.WaitGroup
	for _, service := range w.services {
		background.Go(func() { _ = service.Run(ctx) })
	}
	for _, lane := range lanes {
		foreground.Go(func() {
			for _, s := range lane {
				w.do(ctx, s)
			}
		})
	}
	foreground.Wait()
	cancel()
	background.Wait()
	w.rest(ctx)
}

// rest returns when everything is committed that somebody has stopped waiting for.
func (w *world) rest(ctx context.Context) {
	for _, service := range w.services {
		_, err := service.Commands().EndSession(context.WithoutCancel(ctx), commands.Caller{}, uuid.New()) // queues behind it
		if err != nil {
			w.note(commands.Caller{}, nil, err)
		}
	}
}

func (w *world) do(ctx context.Context, s step) {
	b, c := w.browsers[s.Browser], w.service().Commands()
	caller := commands.Caller{Actor: "test", Correlation: uuid.Must(uuid.NewV7())}
	switch s.What {
	case "jump":
		w.clock.jump(s.Jump)
	case "fault":
		w.forges[s.Forge].Next(s.Where, s.Fault)
	case "sign in":
		w.signIn(ctx, b, s, nil)
	case "sign in with code":
		w.signIn(ctx, w.browser(), s, url.Values{"setup_code": {*w.code.Load()}})
	case "use": // which refreshes what has expired; whether that works is up to the forge
		if port, err := w.service().AdapterFor(ctx, s.Forge); err == nil {
			_, _ = port.Account(ctx)
		}
	case "withdraw consent":
		w.forges[s.Forge].RevokeUser(s.Login)
	case "log out":
		w.request(ctx, b, http.MethodPost, "/logout", url.Values{})
	case "activate as page":
		w.request(ctx, b, http.MethodPost, "/forges/active", url.Values{"forge_type": {s.Forge}})
	case "activate":
		appended, err := c.ActivateForge(ctx, caller, s.Forge)
		w.note(caller, appended, err)
	case "deactivate":
		appended, err := c.DeactivateForge(ctx, caller)
		w.note(caller, appended, err)
	case "disconnect":
		appended, err := c.DisconnectForge(ctx, caller, s.Forge)
		w.note(caller, appended, err)
	case "import":
		appended, err := c.ImportToken(ctx, caller, robotToken(s.Forge))
		w.note(caller, appended, err)
	case "remove account":
		appended, err := c.RemoveAccount(ctx, caller, s.Forge, map[string]string{"ada": "7", "bob": "8"}[s.Login])
		w.note(caller, appended, err)
	case "verify": // in the middle of it all there is nothing to repair
		report, err := w.service().Verify(ctx, forgeauth.VerifyOptions{Repair: s.Browser > 0})
		if err != nil || len(report.Tables.Differences)+len(report.Log.Findings) > 0 {
			w.fault(fmt.Sprintf("verify: %v %+v", err, report))
		}
	case "recover":
		if code, _, err := c.Recover(ctx, caller); err == nil {
			w.code.Store(new(code.Reveal()))
		} else {
			w.note(caller, nil, err)
		}
	}
}

// note keeps what a command answered.
func (w *world) note(caller commands.Caller, appended []events.Event, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.refused[caller.Correlation] = err.Error()
	}
	if errors.Is(err, events.ErrCommitUnknown) || errors.Is(err, events.ErrUnavailable) {
		w.faults = append(w.faults, err.Error())
	}
	for _, e := range appended {
		w.accepted[e.ID] = true
	}
}

// fault notes what no command should answer.
func (w *world) fault(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, what)
}

// signIn notes whether a sign-in came to its end. Many do not: faults, strangers, clocks.
func (w *world) signIn(ctx context.Context, b *browser, s step, form url.Values) {
	a, err := b.signIn(ctx, s.Forge, s.Login, form)
	w.mu.Lock()
	defer w.mu.Unlock()
	// A clock that jumps far enough right after the commit leaves the cookie nothing to live for: it comes without a value.
	started := err == nil && !strings.Contains(a.Header.Get("Location"), "/login") && slices.ContainsFunc(a.Cookies(), func(c *http.Cookie) bool {
		return !strings.Contains(c.Name, "attempt")
	})
	switch {
	case err != nil: // the forge's or our refusal to begin with it
	case started:
		w.signIns++
	case a.StatusCode >= http.StatusInternalServerError, strings.Contains(a.Header.Get("Location"), "error=internal"):
		w.faults = append(w.faults, fmt.Sprintf("%v: status %d, %s", s, a.StatusCode, a.Header.Get("Location")))
	}
}

// request sends a form as a page does. The id of the request is the correlation id of what it caused.
func (w *world) request(ctx context.Context, b *browser, method, path string, form url.Values) {
	a, err := b.do(ctx, method, path, form, nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil:
		w.faults = append(w.faults, err.Error())
	case a.StatusCode >= http.StatusInternalServerError:
		w.faults = append(w.faults, fmt.Sprintf("%s: %d %s", path, a.StatusCode, a.body))
	case a.StatusCode >= http.StatusBadRequest:
		w.refused[uuid.MustParse(a.Header.Get("X-Request-Id"))] = a.body
	}
}

// check compares the log with what was answered.
func (w *world) check(ctx context.Context, r *rapid.T) {
	log := checkInvariants(ctx, r, w.service(), w.pool)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fault := range w.faults {
		r.Errorf("a command failed: %s", fault)
	}
	started := 0
	for _, e := range log {
		if why, was := w.refused[e.CorrelationID]; was {
			r.Errorf("event %d, %s, is of a command that was refused: %s", e.Position, e.Type, why)
		}
		if _, ok := e.Fact.(events.SessionStarted); ok {
			started++
		}
		delete(w.accepted, e.ID)
	}
	if len(w.accepted) > 0 {
		r.Errorf("%d events were returned that are not in the log", len(w.accepted))
	}
	if started != w.signIns {
		r.Errorf("%d sign-ins succeeded, and %d sessions were started", w.signIns, started)
	}
	for _, facts := range byCommand(log) {
		checkSignIn(r, facts)
	}
}

// settle lets the time pass in which the background work comes to an end with everything: then data keys are those of living
// tokens alone, and sessions whose time is over are gone.
func (w *world) settle(ctx context.Context, r *rapid.T) {
	w.clock.jump(100 * 24 * time.Hour)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	background, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { _ = w.service().Run(background) })
	for pending := 1; pending > 0; {
		err := w.pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM token_revocations) + (SELECT count(*) FROM operator_sessions)`).Scan(&pending)
		if err != nil {
			r.Errorf("the background work does not come to an end: %v", err)
			break
		}
	}
	stop()
	group.Wait()
	w.rest(ctx)
	checkInvariants(context.WithoutCancel(ctx), r, w.service(), w.pool)
}

// Two programs that embed the service and import tokens for the same connection leave one of them, whole.
func TestRaceOfImportsLeavesOneTokenWhole(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitlab")
	services := []*forgeauth.Service{h.open(t), h.open(t)}
	for range rounds(10, 500) {
		tokens := []forgeauth.OperatorOAuth{robotToken("gitlab"), robotToken("gitlab")}
		failed := together(
			func() error { return services[0].UpsertOperatorOAuth(t.Context(), tokens[0]) },
			func() error { return services[1].UpsertOperatorOAuth(t.Context(), tokens[1]) },
		)
		if err := errors.Join(failed...); err != nil {
			t.Fatal(err)
		}
		stored, err := services[0].GetOperatorOAuth(t.Context(), "gitlab")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(tokens, func(token forgeauth.OperatorOAuth) bool {
			return token.AccessToken.Equal(stored.AccessToken) && token.RefreshToken.Equal(stored.RefreshToken)
		}) {
			t.Fatal("the stored pair is none of those imported")
		}
	}
	checkInvariants(t.Context(), t, services[0], h.db.Pool(t))
}
