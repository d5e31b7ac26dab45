package http_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A browser that follows redirects after a form only where form-action allows would stop at a forge that sends its people
// on to another sign-in, so that what answers the form must not be a redirect.
func TestAFormIsAnsweredWithAPageThatLeadsToTheForge(t *testing.T) {
	t.Parallel()
	d, _ := claimed(t)
	for _, forgeType := range []string{"gitea", "github"} {
		t.Run(forgeType, func(t *testing.T) {
			t.Parallel()
			b := d.browser(t)
			a := b.post(t, "/oauth/"+forgeType+"/init?return=/", nil)
			wantStatus(t, a, http.StatusOK)
			wantHeader(t, a, "Location", "")
			wantHeader(t, a, "Content-Type", "text/html; charset=utf-8")
			wantHeader(t, a, "Cache-Control", "no-store")
			wantHeader(t, a, "Referrer-Policy", "no-referrer")
			if strings.Contains(a.body, "<script") || strings.Contains(a.body, "<form") {
				t.Errorf("the page needs more than following a link:\n%s", a.body)
			}
			if n := len(b.cookies(t)); n != 1 {
				t.Errorf("%d cookies, want the attempt's", n)
			}
			to := leadsTo(t, a)
			if !strings.HasPrefix(to, d.forges[forgeType].URL()+"/") {
				t.Errorf("leads to %s", to)
			}
			if forgeType == "gitea" {
				wantHeader(t, b.get(t, b.consent(t, forgeType, to, "ada")), "Location", "/")
			}
			state := queryOf(t, to).Get("state")
			if state == "" || strings.Contains(d.logs.String(), state) {
				t.Errorf("the state %q is in the log, or nowhere", state)
			}
		})
	}
}

func TestProgramsAndLinksAreRedirectedToTheForge(t *testing.T) {
	t.Parallel()
	d, _ := claimed(t)
	for _, c := range []struct {
		name, method, accept string
		header               []string
	}{
		{"JSON is asked for", "POST", acceptJSON, nil},
		{"anything will do", "POST", "*/*", nil},
		{"a link of ours", "GET", acceptHTML, []string{"Sec-Fetch-Site", "same-origin"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := d.browser(t)
			b.accept = c.accept
			a := b.do(t, c.method, "/oauth/gitea/init", nil, c.header...)
			wantStatus(t, a, http.StatusSeeOther)
			wantHeader(t, a, "Cache-Control", "no-store")
			if a.body != "" {
				t.Errorf("the redirect has a body: %s", a.body)
			}
			wantHeader(t, b.get(t, b.consent(t, "gitea", a.Header.Get("Location"), "ada")), "Location", "/")
		})
	}
}

func queryOf(t *testing.T, address string) url.Values {
	t.Helper()
	u, err := url.Parse(address)
	check(t, err)
	return u.Query()
}
