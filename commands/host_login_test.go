package commands

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/forge/gitlab"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/vault"
)

func TestDecisionsOfASignInOnTheHost(t *testing.T) {
	t.Parallel()
	onHost := func(p policy, account events.Account, change ...func(*candidate)) *login {
		l := &login{policy: p, who: candidate{account: account, host: true}, token: prepared(account, key2, "fresh")}
		for _, apply := range change {
			apply(&l.who)
		}
		return l
	}
	vouched := func(who *candidate) { who.vouched = true }
	declined := func(who *candidate) { who.declined = true }
	enters := func(account events.Account, previous string, before ...events.Draft) []events.Draft {
		return append(before, issued(account, key2, "fresh"), activated(account.ForgeType, previous))
	}
	stored := []events.Effect{vault.StoreKey{Key: vault.WrappedKey{ID: key2, Wrapped: []byte("wrapped")}}}
	for name, test := range map[string]struct {
		given   []events.Draft
		when    *login
		then    []events.Draft
		effects []events.Effect
		refusal error
	}{
		"it claims what nobody owns, without a code": {
			when: onHost(openPolicy, alice), then: enters(alice, "", claimed(alice)), effects: stored,
		},
		"a known account needs nobody's word": {
			given: []events.Draft{claimed(alice)}, when: onHost(openPolicy, alice), then: enters(alice, ""), effects: stored,
		},
		"a known account's token is replaced": {
			given: []events.Draft{claimed(alice), issued(alice, key1, "old"), activated("github", "")}, when: onHost(openPolicy, alice),
			then: append(
				[]events.Draft{issued(alice, key2, "fresh"), requested(alice, key1, 2, reasonReplaced)}, activated("github", "github"),
			),
			effects: stored,
		},
		"a stranger is linked if somebody vouches": {
			given: []events.Draft{claimed(alice)}, when: onHost(openPolicy, bob, vouched), then: enters(bob, "", linked(bob)), effects: stored,
		},
		"a stranger nobody was asked about is not": {
			given: []events.Draft{claimed(alice)}, when: onHost(openPolicy, bob), refusal: &deniedError{reason: deniedUnknown},
		},
		"a no is a no, whatever has become of the account": {
			given: []events.Draft{claimed(alice), linked(bob)}, when: onHost(openPolicy, bob, declined),
			refusal: &deniedError{reason: deniedNotConfirmed},
		},
		"a stranger whose token is the stored one keeps it": {
			given: []events.Draft{claimed(alice), issued(bob, key1, "fresh")}, when: onHost(openPolicy, bob, declined),
			refusal: &deniedError{reason: deniedNotConfirmed, keepToken: true},
		},
		"the allow-list is the whole truth": {
			given: []events.Draft{claimed(alice)}, when: onHost(listing(alice), bob, vouched), refusal: &deniedError{reason: deniedNotListed},
		},
		"the allow-list is the whole truth, also for who is known": {
			given: []events.Draft{claimed(alice)}, when: onHost(listing(bob), alice), refusal: &deniedError{reason: deniedNotListed},
		},
		"the first of the allow-list claims": {
			when: onHost(listing(alice), alice), then: enters(alice, "", claimed(alice)), effects: stored,
		},
		"others of it are not linked": {
			given: []events.Draft{claimed(alice)}, when: onHost(listing(alice, bob), bob), then: enters(bob, ""), effects: stored,
		},
		"a connection that is no way in is usable, and no way in": {
			given: []events.Draft{claimed(alice), issued(alice, key1, "old"), activated("github", "")}, when: onHost(openPolicy, robot),
			then: enters(robot, "github"), effects: stored,
		},
		"a connection that is no way in claims nothing": {
			when: onHost(openPolicy, robot), then: enters(robot, ""), effects: stored,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := test.when.decide(given(t, test.given...), then)
			expect(t, got, err, events.Outcome{Drafts: test.then, Effects: test.effects}, test.refusal)
		})
	}
}

// person is what happens while a device login waits: one step at each wait, which also moves the clock on by that wait.
func (d *deployment) person(steps ...func()) func(*Config) {
	return func(c *Config) {
		c.after = func(wait time.Duration) <-chan time.Time {
			d.clock.advance(wait)
			if len(steps) > 0 {
				steps[0]()
				steps = steps[1:]
			}
			over := make(chan time.Time, 1)
			over <- d.clock.Now()
			return over
		}
	}
}

// device starts a device login and completes it while the person, who is given the user code, decides.
func (d *deployment) device(forgeType string, req HostLogin, decide func(userCode string)) (HostLoginCompleted, error) {
	d.t.Helper()
	var started DeviceLogin
	c := d.process(d.person(func() { decide(started.UserCode) }))
	var err error
	if started, err = c.StartDeviceLogin(d.t.Context(), forgeType); err != nil {
		d.t.Fatal(err)
	}
	return c.CompleteDeviceLogin(d.t.Context(), started, req)
}

func (d *deployment) approves(forgeType, person string) func(string) {
	return func(userCode string) {
		if err := d.forges[forgeType].ApproveDevice(d.t.Context(), userCode, person); err != nil {
			d.t.Error(err)
		}
	}
}

func vouching(context.Context, events.Account) error { return nil }

var onHost = Caller{Actor: "cli"}

func TestASignInOnTheHostByDevice(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	completed, err := d.device("github", HostLogin{Caller: onHost}, d.approves("github", "alice"))
	if err != nil {
		t.Fatal(err)
	}
	d.expectTypes(completed.Events, "OperatorClaimed TokenIssued ForgeActivated")
	if !completed.Claimed || completed.Linked || completed.Account.AccountID != "1" || completed.Account.AccountLogin != "alice" {
		t.Errorf("%+v", completed)
	}
	if seen := correlations(completed.Events); len(seen) != 1 {
		t.Errorf("%d correlation ids", len(seen))
	}
	for _, e := range completed.Events {
		if e.Actor != "cli" || e.CorrelationID == uuid.Nil {
			t.Errorf("%s by %s", e.Type, e.Actor)
		}
		if issued, ok := e.Fact.(events.TokenIssued); ok && issued.Grant != "device_code" {
			t.Errorf("granted by %s", issued.Grant)
		}
	}
	if d.count(`SELECT count(*) FROM operator_sessions`) != 0 {
		t.Error("a session was started")
	}
	port, err := d.OperatorAdapter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if account, err := port.Account(t.Context()); err != nil || account.Login != "alice" {
		t.Errorf("%v, %v", account, err)
	}

	// The same account again: its token is replaced, and the former one revoked at once.
	again, err := d.device("github", HostLogin{Caller: onHost}, d.approves("github", "alice"))
	if err != nil {
		t.Fatal(err)
	}
	d.expectTypes(again.Events, "TokenIssued TokenRevocationRequested ForgeActivated TokenRevocationAttempted TokenRevoked")
	if tokens := d.accessTokens("github"); len(tokens) != 2 || tokens[0].Live || !tokens[1].Live {
		t.Errorf("tokens: %+v", tokens)
	}

	// Another account comes in if somebody vouches for it, who is shown which it is.
	var shown events.Account
	other, err := d.device("gitlab", HostLogin{Caller: onHost, Vouch: func(_ context.Context, account events.Account) error {
		shown = account
		return nil
	}}, d.approves("gitlab", "bob"))
	if err != nil || !other.Linked || shown != other.Account || shown.AccountLogin != "bob" {
		t.Fatalf("%+v, %v; shown %+v", other, err, shown)
	}
	d.expectTypes(other.Events, "AccountLinked TokenIssued ForgeActivated")
}

func TestASignInOnTheHostThatIsTurnedAway(t *testing.T) {
	t.Parallel()
	no := errors.New("no")
	listed := func(c *Config) { c.Operators = []AllowedAccount{{"github", "1"}} }
	for name, test := range map[string]struct {
		edit   func(*Config)
		vouch  func(context.Context, events.Account) error
		cause  error
		reason string
	}{
		"nobody can be asked":           {func(*Config) {}, nil, ErrNotVouched, deniedNotConfirmed},
		"the answer is no":              {func(*Config) {}, func(context.Context, events.Account) error { return no }, no, deniedNotConfirmed},
		"the allow-list says otherwise": {listed, vouching, &deniedError{reason: deniedNotListed}, deniedNotListed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			d.claim()
			var started DeviceLogin
			c := d.process(test.edit, d.person(func() { d.approves("gitlab", "bob")(started.UserCode) }))
			started, err := c.StartDeviceLogin(t.Context(), "gitlab")
			if err != nil {
				t.Fatal(err)
			}
			before := d.history()
			_, err = c.CompleteDeviceLogin(t.Context(), started, HostLogin{Caller: onHost, Vouch: test.vouch})
			failed, ok := errors.AsType[*LoginError](err)
			if !ok || failed.Code != CodeNotAllowed || failed.Account != "gitlab:2" || !sameRefusal(err, test.cause) {
				t.Errorf("%v", err)
			}
			if got := strings.TrimPrefix(d.history(), before); got != " LoginDenied" {
				t.Errorf("appended%s", got)
			}
			for e, err := range d.log.Read(t.Context(), events.Query{Latest: 1}) {
				if denied, ok := e.Fact.(events.LoginDenied); err != nil || !ok || denied.Reason != test.reason || e.Actor != "cli" {
					t.Errorf("%+v by %s, %v", e.Fact, e.Actor, err)
				}
			}
			if tokens := d.accessTokens("gitlab"); len(tokens) != 1 || tokens[0].Live || d.forges["gitlab"].Count(forgetest.RevokeEndpoint) != 1 {
				t.Errorf("the fresh token was not revoked: %+v", tokens)
			}
		})
	}
}

func TestADeviceLoginThatComesToNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		decide func(*deployment, string)
		faults []forgetest.Fault
		code   string
	}{
		"the person says no": {decide: func(d *deployment, userCode string) {
			if err := d.forges["gitlab"].DenyDevice(d.t.Context(), userCode, "alice"); err != nil {
				d.t.Error(err)
			}
		}, code: CodeAccessDenied},
		"nobody decides":             {decide: func(*deployment, string) {}, code: CodeExpiredAttempt},
		"the forge forgets the code": {decide: func(d *deployment, _ string) { d.forges["gitlab"].DeleteApp("client") }, code: CodeExchangeFailed},
		"the forge says that it has expired": {
			decide: func(d *deployment, _ string) { d.forges["gitlab"].ExpireDevices() }, code: CodeExpiredAttempt,
		},
		"the forge is down to the end": {
			decide: func(*deployment, string) {}, faults: repeated(forgetest.Status(503), 100), code: CodeForgeUnavailable,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			d.forges["gitlab"].Next(forgetest.PollEndpoint, test.faults...)
			_, err := d.device("gitlab", HostLogin{Caller: onHost}, func(userCode string) { test.decide(d, userCode) })
			if failed, ok := errors.AsType[*LoginError](err); !ok || failed.Code != test.code {
				t.Errorf("got %v, want %s", err, test.code)
			}
			if d.history() != "" {
				t.Errorf("appended %s", d.history())
			}
		})
	}
}

func repeated(fault forgetest.Fault, n int) []forgetest.Fault {
	all := make([]forgetest.Fault, n)
	for i := range all {
		all[i] = fault
	}
	return all
}

// TestADeviceLoginKeepsAsking: what goes by is waited out, never faster than the forge allows, or the stand-in would have told it
// to slow down ever more.
func TestADeviceLoginKeepsAsking(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	f := d.forges["gitlab"]
	f.Next(forgetest.PollEndpoint, forgetest.SlowDown(), forgetest.Status(503), forgetest.CutBefore(),
		forgetest.TooManyRequests(20*time.Second), forgetest.EmptyBody())
	var started DeviceLogin
	var waits []time.Duration
	c := d.process(func(c *Config) {
		c.after = func(wait time.Duration) <-chan time.Time {
			waits = append(waits, wait)
			d.clock.advance(wait)
			if len(waits) == 7 {
				d.approves("gitlab", "alice")(started.UserCode)
			}
			over := make(chan time.Time, 1)
			over <- d.clock.Now()
			return over
		}
	})
	started, err := c.StartDeviceLogin(t.Context(), "gitlab")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CompleteDeviceLogin(t.Context(), started, HostLogin{Caller: onHost}); err != nil {
		t.Fatal(err)
	}
	want := []time.Duration{
		5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, 20 * time.Second, 40 * time.Second, 10 * time.Second,
	}
	if !slices.Equal(waits, want) {
		t.Errorf("waited %v, want %v", waits, want)
	}
}

func TestADeviceLoginThatIsGivenUp(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	ctx, cancel := context.WithCancel(t.Context())
	var started DeviceLogin
	var err error
	c := d.process(d.person(func() { d.approves("gitlab", "alice")(started.UserCode) }))
	if started, err = c.StartDeviceLogin(ctx, "gitlab"); err != nil {
		t.Fatal(err)
	}
	// Given up in the very moment in which the forge grants a token: that is not left alive.
	release := make(chan struct{})
	d.forges["gitlab"].Next(forgetest.PollEndpoint, forgetest.Slow(release))
	done := make(chan error, 1)
	go func() {
		_, err := c.CompleteDeviceLogin(ctx, started, HostLogin{Caller: onHost})
		done <- err
	}()
	waiting, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	if err := d.forges["gitlab"].Await(waiting, forgetest.PollEndpoint, 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	close(release)
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if tokens := d.accessTokens("gitlab"); len(tokens) != 1 || tokens[0].Live || d.history() != "" {
		t.Errorf("tokens %+v, log %s", tokens, d.history())
	}
	if d.forges["gitlab"].Count(forgetest.UserEndpoint) != 0 {
		t.Error("the forge was asked whose token it is")
	}

	// Given up while it waits, and while somebody is asked.
	silent := d.process(func(c *Config) { c.after = func(time.Duration) <-chan time.Time { return nil } })
	if started, err = silent.StartDeviceLogin(t.Context(), "gitlab"); err != nil {
		t.Fatal(err)
	}
	if _, err := silent.CompleteDeviceLogin(ctx, started, HostLogin{Caller: onHost}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	d.claim()
	asked, giveUp := context.WithCancel(t.Context())
	c = d.process(d.person(func() { d.approves("gitlab", "bob")(started.UserCode) }))
	if started, err = c.StartDeviceLogin(t.Context(), "gitlab"); err != nil {
		t.Fatal(err)
	}
	_, err = c.CompleteDeviceLogin(asked, started, HostLogin{Caller: onHost, Vouch: func(ctx context.Context, _ events.Account) error {
		giveUp()
		<-ctx.Done()
		return ctx.Err()
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if tokens := d.accessTokens("gitlab"); len(tokens) != 2 || tokens[1].Live {
		t.Errorf("tokens %+v", tokens)
	}
}

func TestASignInOnTheHostThroughABrowser(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	ctx := t.Context()
	started, err := d.StartBrowserLogin(ctx, "gitea")
	if err != nil {
		t.Fatal(err)
	}
	callback, err := d.forges["gitea"].Consent(ctx, started.AuthorizeURL, "alice")
	if err != nil {
		t.Fatal(err)
	}
	query := d.query(callback)
	if !strings.HasPrefix(callback, started.CallbackURL+"?") || !IsHostState(query.State) || IsHostState("cli4ever") || IsHostState("") {
		t.Errorf("came back to %s", strings.SplitN(callback, "?", 2)[0])
	}
	// A server that the browser arrives at has no attempt for it.
	d.refuse(CompleteLogin{ForgeType: "gitea", Query: query}, CodeStateMismatch)
	other, err := d.StartBrowserLogin(ctx, "gitea")
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(l BrowserLogin, q CallbackQuery, code string) {
		t.Helper()
		_, err := d.CompleteBrowserLogin(ctx, l, q, HostLogin{Caller: onHost})
		if failed, ok := errors.AsType[*LoginError](err); !ok || failed.Code != code {
			t.Errorf("got %v, want %s", err, code)
		}
	}
	refuse(other, query, CodeStateMismatch)
	refuse(BrowserLogin{}, CallbackQuery{}, CodeStateMismatch)
	refuse(started, CallbackQuery{State: query.State, Error: "access_denied"}, CodeAccessDenied)
	refuse(started, CallbackQuery{State: query.State, Code: query.Code, Issuer: "https://evil.example"}, CodeWrongIssuer)
	refuse(started, CallbackQuery{State: query.State}, CodeExchangeFailed)
	if n := d.forges["gitea"].Count(forgetest.TokenEndpoint); n != 0 {
		t.Errorf("%d exchanges for what was refused", n)
	}
	completed, err := d.CompleteBrowserLogin(ctx, started, query, HostLogin{Caller: onHost})
	if err != nil {
		t.Fatal(err)
	}
	d.expectTypes(completed.Events, "OperatorClaimed TokenIssued ForgeActivated")
	refuse(started, query, CodeExchangeFailed) // the code is used up

	late, err := d.StartBrowserLogin(ctx, "gitea")
	if err != nil {
		t.Fatal(err)
	}
	if callback, err = d.forges["gitea"].Consent(ctx, late.AuthorizeURL, "alice"); err != nil {
		t.Fatal(err)
	}
	d.clock.advance(attemptLifetime)
	refuse(late, d.query(callback), CodeExpiredAttempt)
	u, err := url.Parse(late.AuthorizeURL)
	if err != nil || u.Query().Get("code_challenge_method") != "S256" || u.Query().Get("code_challenge") == "" {
		t.Error("without PKCE")
	}
}

func TestASignInOnTheHostIsForWhatIsConfigured(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	ctx := t.Context()
	d.claim()
	if _, err := d.device("gitlab", HostLogin{Caller: onHost, Vouch: vouching}, d.approves("gitlab", "alice")); err != nil {
		t.Fatal(err)
	}
	for _, start := range []func(*Commands, string) error{
		func(c *Commands, name string) error {
			_, err := c.StartDeviceLogin(ctx, name)
			return err
		},
		func(c *Commands, name string) error {
			_, err := c.StartBrowserLogin(ctx, name)
			return err
		},
	} {
		if err := start(d.Commands, "nobody"); !errors.Is(err, ErrUnknownConnection) {
			t.Errorf("%v", err)
		}
		moved := d.process(func(c *Config) {
			c.Connections = []forge.Provider{c.Connections[0], d.provider("gitlab", forge.GitLab, gitlab.New, func(c *forge.Connection) {
				c.BaseURL = "https://elsewhere.example"
			})}
		})
		if _, ok := errors.AsType[*OriginError](start(moved, "gitlab")); !ok {
			t.Error("a connection that has moved was not refused")
		}
		if err := start(moved, "github"); err != nil {
			t.Errorf("one that has not: %v", err)
		}
		if _, ok := errors.AsType[*KindError](start(d.process(func(c *Config) {
			c.Connections = []forge.Provider{kindly{c.Connections[1], forge.GitHub}}
		}), "gitlab")); !ok {
			t.Error("a connection of another kind was not refused")
		}
	}
	if _, err := d.StartDeviceLogin(ctx, "gitea"); !errors.Is(err, forge.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	for _, f := range d.forges {
		if n := f.Count(forgetest.DeviceEndpoint); n > 2 {
			t.Errorf("%d requests", n)
		}
	}
	if _, err := d.reader.Token(ctx, "gitea"); !errors.Is(err, projections.ErrNotConnected) {
		t.Errorf("%v", err)
	}
}

// kindly is a provider whose connection says that it is of another kind.
type kindly struct {
	forge.Provider

	kind forge.Kind
}

func (k kindly) Connection() forge.Connection {
	connection := k.Provider.Connection()
	connection.Kind = k.kind
	return connection
}
