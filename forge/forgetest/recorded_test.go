package forgetest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"github.com/forgeauth/forgeauth/forge/forgetest"
)

// jsonLine is a recorded body; Gitea ends its JSON with a line break.
func jsonLine(body string) string { return body + "\n" }

func giteaError(name, description string) string {
	return jsonLine(fmt.Sprintf(`{"error":%q,"error_description":%q}`, name, description))
}

// tokenEndpoint is where Gitea-like forges take grants.
func tokenEndpoint(f *forgetest.Forge) string { return f.URL() + "/login/oauth/access_token" }

// The refusals of the code exchange as recorded at Gitea 1.26-dev, rotation on and off alike; the numbers are those
// of the recorded exchanges. Not one of them spends the code.
func TestGiteaRefusesExchangesAsRecorded(t *testing.T) {
	t.Parallel()
	for _, rotation := range []bool{false, true} {
		t.Run(fmt.Sprintf("rotation %t", rotation), func(t *testing.T) {
			t.Parallel()
			f := start(t, forgetest.Config{Dialect: forgetest.Gitea, Rotation: &rotation})
			signIn(t, f, client, "alice")
			verifier := oauth2.GenerateVerifier()
			code := authorized(t, f, application(f, client), "alice", oauth2.S256ChallengeOption(verifier))
			whole := exchangeForm(code, verifier)
			const nobody = "00000000-0000-0000-0000-000000000000"
			for _, c := range []struct {
				name, body string
				form       url.Values
			}{
				{"5 a wrong verifier", giteaError("unauthorized_client", "failed PKCE code challenge"), with(whole, "code_verifier", oauth2.GenerateVerifier())},
				{"5b no verifier", giteaError("unauthorized_client", "failed PKCE code challenge"), with(whole, "code_verifier", "")},
				{"5c a wrong redirect_uri", giteaError("unauthorized_client", "unexpected redirect URI"), with(whole, "redirect_uri", callback+"/other")},
				{"5d a wrong secret", giteaError("unauthorized_client", "invalid client secret"), with(whole, "client_secret", "wrong")},
				{"5e no secret", giteaError("unauthorized_client", "invalid empty client secret"), with(whole, "client_secret", "")},
				{"5f an unknown client", giteaError("invalid_client", "cannot load client with client id: '"+nobody+"'"), with(whole, "client_id", nobody)},
				{"8 a wrong code", giteaError("unauthorized_client", "client is not authorized"), with(whole, "code", "gta_wrong")},
				{"10 a wrong grant type", giteaError("unsupported_grant_type", "Only refresh_token or authorization_code grant type is supported"), with(whole, "grant_type", "password")},
				{"an empty form", giteaError("unsupported_grant_type", "Only refresh_token or authorization_code grant type is supported"), nil},
			} {
				answer := post(t, tokenEndpoint(f), c.form)
				if answer.status != http.StatusBadRequest || answer.body != c.body {
					t.Errorf("%s: %d %s; want 400 %s", c.name, answer.status, answer.body, c.body)
				}
				if got := answer.header.Get("Content-Type"); got != "application/json;charset=utf-8" {
					t.Errorf("%s: Content-Type %q", c.name, got)
				}
				if got := answer.header.Get("Cache-Control"); got != "max-age=0, private, must-revalidate, no-transform" {
					t.Errorf("%s: Cache-Control %q", c.name, got)
				}
			}
			basic := with(with(whole, "client_id", ""), "client_secret", "")
			answer := post(t, tokenEndpoint(f), basic, func(r *http.Request) { r.SetBasicAuth(client.ID, client.Secret) })
			if answer.status != http.StatusOK {
				t.Fatalf("6 the same code, all right, by Basic: %d %s", answer.status, answer.body)
			}
			var fields map[string]any
			answer.json(t, &fields)
			if len(fields) != 4 || fields["token_type"] != "bearer" || fields["expires_in"] != 3600.0 {
				t.Errorf("the token answer has other fields than recorded: %d of them, type %v, expiry %v", len(fields), fields["token_type"], fields["expires_in"])
			}
			token, _ := fields["access_token"].(string)
			if len(token) < 700 || len(token) > 900 || strings.Count(token, ".") != 2 {
				t.Errorf("an access token of %d characters does not look like those recorded", len(token))
			}
			if answer := post(t, tokenEndpoint(f), whole); answer.body != giteaError("unauthorized_client", "client is not authorized") {
				t.Errorf("7 the code again: %d %s", answer.status, answer.body)
			}
			if answer := get(t, f.APIURL()+"/user", token); answer.status != http.StatusOK {
				t.Errorf("8b the token of a code used again: %d", answer.status)
			}
		})
	}
}

func TestGiteaTakesWhatItWasRecordedToTake(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.Gitea})
	verifier := oauth2.GenerateVerifier()
	code := func() string {
		return authorized(t, f, application(f, client), "alice", oauth2.S256ChallengeOption(verifier))
	}
	if answer := post(t, tokenEndpoint(f), with(exchangeForm(code(), verifier), "redirect_uri", "")); answer.status != http.StatusOK {
		t.Errorf("9 no redirect_uri in the exchange: %d %s", answer.status, answer.body)
	}
	body := fmt.Sprintf(`{"grant_type":"authorization_code","client_id":%q,"client_secret":%q,"redirect_uri":%q,"code":%q,"code_verifier":%q}`,
		client.ID, client.Secret, callback, code(), verifier)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, tokenEndpoint(f), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if answer := send(t, request); answer.status != http.StatusOK {
		t.Errorf("11 a JSON body: %d %s", answer.status, answer.body)
	}
	plain := oauth2.SetAuthURLParam("code_challenge", verifier)
	code2 := authorized(t, f, application(f, client), "alice", plain, oauth2.SetAuthURLParam("code_challenge_method", "plain"))
	if answer := post(t, tokenEndpoint(f), exchangeForm(code2, verifier)); answer.status != http.StatusOK {
		t.Errorf("a plain challenge: %d %s", answer.status, answer.body)
	}
	if answer := get(t, tokenEndpoint(f), ""); answer.status != http.StatusMethodNotAllowed {
		t.Errorf("GET on the token endpoint: %d", answer.status)
	}
}

func TestGiteaRefusesAPIRequestsAsRecorded(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.Gitea})
	token := signIn(t, f, client, "alice")
	swagger := fmt.Sprintf(`"url":"%s/api/swagger"`, f.URL())
	noUser := jsonLine(`{"message":"user does not exist [uid: 0, name: ]",` + swagger + `}`)
	for _, c := range []struct {
		name, path, token string
		status            int
		body              string
	}{
		{
			"16 a scope not held", "/api/v1/notifications", token.AccessToken, 403,
			jsonLine(`{"message":"token does not have at least one of required scope(s), required=[read:notification], token scope=write:repository,read:user",` + swagger + `}`),
		},
		{"17 a garbage token", "/api/v1/user", "garbage", 401, noUser},
		{"17b no token", "/api/v1/user", "", 401, jsonLine(`{"message":"token is required",` + swagger + `}`)},
		{"17c a garbage token at userinfo", "/login/oauth/userinfo", "garbage", 401, "Failed to authenticate user\n"},
		{"17d a refresh token as access token", "/api/v1/user", token.RefreshToken, 401, noUser},
	} {
		answer := get(t, f.URL()+c.path, c.token)
		if answer.status != c.status || answer.body != c.body {
			t.Errorf("%s: %d %s; want %d %s", c.name, answer.status, answer.body, c.status, c.body)
		}
		if answer.header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: WWW-Authenticate is sent", c.name)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, f.APIURL()+"/user/settings", strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "token "+token.AccessToken)
	want := jsonLine(`{"message":"token does not have at least one of required scope(s), required=[write:user], token scope=write:repository,read:user",` + swagger + `}`)
	if answer := send(t, request); answer.status != http.StatusForbidden || answer.body != want {
		t.Errorf("16b a PATCH without write:user: %d %s", answer.status, answer.body)
	}
}

func TestGiteaAnswersAPIRequestsAsRecorded(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.Gitea, Users: []forgetest.User{
		{ID: 2, Login: "alice", Repositories: forgetest.Repositories(1, 2)},
	}})
	token := signIn(t, f, client, "alice")
	if answer := get(t, f.URL()+"/login/oauth/userinfo", token.AccessToken); answer.body != jsonLine(`{"sub":"2","name":"alice","preferred_username":"alice","email":"alice@forge.invalid","picture":"`+f.URL()+`/avatars/alice","groups":null}`) {
		t.Errorf("13 userinfo: %s", answer.body)
	}
	answer := get(t, f.APIURL()+"/user/repos?limit=1", token.AccessToken)
	link := fmt.Sprintf(`<%[1]s/user/repos?limit=1&page=2>; rel="next",<%[1]s/user/repos?limit=1&page=2>; rel="last"`, f.APIURL())
	if answer.header.Get("Link") != link || answer.header.Get("X-Total-Count") != "2" {
		t.Errorf("14 repositories: Link %s, X-Total-Count %s", answer.header.Get("Link"), answer.header.Get("X-Total-Count"))
	}
	if answer := get(t, f.APIURL()+"/user/emails", token.AccessToken); answer.body != jsonLine(`[{"email":"alice@forge.invalid","verified":true,"primary":true,"user_id":0,"username":""}]`) {
		t.Errorf("15 e-mail addresses: %s", answer.body)
	}
	basic := func(r *http.Request) { r.SetBasicAuth(client.ID, client.Secret) }
	answer = post(t, f.URL()+"/login/oauth/introspect", url.Values{"token": {token.AccessToken}}, basic)
	if answer.body != jsonLine(`{"active":true,"scope":"read:user write:repository","username":"alice","iss":"`+f.URL()+`","sub":"2","aud":["client-a"]}`) {
		t.Errorf("18 introspection: %s", answer.body)
	}
	if answer := post(t, f.URL()+"/login/oauth/introspect", url.Values{"token": {"garbage"}}, basic); answer.body != jsonLine(`{"active":false}`) {
		t.Errorf("introspection of garbage: %s", answer.body)
	}
	if answer := post(t, f.URL()+"/login/oauth/introspect", url.Values{"token": {token.AccessToken}}); answer.status != http.StatusUnauthorized {
		t.Errorf("introspection without credentials: %d", answer.status)
	}
}

func TestGiteaRefreshesAsRecordedWithRotationOff(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.Gitea})
	token := signIn(t, f, client, "alice")
	whole := refreshForm(token.RefreshToken)
	expectRefusals(t, f, whole)
	for _, c := range []struct {
		name string
		form url.Values
	}{
		{"19 a new refresh token", whole},
		{"20 the old refresh token", whole},
		{"22d an access token as refresh token", with(whole, "refresh_token", token.AccessToken)},
		{"22e another client's credentials", with(with(whole, "client_id", other.ID), "client_secret", other.Secret)},
	} {
		if answer := post(t, tokenEndpoint(f), c.form); answer.status != http.StatusOK {
			t.Errorf("%s: %d %s", c.name, answer.status, answer.body)
		}
	}
	if answer := get(t, f.APIURL()+"/user", token.AccessToken); answer.status != http.StatusOK {
		t.Errorf("21b the old access token after a refresh: %d", answer.status)
	}
}

// expectRefusals checks the refusals of a refresh that are the same with rotation on and off.
func expectRefusals(t *testing.T, f *forgetest.Forge, whole url.Values) {
	t.Helper()
	for _, c := range []struct {
		name, body string
		form       url.Values
	}{
		{"22 garbage", giteaError("unauthorized_client", "unable to parse refresh token"), with(whole, "refresh_token", "garbage")},
		{"22b nothing", giteaError("unauthorized_client", "unable to parse refresh token"), with(whole, "refresh_token", "")},
		{"22c a wrong secret", giteaError("invalid_client", "invalid client secret"), with(whole, "client_secret", "wrong")},
		{"an unknown client", `{"error":"invalid_client","error_description":"cannot load client with client id: \"gone\""}` + "\n", with(whole, "client_id", "gone")},
	} {
		if answer := post(t, tokenEndpoint(f), c.form); answer.status != http.StatusBadRequest || answer.body != c.body {
			t.Errorf("%s: %d %s; want 400 %s", c.name, answer.status, answer.body, c.body)
		}
	}
}

func TestGiteaRefreshesAsRecordedWithRotationOn(t *testing.T) {
	t.Parallel()
	on := true
	f := start(t, forgetest.Config{Dialect: forgetest.Gitea, Rotation: &on})
	first := signIn(t, f, client, "alice")
	expectRefusals(t, f, refreshForm(first.RefreshToken))
	second := signIn(t, f, client, "alice")
	used := giteaError("unauthorized_client", "token was already used")
	if answer := get(t, f.APIURL()+"/user", first.AccessToken); answer.status != http.StatusOK {
		t.Errorf("the first login's access token: %d", answer.status)
	}
	if answer := post(t, tokenEndpoint(f), refreshForm(first.RefreshToken)); answer.status != 400 || answer.body != used {
		t.Errorf("the first login's refresh token: %d %s", answer.status, answer.body)
	}
	if answer := post(t, tokenEndpoint(f), refreshForm(second.AccessToken)); answer.status != 400 || answer.body != used {
		t.Errorf("22d an access token as refresh token: %d %s", answer.status, answer.body)
	}
	fresh := with(with(refreshForm(second.RefreshToken), "client_id", other.ID), "client_secret", other.Secret)
	if answer := post(t, tokenEndpoint(f), fresh); answer.status != http.StatusOK {
		t.Errorf("a fresh refresh token with another client's credentials: %d %s", answer.status, answer.body)
	}
	if answer := post(t, tokenEndpoint(f), refreshForm(second.RefreshToken)); answer.status != 400 || answer.body != used {
		t.Errorf("20 the old refresh token: %d %s", answer.status, answer.body)
	}
	if answer := get(t, f.APIURL()+"/user", second.AccessToken); answer.status != http.StatusOK {
		t.Errorf("21b the old access token after a refresh: %d", answer.status)
	}
}
