package http_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/forge/forgetest"
)

func TestStartingByGetNeedsAWordOfTheBrowser(t *testing.T) {
	t.Parallel()
	d, _ := claimed(t)
	for _, c := range []struct {
		name   string
		header []string
		starts bool
	}{
		{"a link of ours", []string{"Sec-Fetch-Site", "same-origin"}, true},
		{"typed or bookmarked", []string{"Sec-Fetch-Site", "none"}, true},
		{"a link of another site", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"a link of a sibling", []string{"Sec-Fetch-Site", "same-site"}, false},
		{"a browser that does not say", nil, false},
		{"two answers are none", []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Site", "same-origin"}, false},
		{"an unknown word", []string{"Sec-Fetch-Site", "None"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			visitor := d.browser(t)
			a := visitor.get(t, "/oauth/gitea/init?return=/", c.header...)
			if c.starts {
				wantStatus(t, a, http.StatusSeeOther)
				if !strings.HasPrefix(a.Header.Get("Location"), d.forges["gitea"].URL()+"/login/oauth/authorize?") {
					t.Errorf("sent to %s", a.Header.Get("Location"))
				}
				return
			}
			wantStatus(t, a, http.StatusOK)
			if !strings.Contains(a.body, `<form method="post" action="/oauth/gitea/init?return=%2F">`) || strings.Contains(a.body, "github") {
				t.Errorf("no button for this forge alone:\n%s", a.body)
			}
			if n := len(visitor.cookies(t)); n != 0 {
				t.Errorf("%d cookies set before anybody pressed the button", n)
			}
			wantProblem(t, visitor.json().get(t, "/oauth/gitea/init", c.header...), http.StatusForbidden, "confirmation_required")
		})
	}
}

func TestALinkFromNowhereDoesNotStartLinking(t *testing.T) {
	t.Parallel()
	_, b := claimed(t)
	held := b.cookies(t)
	a := b.get(t, "/oauth/github/init", "Sec-Fetch-Site", "none")
	wantStatus(t, a, http.StatusOK)
	if !strings.Contains(a.body, `<form method="post" action="/oauth/github/init">`) ||
		!strings.Contains(a.body, `signed in as <strong>ada</strong>`) || !strings.Contains(a.body, "is linked to this deployment") {
		t.Errorf("no button that says what it does:\n%s", a.body)
	}
	wantProblem(t, b.json().get(t, "/oauth/github/init", "Sec-Fetch-Site", "none"), http.StatusForbidden, "confirmation_required")
	if diff := cmp.Diff(held, b.cookies(t)); diff != "" {
		t.Errorf("an attempt was started:\n%s", diff)
	}
	wantStatus(t, b.get(t, "/oauth/github/init", "Sec-Fetch-Site", "same-origin"), http.StatusSeeOther)
}

func TestAnUnclaimedDeploymentWantsItsCodePosted(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	code := d.setupCode(t)
	b := d.browser(t)
	if page := b.get(t, "/login"); !strings.Contains(page.body, `name="setup_code"`) {
		t.Errorf("no field for the setup code:\n%s", page.body)
	}
	if page := b.get(t, "/oauth/gitea/init?setup_code="+code, "Sec-Fetch-Site", "none"); page.StatusCode != http.StatusOK ||
		!strings.Contains(page.body, `name="setup_code"`) || strings.Contains(page.body, code) {
		t.Errorf("GET: %d\n%s", page.StatusCode, page.body)
	}
	wantProblem(t, b.json().get(t, "/oauth/gitea/init", "Sec-Fetch-Site", "none"), http.StatusForbidden, "setup_code_required")
	for _, c := range []struct {
		name string
		form url.Values
		code string
	}{
		{"no code", nil, "setup_code_required"},
		{"a wrong code", url.Values{"setup_code": {"WRONG-WRONG-WRONG"}}, "setup_code_wrong"},
	} {
		a := b.post(t, "/oauth/gitea/init?return=/?x=1", c.form)
		wantStatus(t, a, http.StatusSeeOther)
		wantHeader(t, a, "Location", "/login?error="+c.code+"&return=%2F%3Fx%3D1")
		wantProblem(t, b.json().post(t, "/oauth/gitea/init", c.form), http.StatusForbidden, c.code)
	}
	if n := d.forges["gitea"].Count(forgetest.AnyEndpoint); n != 0 {
		t.Errorf("the forge was contacted %d times without the code", n)
	}
	b.signIn(t, "gitea", "ada", url.Values{"setup_code": {code}})
	if page := d.browser(t).get(t, "/login"); strings.Contains(page.body, `name="setup_code"`) {
		t.Error("a claimed deployment still asks for the setup code")
	}
}

func TestARecoveryCodeHasItsField(t *testing.T) {
	t.Parallel()
	d, _ := claimed(t)
	code, _, err := d.commands.Recover(t.Context(), commands.Caller{Actor: "cli"})
	check(t, err)
	b := d.browser(t)
	page := b.get(t, "/login")
	if !strings.Contains(page.body, "Recovery code") || strings.Contains(page.body, `name="setup_code" type="text" required`) {
		t.Errorf("no optional field for the recovery code:\n%s", page.body)
	}
	b.signIn(t, "gitea", "bob", url.Values{"setup_code": {code.Reveal()}})
}

func TestEveryFailureOfACallbackLandsOnTheSignInPage(t *testing.T) {
	t.Parallel()
	const gitea = "gitea"
	// Each case starts a sign-in, spoils it, and returns the callback's address.
	for _, c := range []struct {
		name, code string
		spoil      func(t *testing.T, d *deployment, b *browser) string
	}{
		{"the person says no", "access_denied", func(t *testing.T, d *deployment, b *browser) string {
			t.Helper()
			callback, err := d.forges["github"].Deny(t.Context(), b.start(t, "/oauth/github/init", nil), "bob")
			check(t, err)
			return callback
		}},
		{"the state is not ours", "state_mismatch", func(t *testing.T, _ *deployment, b *browser) string {
			t.Helper()
			return alter(t, b.consent(t, gitea, b.start(t, "/oauth/gitea/init", nil), "ada"), "state", "other")
		}},
		{"there is no state", "state_mismatch", func(t *testing.T, _ *deployment, b *browser) string {
			t.Helper()
			b.start(t, "/oauth/gitea/init", nil)
			return "/oauth/gitea/callback"
		}},
		{"an error without a state", "state_mismatch", func(t *testing.T, _ *deployment, b *browser) string {
			t.Helper()
			b.start(t, "/oauth/gitea/init", nil)
			return "/oauth/gitea/callback?error=access_denied"
		}},
		{"the state twice", "bad_callback", func(t *testing.T, _ *deployment, b *browser) string {
			t.Helper()
			return b.consent(t, gitea, b.start(t, "/oauth/gitea/init", nil), "ada") + "&state=x"
		}},
		{"a query that is none", "bad_callback", func(t *testing.T, _ *deployment, _ *browser) string {
			t.Helper()
			return "/oauth/gitea/callback?state=%zz"
		}},
		{"another browser", "state_mismatch", func(t *testing.T, d *deployment, _ *browser) string {
			t.Helper()
			other := d.browser(t)
			return other.consent(t, gitea, other.start(t, "/oauth/gitea/init", nil), "ada")
		}},
		{"on the path of another forge", "wrong_forge", func(t *testing.T, _ *deployment, b *browser) string {
			t.Helper()
			callback := b.consent(t, gitea, b.start(t, "/oauth/gitea/init", nil), "ada")
			return strings.Replace(callback, "/oauth/gitea/", "/oauth/github/", 1)
		}},
		{"on the path of no forge", "unknown_forge", func(t *testing.T, _ *deployment, _ *browser) string {
			t.Helper()
			return "/oauth/GITEA/callback?state=x&code=y"
		}},
		{"another issuer", "wrong_issuer", func(t *testing.T, _ *deployment, b *browser) string {
			t.Helper()
			return alter(t, b.consent(t, gitea, b.start(t, "/oauth/gitea/init", nil), "ada"), "iss", "https://evil.example")
		}},
		{"after eleven minutes", "expired_attempt", func(t *testing.T, d *deployment, b *browser) string {
			t.Helper()
			callback := b.consent(t, gitea, b.start(t, "/oauth/gitea/init", nil), "ada")
			d.clock.stand(time.Now().Add(11 * time.Minute))
			return callback
		}},
		{"a code that the forge does not know", "exchange_failed", func(t *testing.T, _ *deployment, b *browser) string {
			t.Helper()
			return alter(t, b.consent(t, gitea, b.start(t, "/oauth/gitea/init", nil), "ada"), "code", "invented")
		}},
		{"the forge is down", "forge_unavailable", func(t *testing.T, d *deployment, b *browser) string {
			t.Helper()
			d.forges[gitea].Next(forgetest.TokenEndpoint, forgetest.Status(http.StatusBadGateway))
			return b.consent(t, gitea, b.start(t, "/oauth/gitea/init", nil), "ada")
		}},
		{"the forge hangs up", "forge_unavailable", func(t *testing.T, d *deployment, b *browser) string {
			t.Helper()
			d.forges[gitea].Next(forgetest.TokenEndpoint, forgetest.CutAfter())
			return b.consent(t, gitea, b.start(t, "/oauth/gitea/init", nil), "ada")
		}},
		{"the forge is down for the profile", "forge_unavailable", func(t *testing.T, d *deployment, b *browser) string {
			t.Helper()
			d.forges[gitea].Next(forgetest.UserEndpoint, forgetest.Status(http.StatusInternalServerError))
			return b.consent(t, gitea, b.start(t, "/oauth/gitea/init", nil), "ada")
		}},
		{"the forge refuses the profile", "profile_failed", func(t *testing.T, d *deployment, b *browser) string {
			t.Helper()
			d.forges[gitea].Next(forgetest.UserEndpoint, forgetest.Status(http.StatusForbidden))
			return b.consent(t, gitea, b.start(t, "/oauth/gitea/init", nil), "ada")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, _ := claimed(t)
			b := d.browser(t)
			before := d.facts(t)
			a := b.get(t, c.spoil(t, d, b))
			wantStatus(t, a, http.StatusSeeOther)
			wantHeader(t, a, "Location", "/login?error="+c.code)
			if a.body != "" {
				t.Errorf("the redirect has a body: %s", a.body)
			}
			if diff := cmp.Diff(before, d.facts(t)); diff != "" {
				t.Errorf("something was written:\n%s", diff)
			}
			if b.cookies(t)[d.sessionCookie()] != "" {
				t.Error("a session cookie was set")
			}
			page := b.get(t, a.Header.Get("Location"))
			wantStatus(t, page, http.StatusOK)
			if !strings.Contains(page.body, `role="alert"`) {
				t.Errorf("the page does not say what went wrong:\n%s", page.body)
			}
		})
	}
}

func alter(t *testing.T, address, name, value string) string {
	t.Helper()
	u, err := url.Parse(address)
	check(t, err)
	query := u.Query()
	query.Set(name, value)
	u.RawQuery = query.Encode()
	return u.String()
}

func TestTheSignInPageNeverRepeatsTheQuery(t *testing.T) {
	t.Parallel()
	d, _ := claimed(t)
	b := d.browser(t)
	for _, query := range []string{
		"error=<script>alert(1)</script>", "error=" + url.QueryEscape(`"><img src=x>`), "error=YOUR+ACCOUNT+WAS+HACKED", "error=", "error=%00",
	} {
		a := b.get(t, "/login?"+query)
		wantStatus(t, a, http.StatusOK)
		if strings.Contains(a.body, "alert(1)") || strings.Contains(a.body, "img src") || strings.Contains(a.body, "HACKED") {
			t.Errorf("%s is repeated:\n%s", query, a.body)
		}
		if !strings.Contains(a.body, "The sign-in did not succeed") {
			t.Errorf("%s has no plain sentence:\n%s", query, a.body)
		}
		if j := b.json().get(t, "/login?"+query); !strings.Contains(j.body, `"error":"internal"`) {
			t.Errorf("%s as JSON: %s", query, j.body)
		}
	}
}

func TestAConnectionThatIsNoWayInHasNoButtonUntilSignedIn(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, func(s *settings) { s.noLogin = "github" })
	visitor := d.browser(t)
	if page := visitor.get(t, "/login"); strings.Contains(page.body, "/oauth/github/init") {
		t.Error("a visitor is offered the forge that is no way in")
	}
	a := visitor.post(t, "/oauth/github/init", nil)
	wantHeader(t, a, "Location", "/login?error=login_disabled")
	if page := b.get(t, "/login"); !strings.Contains(page.body, "/oauth/github/init") {
		t.Error("within a session the forge cannot be connected")
	}
	b.signIn(t, "github", "ada", nil)
}

func TestARefusalThatIsAboutNobodyNamesNobody(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, func(s *settings) { s.noLogin = "github" })
	linking := b.consent(t, "github", b.start(t, "/oauth/github/init", nil), "ada")
	wantStatus(t, b.post(t, "/logout", nil), http.StatusSeeOther)
	b.isRefused(t, b.consent(t, "gitea", b.start(t, "/oauth/gitea/init", nil), "bob"))
	a := b.get(t, linking) // refused before anybody is asked who that is
	wantHeader(t, a, "Location", "/login?error=not_allowed")
	page := b.get(t, a.Header.Get("Location"))
	wantStatus(t, page, http.StatusOK)
	if strings.Contains(page.body, "gitea:8") || b.cookies(t)[d.refusedCookie()] != "" {
		t.Errorf("it is told of the refusal before:\n%s", page.body)
	}
}

func TestAnAccountThatIsNoLongerOnTheListIsSignedOut(t *testing.T) {
	t.Parallel()
	list := func(id string) []commands.AllowedAccount {
		return []commands.AllowedAccount{{ForgeType: "gitea", AccountID: id}}
	}
	d := deploy(t, func(s *settings) { s.operators = list("7") })
	b := d.browser(t)
	b.signIn(t, "gitea", "ada", nil)
	wantStatus(t, b.json().get(t, "/me"), http.StatusOK)
	if page := d.browser(t).get(t, "/login"); strings.Contains(page.body, "setup_code") {
		t.Error("with a list of operators a setup code is asked for")
	}
	bobs := d.browser(t)
	bobs.isRefused(t, bobs.consent(t, "gitea", bobs.start(t, "/oauth/gitea/init", nil), "bob"))

	d.decides.Operators = list("8")
	d.restart(t)
	wantProblem(t, b.json().get(t, "/me"), http.StatusUnauthorized, "unauthenticated")
	wantStatus(t, b.json().do(t, http.MethodDelete, "/forges/active", nil), http.StatusUnauthorized)
	bobs.signIn(t, "gitea", "bob", nil)
}

func TestAnAccountThatIsRemovedIsSignedOut(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	second := d.browser(t)
	second.signIn(t, "gitea", "ada", nil)
	linking := second.consent(t, "github", second.start(t, "/oauth/github/init", nil), "ada")
	wantStatus(t, b.json().get(t, "/me"), http.StatusOK)
	_, err := d.commands.RemoveAccount(t.Context(), commands.Caller{Actor: "cli"}, "gitea", "7")
	check(t, err)
	for _, was := range []*browser{b, second} {
		wantProblem(t, was.json().get(t, "/me"), http.StatusUnauthorized, "unauthenticated")
		wantStatus(t, was.json().do(t, http.MethodDelete, "/forges/active", nil), http.StatusUnauthorized)
	}
	second.isRefused(t, linking) // what it had begun links nobody
	b.isRefused(t, b.consent(t, "gitea", b.start(t, "/oauth/gitea/init", nil), "ada"))
}

// isRefused brings a callback that ends on the sign-in page, since the account may not sign in, and returns that page.
func (b *browser) isRefused(t *testing.T, callback string) answer {
	t.Helper()
	a := b.get(t, callback)
	wantStatus(t, a, http.StatusSeeOther)
	wantHeader(t, a, "Location", "/login?error=not_allowed")
	page := b.get(t, a.Header.Get("Location"))
	wantStatus(t, page, http.StatusForbidden)
	return page
}

func (d *deployment) refusedCookie() string { return d.sessionCookie() + "_refused" }
