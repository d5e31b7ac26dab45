package http_test

import (
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	forgehttp "github.com/forgeauth/forgeauth/http"
)

func TestLimitsRefuseVisitorsAndNeverALiveSession(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, func(s *settings) { s.limits = forgehttp.Limits{Burst: 12, PerSecond: 0.001, FailureCost: 4} })
	visitor := d.browser(t)
	visitor.setCookie(t, d.sessionCookie(), strings.Repeat("A", 43)) // looks like a session and is none
	var last answer
	for range 40 {
		last = visitor.json().get(t, "/me")
	}
	wantProblem(t, last, http.StatusTooManyRequests, "rate_limited")
	if last.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	for _, path := range []string{"/login", "/", "/oauth/gitea/callback?state=x&code=y", "/oauth/gitea/init"} {
		wantStatus(t, visitor.get(t, path), http.StatusTooManyRequests)
	}
	// The same address, with a live session: good requests, bad requests, and many of them.
	for range 60 {
		wantStatus(t, b.json().get(t, "/me"), http.StatusOK)
		wantStatus(t, b.json().get(t, "/forge/repositories?limit=none"), http.StatusBadRequest)
		wantStatus(t, b.get(t, "/login"), http.StatusOK)
		wantStatus(t, b.get(t, "/oauth/gitea/callback?state=x&code=y"), http.StatusSeeOther)
	}
	b.signIn(t, "github", "ada", nil)
	// What costs nothing has no limit.
	for range 30 {
		wantStatus(t, visitor.get(t, "/healthz"), http.StatusOK)
		wantStatus(t, visitor.get(t, "/nowhere"), http.StatusNotFound)
	}
}

func TestALiveSessionDoesNotSpendTheLimitOfItsAddress(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, func(s *settings) { s.limits = forgehttp.Limits{Burst: 10, PerSecond: 0.001, FailureCost: 5} })
	for range 50 {
		b.json().get(t, "/forge/repositories?limit=none")
	}
	wantStatus(t, d.browser(t).get(t, "/login"), http.StatusOK)
}

func TestOnlyWhatCostsOrGuessesSomethingIsCharged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, method, path string
		header             []string
		status, cost       int
	}{
		{"a form of another site", "POST", "/oauth/gitea/init", []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden, 0},
		{"another host", "GET", "/login", []string{"Host", "evil.example"}, http.StatusMisdirectedRequest, 0},
		{"no such route", "GET", "/nowhere", nil, http.StatusNotFound, 0},
		{"no such method", "PATCH", "/me", nil, http.StatusMethodNotAllowed, 0},
		{"nobody signed in", "GET", "/me", nil, http.StatusUnauthorized, 1},
		{"a guessed session", "GET", "/me", []string{"Cookie", "guess"}, http.StatusUnauthorized, 4},
		{"a guessed setup code", "POST", "/oauth/gitea/init", nil, http.StatusForbidden, 4},
		{"a callback of no attempt", "GET", "/oauth/gitea/callback?state=x&code=y", nil, http.StatusSeeOther, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const burst = 12
			d := deploy(t, func(s *settings) {
				s.fixedTime, s.limits = true, forgehttp.Limits{Burst: burst, PerSecond: 0.001, FailureCost: 4}
			})
			if slices.Contains(c.header, "Cookie") {
				c.header = []string{"Cookie", d.sessionCookie() + "=" + strings.Repeat("A", 43)}
			}
			attacker, left := d.browser(t).json(), burst
			for range 2 {
				var form io.Reader
				if c.method == "POST" {
					form = strings.NewReader("setup_code=AAAA-AAAA-AAAA-AAAA")
				}
				header := append([]string{"Content-Type", "application/x-www-form-urlencoded"}, c.header...)
				wantStatus(t, attacker.do(t, c.method, c.path, form, header...), c.status)
				left -= c.cost
			}
			b := d.browser(t)
			for range left {
				wantStatus(t, b.get(t, "/login"), http.StatusOK)
			}
			wantStatus(t, b.get(t, "/login"), http.StatusTooManyRequests)
			for range 50 { // what the limit refuses, and what costs nothing, makes nobody wait for longer
				wantStatus(t, b.get(t, "/login"), http.StatusTooManyRequests)
				wantStatus(t, b.get(t, "/nowhere"), http.StatusNotFound)
			}
			d.clock.stand(d.clock.Now().Add(1000 * time.Second))
			wantStatus(t, b.get(t, "/login"), http.StatusOK)
		})
	}
}

func TestGuessedSessionsCostNoMoreQueriesThanTheLimitsAllow(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, func(s *settings) {
		s.fixedTime, s.limits = true, forgehttp.Limits{Burst: 40, PerSecond: 0.001, FailureCost: 4}
	})
	d.restart(t) // and no session is known
	bare := d.browser(t).json()
	try := func(value string, times, status int) (queries int64) {
		before := d.queries.n.Load()
		for range times {
			wantStatus(t, bare.get(t, "/me", "Cookie", d.sessionCookie()+"="+value), status)
		}
		return d.queries.n.Load() - before
	}
	guess, live := strings.Repeat("A", 43), b.cookies(t)[d.sessionCookie()]
	if n := try(guess, 10, http.StatusUnauthorized); n != 10 {
		t.Errorf("%d queries for 10 guesses within the limit", n)
	}
	if n := try(guess, 200, http.StatusTooManyRequests); n != 1 {
		t.Errorf("%d queries for 200 guesses beyond the limit, want one that tells them all from live sessions", n)
	}
	if n := try(live, 50, http.StatusOK); n != 50 {
		t.Errorf("%d queries for 50 requests with a session that was live before the flood", n)
	}
	// One that begins elsewhere, as in another process, is heard of a second later.
	elsewhere := d.browser(t)
	at := d.handler
	d.restart(t)
	elsewhere.signIn(t, "gitea", "ada", nil)
	d.handler = at
	d.clock.stand(d.clock.Now().Add(time.Second))
	if n := try(elsewhere.cookies(t)[d.sessionCookie()], 1, http.StatusOK); n != 2 {
		t.Errorf("%d queries for a session that began elsewhere, want one for which are live and one for it", n)
	}
	wantStatus(t, b.post(t, "/logout", nil), http.StatusSeeOther)
	if n := try(live, 20, http.StatusTooManyRequests); n != 1 {
		t.Errorf("%d queries for a session that has ended, want one", n)
	}
}

func TestASessionIsKnownFromItsSignIn(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, func(s *settings) {
		s.fixedTime, s.limits = true, forgehttp.Limits{Burst: 10, PerSecond: 0.001, FailureCost: 4}
	})
	visitor := d.browser(t).json()
	visitor.setCookie(t, d.sessionCookie(), strings.Repeat("A", 43))
	before := d.queries.n.Load()
	for range 40 {
		visitor.get(t, "/me")
	}
	if n := d.queries.n.Load() - before; n > 10 {
		t.Errorf("%d queries for 40 guesses", n)
	}
	wantStatus(t, b.json().get(t, "/me"), http.StatusOK)
}

func TestLimitsFollowTheClientBehindATrustedProxyOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		proxies []netip.Prefix
		other   int
	}{
		{"trusted: another client is not limited", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, http.StatusOK},
		{"not trusted: the header changes nothing", nil, http.StatusTooManyRequests},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t, func(s *settings) {
				s.limits, s.proxies = forgehttp.Limits{Burst: 5, PerSecond: 0.001}, c.proxies
			})
			b := d.browser(t)
			for range 5 {
				b.get(t, "/login", "X-Forwarded-For", "203.0.113.1")
			}
			wantStatus(t, b.get(t, "/login", "X-Forwarded-For", "203.0.113.1"), http.StatusTooManyRequests)
			wantStatus(t, b.get(t, "/login", "X-Forwarded-For", "203.0.113.2"), c.other)
		})
	}
}
