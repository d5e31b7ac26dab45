// Package github speaks to GitHub: github.com, Enterprise Cloud with data residency, and Enterprise Server; OAuth Apps as
// well as GitHub Apps that act for a user. It uses google/go-github, which does not leave this package; every request of
// that library goes through the shared transport of package forge, which decides what is an error, so that the
// library's own handling of errors, rate limits and redirects never runs.
//
// What it knows that the protocol does not say: the token endpoint answers faults with status 200; a 403 can be a rate
// limit, a missing scope or a plain no; revoking a token that is dead already answers 404, whereas a 422 ("Validation
// failed, or the endpoint has been spammed.") says nothing about the token.
package github

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/google/go-github/v92/github"

	"github.com/forgeauth/forgeauth/forge"
)

// New returns the provider of a connection of kind github. It does no I/O.
func New(c forge.Connection, o forge.Options) (forge.Provider, error) {
	if c.Kind != forge.GitHub {
		return nil, fmt.Errorf("github: connection %s: kind %q: %w", c.Name, c.Kind, forge.ErrUnsupported)
	}
	transport, err := forge.NewTransport(c, forge.Dialect{
		AuthorizePath: "/login/oauth/authorize",
		TokenPath:     "/login/oauth/access_token",
		Accept:        "application/vnd.github+json",
		SpentRefresh:  []string{"bad_refresh_token"},
		Refusal:       refusal,
	}, o)
	if err != nil {
		return nil, fmt.Errorf("github: connection %s: %w", c.Name, err)
	}
	return &provider{transport}, nil
}

type provider struct{ *forge.Transport }

// Bind implements [forge.Provider]. Ports are made for every request of a program, the library's client only for those
// that use it.
func (p *provider) Bind(b forge.Binding, keep forge.Keeper) forge.Port {
	return &port{p.Caller(b, keep), p.Transport}
}

type port struct {
	*forge.Caller
	transport *forge.Transport
}

// client returns the library's client on the shared transport.
func (p *port) client(over *http.Client) (*github.Client, error) {
	base := p.transport.APIBase() + "/"
	client, err := github.NewClient(
		github.WithHTTPClient(over),
		github.WithURLs(&base, &base),
		github.WithUserAgent(""), // the transport sets it
		github.WithDisableRateLimitCheck(),
	)
	if err != nil {
		return nil, fmt.Errorf("github: %w", err)
	}
	return client, nil
}

func (p *port) Account(ctx context.Context) (forge.Account, error) {
	const op = "account"
	client, err := p.client(p.ProfileClient())
	if err != nil {
		return forge.Account{}, p.Fail(op, err)
	}
	u, _, err := client.Users.Get(ctx, "")
	if err != nil {
		return forge.Account{}, p.Fail(op, err)
	}
	return p.NewAccount(op, forge.Number(u.GetID()), u.GetLogin())
}

// Repositories lists what the account owns, collaborates on or sees through an organization, 100 to a page.
func (p *port) Repositories(ctx context.Context, query forge.RepositoryQuery) iter.Seq2[forge.Repository, error] {
	const op = "repositories"
	return func(yield func(forge.Repository, error) bool) {
		client, err := p.client(p.SDKClient())
		if err != nil {
			yield(forge.Repository{}, p.Fail(op, err))
			return
		}
		options := &github.RepositoryListByAuthenticatedUserOptions{ListOptions: github.ListOptions{Page: 1, PerPage: 100}}
		for {
			page, resp, err := client.Repositories.ListByAuthenticatedUser(ctx, options)
			if err != nil {
				yield(forge.Repository{}, p.Fail(op, err))
				return
			}
			for _, r := range page {
				out, err := p.NewRepository(op, forge.Number(r.GetID()), r.GetFullName(), forge.Repository{
					Default: r.GetDefaultBranch(), Private: r.GetPrivate(), Archived: r.GetArchived(),
				})
				if err == nil && !query.Admits(out) {
					continue
				}
				if !yield(out, err) || err != nil {
					return
				}
			}
			next, err := p.Next(resp.Response)
			switch {
			case err != nil:
				yield(forge.Repository{}, p.Fail(op, err))
				return
			case next == "":
				return
			case resp.NextPage <= options.Page || resp.NextPage > forge.MaxPages:
				yield(forge.Repository{}, p.Fail(op, forge.ErrEndlessPages))
				return
			}
			options.Page = resp.NextPage
		}
	}
}

// Revoke implements [forge.Port]: it revokes this one token (the sibling endpoint /grant would revoke all of the user's).
func (p *port) Revoke(ctx context.Context) error {
	return p.Caller.Revoke(ctx, func(token string) forge.RevokeRequest {
		// Encoding a map of strings cannot fail.
		body, _ := json.Marshal(map[string]string{"access_token": token})
		return forge.RevokeRequest{
			Method:      http.MethodDelete,
			URL:         p.transport.APIBase() + "/applications/" + url.PathEscape(p.transport.Connection().ClientID) + "/token",
			ContentType: "application/json",
			Body:        string(body),
			Basic:       true,
			Done:        []int{http.StatusNoContent, http.StatusNotFound},
		}
	})
}

// refusal tells GitHub's reasons for 403 and 429 apart: a primary rate limit has X-RateLimit-Remaining: 0, a secondary
// one Retry-After or only its message; a missing scope shows by comparing X-OAuth-Scopes with X-Accepted-OAuth-Scopes,
// which lists every scope that would do, wider ones included.
func refusal(status int, header http.Header, body []byte, now time.Time) error {
	isSecondary := bytes.Contains(body, []byte("secondary rate limit"))
	if status == http.StatusTooManyRequests || isSecondary ||
		header.Get("X-Ratelimit-Remaining") == "0" || header.Get("Retry-After") != "" {
		reset := ""
		if header.Get("X-Ratelimit-Remaining") == "0" {
			reset = "X-RateLimit-Reset"
		}
		return &forge.RateLimitedError{Until: forge.RetryAfter(header, reset, now)}
	}
	accepted := forge.ParseScopes(header.Get("X-Accepted-Oauth-Scopes"))
	granted, says := header["X-Oauth-Scopes"]
	if !says || len(accepted) == 0 {
		return nil
	}
	have := forge.ParseScopes(granted[0])
	if slices.ContainsFunc(accepted, func(s string) bool { return slices.Contains(have, s) }) {
		return nil
	}
	return &forge.ScopeMissingError{Have: have, Want: accepted}
}
