package gitlab

import (
	"context"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

// tokenInfo is the answer of GET /oauth/token/info (docs.gitlab.com, OAuth 2.0 identity provider API: Retrieve the token
// information).
type tokenInfo struct {
	Scope     []string `json:"scope"`
	ExpiresIn *float64 `json:"expires_in"` // seconds; null for a token that does not expire
}

// maxLifetime bounds what is taken for a lifetime.
const maxLifetime = 10 * 365 * 24 * time.Hour

// Grant implements [forge.Port] by two requests: for the account, and for the token itself.
func (p *port) Grant(ctx context.Context) (forge.Grant, error) {
	const op = "grant"
	u, err := forge.Profile[user](ctx, p.Caller, op, "/user")
	if err != nil {
		return forge.Grant{}, err
	}
	account, err := p.NewAccount(op, forge.Number(u.ID), u.Username)
	if err != nil {
		return forge.Grant{}, err
	}
	info, err := forge.WebProfile[tokenInfo](ctx, p.Caller, op, "/oauth/token/info")
	if err != nil {
		return forge.Grant{}, err
	}
	grant := forge.Grant{Account: account, Scopes: forge.CleanScopes(info.Scope)}
	if info.ExpiresIn != nil && *info.ExpiresIn > 0 && *info.ExpiresIn < maxLifetime.Seconds() {
		grant.ExpiresAt = p.Now().Add(time.Duration(*info.ExpiresIn) * time.Second)
	}
	return grant, nil
}
