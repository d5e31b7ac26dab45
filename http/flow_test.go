package http_test

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/forge/forgetest"
)

func TestAnOperatorClaimsSignsInSwitchesDisconnectsAndLeaves(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		t.Run("over "+scheme, func(t *testing.T) {
			t.Parallel()
			d, b := claimed(t, func(s *settings) { s.https = scheme == "https" })
			first := b.cookies(t)[d.sessionCookie()]

			a := b.json().get(t, "/me")
			wantStatus(t, a, http.StatusOK)
			for _, part := range []string{`"forge_type":"gitea"`, `"account_login":"ada"`, `"base_url":"` + d.forges["gitea"].URL() + `"`} {
				if !strings.Contains(a.body, part) {
					t.Errorf("/me lacks %s: %s", part, a.body)
				}
			}

			b.signIn(t, "github", "ada", nil) // from within the session: linked
			if second := b.cookies(t)[d.sessionCookie()]; second == first || second == "" {
				t.Error("the callback that switched did not set a fresh session cookie")
			}
			if a := b.json().get(t, "/me"); !strings.Contains(a.body, `"forge_type":"github"`) {
				t.Errorf("the second forge is not active: %s", a.body)
			}

			a = b.json().do(t, http.MethodPut, "/forges/active", strings.NewReader(`{"forge_type":"gitea"}`),
				"Content-Type", "application/json")
			wantStatus(t, a, http.StatusOK)
			if !strings.Contains(a.body, `"type":"ForgeActivated"`) {
				t.Errorf("switching tells no event: %s", a.body)
			}
			a = b.json().do(t, http.MethodDelete, "/forges/gitea", nil)
			wantStatus(t, a, http.StatusOK)
			wantProblem(t, b.json().get(t, "/me"), http.StatusPreconditionFailed, "no_active_forge")
			wantProblem(t, b.json().get(t, "/forge/repositories"), http.StatusPreconditionFailed, "no_active_forge")

			wantStatus(t, b.json().do(t, http.MethodPost, "/logout", nil), http.StatusNoContent)
			wantProblem(t, b.json().get(t, "/me"), http.StatusUnauthorized, "unauthenticated")
			if held := b.cookies(t); len(held) != 0 {
				t.Errorf("cookies left after logging out: %v", held)
			}
		})
	}
}

func TestAPageDoesAllOfThatWithForms(t *testing.T) {
	t.Parallel()
	_, b := claimed(t)
	b.signIn(t, "github", "ada", nil)
	for _, step := range []struct {
		path   string
		form   url.Values
		active string
	}{
		{"/forges/active", url.Values{"forge_type": {"gitea"}}, "Active forge</h2>\n<p class=\"headline\">ada <span class=\"dim\">on</span> Gitea"},
		{"/forges/active/clear", nil, "<p class=\"headline\">None"},
		{"/forges/active", url.Values{"forge_type": {"github"}}, "on</span> GitHub"},
		{"/forges/github/disconnect", nil, "<p class=\"headline\">None"},
	} {
		a := b.post(t, step.path, step.form)
		wantStatus(t, a, http.StatusSeeOther)
		wantHeader(t, a, "Location", "/")
		if page := b.get(t, "/"); !strings.Contains(page.body, step.active) {
			t.Errorf("after %s the page lacks %q:\n%s", step.path, step.active, page.body)
		}
	}
	a := b.post(t, "/logout", nil)
	wantStatus(t, a, http.StatusSeeOther)
	wantHeader(t, a, "Location", "/login")
	a = b.get(t, "/")
	wantStatus(t, a, http.StatusSeeOther)
	wantHeader(t, a, "Location", "/login")
}

// Whoever disconnects learns what has become of the token: at once, and on the page for as long as it matters.
func TestWhatIsNotRevokedIsShown(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	b.signIn(t, "github", "ada", nil)
	d.forges["github"].Next(forgetest.RevokeEndpoint, forgetest.Status(http.StatusServiceUnavailable))
	type answer struct{ Revocation *commands.RevocationStatus }
	pending := decode[answer](t, b.json().do(t, http.MethodDelete, "/forges/github", nil).body).Revocation
	if pending == nil || pending.Outcome != "pending" || pending.NextAttemptAt == nil {
		t.Errorf("told %+v", pending)
	}
	if page := b.get(t, "/").body; !strings.Contains(page, "a former token; <span class=\"dim\">the forge is told again</span> <time") {
		t.Errorf("the page does not say that a token is still to be revoked:\n%s", page)
	}
	withdraw := d.forges["gitea"].URL() + "/user/settings/applications"
	unsupported := decode[answer](t, b.json().do(t, http.MethodDelete, "/forges/gitea", nil).body).Revocation
	if unsupported == nil || unsupported.Outcome != "unsupported" || unsupported.Page != withdraw {
		t.Errorf("told %+v", unsupported)
	}
	if page := b.get(t, "/").body; !strings.Contains(page, `<a href="`+withdraw+`" rel="noreferrer">`) {
		t.Errorf("the page does not lead to where the grant can be withdrawn:\n%s", page)
	}
	if a := b.json().do(t, http.MethodDelete, "/forges/active", nil); strings.Contains(a.body, "revocation") {
		t.Errorf("a change without a token tells of one: %s", a.body)
	}
}

func TestWhatWasNotGrantedIsShown(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	for _, token := range d.forges["gitea"].Tokens() {
		d.forges["gitea"].SetScope(token.Value.Reveal(), "read:user write:admin")
	}
	ctx, stop := context.WithCancel(t.Context())
	running := make(chan error, 1)
	go func() { running <- d.commands.Run(ctx) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	patience, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	page := ""
	for !strings.Contains(page, "<dt>Not granted</dt>") {
		select {
		case <-tick.C:
			page = b.get(t, "/").body
		case <-patience.Done():
			t.Fatalf("the page does not say what was not granted:\n%s", page)
		}
	}
	stop()
	check(t, <-running)
	withdraw := d.forges["gitea"].URL() + "/user/settings/applications"
	for _, shown := range []string{
		"<dt>Not granted</dt><dd><code>write:repository</code> <code>write:issue</code> <code>read:organization</code>",
		"<dt>Beyond what is asked</dt><dd><code>write:admin</code>", `<a href="` + withdraw + `" rel="noreferrer">`,
	} {
		if !strings.Contains(page, shown) {
			t.Errorf("the page lacks %s:\n%s", shown, page)
		}
	}
}

func TestLoggingOutEndsTheSessionAndKeepsTheToken(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	stolen := b.cookies(t)[d.sessionCookie()]
	wantStatus(t, b.post(t, "/logout", nil), http.StatusSeeOther)

	if types := d.facts(t); slices.Contains(types, "TokenRevocationRequested") || !slices.Contains(types, "SessionEnded") {
		t.Errorf("logging out wrote %v", types)
	}
	forges, err := d.commands.Forges(t.Context())
	check(t, err)
	if !forges[0].Connected || !forges[0].Active {
		t.Error("logging out disconnected the forge")
	}
	thief := d.browser(t)
	thief.setCookie(t, d.sessionCookie(), stolen)
	wantProblem(t, thief.json().get(t, "/me"), http.StatusUnauthorized, "unauthenticated")
	wantStatus(t, b.json().do(t, http.MethodPost, "/logout", nil), http.StatusNoContent) // twice is no fault
}

//nolint:tparallel // the queries of one are counted at a time
func TestMeIsOneQuery(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	for _, c := range []struct { //nolint:paralleltest // likewise
		name, cookie string
		want         int64
	}{
		{"with a session", b.cookies(t)[d.sessionCookie()], 1},
		{"with a cookie that no session has", strings.Repeat("A", 43), 1},
		{"with a cookie of another shape", "x", 0},
		{"without a cookie", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			other := d.browser(t)
			if c.cookie != "" {
				other.setCookie(t, d.sessionCookie(), c.cookie)
			}
			before := d.queries.n.Load()
			other.json().get(t, "/me")
			if got := d.queries.n.Load() - before; got != c.want {
				t.Errorf("%d queries, want %d", got, c.want)
			}
		})
	}
}

func TestSeveralSignInsLiveSideBySideInTabs(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	first := b.start(t, "/oauth/gitea/init?return=/?tab=1", nil)
	second := b.start(t, "/oauth/github/init?return=/?tab=2", nil)
	if n := len(b.cookies(t)); n != 3 {
		t.Fatalf("%d cookies, want the session and two attempts", n)
	}
	a := b.get(t, b.consent(t, "github", second, "ada"))
	wantHeader(t, a, "Location", "/?tab=2")
	a = b.get(t, b.consent(t, "gitea", first, "ada"))
	wantHeader(t, a, "Location", "/?tab=1")
	if held := b.cookies(t); len(held) != 1 || held[d.sessionCookie()] == "" {
		t.Errorf("used attempts left cookies behind: %v", held)
	}
}

// Every sign-in rotates the session, and what other tabs have begun within it goes on in the new one.
func TestLinksInSeveralTabsAreCompletedInAnyOrder(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	visitor := b.start(t, "/oauth/github/init", nil)
	link := b.start(t, "/oauth/github/init?return=/?tab=2", nil)
	again := b.start(t, "/oauth/gitea/init?return=/?tab=1", nil)
	wantHeader(t, b.get(t, b.consent(t, "gitea", again, "ada")), "Location", "/?tab=1")
	carried := b.cookies(t)
	wantHeader(t, b.get(t, b.consent(t, "github", link, "ada")), "Location", "/?tab=2")
	if types := d.facts(t); !slices.Contains(types, "AccountLinked") {
		t.Errorf("the log holds %v", types)
	}

	// Not past the end of the session, be it followed by another one in the same browser.
	wantStatus(t, b.post(t, "/logout", nil), http.StatusSeeOther)
	b.signIn(t, "gitea", "ada", nil)
	b.isRefused(t, b.consent(t, "github", visitor, "bob"))
	for name, value := range carried {
		if name != d.sessionCookie() {
			b.setCookie(t, name, value) // nor with the cookies of before
		}
	}
	b.isRefused(t, b.consent(t, "github", visitor, "bob"))
}

func TestTheOldestSignInsGiveWay(t *testing.T) {
	t.Parallel()
	_, b := claimed(t)
	first := b.start(t, "/oauth/gitea/init", nil)
	for range 9 {
		b.start(t, "/oauth/gitea/init", nil)
	}
	if n := len(b.cookies(t)); n != 1+5 {
		t.Errorf("%d cookies, want the session and five attempts", n)
	}
	// Its state is not known any more, but the browser is signed in: nothing is lost.
	a := b.get(t, b.consent(t, "gitea", first, "ada"))
	wantStatus(t, a, http.StatusSeeOther)
}

func TestACallbackThatIsReplayed(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	callback := b.consent(t, "gitea", b.start(t, "/oauth/gitea/init", nil), "ada")
	wantHeader(t, b.get(t, callback), "Location", "/")
	before := d.facts(t)

	a := b.get(t, callback)
	wantStatus(t, a, http.StatusSeeOther)
	wantHeader(t, a, "Location", "/") // signed in: home

	a = d.browser(t).get(t, callback)
	wantStatus(t, a, http.StatusSeeOther)
	wantHeader(t, a, "Location", "/login?error=state_mismatch")
	if diff := cmp.Diff(before, d.facts(t)); diff != "" {
		t.Errorf("a replay wrote to the log:\n%s", diff)
	}
}

func TestAnAccountThatIsNotKnownSeesItsOwnNameAndNothingElse(t *testing.T) {
	t.Parallel()
	d, _ := claimed(t)
	stranger := d.browser(t)
	page := stranger.isRefused(t, stranger.consent(t, "gitea", stranger.start(t, "/oauth/gitea/init", nil), "bob"))
	if !strings.Contains(page.body, `<code class="pick">gitea:8</code>`) || !strings.Contains(page.body, `role="alert"`) {
		t.Errorf("the page does not say who was refused:\n%s", page.body)
	}
	const shown = "/login?error=not_allowed"
	if a := stranger.json().get(t, shown); a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, `"account":"gitea:8"`) {
		t.Errorf("as JSON: %s %s", a.Status, a.body)
	}
	held := stranger.cookies(t)
	if len(held) != 1 || held[d.refusedCookie()] == "" {
		t.Errorf("a refused browser keeps %v", held)
	}

	// It names nobody to whoever else has the address, with another code, with an altered cookie, or for longer than ten minutes.
	for name, look := range map[string]func() answer{
		"another browser": func() answer { return d.browser(t).get(t, shown) },
		"another code":    func() answer { return stranger.get(t, "/login?error=access_denied") },
		"an altered cookie": func() answer {
			other := d.browser(t)
			other.setCookie(t, d.refusedCookie(), "x"+held[d.refusedCookie()])
			return other.get(t, shown)
		},
		"an attempt's cookie": func() answer {
			other := d.browser(t)
			other.start(t, "/oauth/gitea/init", nil)
			for _, value := range other.cookies(t) {
				other.setCookie(t, d.refusedCookie(), value)
			}
			return other.get(t, shown)
		},
		"two cookies": func() answer {
			twice := d.refusedCookie() + "=" + held[d.refusedCookie()]
			return d.browser(t).get(t, shown, "Cookie", twice+"; "+twice)
		},
	} {
		a := look()
		wantStatus(t, a, http.StatusOK)
		if strings.Contains(a.body, "gitea:8") || !strings.Contains(a.body, `role="alert"`) {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	d.clock.stand(d.clock.Now().Add(10 * time.Minute))
	late := d.browser(t)
	late.setCookie(t, d.refusedCookie(), held[d.refusedCookie()])
	wantStatus(t, late.get(t, shown), http.StatusOK)
}

func TestAProgramThatIsRefusedIsToldAtOnce(t *testing.T) {
	t.Parallel()
	d, _ := claimed(t)
	stranger := d.browser(t)
	a := stranger.json().get(t, stranger.consent(t, "gitea", stranger.start(t, "/oauth/gitea/init", nil), "bob"))
	wantProblem(t, a, http.StatusForbidden, "not_allowed")
	if !strings.Contains(a.body, `"account":"gitea:8"`) || len(stranger.cookies(t)) != 0 {
		t.Errorf("%s; it keeps %v", a.body, stranger.cookies(t))
	}
}

func TestWhoGetsInAfterARefusalIsNoLongerRefused(t *testing.T) {
	t.Parallel()
	d, _ := claimed(t)
	b := d.browser(t)
	b.isRefused(t, b.consent(t, "gitea", b.start(t, "/oauth/gitea/init", nil), "bob"))
	b.signIn(t, "gitea", "ada", nil)
	if held := b.cookies(t); len(held) != 1 || held[d.sessionCookie()] == "" {
		t.Errorf("it keeps %v, want the session alone", held)
	}
}

func TestRepositoriesComeInPagesOfTheActiveForge(t *testing.T) {
	t.Parallel()
	_, b := claimed(t)
	type page struct {
		ForgeType    string  `json:"forge_type"`
		AccountLogin string  `json:"account_login"`
		Next         *string `json:"next"`
		Repositories []struct {
			Path string `json:"path"`
		} `json:"repositories"`
	}
	var paths []string
	path, pages := "/forge/repositories?limit=10", 0
	cursor := ""
	for {
		a := b.json().get(t, path)
		wantStatus(t, a, http.StatusOK)
		got := decode[page](t, a.body)
		if pages++; pages > 5 {
			t.Fatal("the pages do not end")
		}
		for _, r := range got.Repositories {
			paths = append(paths, r.Path)
		}
		if got.ForgeType != "gitea" || got.AccountLogin != "ada" || len(got.Repositories) > 10 {
			t.Errorf("page %d: %s", pages, a.body)
		}
		if got.Next == nil {
			break
		}
		cursor = *got.Next
		path = "/forge/repositories?limit=10&cursor=" + cursor
	}
	slices.Sort(paths)
	if pages != 3 || len(slices.Compact(paths)) != 23 {
		t.Errorf("%d pages with %d repositories, want 3 with 23", pages, len(paths))
	}
	if got := decode[page](t, b.json().get(t, "/forge/repositories?limit=23").body); got.Next != nil || len(got.Repositories) != 23 {
		t.Errorf("a page that holds all has a next one")
	}
	b.signIn(t, "github", "ada", nil)
	wantProblem(t, b.json().get(t, "/forge/repositories?cursor="+cursor), http.StatusBadRequest, "bad_cursor")
}

func TestSinceIsWhenTheForgeBecameActive(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, func(s *settings) { s.fixedTime = true })
	since := func() string {
		return decode[struct {
			Since string `json:"since"`
		}](t, b.json().get(t, "/me").body).Since
	}
	d.clock.stand(d.clock.Now().Add(time.Hour))
	b.signIn(t, "gitea", "ada", nil) // a new session for the forge that is active already
	if got := since(); got != "2026-11-23T17:38:36Z" {
		t.Errorf("signing in again moved it to %s", got)
	}
	d.clock.stand(d.clock.Now().Add(time.Hour))
	b.signIn(t, "github", "ada", nil)
	if got := since(); got != "2026-11-23T19:38:36Z" {
		t.Errorf("switching left it at %s", got)
	}
}

// A forge that no longer refreshes the token is asked once more, five seconds later; then the operator is asked for a sign-in.
func TestATokenThatTheForgeRefreshesNoMoreAsksForASignIn(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	d.forges["gitea"].RevokeUser("ada")
	d.clock.advance(2 * time.Hour)
	wantProblem(t, b.json().get(t, "/forge/repositories"), http.StatusConflict, "needs_reauth")
	list := decode[struct{ Forges []commands.ForgeStatus }](t, b.json().get(t, "/forges").body)
	gitea := list.Forges[0]
	if gitea.State != commands.StateNeedsReauth || !gitea.Active || gitea.NeedsReauth == nil || gitea.NeedsReauth.Reason != "invalid_grant" {
		t.Errorf("%+v", gitea)
	}
	page := b.get(t, "/").body
	for _, part := range []string{`<span class="badge needs_reauth">needs a sign-in</span>`, `the forge refused to refresh the token (invalid_grant) <span class="dim">since <time`} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %s:\n%s", part, page)
		}
	}
	wantStatus(t, b.json().get(t, "/me"), http.StatusOK)
	b.signIn(t, "gitea", "ada", nil)
	wantStatus(t, b.json().get(t, "/forge/repositories"), http.StatusOK)
}
