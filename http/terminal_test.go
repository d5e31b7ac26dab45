package http_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/forge/forgetest"
)

// A sign-in that was started in a terminal is answered there: the server keeps its hands off.
func TestACallbackForATerminalStaysInTheAddressBar(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	started, err := d.commands.StartBrowserLogin(t.Context(), "gitea")
	check(t, err)
	callback, err := d.forges["gitea"].Consent(t.Context(), started.AuthorizeURL, "ada")
	check(t, err)
	before, exchanged := len(d.facts(t)), d.forges["gitea"].Count(forgetest.TokenEndpoint)
	at, err := url.Parse(callback)
	check(t, err)
	for name, browser := range map[string]*browser{"signed in": b, "signed out": d.browser(t)} {
		cookies := len(browser.cookies(t))
		a := browser.get(t, at.RequestURI())
		wantStatus(t, a, http.StatusOK)
		if a.Header.Get("Location") != "" || len(a.Header.Values("Set-Cookie")) != 0 || len(browser.cookies(t)) != cookies {
			t.Errorf("%s: the browser was sent on or given something: %v", name, a.Header)
		}
		if !strings.Contains(a.body, "paste it into the terminal") || strings.Contains(a.body, "<script") {
			t.Errorf("%s: %s", name, a.body)
		}
		for parameter, values := range at.Query() {
			if strings.Contains(a.body, values[0]) {
				t.Errorf("%s: %s of the query is repeated", name, parameter)
			}
		}
		golden(t, "terminal.html", a.body)
	}
	if len(d.facts(t)) != before || d.forges["gitea"].Count(forgetest.TokenEndpoint) != exchanged {
		t.Error("something was done with the code")
	}

	// What is none of it goes its usual way: a program, another state, a connection that is not configured, two states.
	stranger := d.browser(t)
	for _, test := range []struct {
		b    *browser
		path string
	}{
		{stranger.json(), at.RequestURI()},
		{stranger, "/oauth/gitea/callback?code=c&state=cli"},
		{stranger, "/oauth/nobody/callback?code=c&state=cli.x"},
		{stranger, "/oauth/gitea/callback?code=c&state=cli.x&state=cli.y"},
		{stranger, "/oauth/gitea/callback?code=c"},
	} {
		a := test.b.get(t, test.path)
		if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.Header.Get("Location"), "/login?error=") {
			t.Errorf("%s: %d to %s", strings.SplitN(test.path, "?", 2)[0], a.StatusCode, a.Header.Get("Location"))
		}
	}
	// The code is still good where the verifier is.
	query := at.Query()
	_, err = d.commands.CompleteBrowserLogin(t.Context(), started, commands.CallbackQuery{State: query.Get("state"), Code: query.Get("code")},
		commands.HostLogin{Caller: commands.Caller{Actor: "cli"}})
	check(t, err)
}
