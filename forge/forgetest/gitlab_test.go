package forgetest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/forgeauth/forgeauth/forge/forgetest"
)

func TestGitLabRefusesAsDoorkeeperDoes(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitLab})
	verifier := oauth2.GenerateVerifier()
	code := authorized(t, f, application(f, client), "alice", oauth2.S256ChallengeOption(verifier))
	whole := exchangeForm(code, verifier)
	for _, c := range []struct {
		name   string
		form   url.Values
		status int
		want   string
	}{
		{"a wrong secret", with(whole, "client_secret", "wrong"), 401, "invalid_client"},
		{"an unknown client", with(whole, "client_id", "nobody"), 401, "invalid_client"},
		{"a wrong code", with(whole, "code", "wrong"), 400, "invalid_grant"},
		{"a wrong verifier", with(whole, "code_verifier", oauth2.GenerateVerifier()), 400, "invalid_grant"},
		{"no verifier", with(whole, "code_verifier", ""), 400, "Missing required parameter: code_verifier."},
		{"no redirect_uri", with(whole, "redirect_uri", ""), 400, "Missing required parameter: redirect_uri."},
		{"another redirect_uri", with(whole, "redirect_uri", callback+"/"), 400, "invalid_grant"},
		{"another grant type", with(whole, "grant_type", "password"), 400, "unsupported_grant_type"},
		{"another client's code", with(with(whole, "client_id", other.ID), "client_secret", other.Secret), 400, "invalid_grant"},
		{"all right", whole, 200, `"created_at":`},
		{"the code again", whole, 400, "invalid_grant"},
	} {
		if answer := post(t, f.URL()+"/oauth/token", c.form); answer.status != c.status || !strings.Contains(answer.body, c.want) {
			t.Errorf("%s: %d %s; want %d and %s", c.name, answer.status, answer.body, c.status, c.want)
		}
	}
	back, err := f.Consent(t.Context(), authorizeURL(f, url.Values{"scope": {"api bogus"}}), "alice")
	if err != nil || !strings.Contains(back, "error=invalid_scope") {
		t.Errorf("an unknown scope: %s, %v", back, err)
	}
}

func TestGitLabRefreshKillsWhatItReplaces(t *testing.T) {
	t.Parallel()
	clock := newClock()
	f := start(t, forgetest.Config{Dialect: forgetest.GitLab, Now: clock.now})
	token := signIn(t, f, client, "alice")
	answer := post(t, f.URL()+"/oauth/token", refreshForm(token.RefreshToken))
	var fresh oauth2.Token
	answer.json(t, &fresh)
	if answer.status != http.StatusOK || fresh.ExpiresIn != 7200 {
		t.Fatalf("refresh: %d", answer.status)
	}
	if old := get(t, f.APIURL()+"/user", token.AccessToken); old.status != 401 || !strings.Contains(old.body, "revoked") {
		t.Errorf("the old access token: %d %s", old.status, old.body)
	}
	if again := post(t, f.URL()+"/oauth/token", refreshForm(token.RefreshToken)); again.status != 400 || !strings.Contains(again.body, "invalid_grant") {
		t.Errorf("the old refresh token: %d %s", again.status, again.body)
	}
	if f.Live(token.RefreshToken) || !f.Live(fresh.RefreshToken) {
		t.Error("not the new refresh token alone is live")
	}
	clock.advance(7200 * time.Second)
	if old := get(t, f.APIURL()+"/user", fresh.AccessToken); old.status != 401 || !strings.Contains(old.body, "expired") {
		t.Errorf("an expired access token: %d %s", old.status, old.body)
	}
}

func TestGitLabRevokesAndInforms(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitLab})
	token := signIn(t, f, client, "alice")
	info := get(t, f.URL()+"/oauth/token/info", token.AccessToken)
	if info.status != 200 || !strings.Contains(info.body, `"scope":["api"]`) || !strings.Contains(info.body, `"uid":"client-a"`) {
		t.Errorf("token info: %d %s", info.status, info.body)
	}
	form := url.Values{"client_id": {client.ID}, "client_secret": {client.Secret}, "token": {token.AccessToken}}
	for _, c := range []struct {
		name string
		form url.Values
		want int
	}{
		{"with a wrong secret", with(form, "client_secret", "wrong"), 403},
		{"as another client", with(with(form, "client_id", other.ID), "client_secret", other.Secret), 403},
		{"with an unknown token", with(form, "token", "unknown"), 200},
		{"as it should be", form, 200},
		{"a second time", form, 200},
	} {
		answer := post(t, f.URL()+"/oauth/revoke", c.form)
		if answer.status != c.want || c.want == 200 && answer.body != "{}\n" {
			t.Errorf("revoking %s: %d %s", c.name, answer.status, answer.body)
		}
	}
	if f.Live(token.AccessToken) || f.Live(token.RefreshToken) {
		t.Error("the token is live")
	}
	if info := get(t, f.URL()+"/oauth/token/info", token.AccessToken); info.status != 401 {
		t.Errorf("token info of a revoked token: %d", info.status)
	}
}

func TestGitLabScopesAreChecked(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitLab})
	app := application(f, client)
	app.Scopes = []string{"read_user"}
	token, err := app.Exchange(t.Context(), authorized(t, f, app, "alice"))
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, f.APIURL()+"/user", token.AccessToken).status; got != 200 {
		t.Errorf("user with read_user: %d", got)
	}
	if got := get(t, f.APIURL()+"/projects", token.AccessToken); got.status != 403 || !strings.Contains(got.body, "insufficient_scope") {
		t.Errorf("projects with read_user: %d %s", got.status, got.body)
	}
}
