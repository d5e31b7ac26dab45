package events

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Start says where a consumer group begins that has no cursor yet. Nil is [FromBeginning].
type Start interface {
	// resolve returns the position after which the group is given events.
	resolve(context.Context, querier) (int64, error)
}

// querier is a pool, a connection or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

type (
	fromPosition int64
	fromTime     time.Time
	fromNow      struct{}
)

// FromBeginning starts at the first event of the log.
func FromBeginning() Start { return fromPosition(1) }

// FromNow starts with what is appended from now on.
func FromNow() Start { return fromNow{} }

// FromPosition starts at a position, which need not exist yet.
func FromPosition(position int64) Start { return fromPosition(position) }

// FromTime starts at the first event that occurred then or later.
func FromTime(t time.Time) Start { return fromTime(t) }

func (p fromPosition) resolve(context.Context, querier) (int64, error) {
	return max(int64(p)-1, 0), nil
}

func (fromNow) resolve(ctx context.Context, db querier) (int64, error) {
	var head int64
	if err := db.QueryRow(ctx, `SELECT coalesce(max(position), 0) FROM events`).Scan(&head); err != nil {
		return 0, ReadError("read the head of the log", err)
	}
	return head, nil
}

func (t fromTime) resolve(ctx context.Context, db querier) (int64, error) {
	return positionBefore(ctx, db, time.Time(t))
}

// PositionBefore returns the position of the last event that occurred before t, 0 if there is none. Time never goes
// backwards along the log, so everything after that position occurred at t or later.
func (l *Log) PositionBefore(ctx context.Context, t time.Time) (int64, error) {
	return positionBefore(ctx, l.pool, t)
}

// positionBeforeSQL halves the log until one position is left: positions are dense, so there is an event at each that it tries.
const positionBeforeSQL = `
WITH RECURSIVE search (low, high) AS ( -- the event at low is before $1, that at high is not; neither 0 nor the end is asked for
    SELECT 0::bigint, coalesce(max(position), 0) + 1 FROM events
    UNION ALL
    SELECT CASE WHEN e.occurred_at < $1 THEN e.position ELSE s.low END,
           CASE WHEN e.occurred_at < $1 THEN s.high ELSE e.position END
    FROM search s JOIN events e ON e.position = (s.low + s.high) / 2
    WHERE s.high - s.low > 1
)
SELECT max(low) FROM search`

func positionBefore(ctx context.Context, db querier, t time.Time) (int64, error) {
	var position int64
	if err := db.QueryRow(ctx, positionBeforeSQL, t).Scan(&position); err != nil {
		return 0, ReadError(fmt.Sprintf("find the position at %s", t.UTC().Format(time.RFC3339)), err)
	}
	return position, nil
}
