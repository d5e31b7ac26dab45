package forgetest_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/forgeauth/forgeauth/forge/forgetest"
)

func TestGitHubAnswersTokenErrorsWithStatus200(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitHub})
	verifier := oauth2.GenerateVerifier()
	code := func() string {
		return authorized(t, f, application(f, client), "alice", oauth2.S256ChallengeOption(verifier))
	}
	spent := code()
	if answer := post(t, tokenEndpoint(f), exchangeForm(spent, verifier)); answer.status != http.StatusOK {
		t.Fatal(answer.body)
	}
	for _, c := range []struct {
		name, want string
		form       url.Values
	}{
		{"a wrong secret", "incorrect_client_credentials", with(exchangeForm(code(), verifier), "client_secret", "wrong")},
		{"no secret", "incorrect_client_credentials", with(exchangeForm(code(), verifier), "client_secret", "")},
		{"an unknown client", "incorrect_client_credentials", with(exchangeForm(code(), verifier), "client_id", "nobody")},
		{"a wrong code", "bad_verification_code", exchangeForm("wrong", verifier)},
		{"a code used before", "bad_verification_code", exchangeForm(spent, verifier)},
		{"no code", "bad_verification_code", exchangeForm("", verifier)},
		{"a wrong verifier", "bad_verification_code", exchangeForm(code(), oauth2.GenerateVerifier())},
		{"no verifier", "bad_verification_code", exchangeForm(code(), "")},
		{"another redirect_uri", "redirect_uri_mismatch", with(exchangeForm(code(), verifier), "redirect_uri", callback+"/sub")},
		{"another client's code", "bad_verification_code", with(with(exchangeForm(code(), verifier), "client_id", other.ID), "client_secret", other.Secret)},
		{"a refresh where tokens do not expire", "unsupported_grant_type", refreshForm("ghr_x")},
	} {
		answer := post(t, tokenEndpoint(f), c.form)
		var body struct {
			Error, AccessToken string
			Description        string `json:"error_description"`
			URI                string `json:"error_uri"`
		}
		answer.json(t, &body)
		if answer.status != http.StatusOK || body.Error != c.want || body.Description == "" || body.URI == "" || body.AccessToken != "" {
			t.Errorf("%s: %d %s; want 200 and %s", c.name, answer.status, answer.body, c.want)
		}
	}
	refused := code()
	post(t, tokenEndpoint(f), exchangeForm(refused, oauth2.GenerateVerifier()))
	if answer := post(t, tokenEndpoint(f), exchangeForm(refused, verifier)); !strings.Contains(answer.body, "bad_verification_code") {
		t.Error("a code survived a refused exchange")
	}
	if answer := get(t, tokenEndpoint(f), ""); answer.status != http.StatusNotFound {
		t.Errorf("GET on the token endpoint: %d", answer.status)
	}
}

func TestGitHubAnswersAsAFormUnlessAskedForJSON(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitHub})
	code := authorized(t, f, application(f, client), "alice")
	form := with(exchangeForm(code, ""), "code_verifier", "")
	answer := post(t, tokenEndpoint(f), form, func(r *http.Request) { r.Header.Del("Accept") })
	values, err := url.ParseQuery(answer.body)
	if err != nil || values.Get("token_type") != "bearer" || values.Get("scope") != "repo,read:org" || !strings.HasPrefix(values.Get("access_token"), "gho_") || len(values.Get("access_token")) != 40 {
		t.Errorf("%s", answer.body)
	}
	if got := answer.header.Get("Content-Type"); got != "application/x-www-form-urlencoded; charset=utf-8" {
		t.Errorf("Content-Type %s", got)
	}
	api := get(t, f.APIURL()+"/user", values.Get("access_token"))
	if api.header.Get("X-OAuth-Scopes") != "repo, read:org" || api.header.Get("X-RateLimit-Remaining") == "" {
		t.Errorf("headers of the API: %v", api.header)
	}
}

func TestGitHubReportsScopesWithoutWhatIsImplied(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitHub})
	app := application(f, client)
	for _, c := range []struct{ asked, granted string }{
		{"", ""},
		{"user gist user:email", "user,gist"},
		{"repo public_repo nonsense", "repo"},
	} {
		app.Scopes = strings.Fields(c.asked)
		token, err := app.Exchange(t.Context(), authorized(t, f, app, "alice"))
		if err != nil {
			t.Fatal(err)
		}
		if got := token.Extra("scope"); got != c.granted {
			t.Errorf("asked for %q: granted %q, want %q", c.asked, got, c.granted)
		}
	}
}

func TestGitHubRefusesTheOldestBeyondTenTokens(t *testing.T) {
	t.Parallel()
	clock := newClock()
	f := start(t, forgetest.Config{Dialect: forgetest.GitHub, Now: clock.now})
	var tokens []string
	for range 11 {
		tokens = append(tokens, signIn(t, f, client, "alice").AccessToken)
		clock.advance(time.Second)
	}
	bobs := signIn(t, f, client, "bob").AccessToken
	for i, token := range append(tokens, bobs) {
		want := http.StatusOK
		if i == 0 {
			want = http.StatusUnauthorized
		}
		if got := get(t, f.APIURL()+"/user", token).status; got != want {
			t.Errorf("token %d: %d, want %d", i, got, want)
		}
	}
	clock.advance(366 * 24 * time.Hour)
	if got := get(t, f.APIURL()+"/user", bobs).status; got != http.StatusUnauthorized {
		t.Errorf("a token unused for a year: %d", got)
	}
}

func TestGitHubAppTokensExpireAndRefreshOnce(t *testing.T) {
	t.Parallel()
	clock := newClock()
	f := start(t, forgetest.Config{Dialect: forgetest.GitHubApp, Now: clock.now})
	token := signIn(t, f, client, "alice")
	answer := post(t, tokenEndpoint(f), refreshForm(token.RefreshToken))
	var fresh struct {
		AccessToken  string  `json:"access_token"`
		RefreshToken string  `json:"refresh_token"`
		ExpiresIn    int     `json:"expires_in"`
		Scope        *string `json:"scope"`
	}
	answer.json(t, &fresh)
	if !strings.HasPrefix(fresh.AccessToken, "ghu_") || !strings.HasPrefix(fresh.RefreshToken, "ghr_") || fresh.ExpiresIn != 28800 || fresh.Scope == nil || *fresh.Scope != "" {
		t.Errorf("refresh: prefixes, expiry or scope are wrong: expires_in %d", fresh.ExpiresIn)
	}
	if got := get(t, f.APIURL()+"/user", token.AccessToken); got.status != 401 || !strings.Contains(got.body, "Bad credentials") {
		t.Errorf("the old access token: %d %s", got.status, got.body)
	}
	if again := post(t, tokenEndpoint(f), refreshForm(token.RefreshToken)); again.status != 200 || !strings.Contains(again.body, "bad_refresh_token") {
		t.Errorf("the old refresh token: %d %s", again.status, again.body)
	}
	clock.advance(8 * time.Hour)
	if got := get(t, f.APIURL()+"/user", fresh.AccessToken).status; got != http.StatusUnauthorized {
		t.Errorf("an access token of eight hours: %d", got)
	}
	clock.advance(184 * 24 * time.Hour)
	if again := post(t, tokenEndpoint(f), refreshForm(fresh.RefreshToken)); !strings.Contains(again.body, "bad_refresh_token") {
		t.Errorf("a refresh token of six months: %s", again.body)
	}
}

// deleteApplication calls DELETE {api}/applications/{client}/{what}.
func deleteApplication(t *testing.T, f *forgetest.Forge, path, user, password, body string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, f.APIURL()+"/applications/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		request.SetBasicAuth(user, password)
	}
	return send(t, request).status
}

func TestGitHubRevokesOneTokenOrTheWholeGrant(t *testing.T) {
	t.Parallel()
	for _, dialect := range []forgetest.Dialect{forgetest.GitHub, forgetest.GitHubApp, forgetest.GitHubEnterprise} {
		t.Run(dialect.String(), func(t *testing.T) {
			t.Parallel()
			f := start(t, forgetest.Config{Dialect: dialect})
			first, second, third := signIn(t, f, client, "alice"), signIn(t, f, client, "alice"), signIn(t, f, client, "alice")
			body := func(token string) string { return fmt.Sprintf(`{"access_token":%q}`, token) }
			for _, c := range []struct {
				name, path, user, password, body string
				want                             int
			}{
				{"without credentials", "client-a/token", "", "", body(first.AccessToken), 401},
				{"with a wrong secret", "client-a/token", client.ID, "wrong", body(first.AccessToken), 401},
				{"under another client's path", "client-a/token", other.ID, other.Secret, body(first.AccessToken), 404},
				{"as another client", "client-b/token", other.ID, other.Secret, body(first.AccessToken), 404},
				{"without a body", "client-a/token", client.ID, client.Secret, "", 422},
				{"with an unknown token", "client-a/token", client.ID, client.Secret, body("gho_x"), 404},
				{"as it should be", "client-a/token", client.ID, client.Secret, body(first.AccessToken), 204},
				{"a second time", "client-a/token", client.ID, client.Secret, body(first.AccessToken), 404},
			} {
				if got := deleteApplication(t, f, c.path, c.user, c.password, c.body); got != c.want {
					t.Errorf("revoking %s: %d, want %d", c.name, got, c.want)
				}
			}
			if f.Live(first.AccessToken) || !f.Live(second.AccessToken) {
				t.Error("not just the one token was revoked")
			}
			if got := deleteApplication(t, f, "client-a/grant", client.ID, client.Secret, body(second.AccessToken)); got != 204 {
				t.Errorf("revoking the grant: %d", got)
			}
			if f.Live(second.AccessToken) || f.Live(third.AccessToken) || third.RefreshToken != "" && f.Live(third.RefreshToken) {
				t.Error("a token outlived its grant")
			}
		})
	}
}

func TestGitHubSendsAuthorizationErrorsToTheRegisteredCallback(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitHub, SendIssuer: true, RequirePKCE: true})
	s256 := url.Values{"code_challenge": {oauth2.S256ChallengeFromVerifier("v")}, "code_challenge_method": {"S256"}}
	for _, c := range []struct {
		name    string
		changes url.Values
		want    string
	}{
		{"an unregistered redirect_uri", url.Values{"redirect_uri": {"https://evil.example/"}}, "redirect_uri_mismatch"},
		{"no challenge in strict mode", nil, "invalid_request"},
		{"a plain challenge", url.Values{"code_challenge": {"v"}}, "invalid_request"},
	} {
		back, err := f.Consent(t.Context(), authorizeURL(f, c.changes), "alice")
		at, parseErr := url.Parse(back)
		if err != nil || parseErr != nil || !strings.HasPrefix(back, callback+"?") || at.Query().Get("error") != c.want || at.Query().Get("state") != "st" || at.Query().Get("iss") != f.URL() {
			t.Errorf("%s: %s, %v", c.name, back, err)
		}
	}
	back, err := f.Deny(t.Context(), authorizeURL(f, s256), "alice")
	if err != nil || !strings.Contains(back, "error=access_denied") {
		t.Errorf("denied: %s, %v", back, err)
	}
	back, err = f.Consent(t.Context(), authorizeURL(f, s256), "alice")
	if err != nil || !strings.Contains(back, "code=") || !strings.Contains(back, "iss="+url.QueryEscape(f.URL())) {
		t.Errorf("consented: %s, %v", back, err)
	}
	var page *forgetest.PageError
	if _, err := f.Consent(t.Context(), authorizeURL(f, url.Values{"client_id": {"nobody"}}), "alice"); !errors.As(err, &page) || page.Status != http.StatusNotFound {
		t.Errorf("an unknown client: %v", err)
	}
}
