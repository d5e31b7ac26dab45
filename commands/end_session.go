package commands

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// Why a session ended.
const (
	endedLogout         = "logout"
	endedReplaced       = "replaced"
	endedExpired        = "expired"
	endedAccountRemoved = "account_removed"
	endedUnknown        = "unknown_account"
	endedKeysReset      = "keys_reset"
)

// EndSession signs a session out. Tokens stay as they are. It returns the SessionEnded, or no event if the session has
// ended already.
func (c *Commands) EndSession(ctx context.Context, caller Caller, id uuid.UUID) ([]events.Event, error) {
	return c.append(ctx, caller, decision{
		Streams: []events.Stream{events.SessionStream(id)},
		Decide:  endSession{id}.decide,
	})
}

type endSession struct{ id uuid.UUID }

func (e endSession) decide(state *projections.State, _ time.Time) (events.Outcome, error) {
	if _, ok := state.Session(e.id); !ok {
		return events.Outcome{}, nil
	}
	return events.Outcome{Drafts: []events.Draft{sessionEnd(e.id, endedLogout)}}, nil
}

func sessionEnd(id uuid.UUID, reason string) events.Draft {
	return events.Draft{Stream: events.SessionStream(id), Fact: events.SessionEnded{Reason: reason}}
}
