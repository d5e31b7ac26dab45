package forgetest

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

func exerciseRevoke(t *testing.T, x *exercise) {
	t.Helper()
	info, _ := forge.Info(x.config.Dialect.Kind())
	if !info.Revocable {
		t.Run("the forge cannot and is not asked", func(t *testing.T) {
			t.Parallel()
			b := x.bench(t)
			port := b.port(t)
			before := b.Count(AnyEndpoint)
			b.fails(t, "revoke", port.Revoke(t.Context()), forge.ErrUnsupported)
			if b.Count(AnyEndpoint) != before {
				t.Error("the forge was contacted")
			}
		})
		return
	}
	t.Run("the token dies, and a dead one may be revoked again", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		token, bystander := b.token(t), b.token(t)
		for range 2 {
			if err := b.bind(token).Revoke(t.Context()); err != nil {
				t.Fatal(err)
			}
			if b.Live(token.Access.Reveal()) {
				t.Error("the token is alive")
			}
		}
		if !token.Refresh.IsZero() && x.config.Dialect == GitLab && b.Live(token.Refresh.Reveal()) {
			t.Error("the refresh token is alive")
		}
		if !b.Live(bystander.Access.Reveal()) {
			t.Error("another token of the account died, too")
		}
		_, err := b.bind(token).Account(t.Context())
		b.fails(t, "account", err, forge.ErrNeedsReauth)
		if err := b.bind(forge.Token{Access: secret.New("never-was")}).Revoke(t.Context()); err != nil {
			t.Errorf("a token that never was: %v", err)
		}
	})
	t.Run("a grant whose access token has expired", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		token := b.token(t)
		if token.Refresh.IsZero() {
			return // nothing is left of it
		}
		b.Expire(token.Access.Reveal())
		for _, ahead := range []time.Duration{0, 9 * time.Minute} { // of the forge's clock
			token.ExpiresAt = exerciseClock.Add(ahead)
			err := b.bind(token).Revoke(t.Context())
			switch {
			case err == nil && b.Live(token.Refresh.Reveal()):
				t.Error("it is said to be revoked, and its refresh token is alive")
			case x.config.Dialect == GitHubApp:
				b.fails(t, "revoke", err, forge.ErrUnsupported)
			case err != nil:
				t.Error(err)
			}
		}
		if x.config.Dialect == GitHubApp {
			b.Next(RevokeEndpoint, Status(404)) // of a proxy
			b.fails(t, "revoke", b.bind(token).Revoke(t.Context()), forge.ErrUnavailable)
		}
	})
	other := trap(t)
	faults := []Fault{
		Status(500), Status(503), CutBefore(), CutAfter(), RedirectElsewhere(302, other.URL+"/?"+exerciseMark),
		RedirectElsewhere(307, other.URL+"/?"+exerciseMark), RedirectElsewhere(308, "http://["+exerciseMark),
		RedirectElsewhere(307, "/login?"+exerciseMark), marked(500, "application/json", `{"message":"MARK"}`),
		// A page of a proxy, and refusals of the request and not of the token: taken for a yes, they would leave a living token
		// that nobody can revoke any more.
		HTMLBody(), GarbageBody(), EmptyBody(), Status(404), marked(202, "application/json", `{"message":"MARK"}`),
		marked(400, "application/json", `{"message":"MARK"}`), marked(422, "application/json", `{"message":"MARK"}`),
	}
	for _, fault := range faults {
		t.Run("the forge does not decide: "+fault.String(), func(t *testing.T) {
			t.Parallel()
			b := x.bench(t)
			port := b.port(t)
			b.Next(RevokeEndpoint, fault)
			b.fails(t, "revoke", port.Revoke(t.Context()), forge.ErrUnavailable)
			if n := b.Count(RevokeEndpoint); n != 1 {
				t.Errorf("%d requests", n)
			}
			if err := port.Revoke(t.Context()); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
	t.Run("a client secret that was replaced is refused and nothing is said to be dead", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		token := b.token(t)
		b.RotateClientSecret("exercise-client", "replaced")
		err := b.bind(token).Revoke(t.Context())
		if err == nil || errors.Is(err, forge.ErrNeedsReauth) || !b.Live(token.Access.Reveal()) {
			t.Fatalf("%v", err)
		}
		_ = failsAs[*forge.ExchangeError](t, b, "revoke", err)
	})
}

// ask makes one request with a program's own client and returns the status.
func ask(t *testing.T, client *http.Client, target string) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func exerciseHTTPClient(t *testing.T, x *exercise) {
	t.Helper()
	t.Run("the token is added on the forge, and answers come as they are", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		api := forge.APIBaseURL(b.provider.Connection())
		token := b.token(t)
		client := b.bind(token).HTTPClient()
		if status, err := ask(t, client, api+"/user"); err != nil || status != http.StatusOK {
			t.Errorf("%d, %v", status, err)
		}
		if sent := b.requests(UserEndpoint)[0]; sent.AuthScheme != "Bearer" || sent.UserAgent == "" {
			t.Errorf("authorization %q, user agent %q", sent.AuthScheme, sent.UserAgent)
		}
		b.Expire(token.Access.Reveal())
		if status, err := ask(t, client, api+"/user"); err != nil || status != http.StatusUnauthorized {
			t.Errorf("%d, %v", status, err)
		}
		b.Next(UserEndpoint, Status(503))
		if status, err := ask(t, client, api+"/user"); err != nil || status != http.StatusServiceUnavailable {
			t.Errorf("%d, %v", status, err)
		}
	})
	t.Run("no other destination gets a request", func(t *testing.T) {
		t.Parallel()
		other := trap(t)
		b := x.bench(t)
		client := b.port(t).HTTPClient()
		_, port, _ := strings.Cut(strings.TrimPrefix(b.URL(), "http://"), ":")
		before := b.Count(AnyEndpoint)
		for _, target := range []string{
			other.URL + "/user", "https://127.0.0.1:" + port + "/user", "http://localhost:" + port + "/user", "http://127.0.0.1/user",
			"http://x:y@127.0.0.1:" + port + "/user", b.URL() + "/api/../user", b.URL() + "/%2e%2e/user", "http://127.0.0.1.:" + port + "/user",
		} {
			_, err := ask(t, client, target)
			b.fails(t, "request", err, forge.ErrDestination)
		}
		if b.Count(AnyEndpoint) != before {
			t.Error("the forge was contacted")
		}
	})
	t.Run("no redirect leads elsewhere", func(t *testing.T) {
		t.Parallel()
		other := trap(t)
		b := x.bench(t)
		client := b.port(t).HTTPClient()
		api := forge.APIBaseURL(b.provider.Connection())
		_, port, _ := strings.Cut(strings.TrimPrefix(b.URL(), "http://"), ":")
		for _, target := range []string{
			other.URL + "/user", "//" + other.Listener.Addr().String() + "/user", "https://127.0.0.1:" + port + "/user",
			"http://localhost:" + port + "/user", "http://[" + exerciseMark, "javascript:alert(1)", "/%2e%2e/" + exerciseMark,
		} {
			for _, status := range []int{301, 302, 307, 308} {
				b.Next(UserEndpoint, RedirectElsewhere(status, target))
				_, err := ask(t, client, api+"/user")
				b.fails(t, "request", err, forge.ErrDestination)
			}
		}
		b.Next(UserEndpoint, RedirectElsewhere(307, api+"/user"))
		if status, err := ask(t, client, api+"/user"); err != nil || status != http.StatusOK {
			t.Errorf("within the forge: %d, %v", status, err)
		}
	})
	t.Run("below a path prefix the rest of the host is elsewhere", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		token := b.token(t)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.URL.EscapedPath(), "/forge/") {
				t.Errorf("%s left the prefix", r.URL.EscapedPath())
			}
			http.StripPrefix("/forge", b.Handler()).ServeHTTP(w, r)
		}))
		t.Cleanup(server.Close)
		connection := b.provider.Connection()
		connection.BaseURL = server.URL + "/forge"
		provider, err := x.newProvider(connection, forge.Options{})
		if err != nil {
			t.Fatal(err)
		}
		port := provider.Bind(forge.Binding{}, forge.StaticToken(token))
		if account, err := port.Account(t.Context()); err != nil || account.ID != x.accountID() {
			t.Errorf("%v, %v", account, err)
		}
		api := forge.APIBaseURL(connection)
		for _, target := range []string{
			server.URL + "/", server.URL + "/forger/user", server.URL + "/forge/../user", server.URL + "/forge/%2e%2e/user",
			server.URL + "/forge/%252e%252e/user", server.URL + "/forge/..%2fuser", server.URL + "/Forge/user",
		} {
			_, err := ask(t, port.HTTPClient(), target)
			b.fails(t, "request", err, forge.ErrDestination)
			b.Next(UserEndpoint, RedirectElsewhere(302, target))
			_, err = ask(t, port.HTTPClient(), api+"/user")
			b.fails(t, "request", err, forge.ErrDestination)
		}
	})
}
