package commands

import (
	"context"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// RotateKeys wraps every data key that a previous key of the operator had wrapped under the present one, in one transaction; no event is
// touched and no token opened. Processes that have both keys serve on meanwhile and afterwards; one that has only the previous
// key cannot open a token any more. It returns the KeysRotated, no event if there was nothing to do, and a *[vault.WrongKeyError]
// if something opens under none of the keys.
func (c *Commands) RotateKeys(ctx context.Context, caller Caller) ([]events.Event, error) {
	rotation := c.vault.Rotate()
	return c.append(ctx, caller, decision{
		Streams: []events.Stream{events.StreamCustody},
		Query:   rotation.Read,
		Decide: func(*projections.State, time.Time) (events.Outcome, error) {
			again, err := rotation.Rewrap()
			if err != nil || len(again.Keys) == 0 && again.Canary == nil {
				return events.Outcome{}, err
			}
			return events.Outcome{
				Drafts: []events.Draft{{
					Stream: events.StreamCustody, Fact: events.KeysRotated{KeyID: c.vault.KeyID(), DataKeys: len(again.Keys)},
				}},
				Effects: []events.Effect{again},
			}, nil
		},
	})
}

// RecordForcedRepair says on the log that tables were repaired from a log that contradicts what was signed. It returns the
// RepairForced.
func (c *Commands) RecordForcedRepair(ctx context.Context, caller Caller, findings, differences int) ([]events.Event, error) {
	return c.append(ctx, caller, decision{
		Streams: []events.Stream{events.StreamCustody},
		Decide: func(*projections.State, time.Time) (events.Outcome, error) {
			return events.Outcome{Drafts: []events.Draft{{
				Stream: events.StreamCustody, Fact: events.RepairForced{Findings: findings, Differences: differences},
			}}}, nil
		},
	})
}
