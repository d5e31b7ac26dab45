package commands

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/spelling"
	"github.com/forgeauth/forgeauth/projections"
)

// RequestReplay asks for a part of the log to be given to a consumer group once more.
type RequestReplay struct {
	Caller Caller
	Group  string
	// After and Through bound the positions: After < position ≤ Through. The cursor of the group bounds them as well, because
	// what comes after it is yet to be given out for the first time; a Through of 0 is that cursor.
	After, Through int64
	Types          []string // none: all of the group's
}

// RequestReplay has whoever owns the group give out a part of the log once more, marked with the id of the replay, beside what
// happens now. It returns the ReplayRequested, which says what is replayed. It fails with [events.ErrNoGroup], a [*ReplayRunningError],
// a [*UnknownTypeError], a [*NotSubscribedError] or [ErrNothingToReplay].
func (c *Commands) RequestReplay(ctx context.Context, req RequestReplay) ([]events.Event, error) {
	caller := c.identified(req.Caller)
	r := &requestReplay{RequestReplay: req, id: c.newID(), by: caller.Actor}
	return c.appendForGroup(ctx, caller, req.Group, &r.state, decision{Decide: r.decide})
}

// PlanReplay returns what [Commands.RequestReplay] would write at the moment, without an id, or what it would fail with. It changes
// nothing.
func (c *Commands) PlanReplay(ctx context.Context, req RequestReplay) (events.ReplayRequested, error) {
	r := &requestReplay{RequestReplay: req}
	batch := &pgx.Batch{}
	events.QueueGroup(batch, req.Group, &r.state)
	if err := c.pool.SendBatch(ctx, batch).Close(); err != nil {
		return events.ReplayRequested{}, events.ReadError("read the group", err)
	}
	return r.plan()
}

type requestReplay struct {
	RequestReplay

	id    uuid.UUID
	by    string
	state events.GroupState
}

func (r *requestReplay) decide(*projections.State, time.Time) (events.Outcome, error) {
	fact, err := r.plan()
	if err != nil {
		return events.Outcome{}, err
	}
	return aboutGroup(r.Group, fact, events.StartReplay{
		ID: r.id, Group: r.Group, Types: strings.Join(fact.Types, ","), After: fact.After, Through: fact.Through, By: r.by,
	}), nil
}

func (r *requestReplay) plan() (fact events.ReplayRequested, err error) {
	if err := knownGroup(r.Group, r.state); err != nil {
		return fact, err
	}
	if r.state.Replaying != uuid.Nil {
		return fact, &ReplayRunningError{Group: r.Group, Replay: r.state.Replaying}
	}
	fact = events.ReplayRequested{Group: r.Group, Replay: r.id, After: max(r.After, 0), Through: r.state.Position}
	if fact.Types, err = replayedTypes(r.Group, r.Types, r.state.Types); err != nil {
		return fact, err
	}
	if r.Through > 0 {
		fact.Through = min(r.Through, fact.Through)
	}
	if fact.After >= fact.Through {
		return fact, ErrNothingToReplay
	}
	return fact, nil
}

// replayedTypes returns the types that are asked for, sorted and once each, if a group that is given others gets them at all.
func replayedTypes(group string, asked, given []string) ([]string, error) {
	types := slices.Compact(slices.Sorted(slices.Values(asked)))
	for _, name := range types {
		if !slices.Contains(events.Types(), name) {
			return nil, &UnknownTypeError{Type: name, Near: nearTypes(name)}
		}
		if len(given) > 0 && !slices.Contains(given, name) {
			return nil, &NotSubscribedError{Group: group, Type: name, Types: given}
		}
	}
	if types == nil {
		types = []string{}
	}
	return types, nil
}

// nearTypes returns the types of events that hold name or are few letters away from it, the nearest first.
func nearTypes(name string) []string {
	const mostNear = 3
	name = strings.ToLower(strings.TrimSpace(name))
	var near []string
	for _, known := range events.Types() {
		if lower := strings.ToLower(known); name != "" && (strings.Contains(lower, name) || spelling.Distance(lower, name) <= 1+len(name)/5) {
			near = append(near, known)
		}
	}
	slices.SortStableFunc(near, func(a, b string) int {
		return spelling.Distance(strings.ToLower(a), name) - spelling.Distance(strings.ToLower(b), name)
	})
	return near[:min(len(near), mostNear)]
}
