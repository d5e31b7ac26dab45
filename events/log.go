package events

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Log reads the log. A reader that has seen a position has seen everything before it: positions are dense and in commit
// order. Where the database cannot be asked, reads end with [ErrUnreadable]. Safe for concurrent use.
type Log struct {
	pool *pgxpool.Pool
}

// NewLog returns the log in the current schema of the pool's connections.
func NewLog(pool *pgxpool.Pool) *Log { return &Log{pool: pool} }

// Query selects events. The zero Query selects all of them.
type Query struct {
	// After and Through bound the positions: After < position ≤ Through. Through 0 means to the end.
	After, Through int64
	// Stream and Types narrow it to one stream and to certain types.
	Stream Stream
	Types  []string
	// Latest, if not 0, selects only the last that many events, newest first.
	Latest int
	// Limit, if not 0, selects only the first that many events.
	Limit int
}

const recordColumns = `position, event_id, stream, stream_version, type, schema, occurred_at, actor, correlation_id, payload, sealed`

func (q Query) sql() (sql string, args []any) {
	if q.Limit > 0 && q.Stream == "" && len(q.Types) > 0 {
		return q.typesSQL()
	}
	sql = `SELECT ` + recordColumns + ` FROM events`
	and := ` WHERE `
	where := func(condition string, arg any) {
		args = append(args, arg)
		sql += and + fmt.Sprintf(condition, len(args))
		and = ` AND `
	}
	if q.After > 0 {
		where(`position > $%d`, q.After)
	}
	if q.Through > 0 {
		where(`position <= $%d`, q.Through)
	}
	if q.Stream != "" {
		where(`stream = $%d`, q.Stream)
	}
	if len(q.Types) > 0 {
		where(`type = ANY($%d)`, q.Types)
	}
	order := "position"
	if q.Stream != "" {
		order = "stream_version" // the same order, and there is an index that holds just the stream
	}
	if q.Latest > 0 {
		args = append(args, q.Latest)
		return sql + fmt.Sprintf(` ORDER BY %s DESC LIMIT $%d`, order, len(args)), args
	}
	sql += ` ORDER BY ` + order
	if q.Limit > 0 {
		args = append(args, q.Limit)
		sql += fmt.Sprintf(` LIMIT $%d`, len(args))
	}
	return sql, args
}

// typesSQL selects the first events of some types: of each as many by its index, and of those the first. In one condition the types
// would have the planner read the log until it has found enough, which for rare ones is all of it; conditions on rows, and their order,
// fit the index on type and position and no other.
func (q Query) typesSQL() (sql string, args []any) {
	args = []any{q.After, q.Through, q.Limit}
	if q.Through == 0 {
		args[1] = int64(math.MaxInt64)
	}
	parts := make([]string, 0, len(q.Types))
	for _, name := range q.Types {
		args = append(args, name)
		parts = append(parts, fmt.Sprintf(`(SELECT %[1]s FROM events
			WHERE (type, position) > ($%[2]d, $1) AND (type, position) <= ($%[2]d, $2) ORDER BY type, position LIMIT $3)`, recordColumns, len(args)))
	}
	return `SELECT * FROM (` + strings.Join(parts, ` UNION ALL `) + `) AS e ORDER BY position LIMIT $3`, args
}

// Records yields the selected rows as they are stored, in order, streamed: memory does not grow with their number. The
// sequence holds a connection of the pool while it runs, and ends after an error.
func (l *Log) Records(ctx context.Context, q Query) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		// Whoever stops early gives up the connection rather than wait for the rest of a long log.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		sql, args := q.sql()
		rows, err := l.pool.Query(ctx, sql, args...)
		if err != nil {
			yield(Record{}, ReadError("read the log", err))
			return
		}
		scan(rows, cancel)(yield)
	}
}

// Read yields the selected events, decoded. Like [Log.Records] otherwise; an event that this program does not know ends the
// sequence with [ErrUnknownEvent].
func (l *Log) Read(ctx context.Context, q Query) iter.Seq2[Event, error] {
	return decoded(l.Records(ctx, q))
}

// ReadIn is [Log.Read] within a transaction, which sees what its snapshot holds.
func ReadIn(ctx context.Context, tx pgx.Tx, q Query) iter.Seq2[Event, error] {
	return decoded(RecordsIn(ctx, tx, q))
}

// RecordsIn is [Log.Records] within a transaction.
func RecordsIn(ctx context.Context, tx pgx.Tx, q Query) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		sql, args := q.sql()
		rows, err := tx.Query(ctx, sql, args...)
		if err != nil {
			yield(Record{}, ReadError("read the log", err))
			return
		}
		scan(rows, func() {})(yield)
	}
}

func decoded(records iter.Seq2[Record, error]) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for record, err := range records {
			var event Event
			if err == nil {
				event, err = record.Decode()
			}
			if !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// scan yields rows; stop is called if the consumer wants no more of them and there are more.
func scan(rows pgx.Rows, stop func()) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		defer rows.Close()
		var r Record
		fields := []any{
			&r.Position, (*[16]byte)(&r.ID), (*string)(&r.Stream), &r.StreamVersion, &r.Type, &r.Schema, &r.OccurredAt,
			&r.Actor, (*[16]byte)(&r.CorrelationID), (*[]byte)(&r.Payload), &r.Sealed,
		}
		for rows.Next() {
			r.Payload, r.Sealed = nil, nil // the record yielded before keeps its own
			if err := rows.Scan(fields...); err != nil {
				yield(Record{}, ReadError("read the log", err))
				return
			}
			r.OccurredAt = r.OccurredAt.UTC()
			if !yield(r, nil) {
				if rows.Next() {
					stop()
				}
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Record{}, ReadError("read the log", err))
		}
	}
}

// At returns the event at a position, or [ErrNotFound].
func (l *Log) At(ctx context.Context, position int64) (Event, error) {
	if position > 0 { // to a Query, 0 is no bound
		for event, err := range l.Read(ctx, Query{After: position - 1, Through: position}) {
			return event, err
		}
	}
	return Event{}, fmt.Errorf("position %d: %w", position, ErrNotFound)
}

// Head is the end of the log.
type Head struct {
	Position   int64 // 0 if the log is empty
	OccurredAt time.Time
}

// Head returns the end of the log.
func (l *Log) Head(ctx context.Context) (Head, error) {
	var head Head
	err := l.pool.QueryRow(ctx, headSQL).Scan(&head.Position, nil, &head.OccurredAt)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return Head{}, ReadError("read the head of the log", err)
	}
	return head, nil
}
