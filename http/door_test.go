package http_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/events"
	forgehttp "github.com/forgeauth/forgeauth/http"
)

// everyRoute is one request to each route, and to none.
var everyRoute = [][2]string{
	{"GET", "/login"},
	{"GET", "/oauth/gitea/init"},
	{"POST", "/oauth/gitea/init"},
	{"GET", "/oauth/gitea/callback"},
	{"POST", "/logout"},
	{"GET", "/"},
	{"GET", "/me"},
	{"GET", "/forges"},
	{"PUT", "/forges/active"},
	{"POST", "/forges/active"},
	{"DELETE", "/forges/active"},
	{"POST", "/forges/active/clear"},
	{"DELETE", "/forges/gitea"},
	{"POST", "/forges/gitea/disconnect"},
	{"GET", "/forge/repositories"},
	{"GET", "/events"},
	{"GET", "/healthz"},
	{"GET", "/readyz"},
	{"GET", "/nowhere"},
	{"PATCH", "/me"},
}

func TestEveryAnswerCarriesTheSecurityHeaders(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		t.Run("over "+scheme, func(t *testing.T) {
			t.Parallel()
			d := deploy(t, func(s *settings) { s.https = scheme == "https" })
			policy := "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' " +
				d.forges["gitea"].URL() + " " + d.forges["github"].URL()
			visitor := d.browser(t)
			for _, b := range []*browser{visitor, visitor.json()} {
				for _, route := range everyRoute {
					for _, host := range []string{"", "evil.example"} {
						header := []string{"X-Forwarded-Host", "evil.example"}
						if host != "" {
							header = append(header, "Host", host)
						}
						a := b.do(t, route[0], route[1], nil, header...)
						for name, want := range map[string]string{
							"Content-Security-Policy":      policy,
							"Referrer-Policy":              "no-referrer",
							"X-Content-Type-Options":       "nosniff",
							"Cross-Origin-Opener-Policy":   "same-origin",
							"Cross-Origin-Resource-Policy": "same-origin",
							"Cache-Control":                "no-store",
							"Strict-Transport-Security":    map[string]string{"https": "max-age=31536000"}[scheme],
						} {
							wantHeader(t, a, name, want)
						}
						if a.Header.Get("X-Request-Id") == "" {
							t.Errorf("%v: no request id", route)
						}
						if strings.Contains(a.Header.Get("Location"), "evil") {
							t.Errorf("%v: redirected to %s", route, a.Header.Get("Location"))
						}
						if host != "" && !strings.HasSuffix(route[1], "z") && a.StatusCode != http.StatusMisdirectedRequest {
							t.Errorf("%v: host %s got %d", route, host, a.StatusCode)
						}
					}
				}
			}
		})
	}
}

func TestOnlyTheHostOfThePublicURLIsAnswered(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	public, _ := url.Parse(d.url)
	b := d.browser(t).json()
	for _, host := range []string{
		"evil.example", "localhost:" + public.Port(), "[::1]:" + public.Port(), "127.0.0.1", "127.0.0.1:1",
		"127.0.0.1.evil.example:" + public.Port(), "evil.example@" + public.Host, "127.1:" + public.Port(),
	} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			a := b.get(t, "/me", "Host", host)
			wantProblem(t, a, http.StatusMisdirectedRequest, "wrong_host")
			if !strings.Contains(a.body, "FORGEAUTH_PUBLIC_URL") {
				t.Errorf("the setting is not named: %s", a.body)
			}
			page := d.browser(t).get(t, "/", "Host", host)
			if !strings.Contains(page.body, `href="`+d.url+`"`) {
				t.Errorf("the page does not link to the right address:\n%s", page.body)
			}
			for _, asset := range regexp.MustCompile(`/assets/[^"]+`).FindAllString(page.body, -1) {
				wantStatus(t, b.get(t, asset, "Host", host), http.StatusOK) // or it would be a page without a style
			}
			wantStatus(t, b.get(t, "/healthz", "Host", host), http.StatusOK)
			wantStatus(t, b.get(t, "/readyz", "Host", host), http.StatusOK)
		})
	}
	t.Run("the absolute form of a request names the host too", func(t *testing.T) {
		t.Parallel()
		got := raw(t, public.Host, "GET http://evil.example/me HTTP/1.1\r\nHost: "+public.Host+"\r\n\r\n")
		if got != http.StatusMisdirectedRequest {
			t.Errorf("status %d, want 421", got)
		}
	})
	t.Run("capital letters are the same host", func(t *testing.T) {
		t.Parallel()
		d := deploy(t)
		a := d.browser(t).get(t, "/healthz", "Host", strings.ToUpper(public.Host))
		wantStatus(t, a, http.StatusOK)
	})
}

// raw sends bytes that no client library would and returns the status of the answer.
func raw(t *testing.T, address, request string) int {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	check(t, err)
	defer func() { _ = conn.Close() }()
	_, err = conn.Write([]byte(request))
	check(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	check(t, err)
	_ = response.Body.Close()
	return response.StatusCode
}

func TestWhatOtherSitesEmbedIsRefused(t *testing.T) {
	t.Parallel()
	_, b := claimed(t)
	for name, test := range map[string]struct {
		headers []string
		want    int
	}{
		"an image":                {[]string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, http.StatusForbidden},
		"a frame":                 {[]string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, http.StatusForbidden},
		"a script of a sibling":   {[]string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, http.StatusForbidden},
		"a link that is followed": {[]string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, http.StatusOK},
		"our own style sheet":     {[]string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "style"}, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantStatus(t, b.json().do(t, "GET", "/me", nil, test.headers...), test.want)
		})
	}
}

//nolint:tparallel // the log is compared when all have run
func TestChangesFromOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	before := d.facts(t)
	for _, route := range everyRoute {
		if route[0] == "GET" || route[0] == "PATCH" {
			continue
		}
		for _, header := range [][]string{
			{"Sec-Fetch-Site", "cross-site"},
			{"Sec-Fetch-Site", "same-site"},
			{"Sec-Fetch-Site", "cross-site", "Origin", d.url},
			{"Origin", "https://evil.example"},
			{"Origin", "null"},
			{"Origin", "http://127.0.0.1:1"},
		} {
			t.Run(fmt.Sprint(route, header), func(t *testing.T) {
				wantProblem(t, b.json().do(t, route[0], route[1], nil, header...), http.StatusForbidden, "cross_origin")
				wantStatus(t, b.do(t, route[0], route[1], nil, header...), http.StatusForbidden)
			})
		}
	}
	if diff := cmp.Diff(before, d.facts(t)); diff != "" {
		t.Errorf("another site wrote to the log:\n%s", diff)
	}
	for _, header := range [][]string{{"Sec-Fetch-Site", "same-origin", "Origin", "null"}, {"Origin", d.url}, {}} { //nolint:paralleltest // no subtests
		wantStatus(t, b.json().do(t, "PUT", "/forges/active", strings.NewReader(`{"forge_type":"gitea"}`),
			append(header, "Content-Type", "application/json")...), http.StatusOK)
	}
}

func TestTwoSessionCookiesAreNotBelieved(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	name, value := d.sessionCookie(), b.cookies(t)[d.sessionCookie()]
	bare := d.browser(t)
	header := []string{"Cookie", name + "=" + value + "; " + name + "=" + strings.Repeat("A", 43)}
	wantProblem(t, bare.json().get(t, "/me", header...), http.StatusBadRequest, "duplicate_cookie")
	wantStatus(t, bare.get(t, "/", header...), http.StatusBadRequest)
	wantStatus(t, bare.json().get(t, "/me", "Cookie", name+"="+value), http.StatusOK)
}

func TestTheAccessLogHasRoutesAndNoQueries(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	b.get(t, "/oauth/gitea/callback?state=the-state&code=the-code&error_description=the-description")
	b.get(t, "/the-path?the=query")
	b.do(t, "SMUGGLE", "/me", nil)
	a := b.json().do(t, "PUT", "/forges/active", strings.NewReader(`{"forge_type":"unheard-of"}`), "Content-Type", "application/json")
	logs := d.logs.String()
	for _, secret := range []string{
		"the-state", "the-code", "the-description", "the-path", "the=query", "SMUGGLE", b.cookies(t)[d.sessionCookie()], "client-secret",
	} {
		if strings.Contains(logs, secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
	for _, part := range []string{
		`"route":"/oauth/{forge}/callback"`, `"route":"none"`, `"method":"other"`, `"status":303`, `"duration":`,
		`"request_id":"` + a.Header.Get("X-Request-Id") + `"`,
	} {
		if !strings.Contains(logs, part) {
			t.Errorf("the log lacks %s", part)
		}
	}
}

func TestEventsCarryTheRequestIDAndTheSession(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	a := b.json().do(t, "DELETE", "/forges/active", nil)
	for e, err := range d.log.Read(t.Context(), events.Query{Latest: 1}) {
		check(t, err)
		if e.CorrelationID.String() != a.Header.Get("X-Request-Id") || !strings.HasPrefix(e.Actor, "session/") {
			t.Errorf("correlation %s of request %s, actor %s", e.CorrelationID, a.Header.Get("X-Request-Id"), e.Actor)
		}
	}
}

func TestAPanicIsABare500AndItsValueIsNotLogged(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]any{"a string": "the-secret", "an error": errors.New("the-secret")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t, func(s *settings) { s.ready = func(context.Context) forgehttp.Readiness { panic(value) } })
			wantProblem(t, d.browser(t).json().get(t, "/readyz"), http.StatusInternalServerError, "internal")
			if logs := d.logs.String(); strings.Contains(logs, "the-secret") || !strings.Contains(logs, "panic in a handler") {
				t.Errorf("logged: %s", logs)
			}
			wantStatus(t, d.browser(t).get(t, "/healthz"), http.StatusOK)
		})
	}
}

func TestWhatTheTableDoesNotKnowIsABare500(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	_, err := d.pool.Exec(t.Context(), `ALTER TABLE operator RENAME TO elsewhere`)
	check(t, err)
	a := d.browser(t).json().get(t, "/login")
	wantProblem(t, a, http.StatusInternalServerError, "internal")
	if strings.Contains(a.body, "relation") || !strings.Contains(d.logs.String(), "42P01") {
		t.Errorf("answered %s, logged %s", a.body, d.logs.String())
	}
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	answer, asked := forgehttp.Readiness{LogHead: 42, Checks: []forgehttp.Check{
		{Name: "database", OK: true, Detail: "reachable"}, {Name: "key", OK: true, Detail: "opens what is stored"},
	}}, 0
	d := deploy(t, func(s *settings) {
		s.fixedTime = true
		s.ready = func(context.Context) forgehttp.Readiness { asked++; return answer }
	})
	b := d.browser(t).json()
	a := b.get(t, "/readyz")
	wantStatus(t, a, http.StatusOK)
	golden(t, "readyz.json", a.body)
	for range 20 {
		wantStatus(t, b.get(t, "/readyz"), http.StatusOK)
	}
	if asked != 1 {
		t.Errorf("asked %d times within a second", asked)
	}
	answer.Checks[1] = forgehttp.Check{Name: "key", Detail: "set OAUTH_ENCRYPTION_KEY to the key that the database was sealed under"}
	d.clock.stand(d.clock.Now().Add(time.Second))
	a = b.get(t, "/readyz")
	wantStatus(t, a, http.StatusServiceUnavailable)
	golden(t, "readyz_not_ready.json", a.body)
}

func TestAssetsAreKeptForEver(t *testing.T) {
	t.Parallel()
	b := deploy(t).browser(t)
	page := b.get(t, "/login").body
	for _, contentType := range []string{"text/css; charset=utf-8", "image/svg+xml"} {
		_, rest, found := strings.Cut(page, `href="/assets/`)
		if !found {
			t.Fatal("the page links fewer assets")
		}
		name, after, _ := strings.Cut(rest, `"`)
		page = after
		a := b.get(t, "/assets/"+name)
		wantStatus(t, a, http.StatusOK)
		wantHeader(t, a, "Content-Type", contentType)
		wantHeader(t, a, "Cache-Control", "public, max-age=31536000, immutable")
	}
	wantStatus(t, b.get(t, "/assets/style.0000000000000000.css"), http.StatusNotFound)
}
