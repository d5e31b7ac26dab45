package events

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// GroupState is what a decision about a consumer group reads of it.
type GroupState struct {
	Exists   bool
	Types    []string // none: all
	Position int64    // the cursor
	Live     bool     // a process runs it
	Disabled bool
	// FailingSince is when the event that is next failed first; nil if it has not.
	FailingSince *time.Time
	// Held are the events at which the group stands still, by their stream: the parked ones, and the one that is next, if that fails.
	Held map[Stream]HeldEvent
	// Replaying is the id of a replay that has not ended; zero if there is none.
	Replaying uuid.UUID
}

// HeldEvent is where a group goes on with a stream no further.
type HeldEvent struct {
	Position int64
	// Parked says that only this stream waits; otherwise the whole group does.
	Parked bool
	// Skipped says that a person has asked to skip it already.
	Skipped bool
}

const (
	groupStateSQL = `
SELECT types, position, ` + liveSQL + `, disabled_at IS NOT NULL, failing_since,
       coalesce((SELECT id FROM replays WHERE subscription = s.name AND ended_at IS NULL ORDER BY requested_at LIMIT 1),
                '00000000-0000-0000-0000-000000000000')
FROM subscriptions s WHERE name = $1`

	heldSQL = `
SELECT stream, position, true, request = 'skip' FROM parked WHERE subscription = $1
UNION ALL
SELECT next.stream, next.position, false, false FROM subscriptions s CROSS JOIN LATERAL (` + nextSQL + `) next
WHERE s.name = $1`
)

// QueueGroup queues the reads that fill state when they are run, for the Query of a [Decision] about the group. They are
// made under the log's lock, which keeps other decisions away and not the group's owner, who may move on meanwhile.
func QueueGroup(batch *pgx.Batch, group string, state *GroupState) {
	batch.Queue(groupStateSQL, group, liveFor).Query(func(rows pgx.Rows) error {
		*state = GroupState{Held: map[Stream]HeldEvent{}}
		_, err := pgx.ForEachRow(rows, []any{
			&state.Types, &state.Position, &state.Live, &state.Disabled, &state.FailingSince, (*[16]byte)(&state.Replaying),
		}, func() error {
			state.Exists = true
			return nil
		})
		return err
	})
	batch.Queue(heldSQL, group).Query(func(rows pgx.Rows) error {
		var stream Stream
		var held HeldEvent
		_, err := pgx.ForEachRow(rows, []any{(*string)(&stream), &held.Position, &held.Parked, &held.Skipped}, func() error {
			state.Held[stream] = held
			return nil
		})
		return err
	})
}
