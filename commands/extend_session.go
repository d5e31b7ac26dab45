package commands

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

const (
	// extendEvery is how often a session in use is extended at most.
	extendEvery = 24 * time.Hour
	// mostExtensions bounds how many wait; more than one operator has browsers.
	mostExtensions = 64
)

// wantsExtension reports whether a live session is due to be extended and has time left to be.
func wantsExtension(session projections.Session, now time.Time) bool {
	return !now.Before(session.ExtendedAt.Add(extendEvery)) && session.IdleUntil.Before(extendedUntil(session, now))
}

func extendedUntil(session projections.Session, now time.Time) time.Time {
	return earlier(now.Add(sessionIdle), session.ExpiresAt)
}

// extensions is the queue between requests, which never wait, and [Commands.Run]. Losing an entry costs nothing: the
// next request offers it again.
type extensions struct {
	queue   chan uuid.UUID
	waiting *sync.Map // of uuid.UUID: a page's requests offer the same session
}

func newExtensions() extensions {
	return extensions{queue: make(chan uuid.UUID, mostExtensions), waiting: &sync.Map{}}
}

func (e extensions) offer(id uuid.UUID) {
	if _, waits := e.waiting.LoadOrStore(id, struct{}{}); waits {
		return
	}
	select {
	case e.queue <- id:
	default:
		e.waiting.Delete(id)
	}
}

// extendSession records that a session is in use. It appends nothing if that is known for today.
func (c *Commands) extendSession(ctx context.Context, id uuid.UUID) error {
	c.extensions.waiting.Delete(id) // before: what is offered from now on may be of another day
	_, err := c.append(ctx, SessionCaller(id), decision{
		Streams: []events.Stream{events.SessionStream(id)},
		Decide:  extendSession{id}.decide,
	})
	return err
}

type extendSession struct{ id uuid.UUID }

func (e extendSession) decide(state *projections.State, now time.Time) (events.Outcome, error) {
	session, ok := state.Session(e.id)
	if !ok || !session.Live(now) || !wantsExtension(session, now) {
		return events.Outcome{}, nil
	}
	return events.Outcome{Drafts: []events.Draft{{
		Stream: events.SessionStream(e.id), Fact: events.SessionExtended{IdleUntil: extendedUntil(session, now)},
	}}}, nil
}
