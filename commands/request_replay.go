package commands

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

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
	r := &requestReplay{
		group: req.Group, id: c.newID(), by: caller.Actor, after: max(req.After, 0), through: req.Through, types: req.Types,
	}
	return c.appendForGroup(ctx, caller, req.Group, &r.state, decision{Decide: r.decide})
}

type requestReplay struct {
	group, by      string
	id             uuid.UUID
	after, through int64
	types          []string
	state          events.GroupState
}

func (r *requestReplay) decide(*projections.State, time.Time) (events.Outcome, error) {
	if err := knownGroup(r.group, r.state); err != nil {
		return events.Outcome{}, err
	}
	if r.state.Replaying != uuid.Nil {
		return events.Outcome{}, &ReplayRunningError{Group: r.group, Replay: r.state.Replaying}
	}
	types, err := replayedTypes(r.group, r.types, r.state.Types)
	if err != nil {
		return events.Outcome{}, err
	}
	through := r.state.Position
	if r.through > 0 {
		through = min(r.through, through)
	}
	if r.after >= through {
		return events.Outcome{}, ErrNothingToReplay
	}
	return aboutGroup(r.group,
		events.ReplayRequested{Group: r.group, Replay: r.id, After: r.after, Through: through, Types: types},
		events.StartReplay{ID: r.id, Group: r.group, Types: strings.Join(types, ","), After: r.after, Through: through, By: r.by},
	), nil
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
