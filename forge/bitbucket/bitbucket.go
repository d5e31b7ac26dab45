// Package bitbucket speaks to Bitbucket Cloud, which is one host for the web and one for the API. It uses the shared
// transport of package forge and its own few JSON shapes; docs/adr/0010-bitbucket-cloud.md says what is different here.
//
// What it knows that the protocol does not say: the OAuth client authenticates by HTTP Basic alone; the scopes granted are
// those that the consumer is registered for, whatever the request asks; refresh tokens rotate; nothing revokes a token; lists
// are pages whose body names the next; repositories, hooks and workspaces are named by UUIDs in braces and accounts by Atlassian
// ids; a missing scope is a 403 that lists what is required and what was granted. There are no issues any more: Atlassian
// removed the issue tracker, its API included, on 2026-08-20.
package bitbucket

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

// New returns the provider of a connection of kind bitbucket. It does no I/O.
func New(c forge.Connection, o forge.Options) (forge.Provider, error) {
	if c.Kind != forge.Bitbucket {
		return nil, fmt.Errorf("bitbucket: connection %s: kind %q: %w", c.Name, c.Kind, forge.ErrUnsupported)
	}
	transport, err := forge.NewTransport(c, forge.Dialect{
		AuthorizePath: "/site/oauth2/authorize",
		TokenPath:     "/site/oauth2/access_token",
		ClientBasic:   true,
		// invalid_request is what Bitbucket has been seen to say of a refresh token that is none, invalid_grant what RFC 6749 has for it.
		SpentRefresh: []string{"invalid_grant", "invalid_request"},
		Refusal:      refusal,
	}, o)
	if err != nil {
		return nil, fmt.Errorf("bitbucket: connection %s: %w", c.Name, err)
	}
	return &provider{transport}, nil
}

type provider struct{ *forge.Transport }

func (p *provider) Bind(b forge.Binding, keep forge.Keeper) forge.Port {
	return &port{p.Caller(b, keep)}
}

// HookVerifier implements [forge.Provider].
func (p *provider) HookVerifier() forge.HookVerifier { return verifier{} }

type port struct{ *forge.Caller }

// account is a user as Bitbucket shows one: itself, or the author of something. Apps and teams have no account_id, and accounts
// that are gone are null.
type account struct {
	AccountID string `json:"account_id"`
	Nickname  string `json:"nickname"`
}

// id is the account's immutable id, or nothing that could be taken for one.
func (a account) id() string {
	if !forge.Bitbucket.IsAccountID(a.AccountID) {
		return ""
	}
	return a.AccountID
}

// author is who wrote something; zero for an account that is gone.
func (p *port) author(a *account) forge.Account {
	if a == nil {
		return forge.Account{}
	}
	return p.Author(a.id(), a.Nickname)
}

// Account implements [forge.Port]. A nickname is what its owner calls themselves: it is not unique. (Bitbucket Cloud REST API:
// Users, Get current user)
func (p *port) Account(ctx context.Context) (forge.Account, error) {
	const op = "account"
	a, err := forge.Profile[account](ctx, p.Caller, op, "/user")
	if err != nil {
		return forge.Account{}, err
	}
	return p.NewAccount(op, a.id(), a.Nickname)
}

// Grant implements [forge.Port]: Bitbucket says in X-OAuth-Scopes of any answer what the token was granted, without what another
// scope implies.
func (p *port) Grant(ctx context.Context) (forge.Grant, error) {
	const op = "grant"
	a, header, err := forge.ProfileAndHeader[account](ctx, p.Caller, op, "/user")
	if err != nil {
		return forge.Grant{}, err
	}
	who, err := p.NewAccount(op, a.id(), a.Nickname)
	if err != nil {
		return forge.Grant{}, err
	}
	grant := forge.Grant{Account: who}
	if listed := header.Values("X-OAuth-Scopes"); len(listed) > 0 {
		grant.Scopes = forge.ParseScopes(listed[0])
	}
	return grant, nil
}

// Revoke implements [forge.Port]: Bitbucket cannot. The operator can, on the page /account/settings/app-authorizations/.
func (p *port) Revoke(context.Context) error { return p.Fail("revoke", forge.ErrUnsupported) }

var uuidShape = regexp.MustCompile(`^\{[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}$`)

// uuid keeps an id that Bitbucket answered if it is one.
func uuid(s string) string {
	if !uuidShape.MatchString(s) {
		return ""
	}
	return s
}

// checkUUID refuses ids that would name something else in a path.
func checkUUID(id string) error {
	if uuid(id) == "" {
		return fmt.Errorf("%w (ids are UUIDs in braces at Bitbucket)", forge.ErrInvalid)
	}
	return nil
}

// refusal finds a missing scope in the body of a 403. Rate limits are answered with 429. (Bitbucket Cloud REST API: Introduction,
// Standardized error responses)
func refusal(status int, _ http.Header, body []byte, _ time.Time) error {
	if status != http.StatusForbidden {
		return nil
	}
	var answer struct {
		Error struct {
			// Detail is an object here and a sentence elsewhere, so that it must not spoil the rest.
			Detail json.RawMessage `json:"detail"`
		} `json:"error"`
	}
	var detail struct {
		Required []string `json:"required"`
		Granted  []string `json:"granted"`
	}
	_ = json.Unmarshal(body, &answer) // what is no JSON has no detail
	_ = json.Unmarshal(answer.Error.Detail, &detail)
	if len(detail.Required) == 0 {
		return nil
	}
	return &forge.ScopeMissingError{Have: parseScopes(detail.Granted), Want: parseScopes(detail.Required)}
}

func parseScopes(names []string) []string {
	scopes := []string{}
	for _, name := range names {
		scopes = append(scopes, forge.ParseScopes(name)...)
	}
	return scopes
}
