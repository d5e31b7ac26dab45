package commands

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/projections"
)

func TestClaiming(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	ctx := t.Context()
	if status, err := d.Status(ctx); err != nil || !status.NeedsCode() {
		t.Fatalf("a fresh deployment is %+v, %v", status, err)
	}
	code, expires, err := d.IssueSetupCode(ctx, Caller{Actor: "cli"})
	if err != nil || !expires.Equal(noon.Add(time.Hour)) {
		t.Fatalf("%v, %v", expires, err)
	}
	for typed, want := range map[string]error{
		"": ErrSetupCodeRequired, "nonsense": ErrSetupCodeWrong, spellCode([codeBytes]byte{1}): ErrSetupCodeWrong,
	} {
		if _, err := d.StartLogin(ctx, StartLogin{ForgeType: "github", SetupCode: typed}); !errors.Is(err, want) {
			t.Errorf("with %d characters: %v, want %v", len(typed), err, want)
		}
	}
	if n := d.forges["github"].Count(forgetest.AnyEndpoint); n > 0 {
		t.Errorf("%d requests reached the forge without the setup code", n)
	}

	typed := strings.ToLower(strings.ReplaceAll(code.Reveal(), "-", " "))
	stranger := d.login("github", "bob", nil, typed) // bound to the same code
	completed := d.enter(d.login("github", "alice", nil, typed))
	d.expectTypes(completed.Events, "OperatorClaimed TokenIssued ForgeActivated SessionStarted")
	if len(correlations(completed.Events)) != 1 {
		t.Error("one command, several correlations")
	}
	for _, e := range completed.Events {
		if e.Actor != "session/"+completed.Session.ID.String() {
			t.Errorf("%s was done by %s", e.Type, e.Actor)
		}
	}
	if completed.ReturnTo != "/me" || completed.AttemptID == "" {
		t.Errorf("returns to %q, ends attempt %q", completed.ReturnTo, completed.AttemptID)
	}
	view, err := authenticate(ctx, d.Commands, completed.SessionSecret.Reveal())
	if err != nil || view.Active == nil || view.Active.ForgeType != "github" || view.AccountLogin != "alice" {
		t.Errorf("%+v, %v", view, err)
	}
	if view.Session.ID != completed.Session.ID || !view.Session.IdleUntil.Equal(completed.Session.IdleUntil) {
		t.Errorf("the row is %+v, the answer %+v", view.Session, completed.Session)
	}
	if n := d.count(`SELECT count(*) FROM setup_code`); n != 0 {
		t.Error("the setup code was not used up")
	}

	failed := d.refuse(stranger, CodeNotAllowed)
	if failed.Account != "github:2" {
		t.Errorf("shown to the stranger: %q", failed.Account)
	}
	if _, _, err := d.IssueSetupCode(ctx, Caller{}); !errors.Is(err, ErrClaimed) {
		t.Errorf("another setup code: %v", err)
	}
	if _, _, needed, err := d.EnsureSetupCode(ctx); needed || err != nil {
		t.Errorf("needs a setup code: %v, %v", needed, err)
	}
}

func TestAFailedClaimLeavesTheCodeUsable(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	code, _, err := d.IssueSetupCode(t.Context(), Caller{})
	if err != nil {
		t.Fatal(err)
	}
	github := d.forges["github"]
	for name, fail := range map[string]struct {
		order func()
		code  string
	}{
		"the forge is down at the exchange":   {func() { github.Next(forgetest.TokenEndpoint, forgetest.Status(502)) }, CodeForgeUnavailable},
		"the forge is down at the profile":    {func() { github.Next(forgetest.UserEndpoint, forgetest.Status(502)) }, CodeForgeUnavailable},
		"the forge refuses the profile":       {func() { github.Next(forgetest.UserEndpoint, forgetest.Status(404)) }, CodeProfileFailed},
		"the forge is overrun":                {func() { github.Next(forgetest.TokenEndpoint, forgetest.TooManyRequests(time.Minute)) }, CodeForgeUnavailable},
		"the code is refused (client secret)": {func() { github.RotateClientSecret("client", "another") }, CodeExchangeFailed},
	} {
		req := d.login("github", "alice", nil, code.Reveal())
		fail.order()
		failed := d.refuse(req, fail.code)
		if failed.AttemptID == "" {
			t.Errorf("%s: whose cookie to delete is not said", name)
		}
		github.RotateClientSecret("client", "the-secret-of-github")
		if history := d.history(); history != "" {
			t.Errorf("%s: the log holds %s", name, history)
		}
	}
	for _, token := range d.accessTokens("github") {
		if token.Live {
			t.Error("a token that was granted and not stored lives on")
		}
	}
	d.enter(d.login("github", "alice", nil, code.Reveal()))
}

func TestAnUnclaimedDeploymentSendsNoCodeToAForge(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	old, _, err := d.IssueSetupCode(t.Context(), Caller{})
	if err != nil {
		t.Fatal(err)
	}
	replaced := d.login("github", "alice", nil, old.Reveal())
	late, _, err := d.IssueSetupCode(t.Context(), Caller{})
	if err != nil {
		t.Fatal(err)
	}
	d.refuse(replaced, CodeSetupCodeWrong)
	expired := d.login("github", "alice", nil, late.Reveal())
	d.clock.advance(9 * time.Minute)
	fine := d.login("github", "alice", nil, late.Reveal())
	d.clock.advance(51 * time.Minute)
	d.refuse(expired, CodeExpiredAttempt)
	if _, err := d.StartLogin(t.Context(), StartLogin{ForgeType: "github", SetupCode: late.Reveal()}); !errors.Is(err, ErrSetupCodeWrong) {
		t.Errorf("a code that is over: %v", err)
	}
	d.refuse(fine, CodeExpiredAttempt)
	if n := d.forges["github"].Count(forgetest.TokenEndpoint); n > 0 {
		t.Errorf("%d codes were exchanged", n)
	}
}

func TestAStrangerIsTurnedAway(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.claim()
	before := d.count(`SELECT count(*) FROM data_keys`)
	for forgeType, revocations := range map[string]int{"github": 1, "gitlab": 1, "gitea": 0} {
		failed := d.refuse(d.login(forgeType, "bob", nil, ""), CodeNotAllowed)
		if failed.Account != forgeType+":2" {
			t.Errorf("shown: %q", failed.Account)
		}
		if n := d.forges[forgeType].Count(forgetest.RevokeEndpoint); n != revocations {
			t.Errorf("%s was asked to revoke %d times, want %d", forgeType, n, revocations)
		}
		tokens := d.accessTokens(forgeType)
		if fresh := tokens[len(tokens)-1]; fresh.Login != "bob" || fresh.Live != (revocations == 0) {
			t.Errorf("%s: the fresh token of %s is live: %v", forgeType, fresh.Login, fresh.Live)
		}
	}
	if n := d.count(`SELECT count(*) FROM data_keys`); n != before {
		t.Errorf("%d data keys, %d before", n, before)
	}
	if history := d.history(); !strings.HasSuffix(history, "SessionStarted"+strings.Repeat(" LoginDenied", 3)) {
		t.Errorf("the log holds %s", history)
	}
	for e, err := range d.log.Read(t.Context(), events.Query{Stream: events.StreamDenials}) {
		if err != nil {
			t.Fatal(err)
		}
		denied, _ := e.Fact.(events.LoginDenied)
		if denied.AccountID != "2" || denied.AccountLogin != "bob" || denied.Reason != deniedUnknown || e.Actor != actorAnonymous {
			t.Errorf("%s says %+v", e.Actor, denied)
		}
	}
}

func TestAStrangersTokenIsRevokedInOneAttempt(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.claim()
	req := d.login("github", "bob", nil, "")
	d.forges["github"].Next(forgetest.RevokeEndpoint, forgetest.Status(503))
	d.refuse(req, CodeNotAllowed)
	if n := d.forges["github"].Count(forgetest.RevokeEndpoint); n != 1 {
		t.Errorf("%d attempts", n)
	}
}

func TestLinking(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	first := d.claim()
	second := d.enter(d.login("gitea", "alice", &first.Session, ""))
	d.expectTypes(second.Events, "AccountLinked TokenIssued ForgeActivated SessionEnded SessionStarted")
	if err := live(t.Context(), d.Commands, first.SessionSecret); !errors.Is(err, projections.ErrNoSession) {
		t.Errorf("the session before: %v", err)
	}
	// A's token row stays, and the linked account signs in by itself from now on.
	if n := d.count(`SELECT count(*) FROM operator_oauth_tokens`); n != 2 {
		t.Errorf("%d connections", n)
	}
	third := d.enter(d.login("gitea", "alice", nil, ""))
	d.expectTypes(third.Events, "TokenIssued ForgeActivated SessionStarted")

	// The session that started the attempt must be live, and the one presented.
	lost := d.login("gitlab", "alice", &third.Session, "")
	other := d.enter(d.login("github", "alice", nil, ""))
	wrong := lost
	wrong.Session = &other.Session
	d.refuse(wrong, CodeNotAllowed)
	lost = d.login("gitlab", "alice", &third.Session, "")
	if _, err := d.EndSession(t.Context(), SessionCaller(third.Session.ID), third.Session.ID); err != nil {
		t.Fatal(err)
	}
	d.refuse(lost, CodeNotAllowed)
	absent := d.login("gitlab", "alice", &other.Session, "")
	absent.Session = nil
	d.refuse(absent, CodeNotAllowed)
}

func TestCallbacksThatAreNotWhatWasStarted(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.claim()
	exchanged := d.forges["github"].Count(forgetest.TokenEndpoint)
	for name, test := range map[string]struct {
		edit func(*CompleteLogin)
		code string
	}{
		"another state":        {func(r *CompleteLogin) { r.Query.State = d.login("github", "alice", nil, "").Query.State }, CodeStateMismatch},
		"no state":             {func(r *CompleteLogin) { r.Query.State = "" }, CodeStateMismatch},
		"no cookie":            {func(r *CompleteLogin) { r.Attempts = nil }, CodeStateMismatch},
		"a forged cookie":      {func(r *CompleteLogin) { r.Attempts = []string{"AAAA", ""} }, CodeStateMismatch},
		"a session's cookie":   {func(r *CompleteLogin) { r.Attempts[0], _ = d.vault.SealCookie("other", []byte(`{}`), then) }, CodeStateMismatch},
		"an empty attempt":     {func(r *CompleteLogin) { r.Attempts[0], r.Query.State = d.emptyAttempt(), "" }, CodeStateMismatch},
		"another forge's path": {func(r *CompleteLogin) { r.ForgeType = "gitea" }, CodeWrongForge},
		"an unknown path":      {func(r *CompleteLogin) { r.ForgeType = "nobody" }, CodeWrongForge},
		"another issuer":       {func(r *CompleteLogin) { r.Query.Issuer = "https://evil.example" }, CodeWrongIssuer},
		"an issuer with a slash too many": {
			func(r *CompleteLogin) { r.Query.Issuer = d.forges["github"].URL() + "/" }, CodeWrongIssuer,
		},
		"another issuer with an error": {
			func(r *CompleteLogin) { r.Query.Issuer, r.Query.Error = "https://evil.example", "access_denied" }, CodeWrongIssuer,
		},
		"an error with another state":   {func(r *CompleteLogin) { r.Query.Error, r.Query.State = "access_denied", "x" }, CodeStateMismatch},
		"an error on another path":      {func(r *CompleteLogin) { r.Query.Error, r.ForgeType = "access_denied", "gitea" }, CodeWrongForge},
		"a denial":                      {func(r *CompleteLogin) { r.Query.Error = "access_denied" }, CodeAccessDenied},
		"an error with a code":          {func(r *CompleteLogin) { r.Query.Error = "invalid_scope" }, CodeExchangeFailed},
		"a forge that says it is down":  {func(r *CompleteLogin) { r.Query.Error = "temporarily_unavailable" }, CodeForgeUnavailable},
		"neither an error nor a code":   {func(r *CompleteLogin) { r.Query.Code = "" }, CodeExchangeFailed},
		"a code that is far too long":   {func(r *CompleteLogin) { r.Query.Code = strings.Repeat("a", maxCode+1) }, CodeExchangeFailed},
		"more cookies than any browser": {func(r *CompleteLogin) { r.Attempts = append(make([]string, mostAttempts), r.Attempts...) }, CodeStateMismatch},
		"an attempt after ten minutes":  {func(*CompleteLogin) { d.clock.advance(attemptLifetime) }, CodeExpiredAttempt},
	} {
		req := d.login("github", "alice", nil, "")
		test.edit(&req)
		completed, err := d.CompleteLogin(t.Context(), req)
		if failed, ok := errors.AsType[*LoginError](err); !ok || failed.Code != test.code {
			t.Errorf("%s: %v, %v; want %s", name, completed.Events, err, test.code)
		}
	}
	if n := d.forges["github"].Count(forgetest.TokenEndpoint); n != exchanged {
		t.Errorf("%d of these codes were exchanged", n-exchanged)
	}
	right := d.login("github", "alice", nil, "")
	right.Query.Issuer = d.forges["github"].URL() + "/login/oauth"
	right.Attempts = append([]string{"", d.login("gitea", "alice", nil, "").Attempts[0]}, right.Attempts...)
	d.enter(right) // among attempts of other tabs
	wrong := d.login("github", "alice", nil, "")
	wrong.Query.Code = "0123456789abcdef0123"
	d.refuse(wrong, CodeExchangeFailed)
}

func (d *deployment) emptyAttempt() string {
	d.t.Helper()
	sealed, err := d.sealAttempt(attempt{ForgeType: "github", Expires: noon.Add(time.Hour)})
	if err != nil {
		d.t.Fatal(err)
	}
	return sealed.Value
}

func TestSayingNoAtTheForge(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.claim()
	started, err := d.StartLogin(t.Context(), StartLogin{ForgeType: "gitlab"})
	if err != nil {
		t.Fatal(err)
	}
	callback, err := d.forges["gitlab"].Deny(t.Context(), started.AuthorizeURL, "alice")
	if err != nil {
		t.Fatal(err)
	}
	d.refuse(CompleteLogin{ForgeType: "gitlab", Query: d.query(callback), Attempts: []string{started.Attempt.Value}}, CodeAccessDenied)
}

func TestAReplayedCallback(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.claim()
	req := d.login("github", "alice", nil, "")
	completed := d.enter(req)
	before := d.history()

	signedIn := req
	signedIn.Session = &completed.Session
	if _, err := d.CompleteLogin(t.Context(), signedIn); !errors.Is(err, ErrAlreadySignedIn) {
		t.Errorf("with the cookie still there: %v", err)
	}
	signedIn.Attempts = nil
	if _, err := d.CompleteLogin(t.Context(), signedIn); !errors.Is(err, ErrAlreadySignedIn) {
		t.Errorf("with the cookie gone: %v", err)
	}
	d.refuse(req, CodeExchangeFailed)
	if history := d.history(); history != before {
		t.Errorf("the log grew from %s to %s", before, history)
	}
}

func TestTheBrowserThatLeaves(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.claim()
	req := d.login("gitlab", "bob", nil, "")
	release := make(chan struct{})
	d.forges["gitlab"].Next(forgetest.TokenEndpoint, forgetest.Slow(release))
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := d.CompleteLogin(ctx, req)
		done <- err
	}()
	if err := d.forges["gitlab"].Await(t.Context(), forgetest.TokenEndpoint, 1); err != nil {
		t.Fatal(err)
	}
	leave()
	close(release)
	if failed, ok := errors.AsType[*LoginError](<-done); !ok || failed.Code != CodeNotAllowed {
		t.Errorf("carried through to %v", failed)
	}
	if tokens := d.accessTokens("gitlab"); len(tokens) != 1 || tokens[0].Live {
		t.Error("the token that nobody waited for lives on")
	}
}

func TestTheAllowList(t *testing.T) {
	t.Parallel()
	only := func(accounts ...AllowedAccount) func(*Config) {
		return func(c *Config) { c.Operators = accounts }
	}
	d := deploy(t, only(AllowedAccount{"github", "1"}, AllowedAccount{"gitea", "2"}))
	if status, err := d.Status(t.Context()); err != nil || status.NeedsCode() {
		t.Errorf("status %+v, %v", status, err)
	}
	d.refuse(d.login("github", "bob", nil, ""), CodeNotAllowed)
	alice := d.enter(d.login("github", "alice", nil, ""))
	d.expectTypes(alice.Events, "OperatorClaimed TokenIssued ForgeActivated SessionStarted")
	bob := d.enter(d.login("gitea", "bob", nil, ""))
	d.expectTypes(bob.Events, "TokenIssued ForgeActivated SessionStarted")
	d.refuse(d.login("github", "bob", &alice.Session, ""), CodeNotAllowed)
	if _, _, err := d.Recover(t.Context(), Caller{}); !errors.Is(err, ErrAllowList) {
		t.Errorf("recover: %v", err)
	}
	if _, _, err := d.IssueSetupCode(t.Context(), Caller{}); !errors.Is(err, ErrAllowList) {
		t.Errorf("setup code: %v", err)
	}

	// It is checked on every request: a process that is started with a shorter list honours no session off it.
	shorter := d.process(only(AllowedAccount{"gitea", "2"}))
	if err := live(t.Context(), shorter, alice.SessionSecret); !errors.Is(err, projections.ErrNoSession) {
		t.Errorf("alice: %v", err)
	}
	if err := live(t.Context(), shorter, bob.SessionSecret); err != nil {
		t.Errorf("bob: %v", err)
	}
	// Without a list the one who claimed is known, and nobody else.
	without := d.process()
	if err := live(t.Context(), without, alice.SessionSecret); err != nil {
		t.Errorf("alice: %v", err)
	}
	if _, err := without.CompleteLogin(t.Context(), d.login("gitea", "bob", nil, "")); err == nil {
		t.Error("bob was let in although he was never linked")
	}
	// Nor does his session outlast the list: it links nobody, and is ended.
	foothold := d.login("gitea", "bob", &bob.Session, "")
	if _, err := without.CompleteLogin(t.Context(), foothold); err == nil {
		t.Error("bob linked himself by a session that the list had let in")
	}
	if err := d.endStrangers(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := live(t.Context(), d.Commands, bob.SessionSecret); err != nil {
		t.Errorf("bob, where the list is still set: %v", err)
	}
	for range 2 {
		if err := without.endStrangers(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.HasSuffix(d.history(), "LoginDenied SessionEnded") {
		t.Errorf("the log ends with %s", d.history())
	}
	if err := live(t.Context(), d.Commands, bob.SessionSecret); !errors.Is(err, projections.ErrNoSession) {
		t.Errorf("bob's session: %v", err)
	}
	if err := live(t.Context(), without, alice.SessionSecret); err != nil {
		t.Errorf("alice: %v", err)
	}
}

func TestAForgeThatIsNoWayIn(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	first := d.claim()
	if _, err := d.StartLogin(t.Context(), StartLogin{ForgeType: "forgejo"}); !errors.Is(err, ErrLoginDisabled) {
		t.Errorf("started: %v", err)
	}
	d.clock.advance(time.Hour)
	second := d.enter(d.login("forgejo", "bob", &first.Session, ""))
	d.expectTypes(second.Events, "TokenIssued ForgeActivated SessionEnded SessionStarted")
	if second.Session.Account != first.Session.Account || !second.Session.ExpiresAt.Equal(first.Session.ExpiresAt) {
		t.Errorf("the session is %+v", second.Session)
	}
	port, err := d.OperatorAdapter(t.Context())
	if err != nil || port.Binding().Connection != "forgejo" || port.Binding().Account.Login != "bob" {
		t.Errorf("it cannot be used: %v", err)
	}
	lost := d.login("forgejo", "bob", &second.Session, "")
	lost.Session = nil
	exchanged := d.forges["forgejo"].Count(forgetest.TokenEndpoint)
	d.refuse(lost, CodeNotAllowed)
	if n := d.forges["forgejo"].Count(forgetest.TokenEndpoint); n != exchanged {
		t.Error("the code was exchanged")
	}
	if accounts, err := d.Accounts(t.Context()); err != nil || len(accounts) != 1 {
		t.Errorf("%v, %v", accounts, err)
	}
}
