package commands

import (
	"context"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/secret"
)

// Recover prints a one-time code, good for an hour, that lets one more account in, and leaves an OperatorRecovered. It is
// for whoever has the database but no account that may sign in any more. A code printed before is no longer good. The
// code is used up when an unknown account comes in with it; a known account needs none. It fails with [ErrUnclaimed] or
// [ErrAllowList], where a code lets nobody in.
func (c *Commands) Recover(ctx context.Context, caller Caller) (code secret.Text, expires time.Time, err error) {
	if c.policy.allowList {
		return secret.Text{}, time.Time{}, ErrAllowList
	}
	code, row, err := c.draftCode(ctx, purposeRecovery)
	if err != nil {
		return secret.Text{}, time.Time{}, err
	}
	_, err = c.append(ctx, caller, decision{
		Streams: []events.Stream{events.StreamOperator},
		Decide:  recoverOperator{row}.decide,
	})
	if err != nil {
		return secret.Text{}, time.Time{}, err
	}
	return code, row.expires, nil
}

type recoverOperator struct{ code putCode }

func (r recoverOperator) decide(state *projections.State, _ time.Time) (events.Outcome, error) {
	if !state.Operator().Claimed() {
		return events.Outcome{}, ErrUnclaimed
	}
	return events.Outcome{
		Drafts: []events.Draft{{
			Stream: events.StreamOperator, Fact: events.OperatorRecovered{CodeExpiresAt: r.code.expires},
		}},
		Effects: []events.Effect{r.code},
	}, nil
}
