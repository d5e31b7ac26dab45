package forgetest_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/oauth2"

	"github.com/forgeauth/forgeauth/forge/forgetest"
)

// try is get without failing the test: faults make requests fail.
func try(ctx context.Context, address, token string) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return reply{}, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	return reply{response.StatusCode, response.Header, string(body)}, err
}

func TestFaultsStrikeOnceInTheirOrderAndThenTheForgeIsWell(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			t.Parallel()
			f := start(t, forgetest.Config{Dialect: dialect})
			token := signIn(t, f, client, "alice").AccessToken
			user := f.APIURL() + "/user"
			f.Next(forgetest.AnyEndpoint, forgetest.Status(418))
			f.Next(forgetest.UserEndpoint, forgetest.Status(500), forgetest.Status(503), forgetest.TooManyRequests(7*time.Second),
				forgetest.RateLimitForbidden(9*time.Second), forgetest.GarbageBody(), forgetest.HTMLBody(), forgetest.EmptyBody(),
				forgetest.WrongContentType(), forgetest.RedirectElsewhere(302, "https://elsewhere.example/"),
				forgetest.RedirectElsewhere(307, "https://elsewhere.example/"), forgetest.ReplicaLag())
			for _, c := range []struct {
				name   string
				status int
				holds  func(reply) bool
			}{
				{"500", 500, func(r reply) bool { return strings.Contains(r.body, "<html>") }},
				{"503", 503, func(r reply) bool { return strings.Contains(r.body, "<html>") }},
				{"429", 429, func(r reply) bool { return r.header.Get("Retry-After") == "7" }},
				{"403", 403, func(r reply) bool { return r.header.Get("Retry-After") == "9" }},
				{"garbage", 200, func(r reply) bool {
					return !json.Valid([]byte(r.body)) && r.header.Get("Content-Type") == "application/json"
				}},
				{"HTML", 200, func(r reply) bool { return strings.HasPrefix(r.body, "<!DOCTYPE html>") }},
				{"empty", 200, func(r reply) bool { return r.body == "" }},
				{"content type", 200, func(r reply) bool { return r.header.Get("Content-Type") == "image/png" && json.Valid([]byte(r.body)) }},
				{"302", 302, func(r reply) bool { return r.header.Get("Location") == "https://elsewhere.example/" }},
				{"307", 307, func(r reply) bool { return r.header.Get("Location") == "https://elsewhere.example/" }},
				{"replica lag where there is no grant", 200, func(r reply) bool { return json.Valid([]byte(r.body)) }},
				{"any endpoint", 418, func(reply) bool { return true }},
				{"well again", 200, func(r reply) bool { return json.Valid([]byte(r.body)) }},
			} {
				if answer := get(t, user, token); answer.status != c.status || !c.holds(answer) {
					t.Errorf("%s: %d %v %.200s", c.name, answer.status, answer.header, answer.body)
				}
			}
			if f.Pending() != 0 {
				t.Errorf("%d faults are still waiting", f.Pending())
			}
		})
	}
}

func TestRateLimitsCarryTheHeadersOfTheirForge(t *testing.T) {
	t.Parallel()
	for dialect, header := range map[forgetest.Dialect]string{forgetest.GitHub: "X-RateLimit-Reset", forgetest.GitLab: "RateLimit-Reset"} {
		f := start(t, forgetest.Config{Dialect: dialect})
		f.Next(forgetest.UserEndpoint, forgetest.TooManyRequests(time.Minute))
		if answer := get(t, f.APIURL()+"/user", "x"); answer.status != 429 || answer.header.Get(header) == "" {
			t.Errorf("%v: %d %v", dialect, answer.status, answer.header)
		}
	}
}

func TestACutConnectionDoesTheWorkOrNot(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitLab})
	token := signIn(t, f, client, "alice")
	endpoint := f.URL() + "/oauth/token"
	lost := func() {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(refreshForm(token.RefreshToken).Encode()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
		if err == nil {
			_, err = io.ReadAll(response.Body)
			_ = response.Body.Close()
		}
		if err == nil {
			t.Fatal("the connection was not cut")
		}
	}
	f.Next(forgetest.RefreshEndpoint, forgetest.CutBefore())
	lost()
	if !f.Live(token.RefreshToken) {
		t.Error("cut before the work: the refresh token is spent")
	}
	f.Next(forgetest.RefreshEndpoint, forgetest.CutAfter())
	lost()
	if f.Live(token.RefreshToken) || f.Live(token.AccessToken) {
		t.Error("cut after the work: the refresh token is not spent")
	}
	if answer := post(t, endpoint, refreshForm(token.RefreshToken)); answer.status != 400 {
		t.Errorf("the refresh token whose answer was lost: %d", answer.status)
	}
	token = signIn(t, f, client, "alice")
	f.Next(forgetest.RefreshEndpoint, forgetest.CutMidway())
	lost()
	if f.Live(token.RefreshToken) {
		t.Error("cut midway: the refresh token is not spent")
	}
}

func TestReplicaLagRefusesAGoodGrantOnce(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			t.Parallel()
			f := start(t, forgetest.Config{Dialect: dialect})
			app := application(f, client)
			verifier := oauth2.GenerateVerifier()
			code := authorized(t, f, app, "alice", oauth2.S256ChallengeOption(verifier))
			f.Next(forgetest.TokenEndpoint, forgetest.ReplicaLag())
			var refused *oauth2.RetrieveError
			if _, err := app.Exchange(t.Context(), code, oauth2.VerifierOption(verifier)); !errors.As(err, &refused) || refused.ErrorCode == "" {
				t.Errorf("the lagging exchange: %v", err)
			}
			token, err := app.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
			if err != nil {
				t.Fatalf("the same exchange a moment later: %v", err)
			}
			if token.RefreshToken == "" {
				return
			}
			f.Next(forgetest.RefreshEndpoint, forgetest.ReplicaLag())
			token.Expiry = epoch
			if _, err := app.TokenSource(t.Context(), token).Token(); !errors.As(err, &refused) || refused.ErrorCode == "" {
				t.Errorf("the lagging refresh: %v", err)
			}
			if _, err := app.TokenSource(t.Context(), token).Token(); err != nil {
				t.Errorf("the same refresh a moment later: %v", err)
			}
		})
	}
}

func TestASlowAnswerWaitsForItsReleaseOrItsClient(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.Gitea})
	token := signIn(t, f, client, "alice").AccessToken
	release, answered := make(chan struct{}), make(chan error, 1)
	f.Next(forgetest.UserEndpoint, forgetest.Slow(release), forgetest.Slow(nil), forgetest.Slow(nil))
	go func() {
		answer, err := try(t.Context(), f.APIURL()+"/user", token)
		if err == nil && answer.status != http.StatusOK {
			err = errors.New(answer.body)
		}
		answered <- err
	}()
	if err := f.Await(t.Context(), forgetest.UserEndpoint, 1); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-answered:
		t.Fatalf("answered before the release: %v", err)
	default:
	}
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("after the release: %v", err)
	}
	ctx, giveUp := context.WithCancel(t.Context())
	go func() {
		_, err := try(ctx, f.APIURL()+"/user", token)
		answered <- err
	}()
	if err := f.Await(t.Context(), forgetest.UserEndpoint, 2); err != nil {
		t.Fatal(err)
	}
	giveUp()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Errorf("a client that gave up: %v", err)
	}
	go func() {
		_, err := try(t.Context(), f.APIURL()+"/user", token)
		answered <- err
	}()
	if err := f.Await(t.Context(), forgetest.UserEndpoint, 3); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := <-answered; err == nil {
		t.Error("a forge that closed still answered")
	}
	expired, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Await(expired, forgetest.UserEndpoint, 9); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting in vain: %v", err)
	}
}

func TestAHugeBodyEndsWithItsReader(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitHub})
	f.Next(forgetest.UserEndpoint, forgetest.HugeBody())
	answer, err := try(t.Context(), f.APIURL()+"/user", "x")
	if err != nil || len(answer.body) != 4<<20 {
		t.Errorf("read %d bytes, %v; want more than a reader takes", len(answer.body), err)
	}
}

func TestHostileLoginsArriveByteForByte(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		f := start(t, forgetest.Config{Dialect: dialect})
		token := signIn(t, f, client, "alice").AccessToken
		for name, login := range forgetest.HostileLogins() {
			f.Next(forgetest.UserEndpoint, forgetest.HostileLogin(login))
			answer := get(t, f.APIURL()+"/user", token)
			if !utf8.ValidString(login) {
				if !strings.Contains(answer.body, login) {
					t.Errorf("%v, %s: the bytes are not there", dialect, name)
				}
				continue
			}
			var account struct{ Login, Username string }
			answer.json(t, &account)
			if account.Login != login && account.Username != login {
				t.Errorf("%v, %s: %q", dialect, name, account)
			}
		}
	}
}

func TestTheNextPageCanLeadElsewhere(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitHub})
	token := signIn(t, f, client, "alice").AccessToken
	f.Next(forgetest.RepositoriesEndpoint, forgetest.NextPageElsewhere("https://evil.example/next"))
	if answer := get(t, f.APIURL()+"/user/repos", token); answer.header.Get("Link") != `<https://evil.example/next>; rel="next"` {
		t.Errorf("Link %s", answer.header.Get("Link"))
	}
}

func TestRevocationHasFaultsOfItsOwn(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitLab})
	f.Next(forgetest.RevokeEndpoint, forgetest.Status(502))
	form := url.Values{"client_id": {client.ID}, "client_secret": {client.Secret}, "token": {"x"}}
	for _, want := range []int{502, 200} {
		if answer := post(t, f.URL()+"/oauth/revoke", form); answer.status != want {
			t.Errorf("%d, want %d", answer.status, want)
		}
	}
}
