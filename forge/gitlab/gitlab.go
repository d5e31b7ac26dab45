// Package gitlab speaks to GitLab, gitlab.com as well as self-managed. It uses the shared transport of package forge and
// its own few JSON shapes; docs/adr/0004-forge-sdks.md says why not client-go.
//
// What it knows that the protocol does not say: revoking answers 200 whether or not the token was alive; a missing scope
// is a 403 with error insufficient_scope (RFC 6750 §3.1) that lists what would do; a rate limit is a 429 with
// Retry-After and RateLimit-Reset.
package gitlab

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

// New returns the provider of a connection of kind gitlab. It does no I/O.
func New(c forge.Connection, o forge.Options) (forge.Provider, error) {
	if c.Kind != forge.GitLab {
		return nil, fmt.Errorf("gitlab: connection %s: kind %q: %w", c.Name, c.Kind, forge.ErrUnsupported)
	}
	transport, err := forge.NewTransport(c, forge.Dialect{
		AuthorizePath: "/oauth/authorize",
		TokenPath:     "/oauth/token",
		Refusal:       refusal,
	}, o)
	if err != nil {
		return nil, fmt.Errorf("gitlab: connection %s: %w", c.Name, err)
	}
	return &provider{transport}, nil
}

type provider struct{ *forge.Transport }

func (p *provider) Bind(b forge.Binding, keep forge.Keeper) forge.Port {
	return &port{p.Caller(b, keep), p.Connection()}
}

type port struct {
	*forge.Caller
	connection forge.Connection
}

type user struct {
	ID       int64  `json:"id"`
	Username string `json:"username"`
}

func (p *port) Account(ctx context.Context) (forge.Account, error) {
	const op = "account"
	u, err := forge.Profile[user](ctx, p.Caller, op, "/user")
	if err != nil {
		return forge.Account{}, err
	}
	return p.NewAccount(op, forge.Number(u.ID), u.Username)
}

type project struct {
	ID                int64  `json:"id"`
	PathWithNamespace string `json:"path_with_namespace"`
	DefaultBranch     string `json:"default_branch"`
	Visibility        string `json:"visibility"`
	Archived          bool   `json:"archived"`
}

// Repositories lists the projects the account is a member of, by ascending id: keyset pagination, which neither skips
// nor repeats a project when others come and go meanwhile, and has no last page that GitLab refuses to count to.
func (p *port) Repositories(ctx context.Context, query forge.RepositoryQuery) iter.Seq2[forge.Repository, error] {
	const op = "repositories"
	const first = "/projects?membership=true&order_by=id&pagination=keyset&per_page=100&sort=asc"
	return func(yield func(forge.Repository, error) bool) {
		for r, err := range forge.Pages[project](ctx, p.Caller, op, first) {
			var out forge.Repository
			if err == nil {
				out, err = p.NewRepository(op, forge.Number(r.ID), r.PathWithNamespace, forge.Repository{
					Default: r.DefaultBranch, Private: r.Visibility != "public", Archived: r.Archived,
				})
			}
			if err == nil && !query.Admits(out) {
				continue
			}
			if !yield(out, err) || err != nil {
				return
			}
		}
	}
}

// Revoke implements [forge.Port] by RFC 7009. GitLab keeps access and refresh token in one record, so both die whichever is
// presented. It is the refresh token where there is one: presented with an access token that has expired, GitLab's OAuth
// server (Doorkeeper) answers 200, too, and leaves the refresh token alive. (Versions of it before 5.8.1 do so with both.)
func (p *port) Revoke(ctx context.Context) error {
	return p.Caller.Revoke(ctx, func(token forge.Token) forge.RevokeRequest {
		presented, hint := token.Access, "access_token"
		if !token.Refresh.IsZero() {
			presented, hint = token.Refresh, "refresh_token"
		}
		return forge.RevokeRequest{
			Method:      http.MethodPost,
			URL:         p.connection.BaseURL + "/oauth/revoke",
			ContentType: "application/x-www-form-urlencoded",
			Body: url.Values{
				"token":           {presented.Reveal()},
				"token_type_hint": {hint},
				"client_id":       {p.connection.ClientID},
				"client_secret":   {p.connection.ClientSecret.Reveal()},
			}.Encode(),
			Done: []int{http.StatusOK},
		}
	})
}

func refusal(status int, header http.Header, body []byte, now time.Time) error {
	if status == http.StatusTooManyRequests {
		return &forge.RateLimitedError{Until: forge.RetryAfter(header, "RateLimit-Reset", now)}
	}
	var answer struct {
		Error string `json:"error"`
		Scope string `json:"scope"`
	}
	_ = json.Unmarshal(body, &answer) // what is no JSON has no error code
	if answer.Error != "insufficient_scope" {
		return nil
	}
	missing := &forge.ScopeMissingError{}
	if want := forge.ParseScopes(answer.Scope); len(want) > 0 {
		missing.Want = want
	}
	return missing
}
