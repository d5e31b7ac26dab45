package commands

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/vault"
)

// ForgetForge makes a connection's tokens unreadable for good: the living one and those that wait for their forge to hear that they
// are revoked. In one transaction they stop being used and their data keys are shredded, and if the forge was the active one then
// none is. The forge is not told: [Commands.DisconnectForge] does that, and should come first where the forge can be reached. What
// remains valid at the forge is for the account's owner to withdraw, on the page that each TokenRevoked names. It returns the events,
// and fails with [projections.ErrNotConnected] if there is nothing to forget.
func (c *Commands) ForgetForge(ctx context.Context, caller Caller, forgeType string) ([]events.Event, error) {
	if forge.ValidName(forgeType) != nil {
		return nil, ErrUnknownConnection
	}
	held, err := c.custody(ctx)
	if err != nil {
		return nil, err
	}
	return c.append(ctx, caller, decision{
		Streams: []events.Stream{events.TokenStream(forgeType), events.StreamActiveForge},
		Decide: func(state *projections.State, _ time.Time) (events.Outcome, error) {
			var out events.Outcome
			forget(&out, state, forgeType, held.pages)
			if len(out.Drafts) == 0 {
				return events.Outcome{}, projections.ErrNotConnected
			}
			return out, nil
		},
	})
}

// forget shreds all tokens of a connection.
func forget(out *events.Outcome, state *projections.State, forgeType string, pages map[uuid.UUID]string) {
	if token, ok := state.Token(forgeType); ok {
		out.Drafts = append(out.Drafts, events.Draft{Stream: events.TokenStream(forgeType), Fact: revocationOf(token, reasonForgotten)})
		settle(out, forgeType, token.DataKey, outcomeShredded, forge.GrantsPage(forge.Kind(token.Kind), token.BaseURL))
		out.Drafts = append(out.Drafts, deactivate(state, forgeType, deactivatedForgotten)...)
	}
	for _, row := range state.Pending(forgeType) {
		settle(out, forgeType, row.DataKey, outcomeShredded, pages[row.DataKey])
	}
}

// ResetKeys shreds every data key and forgets which key of the operator they were sealed under, for when that key is lost: the next
// process takes its own for the right one. Every connection has to be signed in to again, and every session, because sessions are told
// by hashes under that key. In one transaction; it returns the events, the last of which is the KeysReset.
func (c *Commands) ResetKeys(ctx context.Context, caller Caller) ([]events.Event, error) {
	held, err := c.custody(ctx)
	if err != nil {
		return nil, err
	}
	d := decision{Streams: []events.Stream{events.StreamCustody, events.StreamActiveForge}}
	for _, forgeType := range held.forges {
		d.Streams = append(d.Streams, events.TokenStream(forgeType))
	}
	for _, session := range held.sessions {
		d.Streams = append(d.Streams, events.SessionStream(session.ID))
	}
	d.Decide = func(state *projections.State, _ time.Time) (events.Outcome, error) {
		var out events.Outcome
		for _, forgeType := range held.forges {
			forget(&out, state, forgeType, held.pages)
		}
		for _, session := range held.sessions {
			if _, ok := state.Session(session.ID); ok {
				out.Drafts = append(out.Drafts, sessionEnd(session.ID, endedKeysReset))
			}
		}
		out.Drafts = append(out.Drafts, events.Draft{Stream: events.StreamCustody, Fact: events.KeysReset{DataKeys: len(out.Effects)}})
		out.Effects = append(out.Effects, vault.ShredAll{}, vault.ForgetCanary{})
		return out, nil
	}
	return c.append(ctx, caller, d)
}

// custody is what there is to shred.
type custody struct {
	forges   []string
	pages    map[uuid.UUID]string // where the grant of a pending revocation can be withdrawn, by data key
	sessions []projections.Session
}

func (c *Commands) custody(ctx context.Context) (custody, error) {
	tokens, err := c.reader.Tokens(ctx)
	if err != nil {
		return custody{}, err
	}
	pending, err := c.reader.Revocations(ctx)
	if err != nil {
		return custody{}, err
	}
	held := custody{pages: map[uuid.UUID]string{}}
	if held.sessions, err = c.reader.Sessions(ctx); err != nil {
		return custody{}, err
	}
	for _, token := range tokens {
		held.forges = append(held.forges, token.ForgeType)
	}
	for _, revocation := range pending {
		held.forges = append(held.forges, revocation.ForgeType)
		held.pages[revocation.DataKey] = c.grantsPage(ctx, revocation)
	}
	slices.Sort(held.forges)
	held.forges = slices.Compact(held.forges)
	return held, nil
}
