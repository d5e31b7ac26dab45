package commands

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// expireBatch is how many sessions one decision ends.
const expireBatch = 100

// expireSessions ends the sessions whose time is over. They let nobody in before that either.
func (c *Commands) expireSessions(ctx context.Context) error {
	caller := c.identified(Caller{Actor: actorExpirer})
	for {
		found, err := c.reader.ExpiredSessions(ctx, c.now(), expireBatch)
		if err != nil || len(found) == 0 {
			return err
		}
		var e expireSessions
		var streams []events.Stream
		for _, session := range found {
			e.ids = append(e.ids, session.ID)
			streams = append(streams, events.SessionStream(session.ID))
		}
		appended, err := c.append(ctx, caller, decision{Streams: streams, Decide: e.decide})
		if err != nil || len(appended) == 0 || len(found) < expireBatch {
			return err
		}
	}
}

type expireSessions struct{ ids []uuid.UUID }

func (e expireSessions) decide(state *projections.State, now time.Time) (events.Outcome, error) {
	var out events.Outcome
	for _, id := range e.ids {
		if session, ok := state.Session(id); ok && !session.Live(now) {
			out.Drafts = append(out.Drafts, sessionEnd(id, endedExpired))
		}
	}
	return out, nil
}

// endStrangers ends the sessions of accounts that may not sign in. Without an allow-list those are sessions that an
// allow-list let in, since unset, whose accounts were never linked.
func (c *Commands) endStrangers(ctx context.Context) error {
	if c.policy.allowList {
		return nil // judged on every request
	}
	sessions, err := c.reader.Sessions(ctx)
	if err != nil {
		return err
	}
	operator, err := c.reader.Operator(ctx)
	if err != nil {
		return err
	}
	strangers := slices.DeleteFunc(sessions, func(s projections.Session) bool { return operator.Knows(s.Account) })
	for batch := range slices.Chunk(strangers, expireBatch) {
		e := endStrangers{idsOf(batch)}
		streams := []events.Stream{events.StreamOperator}
		for _, id := range e.ids {
			streams = append(streams, events.SessionStream(id))
		}
		if _, err := c.append(ctx, Caller{Actor: actorExpirer}, decision{Streams: streams, Decide: e.decide}); err != nil {
			return err
		}
	}
	return nil
}

type endStrangers struct{ ids []uuid.UUID }

func (e endStrangers) decide(state *projections.State, _ time.Time) (events.Outcome, error) {
	var out events.Outcome
	for _, id := range e.ids {
		if session, ok := state.Session(id); ok && !state.Operator().Knows(session.Account) {
			out.Drafts = append(out.Drafts, sessionEnd(id, endedUnknown))
		}
	}
	return out, nil
}
