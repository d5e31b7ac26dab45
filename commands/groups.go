package commands

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
)

var (
	// ErrGroupLive says that a process runs the group that is to be forgotten: it would begin anew at once.
	ErrGroupLive = errors.New("a process runs this group: take the relay or handler out of its configuration first, and end it")
	// ErrNothingToReplay says that the group was given nothing yet in that part of the log.
	ErrNothingToReplay = errors.New("there is nothing to replay: the group was given no such event there yet")
)

// NotHeldError says that a group does not stand still at the event that it is to skip.
type NotHeldError struct {
	Group    string
	Stream   events.Stream
	Position int64
	Held     int64 // where it stands still in that stream; 0 if it does not
}

// Error implements error.
func (e *NotHeldError) Error() string {
	if e.Held == 0 {
		return fmt.Sprintf("%s does not stand still in stream %s: `forgeauth subscriptions show %s` says where it does", e.Group, e.Stream, e.Group)
	}
	return fmt.Sprintf("%s stands still in stream %s at position %d, not %d", e.Group, e.Stream, e.Held, e.Position)
}

// ReplayRunningError says that a replay for the group has not ended.
type ReplayRunningError struct {
	Group  string
	Replay uuid.UUID
}

// Error implements error.
func (e *ReplayRunningError) Error() string {
	return fmt.Sprintf("replay %s for %s goes on: `forgeauth subscriptions show %s` says how far it is", e.Replay, e.Group, e.Group)
}

// UnknownTypeError says that there are no events of a type.
type UnknownTypeError struct {
	Type string
	Near []string // types that may be meant
}

// Error implements error.
func (e *UnknownTypeError) Error() string {
	if len(e.Near) == 0 {
		return fmt.Sprintf("%q is no type of event: there are %s", e.Type, strings.Join(events.Types(), ", "))
	}
	return fmt.Sprintf("%q is no type of event: did you mean %s?", e.Type, strings.Join(e.Near, " or "))
}

// NotSubscribedError says that a group is never given events of a type.
type NotSubscribedError struct {
	Group, Type string
	Types       []string // that it is given
}

// Error implements error.
func (e *NotSubscribedError) Error() string {
	return fmt.Sprintf("%s is never given %s: it gets %s", e.Group, e.Type, strings.Join(e.Types, ", "))
}

// appendForGroup executes a decision about a consumer group, of which it reads what the tables of the feed say into state.
func (c *Commands) appendForGroup(ctx context.Context, caller Caller, group string, state *events.GroupState, d decision) ([]events.Event, error) {
	d.Streams = []events.Stream{events.RelayStream(group)}
	d.Query = func(batch *pgx.Batch) { events.QueueGroup(batch, group, state) }
	return c.append(ctx, caller, d)
}

// knownGroup refuses what is asked of a group that there is not.
func knownGroup(group string, state events.GroupState) error {
	if !state.Exists {
		return fmt.Errorf("%q: %w", group, events.ErrNoGroup)
	}
	return nil
}

// aboutGroup is one fact about a group, with what it does to the group.
func aboutGroup(group string, fact events.Fact, effect events.Effect) events.Outcome {
	return events.Outcome{
		Drafts:  []events.Draft{{Stream: events.RelayStream(group), Fact: fact}},
		Effects: []events.Effect{effect},
	}
}
