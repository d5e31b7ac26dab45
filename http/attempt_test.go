package http_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge/forgetest"
)

func TestAnAttemptIsSealedInACookieOfTenMinutes(t *testing.T) {
	t.Parallel()
	d, _ := claimed(t, func(s *settings) { s.fixedTime = true })
	b := d.browser(t)
	a := b.post(t, "/oauth/gitea/init?return=/me", nil)
	set := a.Cookies()
	if len(set) != 1 || set[0].MaxAge != 600 || !set[0].HttpOnly || set[0].SameSite != http.SameSiteLaxMode {
		t.Fatalf("set %v", a.Header.Values("Set-Cookie"))
	}
	asked := queryOf(t, leadsTo(t, a))
	for name, want := range map[string]string{
		"code_challenge_method": "S256", "redirect_uri": d.url + "/oauth/gitea/callback", "response_type": "code",
	} {
		if got := asked.Get(name); got != want {
			t.Errorf("%s=%q, want %q", name, got, want)
		}
	}
	opened, _ := base64.RawURLEncoding.DecodeString(set[0].Value)
	for _, part := range []string{asked.Get("state"), asked.Get("code_challenge"), "gitea", "/me", d.url} {
		if part == "" || strings.Contains(set[0].Value, part) || strings.Contains(string(opened), part) {
			t.Errorf("the cookie shows %q", part)
		}
	}
	for i := range len(set[0].Value) {
		altered := []byte(set[0].Value)
		if altered[i]++; i%16 > 0 {
			continue
		}
		b.setCookie(t, set[0].Name, string(altered))
		wantHeader(t, b.get(t, "/oauth/gitea/callback?code=x&state="+asked.Get("state")), "Location", "/login?error=state_mismatch")
	}
}

func TestACallbackIsCheckedBeforeTheErrorItBringsIsBelieved(t *testing.T) {
	t.Parallel()
	d, _ := claimed(t)
	for _, c := range []struct {
		name, path, query, code string
		late                    bool
	}{
		{"another state", "gitea", "x", "state_mismatch", false},
		{"another forge", "github", "", "wrong_forge", false},
		{"another issuer", "gitea", "&iss=https%3A%2F%2Fevil.example", "wrong_issuer", false},
		{"what was started", "gitea", "", "access_denied", false},
		{"too late", "gitea", "", "expired_attempt", true},
	} {
		b := d.browser(t)
		state := queryOf(t, b.start(t, "/oauth/gitea/init", nil)).Get("state")
		if c.late {
			d.clock.stand(time.Now().Add(11 * time.Minute))
		}
		a := b.get(t, "/oauth/"+c.path+"/callback?error=access_denied&state="+state+c.query)
		wantHeader(t, a, "Location", "/login?error="+c.code)
	}
}

func TestWhatAForgeSaysIsNeitherShownNorLogged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault  forgetest.Fault
		marker string
	}{
		"a page":  {forgetest.HTMLBody(), "Welcome"},
		"garbage": {forgetest.GarbageBody(), "not json"},
	} {
		for _, endpoint := range []forgetest.Endpoint{forgetest.TokenEndpoint, forgetest.UserEndpoint} {
			t.Run(name+" of "+string(endpoint), func(t *testing.T) {
				t.Parallel()
				d, _ := claimed(t)
				before := d.facts(t)
				b := d.browser(t)
				callback := b.consent(t, "gitea", b.start(t, "/oauth/gitea/init", nil), "ada")
				d.forges["gitea"].Next(endpoint, c.fault)
				a := b.get(t, callback)
				wantHeader(t, a, "Location", "/login?error=forge_unavailable")
				page := b.get(t, a.Header.Get("Location"))
				for _, text := range []string{a.body, page.body, d.logs.String()} {
					if strings.Contains(text, c.marker) {
						t.Errorf("the forge's body is repeated: %s", text)
					}
				}
				if diff := cmp.Diff(before, d.facts(t)); diff != "" {
					t.Errorf("something was written:\n%s", diff)
				}
			})
		}
	}
}

func TestASignInRotatesTheSession(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	for _, c := range []struct {
		name, forgeType string
		fresh           bool
		wrote           []string
	}{
		{"signing in again", "gitea", false, []string{"TokenIssued", "ForgeActivated", "SessionEnded", "SessionStarted"}},
		{"linking and switching", "github", false, []string{"AccountLinked", "TokenIssued", "ForgeActivated", "SessionEnded", "SessionStarted"}},
		{"in a browser with a planted cookie", "gitea", true, []string{"TokenIssued", "ForgeActivated", "SessionStarted"}},
	} {
		planted := strings.Repeat("A", 43)
		before, seen := b.cookies(t)[d.sessionCookie()], len(d.facts(t))
		if c.fresh {
			b = d.browser(t)
			b.setCookie(t, d.sessionCookie(), planted)
			before = planted
		}
		b.signIn(t, c.forgeType, "ada", nil)
		after := b.cookies(t)[d.sessionCookie()]
		if raw, err := base64.RawURLEncoding.DecodeString(after); err != nil || len(raw) != 32 || after == before {
			t.Errorf("%s: the cookie is %d bytes (%v), or the same as before", c.name, len(raw), err)
		}
		old := d.browser(t)
		old.setCookie(t, d.sessionCookie(), before)
		wantProblem(t, old.json().get(t, "/me"), http.StatusUnauthorized, "unauthenticated")
		wantStatus(t, b.json().get(t, "/me"), http.StatusOK)
		wrote := map[string]bool{}
		for _, fact := range d.facts(t)[seen:] {
			wrote[fact] = true
		}
		for _, fact := range c.wrote {
			if !wrote[fact] {
				t.Errorf("%s: no %s among %v", c.name, fact, wrote)
			}
			delete(wrote, fact)
		}
		delete(wrote, "TokenRevocationRequested") // of the token that was replaced
		delete(wrote, "TokenRevoked")
		if len(wrote) != 0 {
			t.Errorf("%s: also %v", c.name, wrote)
		}
	}
}

func TestASessionsCookieIsASecretThatEndsWithIt(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, func(s *settings) { s.fixedTime = true })
	a := b.get(t, b.consent(t, "gitea", b.start(t, "/oauth/gitea/init", nil), "ada"))
	var value string
	for _, cookie := range a.Cookies() {
		if cookie.Name != d.sessionCookie() {
			continue
		}
		if value = cookie.Value; cookie.MaxAge != 30*24*60*60 || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
			t.Errorf("set %s", cookie.Raw)
		}
	}
	if value == "" {
		t.Fatal("no session cookie was set")
	}
	for _, path := range []string{"/", "/me", "/forges"} {
		for _, as := range []*browser{b, b.json()} {
			if strings.Contains(as.get(t, path).body, value) {
				t.Errorf("%s shows the session's secret", path)
			}
		}
	}
	if home := b.json().get(t, "/"); !anyUUID.MatchString(home.body) || !strings.Contains(home.body, `"actor":"session/`) {
		t.Errorf("no public id of a session: %s", home.body)
	}
	if strings.Contains(d.logs.String(), value) {
		t.Error("the session's secret is in the log")
	}
	d.clock.stand(d.clock.Now().Add(7*24*time.Hour - time.Second))
	wantStatus(t, b.json().get(t, "/me"), http.StatusOK)
	d.clock.stand(d.clock.Now().Add(time.Second))
	wantProblem(t, b.json().get(t, "/me"), http.StatusUnauthorized, "unauthenticated")
}

func TestLinkingNeedsTheSessionThatStartedIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		end  bool
	}{
		{"still live", false},
		{"signed out meanwhile", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, b := claimed(t)
			callback := b.consent(t, "github", b.start(t, "/oauth/github/init", nil), "bob")
			if !c.end {
				wantHeader(t, b.get(t, callback), "Location", "/")
				return
			}
			wantStatus(t, b.post(t, "/logout", nil), http.StatusSeeOther)
			if page := b.isRefused(t, callback); !strings.Contains(page.body, "github:8") {
				t.Errorf("the page does not say who was refused:\n%s", page.body)
			}
		})
	}
}
