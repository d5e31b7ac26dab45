package forgetest

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

func exerciseAccount(t *testing.T, x *exercise) {
	t.Helper()
	for what, login := range HostileLogins() {
		t.Run("a login is cleaned or refused: "+what, func(t *testing.T) {
			t.Parallel()
			b := x.bench(t)
			port := b.port(t)
			b.Next(UserEndpoint, HostileLogin(login))
			account, err := port.Account(t.Context())
			if err != nil {
				b.fails(t, "account", err, forge.ErrUnavailable)
				if account != (forge.Account{}) {
					t.Errorf("an account beside an error: %+v", account)
				}
				return
			}
			if account.ID != x.accountID() || account.Login == "" || !forge.IsClean(account.Login) {
				t.Errorf("%q", account.Login)
			}
		})
	}
	t.Run("a login in another script stays", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		port := b.port(t)
		b.Next(UserEndpoint, HostileLogin("Ünïcödé-漢字-🙂"))
		if account, err := port.Account(t.Context()); err != nil || account.Login != "Ünïcödé-漢字-🙂" {
			t.Errorf("%v, %v", account, err)
		}
	})
	t.Run("a renamed account keeps its id", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		port := b.port(t)
		b.RenameUser(exerciseLogin, "alicia")
		if account, err := port.Account(t.Context()); err != nil || account != (forge.Account{ID: x.accountID(), Login: "alicia"}) {
			t.Errorf("%v, %v", account, err)
		}
	})
	for _, body := range []string{
		`{}`, `null`, `[]`, `{"id":0,"login":"a","username":"a"}`, `{"id":-1,"login":"a","username":"a"}`,
		`{"id":"4711","login":"a","username":"a"}`, `{"id":4711}`, `{"id":4711.5,"login":"a","username":"a"}`,
		`{"id":99999999999999999999,"login":"a","username":"a"}`, `{"id":4711,"login":"a","username":"a"} MARK`,
	} {
		t.Run("no account is made of "+body, func(t *testing.T) {
			t.Parallel()
			b := x.bench(t)
			port := b.port(t)
			b.Next(UserEndpoint, marked(200, "application/json", body))
			account, err := port.Account(t.Context())
			b.fails(t, "account", err, forge.ErrUnavailable)
			if account != (forge.Account{}) {
				t.Errorf("%+v", account)
			}
		})
	}
	for name, kill := range map[string]func(*bench, string){
		"expired":                 func(b *bench, value string) { b.Expire(value) },
		"revoked at the forge":    func(b *bench, value string) { b.RevokeToken(value) },
		"of a withdrawn consent":  func(b *bench, _ string) { b.RevokeUser(exerciseLogin) },
		"of a deleted client app": func(b *bench, _ string) { b.DeleteApp("exercise-client") },
	} {
		t.Run("a token "+name+" needs a new sign-in", func(t *testing.T) {
			t.Parallel()
			b := x.bench(t)
			token := b.token(t)
			kill(b, token.Access.Reveal())
			port := b.bind(token)
			_, err := port.Account(t.Context())
			b.fails(t, "account", err, forge.ErrNeedsReauth)
			_, err = collect(t.Context(), port)
			b.fails(t, "repositories", err, forge.ErrNeedsReauth)
		})
	}
	t.Run("a token that never was needs a new sign-in", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		_, err := b.bind(forge.Token{Access: secret.New(exerciseMark)}).Account(t.Context())
		b.fails(t, "account", err, forge.ErrNeedsReauth)
	})
	t.Run("an account that may not sign in is forbidden and its token not dead", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		port := b.port(t)
		b.ProhibitLogin(exerciseLogin, true)
		_, err := port.Account(t.Context())
		b.fails(t, "account", err, forge.ErrForbidden)
	})
	t.Run("what the keeper failed with is passed on", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		failed := errors.New("the vault is sealed")
		port := b.provider.Bind(forge.Binding{}, brokenKeeper{failed})
		_, err := port.Account(t.Context())
		b.fails(t, "account", err, failed)
		_, err = collect(t.Context(), port)
		b.fails(t, "repositories", err, failed)
		_, err = port.TokenSource(t.Context()).Token()
		b.fails(t, "token", err, failed)
		if info, _ := forge.Info(x.config.Dialect.Kind()); info.Revocable {
			b.fails(t, "revoke", port.Revoke(t.Context()), failed)
		}
	})
	t.Run("a keeper without a token is passed on", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		port := b.provider.Bind(forge.Binding{}, brokenKeeper{forge.ErrNeedsReauth})
		_, err := port.Account(t.Context())
		b.fails(t, "account", err, forge.ErrNeedsReauth)
		_, err = collect(t.Context(), port)
		b.fails(t, "repositories", err, forge.ErrNeedsReauth)
		_, err = port.TokenSource(t.Context()).Token()
		b.fails(t, "token", err, forge.ErrNeedsReauth)
		if b.Count(AnyEndpoint) != 0 {
			t.Error("the forge was contacted without a token")
		}
	})
}

// brokenKeeper has no token.
type brokenKeeper struct{ err error }

// Token implements [forge.Keeper].
func (k brokenKeeper) Token(context.Context) (forge.Token, error) { return forge.Token{}, k.err }

// Refused implements [forge.Keeper].
func (k brokenKeeper) Refused(context.Context, forge.Token) (forge.Token, error) {
	return forge.Token{}, k.err
}

func exerciseFaults(t *testing.T, x *exercise) {
	t.Helper()
	other := trap(t)
	calls := map[Endpoint]struct {
		op   string
		call func(context.Context, forge.Port) error
	}{
		UserEndpoint:         {"account", func(ctx context.Context, p forge.Port) error { _, err := p.Account(ctx); return err }},
		RepositoriesEndpoint: {"repositories", func(ctx context.Context, p forge.Port) error { _, err := collect(ctx, p); return err }},
	}
	for endpoint, call := range calls {
		for _, fault := range append(undecided(other.URL+"/?"+exerciseMark), CutAfter(), CutMidway(), EmptyBody()) {
			t.Run(call.op+" without an answer: "+fault.String(), func(t *testing.T) {
				t.Parallel()
				b := x.bench(t)
				port := b.port(t)
				b.Next(endpoint, fault)
				if isCut := strings.HasPrefix(fault.String(), "connection cut") && fault.String() != CutMidway().String(); isCut &&
					x.config.Dialect == Bitbucket && endpoint == RepositoriesEndpoint {
					// The list of workspaces has left a connection behind, on which net/http tries a GET a second time.
					b.Next(endpoint, fault)
				}
				err := call.call(t.Context(), port)
				want := forge.ErrUnavailable
				switch isRedirect := strings.HasPrefix(fault.String(), "redirect"); {
				case isRedirect && endpoint == RepositoriesEndpoint && err == nil:
					// Redirects within the forge are followed.
				case isRedirect && errors.Is(err, forge.ErrDestination):
					want = forge.ErrDestination
					fallthrough
				default:
					b.fails(t, call.op, err, want)
				}
				if endpoint == UserEndpoint && b.Count(UserEndpoint) != 1 {
					t.Errorf("%d requests", b.Count(UserEndpoint))
				}
				// Whatever that was, it was not the token's fault.
				if errors.Is(err, forge.ErrNeedsReauth) {
					t.Error("the token is said to be dead")
				}
				if err := call.call(t.Context(), port); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			})
		}
		t.Run(call.op+" over a rate limit says until when", func(t *testing.T) {
			t.Parallel()
			b := x.bench(t)
			port := b.port(t)
			for _, fault := range []Fault{TooManyRequests(2 * time.Minute), RateLimitForbidden(2 * time.Minute)} {
				b.Next(endpoint, fault)
				err := call.call(t.Context(), port)
				if limited := failsAs[*forge.RateLimitedError](t, b, call.op, err); !limited.Until.Equal(exerciseClock.Add(2 * time.Minute)) {
					t.Errorf("%v: until %v", fault, limited.Until)
				}
				if errors.Is(err, forge.ErrNeedsReauth) {
					t.Error("the token is said to be dead")
				}
				if err := call.call(t.Context(), port); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			}
		})
		for status, want := range map[int]error{401: forge.ErrNeedsReauth, 403: forge.ErrForbidden, 404: forge.ErrNotFound} {
			t.Run(call.op+" answered with "+strconv.Itoa(status), func(t *testing.T) {
				t.Parallel()
				b := x.bench(t)
				port := b.port(t)
				for _, body := range []string{`{"message":"MARK"}`, `<html>MARK`, ``} {
					b.Next(endpoint, marked(status, "application/json", body))
					b.fails(t, call.op, call.call(t.Context(), port), want)
				}
			})
		}
		t.Run(call.op+" is given up by its caller", func(t *testing.T) {
			t.Parallel()
			b := x.bench(t)
			port := b.port(t)
			b.Next(endpoint, Slow(nil))
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			err := call.call(ctx, port)
			b.fails(t, call.op, err, forge.ErrUnavailable)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
		})
		t.Run(call.op+" waits for a slow answer", func(t *testing.T) {
			t.Parallel()
			b := x.bench(t)
			port := b.port(t)
			release := make(chan struct{})
			b.Next(endpoint, Slow(release))
			go func() {
				_ = b.Await(t.Context(), endpoint, 1)
				close(release)
			}()
			if err := call.call(t.Context(), port); err != nil {
				t.Error(err)
			}
		})
	}
}

func exerciseTogether(t *testing.T, x *exercise) {
	t.Helper()
	b := x.bench(t, withRepositories(120))
	port := b.port(t)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if account, err := port.Account(t.Context()); err != nil || account.ID != x.accountID() {
				t.Errorf("%v, %v", account, err)
			}
			if list, err := collect(t.Context(), port); err != nil || len(list) != 120 {
				t.Errorf("%d, %v", len(list), err)
			}
			_ = b.provider.AuthorizeURL(forge.AuthorizeRequest{State: "s"})
			_, err := b.exchange(t.Context(), "no-such-code")
			_ = failsAs[*forge.ExchangeError](t, b, "exchange", err)
		})
	}
	all.Wait()
}
