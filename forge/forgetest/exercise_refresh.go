package forgetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

func (b *bench) refresh(ctx context.Context, token forge.Token) (forge.Token, error) {
	fresh, err := b.provider.Refresh(ctx, forge.RefreshRequest{RefreshToken: token.Refresh})
	if err != nil {
		return fresh, fmt.Errorf("exercise: %w", err)
	}
	return fresh, nil
}

// refreshes says whether the dialect's forge gives refresh tokens at all.
func (x *exercise) refreshes(t *testing.T) bool {
	t.Helper()
	return x.bench(t).traits.refreshTTL > 0
}

func exerciseRefresh(t *testing.T, x *exercise) {
	t.Helper()
	if !x.refreshes(t) {
		t.Run("a forge that gives no refresh token takes none", func(t *testing.T) {
			t.Parallel()
			b := x.bench(t)
			if token := b.token(t); !token.Refresh.IsZero() {
				t.Error("there is a refresh token")
			}
			_, err := b.refresh(t.Context(), forge.Token{Refresh: secret.New(exerciseMark)})
			_ = failsAs[*forge.ExchangeError](t, b, "refresh", err)
		})
		return
	}
	t.Run("a refresh token buys a new pair, in one request", func(t *testing.T) {
		t.Parallel()
		now := exerciseClock
		b := x.bench(t, func(c *Config, _ *forge.Connection) { c.Now = func() time.Time { return now } })
		token := b.token(t)
		now = now.Add(time.Minute) // two tokens of one second can be one token
		fresh, err := b.refresh(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		sent := b.requests(RefreshEndpoint)
		if len(sent) != 1 {
			t.Fatalf("%d requests", len(sent))
		}
		form := []string{"client_id", "client_secret", "grant_type", "refresh_token"}
		if b.traits.basicOnly {
			form = form[2:]
		}
		if diff := cmp.Diff(form, sent[0].Form); diff != "" || sent[0].Accept != "application/json" {
			t.Errorf("it accepts %q, and the form holds %s", sent[0].Accept, diff)
		}
		if fresh.Access.Equal(token.Access) || fresh.Refresh.IsZero() || !fresh.ExpiresAt.Equal(exerciseClock.Add(b.traits.accessTTL)) {
			t.Errorf("another token: %t, expires at %v", !fresh.Access.Equal(token.Access), fresh.ExpiresAt)
		}
		if diff := cmp.Diff(token.Scopes, fresh.Scopes); diff != "" {
			t.Errorf("scopes: %s", diff)
		}
		account, err := b.bind(fresh).Account(t.Context())
		if err != nil || account.Login != exerciseLogin {
			t.Errorf("the new token: %v, %v", account, err)
		}
		again, err := b.refresh(t.Context(), fresh)
		if err != nil || again.Refresh.IsZero() {
			t.Errorf("the new refresh token: %v", err)
		}
	})
	t.Run("a refresh token that was used is rejected where it is single-use", func(t *testing.T) {
		t.Parallel()
		now := exerciseClock
		b := x.bench(t, func(c *Config, _ *forge.Connection) { c.Now = func() time.Time { return now } })
		token := b.token(t)
		for _, wait := range []time.Duration{0, b.traits.refreshGrace / 2, b.traits.refreshGrace/2 - 1} {
			now = now.Add(wait)
			if _, err := b.refresh(t.Context(), token); err != nil {
				t.Fatal(err)
			}
			if b.traits.refreshGrace == 0 {
				break
			}
		}
		now = now.Add(1)
		_, err := b.refresh(t.Context(), token)
		if !b.traits.rotates {
			if err != nil {
				t.Errorf("it is not single-use: %v", err)
			}
			return
		}
		_ = failsAs[*forge.RefreshRejectedError](t, b, "refresh", err)
	})
	for name, kill := range map[string]func(b *bench, refresh string){
		"has expired":              func(b *bench, refresh string) { b.Expire(refresh) },
		"was withdrawn":            func(b *bench, _ string) { b.RevokeUser(exerciseLogin) },
		"never was, or is garbage": nil,
	} {
		t.Run("a refresh token that "+name+" is rejected", func(t *testing.T) {
			t.Parallel()
			b := x.bench(t)
			token := b.token(t)
			if kill == nil {
				token.Refresh = secret.New(exerciseMark)
			} else {
				kill(b, token.Refresh.Reveal())
			}
			fresh, err := b.refresh(t.Context(), token)
			rejected := failsAs[*forge.RefreshRejectedError](t, b, "refresh", err)
			if rejected.Code == "" || !fresh.Access.IsZero() || b.Count(RefreshEndpoint) != 1 {
				t.Errorf("code %q, %d requests", rejected.Code, b.Count(RefreshEndpoint))
			}
		})
	}
	t.Run("a foreign client gets no token", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t, func(c *Config, _ *forge.Connection) {
			c.Clients = append(c.Clients, Client{ID: "another", Secret: "another-secret-77", RedirectURIs: []string{exerciseRedirect}})
		})
		token := b.token(t)
		connection := b.provider.Connection()
		connection.ClientID, connection.ClientSecret = "another", secret.New("another-secret-77")
		foreign, err := x.newProvider(connection, forge.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = foreign.Refresh(t.Context(), forge.RefreshRequest{RefreshToken: token.Refresh})
		if x.config.Dialect == Gitea { // which does not look at the client
			if err != nil {
				t.Errorf("%v", err)
			}
			return
		}
		_ = failsAs[*forge.RefreshRejectedError](t, b, "refresh", err)
	})
	t.Run("a client that is refused says nothing about the token", func(t *testing.T) {
		t.Parallel()
		for name, spoil := range map[string]func(*bench){
			"another secret": func(b *bench) { b.RotateClientSecret("exercise-client", "replaced") },
			"no such client": func(b *bench) { b.DeleteApp("exercise-client") },
		} {
			b := x.bench(t)
			token := b.token(t)
			spoil(b)
			_, err := b.refresh(t.Context(), token)
			refused := failsAs[*forge.ExchangeError](t, b, "refresh", err)
			if !slices.Contains(x.clientRefused(), refused.Code) || b.Count(RefreshEndpoint) != 1 {
				t.Errorf("%s: code %q, %d requests", name, refused.Code, b.Count(RefreshEndpoint))
			}
		}
	})
	t.Run("a replica that lags rejects once, and the token stays good", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		token := b.token(t)
		b.Next(RefreshEndpoint, ReplicaLag())
		_, err := b.refresh(t.Context(), token)
		_ = failsAs[*forge.RefreshRejectedError](t, b, "refresh", err)
		if _, err := b.refresh(t.Context(), token); err != nil {
			t.Error(err)
		}
	})
	exerciseRefreshFaults(t, x)
}

func exerciseRefreshFaults(t *testing.T, x *exercise) {
	t.Helper()
	other := trap(t)
	for _, fault := range append(undecided(other.URL+"/?"+exerciseMark),
		CutAfter(), CutMidway(), EmptyBody(),
		marked(400, "application/json", `{"message":"MARK"}`), marked(401, "application/json", `{"message":"MARK"}`),
		marked(403, "text/html", "MARK"), marked(404, "text/plain", "MARK"),
		marked(200, "application/json", `{"access_token":"MARK","token_type":"mac"}`),
		marked(200, "application/json", `{"access_token":"MARK\r\nX-Evil: 1","token_type":"bearer"}`),
		marked(200, "application/json", `{"access_token":"MARK","token_type":"bearer","expires_in":-5}`)) {
		t.Run("the forge does not decide: "+fault.String(), func(t *testing.T) {
			t.Parallel()
			b := x.bench(t)
			token := b.token(t)
			b.Next(RefreshEndpoint, fault)
			fresh, err := b.refresh(t.Context(), token)
			b.fails(t, "refresh", err, forge.ErrUnavailable)
			if errors.Is(err, forge.ErrNotSent) {
				t.Error("it is said not to have been sent")
			}
			if n := b.Count(RefreshEndpoint); n != 1 || !fresh.Access.IsZero() || b.Pending() != 0 {
				t.Errorf("%d requests, a token: %t", n, !fresh.Access.IsZero())
			}
		})
	}
	t.Run("a refresh token that the forge does not replace stays in use", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		token := b.token(t)
		b.Next(RefreshEndpoint, fixed("no new refresh token", "application/json", []byte(`{"access_token":"another","token_type":"bearer"}`)))
		fresh, err := b.refresh(t.Context(), token)
		if err != nil || !fresh.Refresh.Equal(token.Refresh) || fresh.Access.Reveal() != "another" || fresh.Scopes != nil || !fresh.ExpiresAt.IsZero() {
			t.Errorf("the same one: %t, %v", fresh.Refresh.Equal(token.Refresh), err)
		}
	})
	t.Run("a rate limit says until when", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		b.Next(RefreshEndpoint, TooManyRequests(90*time.Second))
		_, err := b.refresh(t.Context(), b.token(t))
		if limited := failsAs[*forge.RateLimitedError](t, b, "refresh", err); !limited.Until.Equal(exerciseClock.Add(90 * time.Second)) {
			t.Errorf("until %v", limited.Until)
		}
	})
	t.Run("what may not be sent any more is not", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		token := b.token(t)
		asked := 0
		_, err := b.provider.Refresh(t.Context(), forge.RefreshRequest{RefreshToken: token.Refresh, MaySend: func() bool {
			asked++
			return false
		}})
		b.fails(t, "refresh", err, forge.ErrNotSent)
		if asked != 1 || b.Count(RefreshEndpoint) != 0 || !errors.Is(err, forge.ErrUnavailable) {
			t.Errorf("asked %d times, %d requests: %v", asked, b.Count(RefreshEndpoint), err)
		}
		if _, err := b.refresh(t.Context(), token); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
	t.Run("a forge that cannot be reached has heard of nothing", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		token := b.token(t)
		b.Close()
		_, err := b.refresh(t.Context(), token)
		b.fails(t, "refresh", err, forge.ErrNotSent)
	})
	t.Run("a caller who gives up gets the context's error", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		token := b.token(t)
		b.Next(RefreshEndpoint, SlowAfter(nil))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			if b.Await(ctx, RefreshEndpoint, 1) == nil {
				cancel()
			}
		}()
		_, err := b.refresh(ctx, token)
		b.fails(t, "refresh", err, forge.ErrUnavailable)
		if !errors.Is(err, context.Canceled) || b.Count(RefreshEndpoint) != 1 {
			t.Errorf("%v", err)
		}
	})
}
