// Package gitlab speaks to GitLab, gitlab.com as well as self-managed. It uses the shared transport of package forge and
// its own few JSON shapes; docs/adr/0004-forge-sdks.md and 0009-forge-sdks-again.md say why not client-go.
//
// What it knows that the protocol does not say:
//
//   - Revoking answers 200 whether or not the token was alive.
//   - A missing scope is a 403 with error insufficient_scope (RFC 6750 §3.1) that lists what would do. A rate limit is a
//     429 with Retry-After and RateLimit-Reset; limits of single operations come without the latter.
//   - A project is named by its number or by its whole path, of many groups, as one escaped segment. For a path that was
//     renamed, GET answers 301 to the number and everything else 405.
//   - Issues and merge requests are counted apart. A draft is one by a prefix of its title, and a comment is a note, whose
//     answer names no address.
//   - Lines of a text that begin with /close, /assign, /merge, … are not text but commands, which GitLab carries out as the
//     account that wrote them.
//   - A status is a job of an external pipeline with a machine of states behind it: pending after pending is a 400.
//   - Webhooks are not told apart by their address, are given up for good when they keep failing, and prove themselves by a
//     plain token or, from GitLab 19.0 on, by a signature.
package gitlab

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

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
		// docs.gitlab.com: OAuth 2.0 identity provider API, Device authorization grant flow. Its example is of an
		// application that is not confidential; one that is authenticates at both endpoints.
		DevicePath:   "/oauth/authorize_device",
		DeviceSecret: true,
		Reason:       reason,
		Refusal:      refusal,
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
