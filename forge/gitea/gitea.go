// Package gitea speaks to Gitea and Forgejo, whose API and OAuth endpoints are one family. It uses the shared transport
// of package forge and its own few JSON shapes; docs/adr/0004-forge-sdks.md says why not the Gitea SDK.
//
// What it knows that the protocol does not say: the token endpoint answers every fault with unauthorized_client or
// invalid_client and never reports scopes; neither forge has an endpoint that revokes a token; a missing scope is a 403
// whose message lists what would do; there are no rate limit headers.
package gitea

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

// New returns the provider of a connection of kind gitea or forgejo. It does no I/O.
func New(c forge.Connection, o forge.Options) (forge.Provider, error) {
	if c.Kind != forge.Gitea && c.Kind != forge.Forgejo {
		return nil, fmt.Errorf("gitea: connection %s: kind %q: %w", c.Name, c.Kind, forge.ErrUnsupported)
	}
	transport, err := forge.NewTransport(c, forge.Dialect{
		AuthorizePath: "/login/oauth/authorize",
		TokenPath:     "/login/oauth/access_token",
		// The first for one that was used, has expired or never was, the other for a withdrawn consent and a foreign client.
		SpentRefresh: []string{"unauthorized_client", "invalid_grant"},
		Reason:       reason,
		Refusal:      refusal,
	}, o)
	if err != nil {
		return nil, fmt.Errorf("gitea: connection %s: %w", c.Name, err)
	}
	return &provider{transport}, nil
}

type provider struct{ *forge.Transport }

func (p *provider) Bind(b forge.Binding, keep forge.Keeper) forge.Port {
	return &port{p.Caller(b, keep)}
}

type port struct{ *forge.Caller }

type user struct {
	ID    int64  `json:"id"`
	Login string `json:"login"`
}

func (p *port) Account(ctx context.Context) (forge.Account, error) {
	const op = "account"
	u, err := forge.Profile[user](ctx, p.Caller, op, "/user")
	if err != nil {
		return forge.Account{}, err
	}
	return p.NewAccount(op, forge.Number(u.ID), u.Login)
}

// Revoke implements [forge.Port]: neither Gitea nor Forgejo can. The operator can, on the forge's page
// /user/settings/applications.
func (p *port) Revoke(context.Context) error { return p.Fail("revoke", forge.ErrUnsupported) }

// reason: what writes to an archived repository is answered 423.
func reason(status int, _ []byte) error {
	if status == http.StatusLocked {
		return fmt.Errorf("%w (the repository is archived)", forge.ErrForbidden)
	}
	return nil
}

var scopeList = regexp.MustCompile(`required=\[([^\]]*)\](?:, token scope=([a-z:,-]*))?`)

// refusal finds a missing scope in the message of a 403, the only place where it is said.
func refusal(_ int, _ http.Header, body []byte, _ time.Time) error {
	var answer struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &answer) // what is no JSON has no message
	found := scopeList.FindStringSubmatch(answer.Message)
	if found == nil || !strings.Contains(answer.Message, "required scope") {
		return nil
	}
	return &forge.ScopeMissingError{Have: forge.ParseScopes(found[2]), Want: forge.ParseScopes(found[1])}
}
