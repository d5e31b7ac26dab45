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
	"iter"
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

type repository struct {
	ID            int64  `json:"id"`
	FullName      string `json:"full_name"`
	DefaultBranch string `json:"default_branch"`
	Private       bool   `json:"private"`
	Internal      bool   `json:"internal"`
	Archived      bool   `json:"archived"`
}

// Repositories lists what the account owns or is a member of, 50 to a page, which is the most that both forges give
// unless configured otherwise.
func (p *port) Repositories(ctx context.Context, query forge.RepositoryQuery) iter.Seq2[forge.Repository, error] {
	const op = "repositories"
	return func(yield func(forge.Repository, error) bool) {
		for r, err := range forge.Pages[repository](ctx, p.Caller, op, "/user/repos?limit=50") {
			var out forge.Repository
			if err == nil {
				out, err = p.NewRepository(op, forge.Number(r.ID), r.FullName, forge.Repository{
					Default: r.DefaultBranch, Private: r.Private || r.Internal, Archived: r.Archived,
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

// Revoke implements [forge.Port]: neither Gitea nor Forgejo can. The operator can, on the forge's page
// /user/settings/applications.
func (p *port) Revoke(context.Context) error { return p.Fail("revoke", forge.ErrUnsupported) }

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
