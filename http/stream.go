package http

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// Why a stream ends that its client did not end.
var (
	errSessionOver = errors.New("the session has ended")
	errDraining    = errors.New("the process is about to end")
	errRewound     = errors.New("the log ends earlier than it did")
)

// stream sends what follows start until the client goes, its session ends, the process is to end or the client does not take what
// is written. What it writes is only ever cut off between events, or within one that a client then ignores: the position that a client
// has last seen is where it goes on.
func (s *server) stream(w http.ResponseWriter, r *http.Request, begin start, session projections.Session) {
	conn := http.NewResponseController(w)
	ctx, end := context.WithCancelCause(r.Context())
	var watching sync.WaitGroup
	watching.Go(func() { s.watchSession(ctx, end, session, begin.head) })
	watching.Go(func() {
		select {
		case <-s.config.Draining:
			end(errDraining)
		case <-ctx.Done():
		}
		_ = conn.SetWriteDeadline(time.Now()) //nolint:forbidigo // of the socket: a client that does not read holds nobody up
	})
	err := s.sendEvents(ctx, &eventWriter{w: w, conn: conn, timeout: s.streams.WriteTimeout}, begin)
	end(err)
	watching.Wait()
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second)) //nolint:forbidigo // of the socket: for the end of the answer
	s.config.Logger.DebugContext(ctx, "a stream of events has ended", "request_id", scopeOf(ctx).id, "cause", err)
}

// watchSession ends the stream when its session ends: by a fact on the log, whichever process wrote it, by its time, or because the
// configuration no longer honours it. It looks at every heartbeat, as a request does, so that a session with an open stream is one in
// use; and whenever any session has ended. after is a position before which all was known when it first looks.
func (s *server) watchSession(ctx context.Context, end context.CancelCauseFunc, session projections.Session, after int64) {
	ends := s.config.Feed.Follow(after, events.TypeOf(events.SessionEnded{}))
	for {
		view, err := s.config.Commands.Authenticate(ctx, [32]byte(session.SecretHash))
		now := s.config.Now()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			session = view.Session
		case errors.Is(err, projections.ErrNoSession), !session.Live(now):
			end(errSessionOver)
			return
		}
		left := min(session.IdleUntil.Sub(now), session.ExpiresAt.Sub(now))
		_, _ = nextWithin(ctx, ends, min(left, s.streams.Heartbeat))
	}
}

// nextWithin waits for events that follow for as long as wait. Where the log cannot be read it waits that long too.
func nextWithin(ctx context.Context, follower *events.Follower, wait time.Duration) ([]events.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	page, err := follower.Next(ctx)
	if err != nil {
		<-ctx.Done()
		return nil, err
	}
	return page, nil
}

// sendEvents returns why it ended.
func (s *server) sendEvents(ctx context.Context, out *eventWriter, begin start) error {
	follower := s.config.Feed.Follow(begin.after, begin.types...)
	out.hint(reconnectAfter)
	out.position(begin.after) // or a client that is cut off before the first event would not know where to go on
	for out.flush(ctx); out.err == nil; out.flush(ctx) {
		page, err := nextWithin(ctx, follower, s.streams.Heartbeat)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && !errors.Is(err, context.DeadlineExceeded):
			s.config.Logger.WarnContext(ctx, "a stream of events cannot go on yet", "request_id", scopeOf(ctx).id, "error", err)
		}
		if head := s.config.Feed.Head(); err != nil && 0 < head && head < follower.Scanned() {
			return errRewound // the client hears why when it comes again
		}
		for _, record := range page {
			document, err := s.config.Feed.Structured(ctx, record)
			if err != nil {
				return fmt.Errorf("event %d: %w", record.Position, err)
			}
			out.event(ctx, record.Position, record.Type, document)
		}
		if err != nil {
			out.position(follower.Scanned())
		}
	}
	return out.err
}

const (
	// reconnectAfter is how long a browser waits before it connects again.
	reconnectAfter = 2 * time.Second
	// writeSize is from how many bytes on something is written before a page is complete.
	writeSize = 16 << 10
)

// eventWriter writes the fields of an event stream. It keeps the first error, after which it writes nothing.
type eventWriter struct {
	w       http.ResponseWriter
	conn    *http.ResponseController
	timeout time.Duration
	buffer  bytes.Buffer
	err     error
}

// hint tells a browser when to come again.
func (e *eventWriter) hint(after time.Duration) {
	fmt.Fprintf(&e.buffer, "retry: %d\n", after.Milliseconds())
}

// position tells a client how far it is without giving it an event: a block with an id and no data sets the last event id and
// dispatches nothing.
func (e *eventWriter) position(position int64) {
	fmt.Fprintf(&e.buffer, "id: %d\n\n", position)
}

// event adds an event, and writes what has gathered if that is much.
func (e *eventWriter) event(ctx context.Context, position int64, name string, document []byte) {
	e.buffer.WriteString("id: " + strconv.FormatInt(position, 10) + "\nevent: " + name + "\ndata: ")
	if bytes.ContainsAny(document, "\r\n") {
		// A line break in JSON is between its parts, and here it would end the field.
		if err := json.Compact(&e.buffer, document); err != nil {
			e.err = errors.Join(e.err, err)
		}
	} else {
		e.buffer.Write(document)
	}
	e.buffer.WriteString("\n\n")
	if e.buffer.Len() >= writeSize {
		e.flush(ctx)
	}
}

// flush writes what has gathered and waits until the connection has taken it.
func (e *eventWriter) flush(ctx context.Context) {
	defer e.buffer.Reset()
	if e.err != nil {
		return
	}
	_ = e.conn.SetWriteDeadline(time.Now().Add(e.timeout)) //nolint:forbidigo // a deadline of the socket, on its clock
	// Looked at after that: who ends ctx sets a deadline then, which must not be undone.
	if e.err = context.Cause(ctx); e.err != nil {
		return
	}
	if _, e.err = e.w.Write(e.buffer.Bytes()); e.err != nil {
		return
	}
	e.err = e.conn.Flush()
}
