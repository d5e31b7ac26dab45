package events

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Grantee names the token that a connection had last by a position.
type Grantee struct {
	ForgeType string // empty for none
	Position  int64
}

// GrantedBefore returns for each of those asked for the event that granted the token: a TokenIssued or TokenRefreshed at the position or
// before, the zero Event if there is none. They are found by index, in one query.
func (l *Log) GrantedBefore(ctx context.Context, asked ...Grantee) ([]Event, error) {
	sql, args := grantedSQL(asked)
	rows, err := l.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, ReadError("look for tokens", err)
	}
	positions, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, ReadError("look for tokens", err)
	}
	found, err := l.several(ctx, atPositions, positions)
	if err != nil {
		return nil, err
	}
	granted := make([]Event, len(asked))
	for i, position := range positions {
		for _, e := range found {
			if e.Position == position {
				granted[i] = e
			}
		}
	}
	return granted, nil
}

// grantedSQL finds for each the last version of its stream by the position, by halves: versions and positions of a stream grow together,
// and there is an index on the versions. From there it is a few
// events back to a grant; conditions on rows keep the planner from collecting and sorting all of the stream.
func grantedSQL(asked []Grantee) (sql string, args []any) {
	streams, positions := make([]string, len(asked)), make([]int64, len(asked))
	for i, a := range asked {
		streams[i], positions[i] = string(TokenStream(a.ForgeType)), a.Position
	}
	return `
		WITH RECURSIVE search (n, stream, position, low, high) AS (
			SELECT n, stream, position, 0::bigint, coalesce((
				SELECT e.stream_version FROM events e WHERE e.stream = a.stream ORDER BY e.stream_version DESC LIMIT 1), 0)
			FROM unnest($3::text[], $4::bigint[]) WITH ORDINALITY AS a (stream, position, n)
			UNION ALL
			SELECT n, s.stream, s.position, CASE WHEN e.position <= s.position THEN e.stream_version ELSE low END,
			       CASE WHEN e.position <= s.position THEN high ELSE e.stream_version - 1 END
			FROM search s JOIN events e ON e.stream = s.stream AND e.stream_version = (low + high + 1) / 2
			WHERE low < high
		)
		SELECT coalesce((
			SELECT e.position FROM events e
			WHERE (e.stream, e.stream_version) <= (s.stream, s.low) AND (e.stream, e.stream_version) > (s.stream, 0) AND e.type IN ($1, $2)
			ORDER BY e.stream DESC, e.stream_version DESC LIMIT 1), 0)
		FROM search s WHERE low = high ORDER BY n`,
		[]any{TypeOf(TokenIssued{}), TypeOf(TokenRefreshed{}), streams, positions}
}

const (
	atPositions    = `position = ANY($1)`
	firstOfStreams = `stream = ANY($1) AND stream_version = 1`
)

// First returns the first event of each of the streams that has one.
func (l *Log) First(ctx context.Context, streams []Stream) ([]Event, error) {
	return l.several(ctx, firstOfStreams, streams)
}

func severalSQL(condition string) string {
	return `SELECT ` + recordColumns + ` FROM events WHERE ` + condition
}

// several returns the events of a condition on a list.
func (l *Log) several(ctx context.Context, condition string, list any) ([]Event, error) {
	rows, err := l.pool.Query(ctx, severalSQL(condition), list)
	if err != nil {
		return nil, ReadError("read the log", err)
	}
	var found []Event
	for event, err := range decoded(scan(rows, func() {})) {
		if err != nil {
			return nil, err
		}
		found = append(found, event)
	}
	return found, nil
}
