package events

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const (
	// stateSQL has times as seconds from now, so that no clock but the database's counts.
	stateSQL = `
SELECT position, attempts, strikes, extract(epoch FROM clock_timestamp() - failing_since)::float8,
       extract(epoch FROM CASE WHEN isfinite(retry_at) THEN retry_at - clock_timestamp() END)::float8,
       coalesce(NOT isfinite(retry_at), false), disabled_at IS NOT NULL
FROM subscriptions WHERE name = $1 AND epoch = $2`

	parkedSQL = `
SELECT stream, position, attempts, extract(epoch FROM clock_timestamp() - parked_at)::float8, request, unknown
FROM parked WHERE subscription = $1`

	openReplaysSQL = `
SELECT id, types, position, through FROM replays WHERE subscription = $1 AND ended_at IS NULL ORDER BY requested_at`

	// mine locks the group's row under the epoch, and moves the cursor to where the group has got: whoever has the group after
	// that begins there.
	mine = `
WITH mine AS (
    UPDATE subscriptions SET position = greatest(position, $3), moved_at = clock_timestamp() WHERE name = $1 AND epoch = $2
    RETURNING name
)`

	failureSQL = `
UPDATE subscriptions SET position = greatest(position, $3), attempts = $4, strikes = $5, error = $6,
       failing_since = coalesce(failing_since, clock_timestamp()),
       retry_at = CASE WHEN $7::float8 > 0 THEN clock_timestamp() + make_interval(secs => $7) ELSE 'infinity' END
WHERE name = $1 AND epoch = $2`

	parkSQL = `
WITH mine AS (
    UPDATE subscriptions SET position = greatest(position, $3), moved_at = clock_timestamp(),
           attempts = 0, strikes = 0, failing_since = NULL, retry_at = NULL, error = ''
    WHERE name = $1 AND epoch = $2 RETURNING name
)
INSERT INTO parked (subscription, stream, position, attempts, error, unknown)
SELECT name, $4, $3, $5, $6, $7 FROM mine`

	parkAgainSQL = mine + `
UPDATE parked SET attempts = $6, error = $7, unknown = $8, request = ''
FROM mine WHERE subscription = mine.name AND stream = $4 AND parked.position = $5`

	unparkSQL = mine + `
DELETE FROM parked USING mine WHERE subscription = mine.name AND stream = $4 AND parked.position = $5`

	// parkNextSQL goes on with the stream's next event.
	parkNextSQL = mine + `
UPDATE parked SET position = $6, attempts = 0, request = 'retry'
FROM mine WHERE subscription = mine.name AND stream = $4 AND parked.position = $5`
)

// load reads what the database says of the group. Where everything is known but what people have asked, the cursor stays.
func (r *run) load(ctx context.Context, withCursor bool) error {
	var position int64
	var attempts, strikes int
	var failingFor, retryIn *float64
	state := groupState{parked: map[Stream]parkedStream{}}
	pending := map[uuid.UUID]replay{}
	batch := &pgx.Batch{}
	batch.Queue(stateSQL, r.lease.name, r.lease.epoch).QueryRow(func(row pgx.Row) error {
		return row.Scan(&position, &attempts, &strikes, &failingFor, &retryIn, &state.paused, &state.disabled)
	})
	batch.Queue(parkedSQL, r.lease.name).Query(func(rows pgx.Rows) error {
		var stream Stream
		var parked parkedStream
		var seconds float64
		_, err := pgx.ForEachRow(rows, []any{&stream, &parked.position, &parked.attempts, &seconds, &parked.request, &parked.unknown}, func() error {
			parked.since = r.feed.now().Add(-duration(seconds))
			state.parked[stream] = parked
			return nil
		})
		return err
	})
	batch.Queue(openReplaysSQL, r.lease.name).Query(func(rows pgx.Rows) error {
		var p replay
		_, err := pgx.ForEachRow(rows, []any{(*[16]byte)(&p.id), &p.types, &p.position, &p.through}, func() error {
			pending[p.id] = p
			return nil
		})
		return err
	})
	reading, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	err := r.feed.config.Pool.SendBatch(reading, batch).Close()
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		r.lease.lose(errFenced)
		return errFenced
	case err != nil:
		return ReadError("read the state of group "+r.lease.name, err)
	}
	r.state = state
	if withCursor {
		first := r.replays == nil
		r.cursor = max(position, r.cursor)
		if first {
			r.replays = map[uuid.UUID]context.CancelFunc{}
			r.retryUnknown()
		}
	}
	if position < r.cursor { // what it says of failing is of an event that was handled since
		attempts, strikes, failingFor, retryIn = 0, 0, nil, nil
	}
	r.attempts, r.strikes, r.since, r.retryAt = attempts, strikes, time.Time{}, time.Time{}
	if failingFor != nil {
		r.since = r.feed.now().Add(-duration(*failingFor))
	}
	if retryIn != nil {
		r.retryAt = r.feed.now().Add(duration(*retryIn))
	}
	r.startReplays(ctx, pending)
	return nil
}

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// retryUnknown has what was parked because a program did not know it tried by this one, which may.
func (r *run) retryUnknown() {
	for stream, parked := range r.state.parked {
		if parked.unknown && parked.request == "" {
			parked.request = "retry"
			r.state.parked[stream] = parked
		}
	}
}

// saveFailure keeps when the event that is next is tried again; never by itself if wait is 0.
func (r *run) saveFailure(ctx context.Context, failure error, wait time.Duration) error {
	return r.write(ctx, r.feed.config.Pool, "save a failure", failureSQL,
		r.lease.name, r.lease.epoch, r.cursor, r.attempts, r.strikes, errorText(failure), wait.Seconds())
}

// park holds back the event that is next, and its stream, and moves the cursor past it.
func (r *run) park(ctx context.Context, record Record, failure error) error {
	unknown := errors.Is(failure, ErrUnknownEvent)
	err := r.write(ctx, r.feed.config.Pool, "park an event", parkSQL,
		r.lease.name, r.lease.epoch, record.Position, record.Stream, r.attempts, errorText(failure), unknown)
	if err != nil {
		return err
	}
	r.state.parked[record.Stream] = parkedStream{position: record.Position, attempts: r.attempts, since: r.since, unknown: unknown}
	r.cursor = record.Position
	r.lease.saved.Store(record.Position)
	r.attempts, r.strikes, r.since, r.retryAt = 0, 0, time.Time{}, time.Time{}
	return nil
}

// parkAgain leaves a parked event that failed once more to people.
func (r *run) parkAgain(ctx context.Context, stream Stream, parked parkedStream, failure error) error {
	parked.attempts++
	parked.request, parked.unknown = "", errors.Is(failure, ErrUnknownEvent)
	r.logger.ErrorContext(ctx, "a parked event failed again", "stream", stream, "position", parked.position, "attempts", parked.attempts, "error", failure)
	err := r.write(ctx, r.feed.config.Pool, "park an event", parkAgainSQL,
		r.lease.name, r.lease.epoch, r.cursor, stream, parked.position, parked.attempts, errorText(failure), parked.unknown)
	if err != nil {
		return err
	}
	r.state.parked[stream] = parked
	return nil
}

// writeUnparked holds a stream back from the position next on, or no longer if that is 0.
func (r *run) writeUnparked(ctx context.Context, db execer, stream Stream, position, next int64) error {
	if next == 0 {
		return r.write(ctx, db, "unpark a stream", unparkSQL, r.lease.name, r.lease.epoch, r.cursor, stream, position)
	}
	return r.write(ctx, db, "unpark an event", parkNextSQL, r.lease.name, r.lease.epoch, r.cursor, stream, position, next)
}

// maxErrorText bounds what is kept of an error, in bytes.
const maxErrorText = 1000

// errorText is an error as the database keeps it: one line, valid, not long.
func errorText(err error) string {
	text := strings.ToValidUTF8(err.Error(), "�")
	text = strings.Join(strings.FieldsFunc(text, unicode.IsControl), " ")
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") + "…"
	}
	return text
}

// write executes a statement that changes a row if the group is still this process's.
func (r *run) write(ctx context.Context, db execer, what, sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTime)
	defer cancel()
	tag, err := db.Exec(ctx, sql, args...)
	switch {
	case err != nil:
		return ReadError(what, err)
	case tag.RowsAffected() == 0:
		r.lease.lose(errFenced)
		return fmt.Errorf("%s: %w", what, errFenced)
	}
	return nil
}
