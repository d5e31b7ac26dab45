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
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
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
		DevicePath:    "/login/device/code", // docs.github.com: Authorizing OAuth apps, Device flow; it takes no secret
		Accept:        "application/vnd.github+json",
		SpentRefresh:  []string{"bad_refresh_token"},
		Reason:        reason,
		Refusal:       refusal,
	}, o)
	if err != nil {
		return nil, fmt.Errorf("github: connection %s: %w", c.Name, err)
	}
	return &provider{transport}, nil
}

type provider struct{ *forge.Transport }

// Exchange implements [forge.Provider]. GitHub answers an empty scope for a GitHub App's user token (ghu_), which has
// permissions instead: that says nothing.
func (p *provider) Exchange(ctx context.Context, r forge.ExchangeRequest) (forge.Token, error) {
	token, err := p.Transport.Exchange(ctx, r)
	return unscoped(token), err
}

// Refresh implements [forge.Provider]; see Exchange.
func (p *provider) Refresh(ctx context.Context, r forge.RefreshRequest) (forge.Token, error) {
	token, err := p.Transport.Refresh(ctx, r)
	return unscoped(token), err
}

// PollDevice implements [forge.Provider]; see Exchange.
func (p *provider) PollDevice(ctx context.Context, d forge.DeviceAuthorization) (forge.DevicePoll, error) {
	poll, err := p.Transport.PollDevice(ctx, d)
	poll.Token = unscoped(poll.Token)
	return poll, err
}

func unscoped(token forge.Token) forge.Token {
	if strings.HasPrefix(token.Access.Reveal(), "ghu_") {
		token.Scopes = nil
	}
	return token
}

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

// skew is how far the forge's clock may be ahead of ours.
const skew = 10 * time.Minute

// Revoke implements [forge.Port]: it revokes this one token (the sibling endpoint /grant would revoke all of the user's).
//
// GitHub answers 404 for a token that is dead. If a GitHub App's user token has merely expired, then its refresh token
// lives on for up to six months, and no endpoint takes that: by this token such a grant cannot be revoked, which is
// [forge.ErrUnsupported]. By a new pair, which the refresh token is good for, it can.
func (p *port) Revoke(ctx context.Context) error {
	return p.Caller.Revoke(ctx, func(token forge.Token) forge.RevokeRequest {
		// Encoding a map of strings cannot fail.
		body, _ := json.Marshal(map[string]string{"access_token": token.Access.Reveal()})
		request := forge.RevokeRequest{
			Method:      http.MethodDelete,
			URL:         p.transport.APIBase() + "/applications/" + url.PathEscape(p.transport.Connection().ClientID) + "/token",
			ContentType: "application/json",
			Body:        string(body),
			Basic:       true,
			Done:        []int{http.StatusNoContent, http.StatusNotFound},
		}
		if !token.Refresh.IsZero() && !token.ExpiresAt.IsZero() && !p.Now().Before(token.ExpiresAt.Add(-skew)) {
			request.Done, request.Beyond = []int{http.StatusNoContent}, []int{http.StatusNotFound}
		}
		return request
	})
}
