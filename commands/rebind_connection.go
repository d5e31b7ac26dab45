package commands

import (
	"context"
	"fmt"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
)

// Rebind records that a connection's name means another base URL now: the configured one. The token that was bound to
// the former one is dropped without being sent anywhere, its forge is no longer active, and the accounts known at the
// former one may no longer sign in, which can leave [Commands.Recover] as the only way. With keepAccounts somebody vouches
// that it is the same forge, moved, whose account ids mean the same people: they are linked at the new base URL instead.
// Their sessions end either way. All of it is one transaction. It returns no event if the history agrees with the
// configuration, and fails with [ErrUnknownConnection].
func (c *Commands) Rebind(ctx context.Context, caller Caller, forgeType string, keepAccounts bool) ([]events.Event, error) {
	provider, err := c.provider(forgeType)
	if err != nil {
		return nil, err
	}
	r := &rebind{forgeType: forgeType, to: provider.Connection().BaseURL, keepAccounts: keepAccounts}
	if r.history, _, err = c.lastOrigin(ctx, forgeType); err != nil {
		return nil, err
	}
	operator, err := c.reader.Operator(ctx)
	if err != nil {
		return nil, fmt.Errorf("rebind: %w", err)
	}
	return c.appendWithSessions(ctx, caller, &r.sessions, r.strangers(operator), decision{
		Streams: []events.Stream{events.TokenStream(forgeType), events.StreamActiveForge, events.StreamOperator},
		Decide:  r.decide,
	})
}

type rebind struct {
	forgeType    string
	history, to  string // base URLs; history is empty if there is none
	keepAccounts bool
	sessions     accountSessions
}

// strangers are the connection's accounts at other base URLs.
func (r *rebind) strangers(operator projections.Operator) []events.Account {
	var accounts []events.Account
	for _, known := range operator.Accounts {
		if known.ForgeType == r.forgeType && known.BaseURL != r.to {
			accounts = append(accounts, known.Account)
		}
	}
	return accounts
}

func (r *rebind) decide(state *projections.State, _ time.Time) (events.Outcome, error) {
	var out events.Outcome
	stream := events.TokenStream(r.forgeType)
	strangers := r.strangers(state.Operator())
	token, connected := state.Token(r.forgeType)
	from := r.history
	switch {
	case connected && token.BaseURL != r.to:
		from = token.BaseURL
		out.Drafts = append(out.Drafts, events.Draft{Stream: stream, Fact: revocationOf(token, reasonRebound)})
		settle(&out, r.forgeType, token.DataKey, outcomeGivenUp, forge.GrantsPage(forge.Kind(token.Kind), token.BaseURL))
	case connected:
		from = "" // somebody has signed in at the new one: there may be accounts to remove, but no token
	case len(strangers) > 0 && (from == "" || from == r.to):
		from = strangers[0].BaseURL
	}
	if from != "" && from != r.to {
		out.Drafts = append(out.Drafts, events.Draft{Stream: stream, Fact: events.ConnectionRebound{
			ForgeType: r.forgeType, From: from, To: r.to, AccountsKept: r.keepAccounts,
		}})
		out.Drafts = append(out.Drafts, deactivate(state, r.forgeType, deactivatedRebound)...)
	}
	for _, account := range strangers {
		out.Drafts = append(out.Drafts, removal(account, removedRebound))
		if r.keepAccounts {
			account.BaseURL = r.to
			out.Drafts = append(out.Drafts, events.Draft{Stream: events.StreamOperator, Fact: events.AccountLinked{Account: account}})
		}
	}
	ends, err := r.sessions.end(state)
	out.Drafts = append(out.Drafts, ends...)
	return out, err
}

// CheckOrigins is run at boot. It returns a [*ReboundError] that lists the configured connections whose history is of
// another base URL: serving them would send tokens to a place they were not granted by, and let in whoever has a known
// account's id there. It returns a [*KindError] for one that has become another kind of forge.
func (c *Commands) CheckOrigins(ctx context.Context) error {
	operator, err := c.reader.Operator(ctx)
	if err != nil {
		return fmt.Errorf("check base URLs: %w", err)
	}
	var rebound ReboundError
	for _, name := range c.order {
		connection := c.policy.connections[name]
		configured := connection.BaseURL
		last, kind, err := c.lastOrigin(ctx, name)
		if err != nil {
			return err
		}
		if kind != "" && last == configured && !sameFamily(kind, connection.Kind) {
			return &KindError{ForgeType: name, Stored: kind, Configured: connection.Kind}
		}
		if last == "" || last == configured {
			for _, account := range (&rebind{forgeType: name, to: configured}).strangers(operator) {
				last = account.BaseURL
			}
		}
		if last != "" && last != configured {
			rebound.Connections = append(rebound.Connections, OriginError{ForgeType: name, Stored: last, Configured: configured})
		}
	}
	if len(rebound.Connections) > 0 {
		return &rebound
	}
	return nil
}

// sameFamily reports whether account ids of one kind mean the same at the other: Forgejo grew out of Gitea, and an
// instance that moves from one to the other keeps them.
func sameFamily(a, b forge.Kind) bool {
	gitea := func(kind forge.Kind) bool { return kind == forge.Gitea || kind == forge.Forgejo }
	return a == b || gitea(a) && gitea(b)
}

// lastOrigin is the base URL that a connection had last, by its history, and the kind of the forge if that is known; empty if
// it has none.
func (c *Commands) lastOrigin(ctx context.Context, forgeType string) (baseURL string, kind forge.Kind, err error) {
	newest := events.Query{
		Stream: events.TokenStream(forgeType),
		Types:  []string{events.TypeOf(events.TokenIssued{}), events.TypeOf(events.ConnectionRebound{})},
		Latest: 1,
	}
	for event, err := range c.log.Read(ctx, newest) {
		if err != nil {
			return "", "", fmt.Errorf("history of %s: %w", forgeType, err)
		}
		if issued, ok := event.Fact.(events.TokenIssued); ok {
			return issued.BaseURL, forge.Kind(issued.Kind), nil
		}
		if rebound, ok := event.Fact.(events.ConnectionRebound); ok {
			return rebound.To, "", nil
		}
	}
	return "", "", nil
}
