package gitea

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

// Grant implements [forge.Port] by two requests: for the account, and for the token by introspection (docs.gitea.com, OAuth2
// Provider; RFC 7662), which is the only place where these forges tell what they have granted. That is the scope of the
// account's first consent, whatever was asked for since. Where introspection is refused, the scopes are not known.
func (p *port) Grant(ctx context.Context) (forge.Grant, error) {
	const op = "grant"
	u, err := forge.Profile[user](ctx, p.Caller, op, "/user")
	if err != nil {
		return forge.Grant{}, err
	}
	account, err := p.NewAccount(op, forge.Number(u.ID), u.Login)
	if err != nil {
		return forge.Grant{}, err
	}
	grant := forge.Grant{Account: account}
	about, says, err := p.Introspect(ctx, op, "/login/oauth/introspect")
	if err != nil {
		return forge.Grant{}, err
	}
	if says {
		grant.Scopes = granted(p.Kind(), about.Scope)
		if about.Expires > 0 && about.Expires < maxExpiry {
			grant.ExpiresAt = time.Unix(int64(about.Expires), 0)
		}
	}
	return grant, nil
}

// maxExpiry is the year 9999, in Unix seconds.
const maxExpiry = 253_370_764_800

// granted is what a consent to a scope comes to. Names of OpenID Connect say nothing about the API; if no other is left, the
// token can do everything. So it can, at Gitea, if one of the others is unknown; Forgejo passes over those.
func granted(kind forge.Kind, scope string) []string {
	names := forge.ParseScopes(scope)
	limits := 0
	for _, name := range names {
		switch {
		case slices.Contains([]string{"openid", "profile", "email", "groups"}, name):
		case isAPIScope(name):
			limits++
		case kind != forge.Forgejo || name == forge.ScopeAll:
			return everything(names)
		}
	}
	if limits == 0 {
		return everything(names)
	}
	return names
}

func isAPIScope(name string) bool {
	level, part, _ := strings.Cut(name, ":")
	return name == "public-only" || (level == "read" || level == "write") && slices.Contains(parts, part)
}

// parts are what scopes of the API are about.
var parts = []string{
	"activitypub", "admin", "issue", "misc", "notification", "organization", "package", "repository", "user",
}

func everything(names []string) []string {
	return append([]string{forge.ScopeAll}, slices.DeleteFunc(names, func(name string) bool { return name == forge.ScopeAll })...)
}
