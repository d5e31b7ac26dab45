package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// What people want of a group is left in its tables for its owner, who alone moves cursors and parked streams. Every change is
// announced, so that an owner acts at once; one that comes later finds it.

const announceSQL = `SELECT pg_notify(` + channel + `, '` + controlNotice + `')`

const notFailingSQL = `
UPDATE subscriptions SET attempts = 0, strikes = 0, failing_since = NULL, retry_at = NULL, error = '' WHERE name = $1`

const retrySQL = `
WITH asked AS (
    UPDATE parked SET request = 'retry' WHERE subscription = $1 AND ($2 = '' OR stream = $2) RETURNING 1
), hurried AS (
    UPDATE subscriptions SET retry_at = clock_timestamp() WHERE name = $1 AND $2 = '' AND retry_at > clock_timestamp() RETURNING 1
), counted AS (
    SELECT (SELECT count(*) FROM asked) + (SELECT count(*) FROM hurried) AS held
)
SELECT EXISTS (SELECT FROM subscriptions WHERE name = $1), held, pg_notify(` + channel + `, '` + controlNotice + `') FROM counted`

// ErrNothingToRetry says that a group holds nothing back, or not that stream.
var ErrNothingToRetry = errors.New("nothing is held back there: `forgeauth subscriptions` shows what is")

// Retry has a group try again what it holds back: a stream, or with an empty stream all of them, and an event that is waiting for its next try or for
// a person. It returns [ErrNoGroup] or [ErrNothingToRetry].
func (s *Subscriptions) Retry(ctx context.Context, group string, stream Stream) error {
	var exists bool
	var held int64
	err := s.pool.QueryRow(ctx, retrySQL, group, string(stream)).Scan(&exists, &held, nil)
	switch {
	case err != nil:
		return ReadError("ask for a retry", err)
	case !exists:
		return fmt.Errorf("%q: %w", group, ErrNoGroup)
	case held == 0:
		return ErrNothingToRetry
	}
	return nil
}

type (
	// SkipParked has a group go on behind the event at which it holds a stream back. It is an [Effect].
	SkipParked struct {
		Group    string
		Stream   Stream
		Position int64
	}
	// ParkAndSkip has a group that is paused at an event go on behind it. It is an [Effect].
	ParkAndSkip struct {
		Group    string
		Stream   Stream
		Position int64
	}
	// DisableGroup has a group given nothing until it is enabled. It is an [Effect].
	DisableGroup struct {
		Group, Reason string
		At            time.Time
	}
	// EnableGroup has a group go on where it was. It is an [Effect].
	EnableGroup struct{ Group string }
	// RemoveGroup forgets a group, its cursor and what it holds back. It is an [Effect].
	RemoveGroup struct{ Group string }
	// StartReplay has a part of the log given to a group once more: After < position ≤ Through. Types are separated by commas;
	// none are all of the group's. It is an [Effect].
	StartReplay struct {
		ID             uuid.UUID
		Group          string
		Types          string
		After, Through int64
		By             string
	}
)

// Queue implements [Effect].
func (e SkipParked) Queue(batch *pgx.Batch) {
	batch.Queue(`UPDATE parked SET request = 'skip' WHERE subscription = $1 AND stream = $2 AND position = $3`,
		e.Group, string(e.Stream), e.Position)
	batch.Queue(announceSQL)
}

// Queue implements [Effect].
func (e ParkAndSkip) Queue(batch *pgx.Batch) {
	// The owner finds the stream parked, passes over it, and then carries out what is asked.
	batch.Queue(`
INSERT INTO parked (subscription, stream, position, attempts, error, unknown, request)
SELECT name, $2, $3, attempts, error, false, 'skip' FROM subscriptions WHERE name = $1
ON CONFLICT (subscription, stream) DO NOTHING`, e.Group, string(e.Stream), e.Position)
	// Nothing is known to fail any more: what comes next is another event.
	batch.Queue(notFailingSQL, e.Group)
	batch.Queue(announceSQL)
}

// Queue implements [Effect].
func (e DisableGroup) Queue(batch *pgx.Batch) {
	batch.Queue(`UPDATE subscriptions SET disabled_at = $2, disabled_for = $3 WHERE name = $1`, e.Group, e.At, e.Reason)
	batch.Queue(announceSQL)
}

// Queue implements [Effect].
func (e EnableGroup) Queue(batch *pgx.Batch) {
	batch.Queue(`UPDATE subscriptions SET disabled_at = NULL, disabled_for = '' WHERE name = $1`, e.Group)
	batch.Queue(notFailingSQL, e.Group)
	batch.Queue(announceSQL)
}

// Queue implements [Effect].
func (e RemoveGroup) Queue(batch *pgx.Batch) {
	batch.Queue(`DELETE FROM subscriptions WHERE name = $1`, e.Group)
	batch.Queue(announceSQL)
}

// Queue implements [Effect].
func (e StartReplay) Queue(batch *pgx.Batch) {
	batch.Queue(`
INSERT INTO replays (id, subscription, types, after, through, position, requested_by)
SELECT $1, $2, string_to_array($3, ','), $4, $5, $4, $6`, [16]byte(e.ID), e.Group, e.Types, e.After, e.Through, e.By)
	batch.Queue(announceSQL)
}
