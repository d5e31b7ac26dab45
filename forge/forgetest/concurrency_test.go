package forgetest_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"golang.org/x/oauth2"

	"github.com/forgeauth/forgeauth/forge/forgetest"
)

// together sends the same form n times at once and counts the answers that hold an access token.
func together(t *testing.T, address string, form url.Values, n int) (granted, refused int) {
	t.Helper()
	var mu sync.Mutex
	var wait sync.WaitGroup
	begin := make(chan struct{})
	for range n {
		wait.Go(func() {
			<-begin
			answer := post(t, address, form)
			mu.Lock()
			defer mu.Unlock()
			if strings.Contains(answer.body, "access_token") && answer.status == http.StatusOK {
				granted++
			} else {
				refused++
			}
		})
	}
	close(begin)
	wait.Wait()
	return granted, refused
}

func TestOfEightAtOnceOneIsGranted(t *testing.T) {
	t.Parallel()
	on := true
	for _, c := range []struct {
		name   string
		config forgetest.Config
	}{
		{"GitHub", forgetest.Config{Dialect: forgetest.GitHub}},
		{"GitHub App", forgetest.Config{Dialect: forgetest.GitHubApp}},
		{"GitLab", forgetest.Config{Dialect: forgetest.GitLab}},
		{"Gitea with rotation", forgetest.Config{Dialect: forgetest.Gitea, Rotation: &on}},
		{"Forgejo", forgetest.Config{Dialect: forgetest.Forgejo}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, c.config)
			app, verifier := application(f, client), oauth2.GenerateVerifier()
			code := authorized(t, f, app, "alice", oauth2.S256ChallengeOption(verifier))
			if granted, refused := together(t, app.Endpoint.TokenURL, exchangeForm(code, verifier), 8); granted != 1 || refused != 7 {
				t.Errorf("one code: %d granted, %d refused", granted, refused)
			}
			token := signIn(t, f, client, "alice")
			if token.RefreshToken == "" {
				return
			}
			if granted, refused := together(t, app.Endpoint.TokenURL, refreshForm(token.RefreshToken), 8); granted != 1 || refused != 7 {
				t.Errorf("one refresh token: %d granted, %d refused", granted, refused)
			}
			if got := f.Count(forgetest.RefreshEndpoint); got != 8 {
				t.Errorf("%d refreshes arrived", got)
			}
		})
	}
}

func TestAReusableRefreshTokenIsGrantedEveryTime(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.Gitea})
	token := signIn(t, f, client, "alice")
	if granted, refused := together(t, tokenEndpoint(f), refreshForm(token.RefreshToken), 8); granted != 8 || refused != 0 {
		t.Errorf("%d granted, %d refused", granted, refused)
	}
}

// Everything at once, for the race detector: logins, API calls, faults and the administrator.
func TestAForgeCanBeUsedAndAdministeredAtOnce(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			t.Parallel()
			f := start(t, forgetest.Config{Dialect: dialect})
			var wait sync.WaitGroup
			for _, login := range []string{"alice", "bob", "alice"} {
				wait.Go(func() {
					for range 4 {
						token := signIn(t, f, client, login)
						_, _ = try(t.Context(), f.APIURL()+"/user", token.AccessToken)
						_, _ = try(t.Context(), f.APIURL()+repositoriesPath(dialect), token.AccessToken)
						f.Expire(token.AccessToken)
						f.RevokeToken(token.AccessToken)
					}
				})
			}
			wait.Go(func() {
				for range 20 {
					f.Next(forgetest.UserEndpoint, forgetest.Status(500))
					f.Tokens()
					f.Issued()
					f.Requests()
					f.Pending()
				}
			})
			wait.Wait()
		})
	}
}
