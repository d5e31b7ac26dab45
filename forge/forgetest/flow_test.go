package forgetest_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/forgeauth/forgeauth/forge/forgetest"
)

const callback = "http://127.0.0.1:8080/oauth/forge/callback"

var client = forgetest.Client{ID: "client-a", Secret: "secret-a", RedirectURIs: []string{callback}, Name: "Probe"}

var other = forgetest.Client{ID: "client-b", Secret: "secret-b", RedirectURIs: []string{callback}}

func start(t *testing.T, config forgetest.Config) *forgetest.Forge {
	t.Helper()
	if config.Clients == nil {
		config.Clients = []forgetest.Client{client, other}
	}
	if config.Users == nil {
		config.Users = []forgetest.User{
			{ID: 2, Login: "alice", Repositories: forgetest.Repositories(1, 75)},
			{ID: 3, Login: "bob", Name: "Bob <b>"},
		}
	}
	return forgetest.Start(t, config)
}

// scopes that let a token of the dialect read the user and the repositories.
func scopes(d forgetest.Dialect) []string {
	switch d {
	case forgetest.GitLab:
		return []string{"api"}
	case forgetest.Gitea, forgetest.Forgejo:
		return []string{"read:user", "write:repository"}
	default:
		return []string{"repo", "read:org"}
	}
}

func application(f *forgetest.Forge, c forgetest.Client) *oauth2.Config {
	authorize, token := "/login/oauth/authorize", "/login/oauth/access_token"
	style := oauth2.AuthStyleInParams
	switch f.Dialect() {
	case forgetest.GitLab:
		authorize, token = "/oauth/authorize", "/oauth/token"
	case forgetest.Bitbucket:
		authorize, token, style = "/site/oauth2/authorize", "/site/oauth2/access_token", oauth2.AuthStyleInHeader
	case forgetest.GitHub, forgetest.GitHubApp, forgetest.GitHubEnterprise, forgetest.Gitea, forgetest.Forgejo:
	}
	return &oauth2.Config{
		ClientID: c.ID, ClientSecret: c.Secret, RedirectURL: callback, Scopes: scopes(f.Dialect()),
		Endpoint: oauth2.Endpoint{AuthURL: f.URL() + authorize, TokenURL: f.URL() + token, AuthStyle: style},
	}
}

// signIn walks through the whole flow as a login at the application and returns its tokens.
func signIn(t *testing.T, f *forgetest.Forge, c forgetest.Client, login string) *oauth2.Token {
	t.Helper()
	app, verifier := application(f, c), oauth2.GenerateVerifier()
	token, err := app.Exchange(t.Context(), authorized(t, f, app, login, oauth2.S256ChallengeOption(verifier)), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatalf("exchange: %v", err)
	}
	return token
}

// authorized returns the code of a consent.
func authorized(t *testing.T, f *forgetest.Forge, app *oauth2.Config, login string, options ...oauth2.AuthCodeOption) string {
	t.Helper()
	back, err := f.Consent(t.Context(), app.AuthCodeURL("st+ate", options...), login)
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(back)
	if err != nil {
		t.Fatal(err)
	}
	if at.Query().Get("state") != "st+ate" || !strings.HasPrefix(back, callback+"?") {
		t.Fatalf("came back to %s", back)
	}
	if at.Query().Get("code") == "" {
		t.Fatalf("no code in %s", back)
	}
	return at.Query().Get("code")
}

// reply is an answer as a test looks at it.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) json(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), into); err != nil {
		t.Fatalf("body %q: %v", r.body, err)
	}
}

func send(t *testing.T, request *http.Request) reply {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(body)}
}

// get fetches address with a bearer token; an empty token sends none.
func get(t *testing.T, address, token string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return send(t, request)
}

// post sends a form and asks for JSON.
func post(t *testing.T, address string, form url.Values, edit ...func(*http.Request)) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	for _, change := range edit {
		change(request)
	}
	return send(t, request)
}

// exchangeForm is a complete code exchange; tests take away from it.
func exchangeForm(code, verifier string) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "client_id": {client.ID}, "client_secret": {client.Secret},
		"redirect_uri": {callback}, "code": {code}, "code_verifier": {verifier},
	}
}

func refreshForm(refresh string) url.Values {
	return url.Values{
		"grant_type": {"refresh_token"}, "client_id": {client.ID}, "client_secret": {client.Secret}, "refresh_token": {refresh},
	}
}

func with(form url.Values, name, value string) url.Values {
	changed := url.Values{}
	maps.Copy(changed, form)
	if value == "" {
		changed.Del(name)
	} else {
		changed.Set(name, value)
	}
	return changed
}

var dialects = []forgetest.Dialect{
	forgetest.GitHub, forgetest.GitHubApp, forgetest.GitHubEnterprise, forgetest.GitLab, forgetest.Gitea, forgetest.Forgejo,
}

func userPath() string { return "/user" }

func repositoriesPath(d forgetest.Dialect) string {
	if d == forgetest.GitLab {
		return "/projects?membership=true"
	}
	return "/user/repos"
}

func TestEveryDialectTakesAPersonFromConsentToRepositories(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			t.Parallel()
			f := start(t, forgetest.Config{Dialect: dialect, RequirePKCE: true})
			token := signIn(t, f, client, "alice")
			expires := dialect != forgetest.GitHub && dialect != forgetest.GitHubEnterprise
			if expires != (token.RefreshToken != "") || expires == token.Expiry.IsZero() {
				t.Errorf("refresh token given: %t, expiry %v", token.RefreshToken != "", token.Expiry)
			}
			var account struct {
				ID              int64
				Login, Username string
			}
			answer := get(t, f.APIURL()+userPath(), token.AccessToken)
			answer.json(t, &account)
			if answer.status != http.StatusOK || account.ID != 2 || account.Login+account.Username == "" {
				t.Errorf("user: %d %s", answer.status, answer.body)
			}
			var list []struct{ ID int64 }
			answer = get(t, f.APIURL()+repositoriesPath(dialect), token.AccessToken)
			answer.json(t, &list)
			if answer.status != http.StatusOK || len(list) == 0 || answer.header.Get("Link") == "" {
				t.Errorf("repositories: %d, %d of them, Link %q", answer.status, len(list), answer.header.Get("Link"))
			}
			if !f.Live(token.AccessToken) {
				t.Error("the access token is not live")
			}
		})
	}
}

// clock is a clock that tests move by hand.
type clock struct{ moved chan time.Duration }

func newClock() *clock {
	c := &clock{moved: make(chan time.Duration, 1)}
	c.moved <- 0
	return c
}

var epoch = time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC)

func (c *clock) now() time.Time {
	moved := <-c.moved
	c.moved <- moved
	return epoch.Add(moved)
}

func (c *clock) advance(d time.Duration) { c.moved <- <-c.moved + d }
