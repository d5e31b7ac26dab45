package events

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// TypeCount says how many events of a type there are, and where.
type TypeCount struct {
	Type        string
	Count       int64
	First, Last int64 // positions
	From, Until time.Time
}

// Count returns how many events of each type a query selects, by type. Latest is of no effect.
func (l *Log) Count(ctx context.Context, q Query) ([]TypeCount, error) {
	q.Latest = 0
	selected, args := q.sql()
	rows, err := l.pool.Query(ctx, `
SELECT type, count(*), min(position), max(position), min(occurred_at), max(occurred_at) FROM (`+selected+`) q GROUP BY type ORDER BY type`, args...)
	if err != nil {
		return nil, ReadError("count events", err)
	}
	counts, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c TypeCount, err error) {
		err = row.Scan(&c.Type, &c.Count, &c.First, &c.Last, &c.From, &c.Until)
		c.From, c.Until = c.From.UTC(), c.Until.UTC()
		return c, err
	})
	if err != nil {
		return nil, ReadError("count events", err)
	}
	return counts, nil
}
