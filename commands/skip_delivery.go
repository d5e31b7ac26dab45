package commands

import (
	"context"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// SkipDelivery asks for a consumer group to go on behind an event that it cannot handle.
type SkipDelivery struct {
	Caller Caller
	Group  string
	// Stream and Position name the event: one that is parked, or that the group is failing or paused at.
	Stream   events.Stream
	Position int64
}

// SkipDelivery has a group go on behind an event at which it stands still, and never handle that. Whoever owns the group carries it
// out, at once or when there is an owner. It returns the DeliverySkipped, or no event if that was asked already. It fails with
// [events.ErrNoGroup] or a [*NotHeldError].
func (c *Commands) SkipDelivery(ctx context.Context, req SkipDelivery) ([]events.Event, error) {
	s := &skipDelivery{group: req.Group, stream: req.Stream, position: req.Position}
	return c.appendForGroup(ctx, req.Caller, req.Group, &s.state, decision{Decide: s.decide})
}

type skipDelivery struct {
	group    string
	stream   events.Stream
	position int64
	state    events.GroupState
}

func (s *skipDelivery) decide(*projections.State, time.Time) (events.Outcome, error) {
	if err := knownGroup(s.group, s.state); err != nil {
		return events.Outcome{}, err
	}
	held := s.state.Held[s.stream]
	if held.Position != s.position || held.Position == 0 {
		return events.Outcome{}, &NotHeldError{Group: s.group, Stream: s.stream, Position: s.position, Held: held.Position}
	}
	fact := events.DeliverySkipped{Group: s.group, Stream: string(s.stream), Position: s.position}
	switch {
	case held.Skipped:
		return events.Outcome{}, nil
	case held.Parked:
		return aboutGroup(s.group, fact, events.SkipParked{Group: s.group, Stream: s.stream, Position: s.position}), nil
	default:
		return aboutGroup(s.group, fact, events.ParkAndSkip{Group: s.group, Stream: s.stream, Position: s.position}), nil
	}
}
