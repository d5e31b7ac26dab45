package http_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// readsNothing are the routes that answer without the database.
var readsNothing = map[string]bool{"/healthz": true, "/readyz": true, "/nowhere": true}

func TestADatabaseThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, func(s *settings) { s.proxied = true })
	before := d.facts(t)
	started := b.start(t, "/oauth/gitea/init", nil)
	held := b.cookies(t)
	exchanges := d.forges["gitea"].Count("token")
	d.reads.Refuse()
	d.reads.CutNow()
	routes := append([][2]string{
		{"GET", b.consent(t, "gitea", started, "ada")}, // a callback that would do
	}, everyRoute...)
	for _, route := range routes {
		if readsNothing[route[1]] || route[0] == "PATCH" {
			continue
		}
		a := b.json().do(t, route[0], route[1], nil)
		wantProblem(t, a, http.StatusServiceUnavailable, "temporarily_unreadable")
		wantHeader(t, a, "Retry-After", "5")
		page := b.do(t, route[0], route[1], nil)
		wantStatus(t, page, http.StatusServiceUnavailable)
		wantHeader(t, page, "Retry-After", "5")
		wantHeader(t, page, "Content-Type", "text/html; charset=utf-8")
		for _, answer := range []answer{a, page} {
			if len(answer.Header.Values("Set-Cookie")) != 0 || answer.Header.Get("Location") != "" {
				t.Errorf("%v sets %v, goes to %q", route, answer.Header.Values("Set-Cookie"), answer.Header.Get("Location"))
			}
			for _, part := range []string{"dial", "tcp", "connect", "EOF", "pool"} {
				if strings.Contains(answer.body, part) {
					t.Errorf("%v tells of the driver: %s", route, answer.body)
				}
			}
		}
		if !strings.Contains(page.body, "<h1>The database does not answer</h1>") || !strings.Contains(page.body, "Try again in a moment.") {
			t.Errorf("%v has no plain sentence:\n%s", route, page.body)
		}
	}
	visitor := d.browser(t)
	wantProblem(t, visitor.json().get(t, "/login"), http.StatusServiceUnavailable, "temporarily_unreadable")
	wantProblem(t, visitor.json().post(t, "/oauth/gitea/init", nil), http.StatusServiceUnavailable, "temporarily_unreadable")
	wantStatus(t, b.get(t, "/healthz"), http.StatusOK)
	if n := d.forges["gitea"].Count("token") - exchanges; n != 0 {
		t.Errorf("the code was used up by %d exchanges", n)
	}

	d.reads.Accept()
	if diff := cmp.Diff(held, b.cookies(t)); diff != "" {
		t.Errorf("cookies changed:\n%s", diff)
	}
	wantStatus(t, b.json().get(t, "/me"), http.StatusOK)
	if diff := cmp.Diff(before, d.facts(t)); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
}

func TestLoggingOutThatFailsKeepsTheCookieAndSaysSo(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, func(s *settings) { s.proxied = true })
	held := b.cookies(t)
	d.writes.Refuse()
	d.writes.CutNow()
	// The connection is lost under the first, which therefore cannot know; the others find none.
	wantProblem(t, b.json().post(t, "/logout", nil), http.StatusServiceUnavailable, "commit_unknown")
	a := b.json().post(t, "/logout", nil)
	wantProblem(t, a, http.StatusServiceUnavailable, "temporarily_unwritable")
	wantHeader(t, a, "Retry-After", "5")
	page := b.post(t, "/logout", nil)
	wantStatus(t, page, http.StatusServiceUnavailable)
	wantHeader(t, page, "Location", "")
	if diff := cmp.Diff(held, b.cookies(t)); diff != "" {
		t.Errorf("cookies changed although the session lives on:\n%s", diff)
	}
	wantStatus(t, b.json().get(t, "/me"), http.StatusOK)

	d.writes.Accept()
	wantStatus(t, b.json().post(t, "/logout", nil), http.StatusNoContent)
	if held := b.cookies(t); len(held) != 0 {
		t.Errorf("cookies left after logging out: %v", held)
	}
}
