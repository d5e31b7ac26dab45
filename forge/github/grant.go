package github

import (
	"context"

	"github.com/forgeauth/forgeauth/forge"
)

// scopesHeader lists the scopes of an OAuth App's token with every answer of the API (docs.github.com, Scopes for OAuth
// apps). A GitHub App's token has permissions instead, and the header is absent.
const scopesHeader = "X-Oauth-Scopes"

// Grant implements [forge.Port] by one request for the account.
func (p *port) Grant(ctx context.Context) (forge.Grant, error) {
	const op = "grant"
	client, err := p.client(p.ProfileClient())
	if err != nil {
		return forge.Grant{}, p.Fail(op, err)
	}
	u, resp, err := client.Users.Get(ctx, "")
	if err != nil {
		return forge.Grant{}, p.Fail(op, err)
	}
	account, err := p.NewAccount(op, forge.Number(u.GetID()), u.GetLogin())
	if err != nil {
		return forge.Grant{}, err
	}
	grant := forge.Grant{Account: account}
	if listed, says := resp.Header[scopesHeader]; says {
		grant.Scopes = forge.ParseScopes(listed[0])
	}
	return grant, nil
}
