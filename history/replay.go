package history

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// Step is one event as it is played back.
type Step struct {
	Event Event `json:"event"`
	// Changes are what it changed in the tables, column by column.
	Changes []projections.Change `json:"changes"`
	// Committed says that nothing more was committed together with it: only then could anybody see what it left.
	Committed bool `json:"committed"`
	// Me is what GET /me said from then on; null for no active forge (412), and where nobody could ask.
	Me *commands.Me `json:"me"`
}

// ReplayQuery says what to play.
type ReplayQuery struct {
	Span

	Types []string
	// Progress, if not nil, is called now and then with how many of the events before the first one that is shown have been folded.
	Progress func(done, total int64)
}

// Replay plays a part of the log forward: each event with what it changed. What is not shown is folded all the same.
func (r *Reader) Replay(ctx context.Context, q ReplayQuery) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		if err := r.replay(ctx, q, func(step Step) bool { return yield(step, nil) }); err != nil {
			yield(Step{}, err)
		}
	}
}

func (r *Reader) replay(ctx context.Context, q ReplayQuery, yield func(Step) bool) error {
	after, through, err := r.bounds(ctx, q.Span)
	if err != nil || through == 0 {
		return err
	}
	s := newState()
	shown := 0
	var held *Step // until it is known whether it was the last of its transaction
	give := func(committed bool) (more bool) {
		if held == nil {
			return true
		}
		held.Committed = committed
		if committed {
			held.Me = s.me()
		}
		step := *held
		held = nil
		shown++
		return yield(step) && shown != q.Limit
	}
	var at time.Time
	for e, err := range r.log.Read(ctx, events.Query{Through: through}) {
		if err != nil {
			return err
		}
		if !give(!e.OccurredAt.Equal(at)) {
			return nil
		}
		if at = e.OccurredAt; e.Position == after+1 {
			s.state.Watch()
		}
		if err := s.apply(e); err != nil {
			return err
		}
		if e.Position%settleEvery == 0 {
			s.state.Settle()
			if q.Progress != nil && e.Position <= after {
				q.Progress(e.Position, after)
			}
		}
		if e.Position <= after {
			continue
		}
		changes := s.state.Changes()
		if len(q.Types) == 0 || slices.Contains(q.Types, e.Type) {
			held = &Step{Event: EventOf(e.Record), Changes: changes}
		}
	}
	if held != nil {
		settled, err := r.log.PositionBefore(ctx, at.Add(time.Microsecond))
		if err != nil {
			return err
		}
		give(settled == held.Event.Position)
	}
	return nil
}

// me is what GET /me would have said, nil for no active forge.
func (s *stateOf) me() *commands.Me {
	me, err := commands.MeAt(s.state)
	if err != nil {
		return nil
	}
	return &me
}

// Explanation is a step with everything of the same command.
type Explanation struct {
	Step

	// Before is what GET /me said before, null for no active forge; Me is what it said after all that was committed together.
	Before *commands.Me `json:"me_before"`
	// Command are the events of the command, in order, this one among them.
	Command []Event `json:"command"`
}

// Explain explains the event at a position, or fails with [events.ErrNotFound].
func (r *Reader) Explain(ctx context.Context, position int64) (Explanation, error) {
	event, err := r.log.At(ctx, position)
	if err != nil {
		return Explanation{}, err
	}
	first, err := r.log.PositionBefore(ctx, event.OccurredAt)
	if err != nil {
		return Explanation{}, err
	}
	last, err := r.log.PositionBefore(ctx, event.OccurredAt.Add(time.Microsecond))
	if err != nil {
		return Explanation{}, err
	}
	s, err := r.fold(ctx, first)
	if err != nil {
		return Explanation{}, err
	}
	x := Explanation{Before: s.me(), Step: Step{Event: EventOf(event.Record), Committed: position == last}}
	s.state.Watch()
	for e, err := range r.log.Read(ctx, events.Query{After: first, Through: last}) {
		if err == nil {
			err = s.apply(e)
		}
		if err != nil {
			return Explanation{}, err
		}
		if changes := s.state.Changes(); e.Position == position {
			x.Changes = changes
		}
	}
	x.Me = s.me()
	x.Command, err = r.command(ctx, event)
	return x, err
}

// command returns the events of the command that an event belongs to. Those of one transaction stand side by side; what a command
// does later (tell a forge of a revocation) follows soon, and it is looked for no further than reach.
func (r *Reader) command(ctx context.Context, e events.Event) ([]Event, error) {
	const reach = 1000
	found := []Event{}
	for record, err := range r.log.Records(ctx, events.Query{After: max(0, e.Position-reach), Through: e.Position + reach}) {
		if err != nil {
			return nil, err
		}
		if record.CorrelationID == e.CorrelationID {
			found = append(found, EventOf(record))
		}
	}
	return found, nil
}
