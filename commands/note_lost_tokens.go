package commands

import (
	"context"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/vault"
)

// NoteLostTokens says of each living token whose data key is not in the database that it is lost, so that its connection shows that it
// needs a sign-in. It belongs to the end of an import without keys. It returns the TokenLost events.
func (c *Commands) NoteLostTokens(ctx context.Context, caller Caller) ([]events.Event, error) {
	stored, err := vault.StoredKeys(ctx, c.pool)
	if err != nil {
		return nil, err
	}
	tokens, err := c.reader.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	d := decision{}
	for _, token := range tokens {
		if !stored[token.DataKey] {
			d.Streams = append(d.Streams, events.TokenStream(token.ForgeType))
		}
	}
	if len(d.Streams) == 0 {
		return nil, nil
	}
	d.Decide = func(state *projections.State, _ time.Time) (events.Outcome, error) {
		var out events.Outcome
		for _, lost := range tokens {
			token, ok := state.Token(lost.ForgeType)
			if !ok || stored[lost.DataKey] || token.DataKey != lost.DataKey || token.NeedsReauthReason == projections.ReasonKeyMissing {
				continue
			}
			out.Drafts = append(out.Drafts, events.Draft{
				Stream: events.TokenStream(lost.ForgeType), Fact: events.TokenLost{ForgeType: lost.ForgeType, DataKey: lost.DataKey},
			})
		}
		return out, nil
	}
	return c.append(ctx, caller, d)
}
