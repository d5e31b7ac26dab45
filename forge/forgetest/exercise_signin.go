package forgetest

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
)

func exerciseSignIn(t *testing.T, x *exercise) {
	t.Helper()
	t.Run("the browser is sent to the forge with PKCE and the exact redirect URI", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		request := forge.AuthorizeRequest{State: "s&t a+te", RedirectURI: exerciseRedirect, Challenge: "challenge"}
		address := b.provider.AuthorizeURL(request)
		if again := b.provider.AuthorizeURL(request); again != address {
			t.Errorf("not a pure function: %s, then %s", address, again)
		}
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := u.Scheme+"://"+u.Host+u.Path, b.URL()+b.traits.authorizePath; got != want {
			t.Errorf("sent to %s, want %s", got, want)
		}
		want := url.Values{
			"response_type": {"code"}, "client_id": {"exercise-client"}, "redirect_uri": {exerciseRedirect}, "state": {"s&t a+te"},
			"scope": {strings.Join(b.provider.Connection().Scopes, " ")}, "code_challenge": {"challenge"}, "code_challenge_method": {"S256"},
		}
		if diff := cmp.Diff(want, u.Query()); diff != "" {
			t.Error(diff)
		}
		if b.Count(AnyEndpoint) != 0 {
			t.Error("asking for the address contacted the forge")
		}
	})
	t.Run("a sign-in grants a token that knows its account", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		token := b.token(t)
		if n := b.Count(TokenEndpoint); n != 1 {
			t.Errorf("%d requests for one exchange", n)
		}
		if b.traits.accessTTL == 0 != token.ExpiresAt.IsZero() || b.traits.accessTTL > 0 && !token.ExpiresAt.Equal(exerciseClock.Add(b.traits.accessTTL)) {
			t.Errorf("expires at %v, want after %v", token.ExpiresAt, b.traits.accessTTL)
		}
		if b.traits.refreshTTL == 0 != token.Refresh.IsZero() {
			t.Errorf("a refresh token: %t", !token.Refresh.IsZero())
		}
		saysScopes := x.config.Dialect != Gitea && x.config.Dialect != Forgejo && x.config.Dialect != GitHubApp
		if saysScopes != (token.Scopes != nil) {
			t.Errorf("scopes: %q", token.Scopes)
		}
		if saysScopes && !slices.Equal(token.Scopes, b.provider.Connection().Scopes) {
			t.Errorf("scopes: %q, want %q", token.Scopes, b.provider.Connection().Scopes)
		}
		before := b.Count(AnyEndpoint)
		port := b.bind(token)
		if got := port.Binding(); got.Generation != 7 || got.Connection != "exercised" {
			t.Errorf("bound to %+v", got)
		}
		_ = port.HTTPClient()
		held, err := port.TokenSource(t.Context()).Token()
		if err != nil || held.AccessToken != token.Access.Reveal() || held.RefreshToken != "" || held.Type() != "Bearer" {
			t.Errorf("token source: %v", err)
		}
		if b.Count(AnyEndpoint) != before {
			t.Error("binding contacted the forge")
		}
		account, err := port.Account(t.Context())
		if diff := cmp.Diff(forge.Account{ID: x.accountID(), Login: exerciseLogin}, account); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
		if b.Count(UserEndpoint) != 1 || b.Count(VersionEndpoint)+b.Count(OtherEndpoint) != 0 {
			t.Error("asking for the account made more than one request")
		}
	})
	t.Run("the exchange says no more than it has to", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		b.token(t)
		sent := b.requests(TokenEndpoint)[0]
		want, scheme := []string{"client_id", "client_secret", "code", "code_verifier", "grant_type", "redirect_uri"}, ""
		if b.traits.basicOnly {
			want, scheme = []string{"code", "code_verifier", "grant_type", "redirect_uri"}, "Basic"
		}
		if diff := cmp.Diff(want, sent.Form); diff != "" || len(sent.Query) != 0 || sent.AuthScheme != scheme {
			t.Errorf("query %v, authorization %q, form %s", sent.Query, sent.AuthScheme, diff)
		}
		if sent.Accept != "application/json" || sent.UserAgent == "" {
			t.Errorf("Accept %q, User-Agent %q", sent.Accept, sent.UserAgent)
		}
	})
	t.Run("a token of 8 kB is taken and sent", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		long := strings.Repeat("Aa0-._~+/", 8192/9) + "=="
		b.Next(TokenEndpoint, b.longToken(long))
		token := b.token(t)
		if token.Access.Reveal() != long {
			t.Fatal("the token is another one")
		}
		if account, err := b.bind(token).Account(t.Context()); err != nil || account.ID != x.accountID() {
			t.Errorf("%v, %v", account, err)
		}
	})
}

// requests returns what arrived at an endpoint.
func (b *bench) requests(endpoint Endpoint) []Request {
	return slices.DeleteFunc(b.Requests(), func(r Request) bool { return r.Endpoint != endpoint })
}

// longToken answers a grant with another value for the same access token.
func (b *bench) longToken(value string) Fault {
	return altered("long token", func(answer *captured) {
		b.mu.Lock()
		defer b.mu.Unlock()
		access := b.ledger.pairs[len(b.ledger.pairs)-1].access
		b.ledger.tokens[value] = access
		b.ledger.record(AccessTokenIssue, value)
		body := replaceField(answer.body.String(), `"access_token":"`, value)
		answer.body.Reset()
		answer.body.WriteString(body)
	})
}

func exerciseExchange(t *testing.T, x *exercise) {
	t.Helper()
	grantRefused, clientRefused := "unauthorized_client", "unauthorized_client"
	// Versions of Gitea differ in what they say of a redirect URI that is registered but is not the one of the request.
	redirectRefused, unregisteredRefused := "unauthorized_client or invalid_grant", "unauthorized_client"
	switch x.config.Dialect {
	case GitHub, GitHubApp, GitHubEnterprise:
		grantRefused, clientRefused = "bad_verification_code", "incorrect_client_credentials"
		redirectRefused, unregisteredRefused = "redirect_uri_mismatch", "redirect_uri_mismatch"
	case GitLab:
		grantRefused, clientRefused = "invalid_grant", "invalid_client"
		redirectRefused, unregisteredRefused = "invalid_grant", "invalid_grant"
	case Bitbucket:
		grantRefused, clientRefused = "invalid_grant", "unauthorized_client"
		redirectRefused, unregisteredRefused = "invalid_grant", "invalid_grant"
	case Gitea, Forgejo:
	}
	for name, test := range map[string]struct {
		spoil func(*testing.T, *bench, *forge.ExchangeRequest)
		code  string
	}{
		"a wrong verifier is refused": {func(_ *testing.T, _ *bench, r *forge.ExchangeRequest) { r.Verifier += "x" }, grantRefused},
		"another redirect URI is refused": {
			func(_ *testing.T, _ *bench, r *forge.ExchangeRequest) { r.RedirectURI += "/other" }, redirectRefused,
		},
		"a redirect URI that is not registered is refused": {
			func(_ *testing.T, _ *bench, r *forge.ExchangeRequest) { r.RedirectURI += "/unregistered" }, unregisteredRefused,
		},
		"a code that never was is refused": {func(_ *testing.T, _ *bench, r *forge.ExchangeRequest) { r.Code = exerciseMark }, grantRefused},
		"a code that has expired is refused": {
			func(_ *testing.T, b *bench, r *forge.ExchangeRequest) { b.Expire(r.Code) }, grantRefused,
		},
		"a code is refused the second time": {
			func(t *testing.T, b *bench, r *forge.ExchangeRequest) {
				t.Helper()
				if _, err := b.exchange(t.Context(), r.Code); err != nil {
					t.Fatal(err)
				}
			},
			grantRefused,
		},
		"a client secret that was replaced is refused": {
			func(_ *testing.T, b *bench, _ *forge.ExchangeRequest) {
				b.RotateClientSecret("exercise-client", "replaced")
			}, clientRefused,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := x.bench(t)
			request := forge.ExchangeRequest{Code: b.code(t), RedirectURI: exerciseRedirect, Verifier: b.verifier}
			test.spoil(t, b, &request)
			before := b.Count(TokenEndpoint)
			token, err := b.provider.Exchange(t.Context(), request)
			if refused := failsAs[*forge.ExchangeError](t, b, "exchange", err); !slices.Contains(strings.Split(test.code, " or "), refused.Code) {
				t.Errorf("refused with %q, want %q", refused.Code, test.code)
			}
			if n := b.Count(TokenEndpoint) - before; n != 1 || !token.Access.IsZero() {
				t.Errorf("%d requests, a token: %t", n, !token.Access.IsZero())
			}
		})
	}
	t.Run("a replica that lags refuses and the code stays good", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		code := b.code(t)
		b.Next(TokenEndpoint, ReplicaLag())
		_, err := b.exchange(t.Context(), code)
		_ = failsAs[*forge.ExchangeError](t, b, "exchange", err)
		if _, err := b.exchange(t.Context(), code); err != nil {
			t.Error(err)
		}
	})
	other := trap(t)
	for _, fault := range append(undecided(other.URL+"/?"+exerciseMark),
		CutAfter(), CutMidway(), EmptyBody(),
		marked(400, "application/json", `{"message":"MARK"}`), marked(403, "text/html", "MARK"), marked(404, "text/plain", "MARK"),
		marked(200, "application/json", `{"access_token":"MARK","token_type":"mac"}`),
		marked(200, "application/json", `{"access_token":"MARK\r\nX-Evil: 1","token_type":"bearer"}`),
		marked(200, "application/json", `{"access_token":"MARK","token_type":"bearer","expires_in":-5}`)) {
		t.Run("the forge does not decide: "+fault.String(), func(t *testing.T) {
			t.Parallel()
			b := x.bench(t)
			code := b.code(t)
			b.Next(TokenEndpoint, fault)
			token, err := b.exchange(t.Context(), code)
			b.fails(t, "exchange", err, forge.ErrUnavailable)
			if n := b.Count(TokenEndpoint); n != 1 || !token.Access.IsZero() || b.Pending() != 0 {
				t.Errorf("%d requests, a token: %t", n, !token.Access.IsZero())
			}
		})
	}
	t.Run("an error with a description shows its code alone", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		b.Next(TokenEndpoint, marked(400, "application/json", `{"error":"Invalid_Grant 7","error_description":"MARK","error_uri":"https://MARK"}`))
		_, err := b.exchange(t.Context(), "code")
		if refused := failsAs[*forge.ExchangeError](t, b, "exchange", err); refused.Code != "invalid_grant" {
			t.Errorf("code %q", refused.Code)
		}
	})
	t.Run("a rate limit says until when", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		b.Next(TokenEndpoint, TooManyRequests(90*time.Second))
		_, err := b.exchange(t.Context(), b.code(t))
		if limited := failsAs[*forge.RateLimitedError](t, b, "exchange", err); !limited.Until.Equal(exerciseClock.Add(90 * time.Second)) {
			t.Errorf("until %v", limited.Until)
		}
	})
	t.Run("a caller who gives up gets the context's error", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		b.Next(TokenEndpoint, Slow(nil))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			if b.Await(ctx, TokenEndpoint, 1) == nil {
				cancel()
			}
		}()
		_, err := b.exchange(ctx, "code")
		b.fails(t, "exchange", err, forge.ErrUnavailable)
		if !errors.Is(err, context.Canceled) || b.Count(TokenEndpoint) != 1 {
			t.Errorf("%v", err)
		}
	})
	t.Run("a wrong content type is no reason to lose a token", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		b.Next(TokenEndpoint, WrongContentType())
		if _, err := b.exchange(t.Context(), b.code(t)); err != nil {
			t.Error(err)
		}
	})
}

// undecided are the faults that say nothing about codes and tokens, at any endpoint.
func undecided(elsewhere string) []Fault {
	return []Fault{
		Status(500), Status(502), Status(503), Status(504), CutBefore(), GarbageBody(), HTMLBody(), HugeBody(),
		RedirectElsewhere(301, elsewhere), RedirectElsewhere(302, elsewhere), RedirectElsewhere(303, elsewhere),
		RedirectElsewhere(307, elsewhere), RedirectElsewhere(308, elsewhere), RedirectElsewhere(302, "http://["+exerciseMark),
		RedirectElsewhere(307, "?again="+exerciseMark),
		marked(500, "application/json", `{"error":"invalid_grant","message":"MARK"}`),
		marked(200, "application/json", `{"id":-1,"login":"a","username":"a","created_at":"MARK"}`),
		marked(200, "application/json", `[{"id":-1,"full_name":"a/b","path_with_namespace":"a/b","created_at":"MARK"}]`),
		marked(200, "application/json", `{"MARK`), marked(200, "text/html", "<title>MARK</title>"), marked(418, "text/plain", "MARK"),
	}
}
