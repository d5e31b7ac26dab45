package events

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Subscriptions shows the consumer groups of the feed to people, and takes their requests to those who run the groups. Safe for concurrent use.
type Subscriptions struct {
	pool *pgxpool.Pool
}

// NewSubscriptions returns the subscriptions in the current schema of the pool's connections.
func NewSubscriptions(pool *pgxpool.Pool) *Subscriptions { return &Subscriptions{pool: pool} }

// Subscription is a consumer group as it stands. Times are the database's.
type Subscription struct {
	Name  string
	Types []string // none: all
	// Position is the cursor: everything of the group's types through it is handled or parked.
	Position int64
	// Lag is how many events of its types follow the cursor, Behind how long ago the first of them occurred.
	Lag    int64
	Behind time.Duration
	// Owner is the process that runs the group; empty if none does. SeenAt is when it last said that it lives.
	Owner  string
	SeenAt time.Time
	// Live says that the owner has said so lately.
	Live    bool
	Epoch   int64
	MovedAt time.Time

	// Attempts at the event that is next have failed, the first one at FailingSince and the last one with Error. It is tried again at RetryAt,
	// or, if the group is Paused, when a person says so. All are zero if nothing fails.
	Attempts     int
	FailingAt    FailingEvent
	FailingSince time.Time
	RetryAt      time.Time
	Error        string
	Paused       bool

	// DisabledAt is zero unless the group is given nothing until it is enabled.
	DisabledAt  time.Time
	DisabledFor string

	Parked  []ParkedStream
	Replays []Replay // those that have not ended, and the last that has
}

// Degraded reports whether the group does not hear of forge switches at the moment although a process may run it: it is paused or
// disabled, or holds back the stream active-forge.
func (s *Subscription) Degraded() bool {
	return s.Paused || !s.DisabledAt.IsZero() ||
		slices.ContainsFunc(s.Parked, func(p ParkedStream) bool { return p.Stream == StreamActiveForge })
}

// FailingEvent is the event that a group is to handle next and could not yet.
type FailingEvent struct {
	Stream   Stream
	Position int64
	Type     string
}

// ParkedStream is a stream of which a group holds back what begins at Position.
type ParkedStream struct {
	Stream   Stream
	Position int64
	Type     string // of the event at Position
	Waiting  int64  // how many events of the group's types are held back, that one included
	Attempts int
	ParkedAt time.Time
	Error    string
	Request  string // retry or skip, which the owner has not carried out yet; else empty
}

// Replay is a part of the log that a group is given once more: After < position ≤ Through.
type Replay struct {
	ID             uuid.UUID
	Types          []string // none: all of the group's
	After, Through int64
	Position       int64 // through which it has got
	RequestedAt    time.Time
	RequestedBy    string
	EndedAt        time.Time // zero if it goes on
	Error          string    // with which it ended early
}

// ErrNoGroup says that there is no consumer group of that name.
var ErrNoGroup = errors.New("there is no consumer group of that name: `forgeauth subscriptions` lists them")

const (
	// nextSQL is the event that comes next for the group s. Where it is known to fail it is near the cursor; otherwise it may be far.
	nextSQL = `
    SELECT e.stream, e.position, e.type FROM events e
    WHERE s.attempts > 0 AND e.position > s.position AND (cardinality(s.types) = 0 OR e.type = ANY(s.types))
      AND NOT EXISTS (SELECT FROM parked p WHERE p.subscription = s.name AND p.stream = e.stream)
    ORDER BY e.position LIMIT 1`

	listSQL = `
SELECT s.name, s.types, s.position, lag.count, coalesce(greatest(extract(epoch FROM now() - lag.since), 0), 0)::float8,
       s.owner, s.seen_at, ` + liveSQL + `, s.epoch, s.moved_at,
       s.attempts, s.failing_since, CASE WHEN isfinite(s.retry_at) THEN s.retry_at END, s.error,
       coalesce(NOT isfinite(s.retry_at), false), s.disabled_at, s.disabled_for,
       coalesce(next.stream, ''), coalesce(next.position, 0), coalesce(next.type, '')
FROM subscriptions s LEFT JOIN LATERAL (` + nextSQL + `) next ON s.attempts > 0 CROSS JOIN LATERAL (
    -- Positions are dense, so nobody has to count all events; those of a type are counted in its index.
    SELECT greatest((SELECT coalesce(max(position), 0) FROM events) - s.position, 0) AS count,
           (SELECT occurred_at FROM events WHERE position = s.position + 1) AS since
    WHERE cardinality(s.types) = 0
    UNION ALL
    SELECT sum(of_type.count)::bigint, min(of_type.since) FROM unnest(s.types) AS wanted (type) CROSS JOIN LATERAL (
        SELECT count(*) AS count,
               (SELECT occurred_at FROM events WHERE type = wanted.type AND position > s.position ORDER BY position LIMIT 1) AS since
        FROM events WHERE type = wanted.type AND position > s.position) of_type
    WHERE cardinality(s.types) > 0
    HAVING cardinality(s.types) > 0) lag
WHERE $1::text IS NULL OR s.name = $1 ORDER BY s.name`

	listParkedSQL = `
SELECT p.subscription, p.stream, p.position, e.type,
       (SELECT count(*) FROM events w WHERE w.stream = p.stream AND w.position >= p.position AND w.position <= greatest(s.position, p.position)
        AND (cardinality(s.types) = 0 OR w.type = ANY(s.types))),
       p.attempts, p.parked_at, p.error, p.request
FROM parked p JOIN subscriptions s ON s.name = p.subscription JOIN events e ON e.position = p.position
WHERE $1::text IS NULL OR s.name = $1 ORDER BY p.position`

	listReplaysSQL = `
SELECT subscription, id, types, after, through, position, requested_at, requested_by, ended_at, error FROM (
    SELECT *, row_number() OVER (PARTITION BY subscription, ended_at IS NULL ORDER BY requested_at DESC) AS latest FROM replays) r
WHERE (ended_at IS NULL OR latest = 1) AND ($1::text IS NULL OR subscription = $1) ORDER BY requested_at`

	// heardSQL is when the owner of the group s was last heard of. One that moves the cursor lives, also where a busy row is never
	// free for it to say so.
	heardSQL = `greatest(s.seen_at, s.moved_at)`
	// liveSQL says whether a process runs the group s, which was heard of for no longer ago than $2.
	liveSQL = `coalesce(s.owner <> '' AND ` + heardSQL + ` > clock_timestamp() - $2::interval, false)`
	// liveFor is that time: an owner says that it lives at least each FeedConfig.Poll.
	liveFor = 15 * time.Second
)

// List returns all consumer groups by name, or [ErrUnreadable].
func (s *Subscriptions) List(ctx context.Context) ([]Subscription, error) { return s.list(ctx, nil) }

// Get returns one consumer group, or [ErrNoGroup], or [ErrUnreadable].
func (s *Subscriptions) Get(ctx context.Context, name string) (Subscription, error) {
	found, err := s.list(ctx, &name)
	switch {
	case err != nil:
		return Subscription{}, err
	case len(found) == 0:
		return Subscription{}, fmt.Errorf("%q: %w", name, ErrNoGroup)
	}
	return found[0], nil
}

func (s *Subscriptions) list(ctx context.Context, name *string) ([]Subscription, error) {
	var all []Subscription
	index := map[string]int{}
	batch := &pgx.Batch{}
	batch.Queue(listSQL, name, liveFor).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var one Subscription
			var behind float64
			var seen, since, retry, disabled *time.Time
			err := rows.Scan(&one.Name, &one.Types, &one.Position, &one.Lag, &behind, &one.Owner, &seen, &one.Live, &one.Epoch, &one.MovedAt,
				&one.Attempts, &since, &retry, &one.Error, &one.Paused, &disabled, &one.DisabledFor,
				(*string)(&one.FailingAt.Stream), &one.FailingAt.Position, &one.FailingAt.Type)
			if err != nil {
				return err
			}
			one.Behind = duration(behind)
			one.SeenAt, one.FailingSince, one.RetryAt, one.DisabledAt = timeOrZero(seen), timeOrZero(since), timeOrZero(retry), timeOrZero(disabled)
			one.MovedAt = one.MovedAt.UTC()
			index[one.Name] = len(all)
			all = append(all, one)
		}
		return rows.Err()
	})
	batch.Queue(listParkedSQL, name).Query(func(rows pgx.Rows) error {
		var group string
		var p ParkedStream
		fields := []any{&group, (*string)(&p.Stream), &p.Position, &p.Type, &p.Waiting, &p.Attempts, &p.ParkedAt, &p.Error, &p.Request}
		_, err := pgx.ForEachRow(rows, fields, func() error {
			p.ParkedAt = p.ParkedAt.UTC()
			if i, ok := index[group]; ok {
				all[i].Parked = append(all[i].Parked, p)
			}
			return nil
		})
		return err
	})
	batch.Queue(listReplaysSQL, name).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var group string
			var r Replay
			var ended *time.Time
			err := rows.Scan(&group, (*[16]byte)(&r.ID), &r.Types, &r.After, &r.Through, &r.Position, &r.RequestedAt, &r.RequestedBy, &ended, &r.Error)
			if err != nil {
				return err
			}
			r.RequestedAt, r.EndedAt = r.RequestedAt.UTC(), timeOrZero(ended)
			if i, ok := index[group]; ok {
				all[i].Replays = append(all[i].Replays, r)
			}
		}
		return rows.Err()
	})
	if err := s.pool.SendBatch(ctx, batch).Close(); err != nil {
		return nil, ReadError("read the subscriptions", err)
	}
	return all, nil
}

// ErrNoReplay says that there is no replay of that id: its group was removed, or never had one.
var ErrNoReplay = errors.New("there is no such replay, or no longer: its group was removed")

// Replay returns how far a replay is, or [ErrNoReplay], or [ErrUnreadable].
func (s *Subscriptions) Replay(ctx context.Context, id uuid.UUID) (Replay, error) {
	r := Replay{ID: id}
	var ended *time.Time
	err := s.pool.QueryRow(ctx, `SELECT types, after, through, position, requested_at, requested_by, ended_at, error FROM replays WHERE id = $1`,
		[16]byte(id)).Scan(&r.Types, &r.After, &r.Through, &r.Position, &r.RequestedAt, &r.RequestedBy, &ended, &r.Error)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Replay{}, ErrNoReplay
	case err != nil:
		return Replay{}, ReadError("read how far a replay is", err)
	}
	r.RequestedAt, r.EndedAt = r.RequestedAt.UTC(), timeOrZero(ended)
	return r, nil
}

func timeOrZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
