package forgetest_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"github.com/forgeauth/forgeauth/forge/forgetest"
)

func TestEverySecretIsIssuedOnRecordAndNoneIsLogged(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			f := start(t, forgetest.Config{
				Dialect: dialect, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			})
			app := application(f, client)
			code := authorized(t, f, app, "alice")
			token, err := app.Exchange(t.Context(), code)
			if err != nil {
				t.Fatal(err)
			}
			get(t, f.APIURL()+"/user", token.AccessToken)
			f.RotateClientSecret(client.ID, "a-new-secret")
			issued := map[string]forgetest.IssueKind{}
			for _, issue := range f.Issued() {
				issued[issue.Value.Reveal()] = issue.Kind
			}
			for value, kind := range map[string]forgetest.IssueKind{
				client.Secret: forgetest.ClientSecretIssue, "a-new-secret": forgetest.ClientSecretIssue,
				code: forgetest.CodeIssue, token.AccessToken: forgetest.AccessTokenIssue, token.RefreshToken: forgetest.RefreshTokenIssue,
			} {
				if value != "" && issued[value] != kind {
					t.Errorf("a %s is on record as %q", kind, issued[value])
				}
			}
			f.Close()
			seen := log.String() + fmt.Sprintf("%+v", f.Requests())
			for value, kind := range issued {
				if strings.Contains(seen, value) {
					t.Errorf("a %s is in the log or the requests", kind)
				}
			}
			if !strings.Contains(log.String(), "path=/") {
				t.Error("nothing was logged")
			}
		})
	}
}

func TestRequestsSayWhatArrivedWithoutValues(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitLab})
	token := signIn(t, f, client, "alice")
	post(t, f.URL()+"/oauth/token", refreshForm(token.RefreshToken))
	get(t, f.APIURL()+"/user", "x")
	requests := f.Requests()
	last, refresh := requests[len(requests)-1], requests[len(requests)-2]
	if last.Endpoint != forgetest.UserEndpoint || last.AuthScheme != "Bearer" || last.Status != http.StatusUnauthorized || !slices.Contains(last.Header, "Authorization") {
		t.Errorf("%+v", last)
	}
	if refresh.Endpoint != forgetest.RefreshEndpoint || !slices.Equal(refresh.Form, []string{"client_id", "client_secret", "grant_type", "refresh_token"}) || refresh.Accept != "application/json" {
		t.Errorf("%+v", refresh)
	}
	if f.Count(forgetest.TokenEndpoint) != 1 || f.Count(forgetest.RefreshEndpoint) != 1 || f.Count(forgetest.AnyEndpoint) != len(requests) {
		t.Error("the counts are wrong")
	}
}

func TestTheAdministratorCanTakeEverythingAway(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			t.Parallel()
			f := start(t, forgetest.Config{Dialect: dialect})
			app := application(f, client)
			status := func(token *oauth2.Token) int { return get(t, f.APIURL()+"/user", token.AccessToken).status }

			token := signIn(t, f, client, "alice")
			f.RenameUser("alice", "alice-new")
			if answer := get(t, f.APIURL()+"/user", token.AccessToken); !strings.Contains(answer.body, `"alice-new"`) || !strings.Contains(answer.body, `"id":2,`) {
				t.Errorf("a renamed account: %s", answer.body)
			}
			if !f.Expire(token.AccessToken) || status(token) != http.StatusUnauthorized {
				t.Error("an expired token works")
			}
			token = signIn(t, f, client, "bob")
			if !f.RevokeToken(token.AccessToken) || status(token) != http.StatusUnauthorized || f.Live(token.AccessToken) {
				t.Error("a revoked token works")
			}
			kept, token := signIn(t, f, client, "alice-new"), signIn(t, f, client, "bob")
			f.RevokeUser("bob")
			if status(token) != http.StatusUnauthorized || status(kept) != http.StatusOK {
				t.Error("not just the one user's consents were withdrawn")
			}
			if token.RefreshToken != "" {
				if answer := post(t, app.Endpoint.TokenURL, refreshForm(token.RefreshToken)); strings.Contains(answer.body, "access_token") {
					t.Error("the refresh token of a withdrawn consent works")
				}
			}
			f.ProhibitLogin("alice-new", true)
			if status(kept) != http.StatusForbidden {
				t.Error("a prohibited account may use the API")
			}
			f.ProhibitLogin("alice-new", false)
			code := authorized(t, f, app, "bob")
			if !f.Expire(code) {
				t.Error("the code is unknown")
			}
			if _, err := app.Exchange(t.Context(), code); err == nil {
				t.Error("an expired code works")
			}
			code = authorized(t, f, app, "bob")
			f.RotateClientSecret(client.ID, "a-new-secret")
			if _, err := app.Exchange(t.Context(), code); err == nil {
				t.Error("the old client secret works")
			}
			f.DeleteApp(client.ID)
			if status(kept) != http.StatusUnauthorized {
				t.Error("a deleted application's token works")
			}
			for _, state := range f.Tokens() {
				if state.Live {
					t.Errorf("%+v is live", state)
				}
			}
			if f.Expire("x") || f.RevokeToken("x") || f.RotateClientSecret("x", "y") {
				t.Error("something unknown was found")
			}
		})
	}
}

func TestPagesAreEscapedAndHoldNoScript(t *testing.T) {
	t.Parallel()
	hostile := forgetest.Client{ID: "x", Secret: "y", RedirectURIs: []string{callback}, Name: `<script>alert(1)</script>`}
	f := start(t, forgetest.Config{Dialect: forgetest.Gitea, Clients: []forgetest.Client{hostile}, Users: []forgetest.User{
		{ID: 2, Login: `"><img src=x>`}, {ID: 3, Login: "shut", Prohibited: true},
	}})
	jar := map[string]string{}
	visit := func(method, path string, form url.Values) reply {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, f.URL()+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for name, value := range jar {
			request.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		answer := send(t, request)
		for _, cookie := range (&http.Response{Header: answer.header}).Cookies() {
			jar[cookie.Name] = cookie.Value
			if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
				t.Errorf("cookie %s", cookie)
			}
		}
		for _, bad := range []string{"<script", "<img", "onclick", "javascript:"} {
			if strings.Contains(answer.body, bad) {
				t.Errorf("%s %s holds %s", method, path, bad)
			}
		}
		if answer.status == http.StatusOK && !strings.HasPrefix(answer.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s has no policy", path)
		}
		return answer
	}
	request := strings.TrimPrefix(authorizeURL(f, url.Values{"client_id": {"x"}, "scope": {"<b>"}}), f.URL())
	visit(http.MethodGet, request, nil)
	if page := visit(http.MethodGet, "/user/login", nil); !strings.Contains(page.body, "disabled") {
		t.Error("the prohibited account can be chosen")
	}
	if page := visit(http.MethodPost, "/user/login", url.Values{"login": {"shut"}}); page.status != http.StatusForbidden {
		t.Errorf("the prohibited account logs in: %d", page.status)
	}
	if page := visit(http.MethodPost, "/user/login", url.Values{"login": {`"><img src=x>`}}); page.header.Get("Location") != request {
		t.Errorf("after the login: %s", page.header.Get("Location"))
	}
	consent := visit(http.MethodGet, request, nil)
	if !strings.Contains(consent.body, "Deny") || !strings.Contains(consent.body, "&lt;b&gt;") || !strings.Contains(consent.body, "this is the account it will use") {
		t.Errorf("the consent page lacks something: %s", consent.body)
	}
	if page := visit(http.MethodPost, "/login/oauth/grant", url.Values{"consent": {"forged"}, "decision": {"authorize"}}); page.status != http.StatusBadRequest {
		t.Errorf("a forged consent: %d", page.status)
	}
	if page := visit(http.MethodGet, "/", nil); !strings.Contains(page.body, "Log out") {
		t.Error("the front page does not know who is logged in")
	}
	if page := visit(http.MethodGet, request+"&prompt=select_account", nil); page.header.Get("Location") != "/user/login" {
		t.Error("there is no way to another account")
	}
	visit(http.MethodPost, "/stand-in/logout", nil)
	if page := visit(http.MethodGet, "/", nil); strings.Contains(page.body, "Log out") {
		t.Error("the session outlived the logout")
	}
	jar["redirect_to"] = url.QueryEscape("https://evil.example/")
	if page := visit(http.MethodPost, "/user/login", url.Values{"login": {`"><img src=x>`}}); page.header.Get("Location") != "/" {
		t.Errorf("the login redirects to %s", page.header.Get("Location"))
	}
}

func TestAutoConsentAsksNobody(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitHub, AutoConsent: true})
	answer := get(t, authorizeURL(f, nil), "")
	if answer.status != http.StatusFound || !strings.HasPrefix(answer.header.Get("Location"), callback+"?code=") {
		t.Errorf("%d %s", answer.status, answer.header.Get("Location"))
	}
}

func TestACodeIsTooOldAfterTenMinutes(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		clock := newClock()
		f := start(t, forgetest.Config{Dialect: dialect, Now: clock.now})
		app := application(f, client)
		code := authorized(t, f, app, "alice")
		clock.advance(600e9)
		if _, err := app.Exchange(t.Context(), code); err == nil {
			t.Errorf("%v took a code of ten minutes", dialect)
		}
	}
}

func TestWhatNoForgeCouldBeIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]forgetest.Config{
		"no dialect":                  {},
		"a client without redirects":  {Dialect: forgetest.Gitea, Clients: []forgetest.Client{{ID: "a", Secret: "b"}}},
		"a client without a secret":   {Dialect: forgetest.Gitea, Clients: []forgetest.Client{{ID: "a", RedirectURIs: []string{"x"}}}},
		"two clients of the same id":  {Dialect: forgetest.Gitea, Clients: []forgetest.Client{client, client}},
		"a user without an id":        {Dialect: forgetest.Gitea, Users: []forgetest.User{{Login: "a"}}},
		"two users of the same login": {Dialect: forgetest.Gitea, Users: []forgetest.User{{ID: 1, Login: "a"}, {ID: 2, Login: "a"}}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s is accepted", name)
				}
			}()
			forgetest.New(config)
		}()
	}
}
