package commands

import (
	"context"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/vault"
)

// NoteLostTokens says of each living token whose data key is not in the database that it is lost, so that its connection shows that it
// needs a sign-in, and settles the revocations of those that cannot be opened to be revoked. It belongs to the end of an import without
// keys. It returns the TokenLost and TokenRevoked events.
func (c *Commands) NoteLostTokens(ctx context.Context, caller Caller) ([]events.Event, error) {
	stored, err := vault.StoredKeys(ctx, c.pool)
	if err != nil {
		return nil, err
	}
	held, err := c.custody(ctx)
	if err != nil || len(held.forges) == 0 {
		return nil, err
	}
	d := decision{}
	for _, forgeType := range held.forges {
		d.Streams = append(d.Streams, events.TokenStream(forgeType))
	}
	d.Decide = func(state *projections.State, _ time.Time) (events.Outcome, error) {
		var out events.Outcome
		for _, forgeType := range held.forges {
			token, ok := state.Token(forgeType)
			if ok && !stored[token.DataKey] && token.NeedsReauthReason != projections.ReasonKeyMissing {
				out.Drafts = append(out.Drafts, events.Draft{
					Stream: events.TokenStream(forgeType), Fact: events.TokenLost{ForgeType: forgeType, DataKey: token.DataKey},
				})
			}
			for _, pending := range state.Pending(forgeType) {
				if !stored[pending.DataKey] {
					settle(&out, forgeType, pending.DataKey, outcomeGivenUp, held.pages[pending.DataKey])
				}
			}
		}
		return out, nil
	}
	return c.append(ctx, caller, d)
}
