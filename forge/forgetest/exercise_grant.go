package forgetest

import (
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
)

// grantScopes is what the dialect's forge says of a token that was asked for with the scopes.
func (x *exercise) grantScopes(scopes ...string) []string {
	if x.config.Dialect == GitHubApp {
		return nil
	}
	return scopes
}

func exerciseGrant(t *testing.T, x *exercise) {
	t.Helper()
	isGitea := x.config.Dialect == Gitea || x.config.Dialect == Forgejo
	ask := func(t *testing.T, b *bench, token forge.Token) forge.Grant {
		t.Helper()
		grant, err := b.bind(token).Grant(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return grant
	}
	t.Run("the forge says whose token it is and what it may do", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		token := b.token(t)
		want := forge.Grant{
			Account: forge.Account{ID: x.accountID(), Login: exerciseLogin}, Scopes: x.grantScopes(b.provider.Connection().Scopes...),
		}
		if x.config.Dialect == GitLab {
			want.ExpiresAt = exerciseClock.Add(b.traits.accessTTL)
		}
		if diff := cmp.Diff(want, ask(t, b, token)); diff != "" {
			t.Error(diff)
		}
		most := 2
		if x.config.Dialect.tellsInHeaders() {
			most = 1
		}
		if n := b.Count(UserEndpoint) + b.Count(IntrospectionEndpoint); n != most || b.Count(UserEndpoint) != 1 || b.Count(OtherEndpoint) != 0 {
			t.Errorf("%d requests", n)
		}
		if isGitea {
			sent := b.requests(IntrospectionEndpoint)[0]
			if sent.AuthScheme != "Basic" || !slices.Contains(sent.Form, "token") || len(sent.Query) != 0 {
				t.Errorf("introspected with %q, form %v, query %v", sent.AuthScheme, sent.Form, sent.Query)
			}
		}
	})
	t.Run("what changes at the forge shows", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		token := b.token(t)
		narrow := b.provider.Connection().Scopes[:1]
		b.RenameUser(exerciseLogin, "alicia")
		b.SetScope(token.Access.Reveal(), narrow[0])
		grant := ask(t, b, token)
		if grant.Account != (forge.Account{ID: x.accountID(), Login: "alicia"}) || !slices.Equal(grant.Scopes, x.grantScopes(narrow...)) {
			t.Errorf("%+v", grant)
		}
		b.AddUser(User{ID: 12, Login: "mallory"})
		b.Reassign(token.Access.Reveal(), "mallory")
		if grant := ask(t, b, token); grant.Account.ID != x.differences().account(12) {
			t.Errorf("%+v", grant)
		}
	})
	if isGitea {
		exerciseFrozenConsent(t, x, ask)
	}
	t.Run("a dead token needs a new sign-in", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		token := b.token(t)
		b.RevokeToken(token.Access.Reveal())
		grant, err := b.bind(token).Grant(t.Context())
		b.fails(t, "grant", err, forge.ErrNeedsReauth)
		if diff := cmp.Diff(forge.Grant{}, grant); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a client that the forge no longer knows learns no scopes, and not that the token is dead", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		token := b.token(t)
		b.RotateClientSecret("exercise-client", "replaced")
		grant := ask(t, b, token)
		if grant.Account.ID != x.accountID() || isGitea && grant.Scopes != nil {
			t.Errorf("%+v", grant)
		}
	})
	t.Run("over a rate limit it says until when", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		port := b.port(t)
		for _, endpoint := range []Endpoint{UserEndpoint, IntrospectionEndpoint} {
			if endpoint == IntrospectionEndpoint && x.config.Dialect.tellsInHeaders() {
				continue
			}
			b.Next(endpoint, TooManyRequests(2*time.Minute))
			_, err := port.Grant(t.Context())
			if limited := failsAs[*forge.RateLimitedError](t, b, "grant", err); !limited.Until.Equal(exerciseClock.Add(2 * time.Minute)) {
				t.Errorf("until %v", limited.Until)
			}
		}
	})
	other := trap(t)
	for _, fault := range append(undecided(other.URL+"/?"+exerciseMark), CutAfter(), CutMidway(), EmptyBody()) {
		t.Run("the forge does not decide: "+fault.String(), func(t *testing.T) {
			t.Parallel()
			b := x.bench(t)
			port := b.port(t)
			for _, endpoint := range []Endpoint{UserEndpoint, IntrospectionEndpoint} {
				b.Next(endpoint, fault)
				grant, err := port.Grant(t.Context())
				// A GET whose kept connection is closed before the answer begins is sent again by net/http.
				again := x.config.Dialect == GitLab && endpoint == IntrospectionEndpoint && b.Count(endpoint) == 2
				if err != nil {
					b.fails(t, "grant", err, forge.ErrUnavailable)
				} else if again {
					continue
				} else if endpoint == UserEndpoint || grant.Scopes != nil && !x.config.Dialect.tellsInHeaders() {
					t.Errorf("at %s: %+v", endpoint, grant)
				}
			}
		})
	}
}

// exerciseFrozenConsent is about what a Gitea or a Forgejo goes by: the scope of the first consent, and not what is asked for
// today.
func exerciseFrozenConsent(t *testing.T, x *exercise, ask func(*testing.T, *bench, forge.Token) forge.Grant) {
	t.Helper()
	for asked, want := range map[string][]string{
		"":                             {"all"},
		"openid email":                 {"all", "openid", "email"},
		"all":                          {"all"},
		"write:user":                   {"write:user"},
		"write:user openid":            {"write:user", "openid"},
		"read:user repo":               {"all", "read:user", "repo"},
		"read:user public-only":        {"read:user", "public-only"},
		"read:user write:repository/x": {"all", "read:user", "write:repository/x"},
	} {
		if x.config.Dialect == Forgejo && want[0] == "all" && len(want) == 3 && asked != "openid email" {
			want = want[1:] // it passes over names that it does not know
		}
		t.Run("a first consent to "+asked+" is what every later token has", func(t *testing.T) {
			t.Parallel()
			b := x.bench(t)
			address, err := url.Parse(b.provider.AuthorizeURL(forge.AuthorizeRequest{
				State: "s", RedirectURI: exerciseRedirect, Challenge: "challenge-of-forty-three-characters-in-base64",
			}))
			if err != nil {
				t.Fatal(err)
			}
			query := address.Query()
			query.Set("scope", asked)
			address.RawQuery = query.Encode()
			if _, err := b.Consent(t.Context(), address.String(), exerciseLogin); err != nil {
				t.Fatal(err)
			}
			if grant := ask(t, b, b.token(t)); !slices.Equal(grant.Scopes, want) {
				t.Errorf("%q, want %q", grant.Scopes, want)
			}
		})
	}
}
