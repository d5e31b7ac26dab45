package forgetest_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"

	"github.com/forgeauth/forgeauth/forge/forgetest"
)

func authorizeURL(f *forgetest.Forge, changes url.Values) string {
	query := url.Values{
		"client_id": {client.ID}, "redirect_uri": {callback}, "response_type": {"code"}, "state": {"st"},
		"scope": {strings.Join(scopes(f.Dialect()), " ")},
	}
	for name, values := range changes {
		query[name] = values
		if values[0] == "" {
			query.Del(name)
		}
	}
	path := "/login/oauth/authorize"
	if f.Dialect() == forgetest.GitLab {
		path = "/oauth/authorize"
	}
	return f.URL() + path + "?" + query.Encode()
}

func TestGiteaAnswersAuthorizationRequestsAsRecorded(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.Gitea})
	for _, c := range []struct {
		name    string
		changes url.Values
		deny    bool
		want    string
	}{
		{"25 response_type=token", url.Values{"response_type": {"token"}}, false, callback + "?error=unsupported_response_type&error_description=Only+code+response+type+is+supported.&state=st"},
		{"25b a bad challenge method", url.Values{"code_challenge": {"x"}, "code_challenge_method": {"S512"}}, false, callback + "?error=invalid_request&error_description=unsupported+code+challenge+method&state=st"},
		{"26 denied at consent", nil, true, callback + "?error=access_denied&error_description=the+request+is+denied&state=st"},
	} {
		walk := f.Consent
		if c.deny {
			walk = f.Deny
		}
		back, err := walk(t.Context(), authorizeURL(f, c.changes), "bob")
		if err != nil || back != c.want {
			t.Errorf("%s: %s, %v; want %s", c.name, back, err, c.want)
		}
	}
	for _, name := range []string{"27 missing state, first consent", "23 missing state"} {
		back, err := f.Consent(t.Context(), authorizeURL(f, url.Values{"state": {""}}), "alice")
		if err != nil || !strings.HasPrefix(back, callback+"?code=gta_") || strings.Contains(back, "state") {
			t.Errorf("%s: %s, %v", name, back, err)
		}
	}
	for _, c := range []struct {
		name     string
		changes  url.Values
		sentence string
	}{
		{"24 an unregistered redirect_uri", url.Values{"redirect_uri": {callback + "x"}}, "Unregistered Redirect URI"},
		{"a redirect_uri with a trailing slash", url.Values{"redirect_uri": {callback + "/"}}, "Unregistered Redirect URI"},
		{"a redirect_uri in another case", url.Values{"redirect_uri": {strings.Replace(callback, "forge", "FORGE", 1)}}, "Unregistered Redirect URI"},
		{"24b an unknown client", url.Values{"client_id": {"nobody"}}, "Client ID not registered"},
	} {
		_, err := f.Consent(t.Context(), authorizeURL(f, c.changes), "alice")
		var page *forgetest.PageError
		if !errors.As(err, &page) || page.Status != http.StatusBadRequest || !strings.HasPrefix(page.Sentence, c.sentence) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestGiteaGoesThroughTheHopsRecorded(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.Gitea})
	answer := get(t, authorizeURL(f, nil), "")
	if answer.status != http.StatusSeeOther || answer.header.Get("Location") != "/user/login" {
		t.Errorf("authorize without a session: %d to %s", answer.status, answer.header.Get("Location"))
	}
	if _, err := f.Consent(t.Context(), authorizeURL(f, nil), "alice"); err != nil {
		t.Fatal(err)
	}
	first := trail(f)
	if _, err := f.Consent(t.Context(), authorizeURL(f, nil), "alice"); err != nil {
		t.Fatal(err)
	}
	login := []string{"GET /login/oauth/authorize 303", "GET /user/login 200", "POST /user/login 303"}
	want := append(append([]string{"GET /login/oauth/authorize 303"}, login...), "GET /login/oauth/authorize 200", "POST /login/oauth/grant 303")
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("hops of the first consent (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(append(login, "GET /login/oauth/authorize 303"), trail(f)[len(first):]); diff != "" {
		t.Errorf("hops where a consent exists (-want +got):\n%s", diff)
	}
}

func trail(f *forgetest.Forge) []string {
	var trail []string
	for _, request := range f.Requests() {
		trail = append(trail, fmt.Sprintf("%s %s %d", request.Method, request.Path, request.Status))
	}
	return trail
}

// The table of exchange 32: what a token may do, by the scope that was asked for.
func TestGiteaScopesMeanWhatWasRecorded(t *testing.T) {
	t.Parallel()
	const full = "200 200 200 200 200 403"
	for _, c := range []struct{ scope, gitea, forgejo string }{
		{"", full, full},
		{"bogus:thing", full, full},
		{"read:user bogus:thing", full, "200 200 403 403 403 403"},
		{"openid", full, full},
		{"read:repository", "403 403 403 200 403 403", "403 403 403 200 403 403"},
		{"read:user read:repository", "200 200 200 200 403 403", "200 200 200 200 403 403"},
		{"read:user,write:repository", "200 200 200 200 403 403", "200 200 200 200 403 403"},
	} {
		for _, dialect := range []forgetest.Dialect{forgetest.Gitea, forgetest.Forgejo} {
			t.Run(fmt.Sprintf("%v with scope %q", dialect, c.scope), func(t *testing.T) {
				t.Parallel()
				f := start(t, forgetest.Config{Dialect: dialect, Users: []forgetest.User{
					{ID: 2, Login: "alice", Repositories: []forgetest.Repository{{ID: 2, Name: "private-repo", Private: true}}},
				}})
				app := application(f, client)
				app.Scopes = nil
				code := authorized(t, f, app, "alice", oauth2.SetAuthURLParam("scope", c.scope))
				var token map[string]any
				post(t, tokenEndpoint(f), with(exchangeForm(code, ""), "code_verifier", "")).json(t, &token)
				if _, reported := token["scope"]; reported {
					t.Error("the token answer reports a scope")
				}
				if _, identity := token["id_token"]; identity != (c.scope == "openid") {
					t.Errorf("the token answer holds an id_token: %t", identity)
				}
				var got []string
				for _, path := range []string{"/user", "/user/emails", "/user/repos", "/repos/alice/private-repo", "/notifications", "/admin/users"} {
					got = append(got, fmt.Sprint(get(t, f.APIURL()+path, token["access_token"].(string)).status))
				}
				want := c.gitea
				if dialect == forgetest.Forgejo {
					want = c.forgejo
				}
				if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
					t.Errorf("statuses (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestGiteaFreezesTheScopeAtTheFirstConsent(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.Gitea})
	app := application(f, client)
	app.Scopes = []string{"read:user"}
	want := jsonLine(fmt.Sprintf(`{"message":"token does not have at least one of required scope(s), required=[read:repository], token scope=read:user","url":"%s/api/swagger"}`, f.URL()))
	for _, name := range []string{"30 read:user only", "31 a wider scope asked later"} {
		token, err := app.Exchange(t.Context(), authorized(t, f, app, "alice"))
		if err != nil {
			t.Fatal(err)
		}
		if answer := get(t, f.APIURL()+"/user/repos", token.AccessToken); answer.status != http.StatusForbidden || answer.body != want {
			t.Errorf("%s: %d %s", name, answer.status, answer.body)
		}
		app.Scopes = []string{"read:user", "write:repository"}
	}
}

func TestGiteaTokensOfOneSecondAreIdentical(t *testing.T) {
	t.Parallel()
	clock := newClock()
	f := start(t, forgetest.Config{Dialect: forgetest.Gitea, Now: clock.now})
	first, second := signIn(t, f, client, "alice"), signIn(t, f, client, "alice")
	if first.AccessToken != second.AccessToken || first.RefreshToken != second.RefreshToken {
		t.Error("two tokens of the same second differ")
	}
	clock.advance(time.Second)
	if signIn(t, f, client, "alice").AccessToken == first.AccessToken {
		t.Error("two tokens of different seconds are identical")
	}
}

func TestGiteaExpiresProhibitsAndDeletesAsRecorded(t *testing.T) {
	t.Parallel()
	clock := newClock()
	f := start(t, forgetest.Config{Dialect: forgetest.Gitea, Now: clock.now, AccessTokenTTL: 3 * time.Second})
	token := signIn(t, f, client, "alice")
	noUser := jsonLine(fmt.Sprintf(`{"message":"user does not exist [uid: 0, name: ]","url":"%s/api/swagger"}`, f.URL()))
	clock.advance(3 * time.Second)
	if answer := get(t, f.APIURL()+"/user", token.AccessToken); answer.status != 401 || answer.body != noUser {
		t.Errorf("an expired token: %d %s", answer.status, answer.body)
	}
	if answer := get(t, f.URL()+"/login/oauth/userinfo", token.AccessToken); answer.body != "Failed to authenticate user\n" {
		t.Errorf("an expired token at userinfo: %s", answer.body)
	}
	token = signIn(t, f, client, "alice")
	f.ProhibitLogin("alice", true)
	if answer := get(t, f.APIURL()+"/user", token.AccessToken); answer.status != 403 || answer.body != jsonLine(`{"message":"This account is prohibited from signing in, please contact your site administrator."}`) {
		t.Errorf("a prohibited account: %d %s", answer.status, answer.body)
	}
	if answer := post(t, tokenEndpoint(f), refreshForm(token.RefreshToken)); answer.status != http.StatusOK {
		t.Errorf("a prohibited account's refresh: %d %s", answer.status, answer.body)
	}
	if _, err := f.Consent(t.Context(), authorizeURL(f, nil), "alice"); err == nil {
		t.Error("a prohibited account logged in")
	}
	f.ProhibitLogin("alice", false)
	f.DeleteApp(client.ID)
	if answer := get(t, f.APIURL()+"/user", token.AccessToken); answer.status != 401 || answer.body != noUser {
		t.Errorf("a deleted application's token: %d %s", answer.status, answer.body)
	}
	want := `{"error":"invalid_client","error_description":"cannot load client with client id: \"client-a\""}` + "\n"
	if answer := post(t, tokenEndpoint(f), refreshForm(token.RefreshToken)); answer.status != 400 || answer.body != want {
		t.Errorf("a deleted application's refresh: %d %s", answer.status, answer.body)
	}
}

func TestTheFirstConsentEnforcesPKCEUnlessToldToImitateTheFault(t *testing.T) {
	t.Parallel()
	for _, lax := range []bool{false, true} {
		f := start(t, forgetest.Config{Dialect: forgetest.Gitea, FirstConsentSkipsPKCE: lax})
		code := authorized(t, f, application(f, client), "alice", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))
		answer := post(t, tokenEndpoint(f), exchangeForm(code, oauth2.GenerateVerifier()))
		if (answer.status == http.StatusOK) != lax {
			t.Errorf("2 a wrong verifier at the first consent, fault imitated %t: %d", lax, answer.status)
		}
	}
}

func TestForgejoIsStricterThanGitea(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.Forgejo})
	token := signIn(t, f, client, "alice")
	foreign := with(with(refreshForm(token.RefreshToken), "client_id", other.ID), "client_secret", other.Secret)
	if answer := post(t, tokenEndpoint(f), foreign); answer.status != 400 || !strings.Contains(answer.body, `"invalid_grant"`) {
		t.Errorf("another client's credentials: %d %s", answer.status, answer.body)
	}
	if answer := post(t, tokenEndpoint(f), refreshForm(token.RefreshToken)); answer.status != http.StatusOK {
		t.Errorf("a refresh: %d %s", answer.status, answer.body)
	}
	if answer := post(t, tokenEndpoint(f), refreshForm(token.RefreshToken)); answer.body != giteaError("unauthorized_client", "token was already used") {
		t.Errorf("the same refresh token again: %d %s", answer.status, answer.body)
	}
	code := authorized(t, f, application(f, client), "alice")
	if answer := post(t, tokenEndpoint(f), with(with(exchangeForm(code, ""), "code_verifier", ""), "redirect_uri", "")); answer.body != giteaError("unauthorized_client", "unexpected redirect URI") {
		t.Errorf("an exchange without redirect_uri: %d %s", answer.status, answer.body)
	}
}
