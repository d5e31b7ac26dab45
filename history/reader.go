package history

import (
	"context"
	"errors"
	"time"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// Reader answers from the log. Safe for concurrent use.
type Reader struct {
	log      *events.Log
	commands *commands.Commands
	now      func() time.Time
}

// New returns a reader of a deployment's log. What depends on the configuration, such as which forges are configured, is told by the
// commands' present one.
func New(log *events.Log, c *commands.Commands, now func() time.Time) *Reader {
	return &Reader{log, c, now}
}

// Span is a part of the log.
type Span struct {
	From, To *events.Moment // nil is the beginning, and now
	// After, if not 0, continues where a page before ended.
	After int64
	// Limit is how many answers there are at most; 0 is no limit.
	Limit int
}

// bounds returns the positions of the span: After < position ≤ through.
func (r *Reader) bounds(ctx context.Context, s Span) (after, through int64, err error) {
	head, err := r.log.Head(ctx)
	if err != nil {
		return 0, 0, err
	}
	through = head.Position
	if s.To != nil {
		if through, _, err = s.To.Through(ctx, r.log, r.now()); err != nil {
			return 0, 0, err
		}
	}
	if s.From != nil {
		if after, err = s.From.Before(ctx, r.log); err != nil {
			return 0, 0, err
		}
	}
	return max(after, s.After), through, nil
}

// Page is a part of an answer, in the order of the log.
type Page[T any] struct {
	Items []T `json:"items"`
	// Next continues the answer (?after=); null if that was all.
	Next *int64 `json:"next"`
}

// collect fills a page from what each event of a query is made to, false for nothing. It reads the log in pieces, so that nothing is
// held open for long.
func collect[T any](ctx context.Context, r *Reader, q events.Query, limit int, item func(events.Event) (T, bool)) (Page[T], error) {
	const piece = 4096
	page := Page[T]{Items: []T{}}
	if q.Through == 0 { // an empty part: to a Query, 0 is no bound
		return page, nil
	}
	q.Limit = piece
	if limit > 0 {
		q.Limit = min(limit+1, piece)
	}
	for {
		read := 0
		for record, err := range r.log.Records(ctx, q) {
			if err != nil {
				return page, err
			}
			event, err := decode(record)
			if err != nil {
				return page, err
			}
			read++
			if found, ok := item(event); ok {
				if limit > 0 && len(page.Items) == limit && page.Next == nil {
					page.Next = new(q.After)
				}
				if page.Next == nil {
					page.Items = append(page.Items, found)
				}
			}
			q.After = record.Position
		}
		if read < q.Limit || page.Next != nil {
			return page, nil
		}
	}
}

// decode takes an event that this program does not know as one without a fact: it is shown all the same.
func decode(record events.Record) (events.Event, error) {
	event, err := record.Decode()
	if errors.Is(err, events.ErrUnknownEvent) {
		return events.Event{Record: record}, nil
	}
	return event, err
}

// EventQuery narrows events.
type EventQuery struct {
	Span

	Types  []string
	Stream events.Stream
}

// Events returns the events of a part of the log.
func (r *Reader) Events(ctx context.Context, q EventQuery) (Page[Event], error) {
	after, through, err := r.bounds(ctx, q.Span)
	if err != nil {
		return Page[Event]{}, err
	}
	query := events.Query{After: after, Through: through, Types: q.Types, Stream: q.Stream}
	return collect(ctx, r, query, q.Limit, func(e events.Event) (Event, bool) { return EventOf(e.Record), true })
}

// Denial is a sign-in that was refused, or how many were beyond those that are written down one by one.
type Denial struct {
	Position int64     `json:"position"`
	At       time.Time `json:"at"`
	// Account is null for a count.
	Account *events.Account `json:"account"`
	Reason  string          `json:"reason,omitempty"`
	// Count is 1 for a single one; From and Until bound the time of the others.
	Count int64      `json:"count"`
	From  *time.Time `json:"from,omitempty"`
	Until *time.Time `json:"until,omitempty"`
	Actor string     `json:"actor"`
}

// Denied returns who was turned away.
func (r *Reader) Denied(ctx context.Context, s Span) (Page[Denial], error) {
	after, through, err := r.bounds(ctx, s)
	if err != nil {
		return Page[Denial]{}, err
	}
	query := events.Query{After: after, Through: through, Stream: events.StreamDenials}
	return collect(ctx, r, query, s.Limit, func(e events.Event) (Denial, bool) {
		denial := Denial{Position: e.Position, At: e.OccurredAt, Actor: e.Actor, Count: 1}
		switch fact := e.Fact.(type) { //nolint:gochecksumtype // the others say nothing of it
		case events.LoginDenied:
			denial.Account, denial.Reason = &fact.Account, fact.Reason
		case events.LoginsDenied:
			denial.Count, denial.From, denial.Until = fact.Count, &fact.From, &fact.Until
		default:
			return denial, false
		}
		return denial, true
	})
}

// stateOf is a fold of the log up to a position.
type stateOf struct {
	state *projections.State
	pages map[string]string // of the last TokenRevoked of each connection
}

func newState() *stateOf { return &stateOf{projections.NewState(), map[string]string{}} }

func (s *stateOf) apply(e events.Event) error {
	if revoked, ok := e.Fact.(events.TokenRevoked); ok {
		s.pages[revoked.ForgeType] = revoked.Page
	}
	if e.Fact == nil {
		return events.ErrUnknownEvent
	}
	return s.state.Apply(e)
}

// settleEvery is after how many events a fold forgets which rows it has changed.
const settleEvery = 4096

// fold folds the log up to a position.
func (r *Reader) fold(ctx context.Context, through int64) (*stateOf, error) {
	s := newState()
	if through == 0 {
		return s, nil
	}
	for e, err := range r.log.Read(ctx, events.Query{Through: through}) {
		if err == nil {
			err = s.apply(e)
		}
		if err != nil {
			return nil, err
		}
		if e.Position%settleEvery == 0 {
			s.state.Settle()
		}
	}
	return s, nil
}
