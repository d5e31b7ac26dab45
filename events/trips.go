package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The lock and the channel belong to one log: they are derived from the schema that it is in, so that two logs in one database
// never meet, and so that all who write to one do, by whatever search_path they found it.
const (
	schema  = `(SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = 'events'::regclass)`
	lockKey = `hashtextextended('forgeauth.' || ` + schema + `, 0)`
	channel = `'forgeauth_' || md5(` + schema + `)`
)

// Lock takes the append lock in tx until its end: no event is appended meanwhile, by any process. It has to be a statement
// of its own before any that reads events, in a READ COMMITTED transaction.
func Lock(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(`+lockKey+`)`); err != nil {
		return fmt.Errorf("append lock: %w", err)
	}
	return nil
}

const (
	lockSQL = `SELECT pg_advisory_xact_lock($1)`

	headSQL = `SELECT position, event_id, occurred_at FROM events ORDER BY position DESC LIMIT 1`

	foldsSQL = `SELECT name, version, repairs FROM projections`

	versionsSQL = `
SELECT wanted.stream, coalesce((
    SELECT stream_version FROM events e WHERE e.stream = wanted.stream ORDER BY stream_version DESC LIMIT 1), 0)
FROM unnest($1::text[]) AS wanted (stream)`

	// guardSQL fails (division by zero) unless the log ends with the event that this process left there, and the folds are as
	// it left them: ours, each in our version, and none beside them that only a newer program keeps. The event's id, because
	// a restored backup can end, or by now end again, at any position.
	guardSQL = `
SELECT 1 / (count(*) = cardinality($1) AND count(fold.version) = cardinality($1) AND coalesce(sum(p.repairs), 0) = $3
            AND coalesce((SELECT event_id FROM events ORDER BY position DESC LIMIT 1), '00000000-0000-0000-0000-000000000000') = $4)::int
FROM projections p LEFT JOIN unnest($1::text[], $2::int[]) AS fold (name, version)
     ON fold.name = p.name AND fold.version = p.version`

	insertSQL = `
INSERT INTO events (position, event_id, stream, stream_version, type, schema, occurred_at, actor, correlation_id, payload, sealed)
SELECT position, event_id, stream, stream_version, type, schema, occurred_at, actor, correlation_id, payload::json, sealed
FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::smallint[], $7::timestamptz[], $8::text[],
            $9::uuid[], $10::text[], $11::bytea[])
     AS e (position, event_id, stream, stream_version, type, schema, occurred_at, actor, correlation_id, payload, sealed)`

	notifySQL = `SELECT pg_notify($1, $2::bigint::text)`

	committedSQL = `SELECT count(*) FROM events WHERE event_id = ANY($1)`
)

// begin is the first trip: transaction, lock, head, and what the group reads that is not remembered.
func (s *session[S]) begin(ctx context.Context, group []*request[S], streams []Stream) error {
	remembered := s.tail
	if !remembered.valid || len(remembered.versions) > rememberedStreams {
		s.forget()
	}
	missing := make([]Stream, 0, len(streams))
	for _, stream := range streams {
		if !s.tables.Has(stream) {
			missing = append(missing, stream)
		}
	}
	var position, repairs int64
	var last uuid.UUID
	var occurred time.Time
	batch := &pgx.Batch{}
	batch.Queue("BEGIN")
	batch.Queue(lockSQL, s.lockKey)
	batch.Queue(headSQL).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := rows.Scan(&position, (*[16]byte)(&last), &occurred); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	batch.Queue(foldsSQL).Query(func(rows pgx.Rows) (err error) {
		repairs, err = checkFolds(rows, s.tables.Versions())
		return err
	})
	s.load(batch, missing)
	for _, r := range group {
		if r.decision.Query != nil {
			r.decision.Query(batch)
		}
	}
	if err := s.conn.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("read what the decisions need: %w", err)
	}
	moved := last != remembered.last || repairs != remembered.repairs
	if s.tail.valid && moved {
		// Somebody else has written: what was remembered, and so not read, is read after all, still under the lock.
		s.forget()
		batch := &pgx.Batch{}
		s.load(batch, streams)
		if err := s.conn.SendBatch(ctx, batch).Close(); err != nil {
			return fmt.Errorf("read what the decisions need: %w", err)
		}
	}
	s.tail.position, s.tail.last, s.tail.time, s.tail.repairs = position, last, occurred, repairs
	return nil
}

// load queues the reads of the rows and versions of streams.
func (s *session[S]) load(batch *pgx.Batch, streams []Stream) {
	if len(streams) == 0 {
		return
	}
	batch.Queue(versionsSQL, streams).Query(func(rows pgx.Rows) error {
		var stream Stream
		var version int64
		_, err := pgx.ForEachRow(rows, []any{&stream, &version}, func() error {
			s.tail.versions[stream] = version
			return nil
		})
		return err
	})
	s.tables.Load(batch, streams)
}

func checkFolds(rows pgx.Rows, ours map[string]int) (repairs int64, err error) {
	theirs := map[string]int{}
	var name string
	var version int
	var repaired int64
	_, err = pgx.ForEachRow(rows, []any{&name, &version, &repaired}, func() error {
		theirs[name] = version
		repairs += repaired
		return nil
	})
	if err != nil {
		return 0, err
	}
	return repairs, CompareFolds(ours, theirs)
}

// CompareFolds returns [ErrOutdated] if the tables were written by a newer fold than ours, [ErrBehind] if by an older one.
func CompareFolds(ours, theirs map[string]int) error {
	for name, version := range theirs {
		if version > ours[name] {
			return fmt.Errorf("projection %s has version %d, this program knows %d: %w", name, version, ours[name], ErrOutdated)
		}
	}
	for name, version := range ours {
		if theirs[name] < version {
			return fmt.Errorf("projection %s has version %d, this program has %d: %w", name, theirs[name], version, ErrBehind)
		}
	}
	return nil
}

// write is the last trip: what was decided, and COMMIT. Without a transaction begun, the pipeline is one: the lock and the
// guard go out ahead of the writes, and it commits when it ends.
func (s *session[S]) write(ctx context.Context, inTransaction bool, replies []reply, appended []Event, effects []Effect) error {
	if len(appended) == 0 {
		s.tail.valid = s.cooldown == 0
		if _, err := s.conn.Exec(ctx, "ROLLBACK"); err != nil {
			s.disconnect(ctx) // the refusals stand: they were judged under the lock
		}
		return nil
	}
	batch := &pgx.Batch{}
	if !inTransaction {
		batch.Queue(lockSQL, s.lockKey)
		s.queueGuard(batch)
	}
	for _, effect := range effects {
		effect.Queue(batch)
	}
	queueInsert(batch, appended)
	s.tables.Flush(batch)
	batch.Queue(notifySQL, s.channel, appended[len(appended)-1].Position)
	if inTransaction {
		batch.Queue("COMMIT")
	}
	err := s.conn.SendBatch(ctx, batch).Close()
	switch {
	case err == nil:
		s.tail.valid, s.tail.last = s.cooldown == 0, appended[len(appended)-1].ID
		return nil
	case s.refused(err) && !inTransaction && !retryable(err):
		return fmt.Errorf("%w: %w", errSurprise, err)
	case s.refused(err):
		return fmt.Errorf("append: %w", err)
	}
	unknown := &unknownCommitError{replies: replies, cause: err}
	for _, e := range appended {
		unknown.ids = append(unknown.ids, e.ID)
	}
	return unknown
}

// refused reports whether it is certain that the transaction did not commit: the server has said so in a session that goes
// on. A lost connection says nothing, and neither does a session that the server ended.
func (s *session[S]) refused(err error) bool {
	pgErr, said := errors.AsType[*pgconn.PgError](err)
	return !s.conn.IsClosed() && (!said || !fatal(pgErr))
}

func (s *session[S]) queueGuard(batch *pgx.Batch) {
	var names []string
	var versions []int
	for name, version := range s.tables.Versions() {
		names, versions = append(names, name), append(versions, version)
	}
	batch.Queue(guardSQL, names, versions, s.tail.repairs, [16]byte(s.tail.last))
}

func queueInsert(batch *pgx.Batch, appended []Event) {
	var (
		n            = len(appended)
		positions    = make([]int64, n)
		ids          = make([][16]byte, n) // which pgx sends as it is; a uuid.UUID would go through text
		streams      = make([]string, n)
		versions     = make([]int64, n)
		types        = make([]string, n)
		schemas      = make([]int16, n)
		times        = make([]time.Time, n)
		actors       = make([]string, n)
		correlations = make([][16]byte, n)
		payloads     = make([]string, n)
		sealed       = make([][]byte, n)
	)
	for i, e := range appended {
		positions[i], ids[i], streams[i], versions[i] = e.Position, e.ID, string(e.Stream), e.StreamVersion
		types[i], schemas[i], times[i] = e.Type, e.Schema, e.OccurredAt
		actors[i], correlations[i], payloads[i], sealed[i] = e.Actor, e.CorrelationID, string(e.Payload), e.Sealed
	}
	batch.Queue(insertSQL, positions, ids, streams, versions, types, schemas, times, actors, correlations, payloads, sealed)
}

// settle finds out whether a transaction committed whose connection was lost. Once its server process is gone and the
// append lock has been had, it has ended one way or the other, and the event ids tell which. It takes some time more where
// the group's is up: a caller should rather wait than not know.
func (s *session[S]) settle(ctx context.Context, unknown *unknownCommitError) (committed bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Patience)
	defer cancel()
	lost := s.backend
	for {
		s.disconnect(ctx)
		committed, err := s.lookUp(ctx, lost, unknown.ids)
		if err == nil {
			return committed, nil
		}
		s.config.Logger.WarnContext(ctx, "could not settle the lost transaction yet", "error", err)
		if !pause(ctx, retryDelay) {
			return false, err
		}
	}
}

func (s *session[S]) lookUp(ctx context.Context, lost backend, ids []uuid.UUID) (committed bool, err error) {
	if err := s.connect(ctx); err != nil {
		return false, err
	}
	if err := s.fence(ctx, lost); err != nil {
		return false, err
	}
	var found int
	batch := &pgx.Batch{}
	batch.Queue("BEGIN")
	batch.Queue(lockSQL, s.lockKey)
	batch.Queue(committedSQL, ids).QueryRow(func(row pgx.Row) error { return row.Scan(&found) })
	batch.Queue("ROLLBACK")
	if err := s.conn.SendBatch(ctx, batch).Close(); err != nil {
		return false, fmt.Errorf("look for the events: %w", err)
	}
	return found > 0, nil
}

// evict ends the session that holds the append lock if it waits for its client and has for a while. The server's own timeouts
// free the lock of a process that stopped between its trips; one that stopped in the middle of sending is seen by nobody else.
func (s *session[S]) evict(ctx context.Context) error {
	if _, err := s.conn.Exec(ctx, "ROLLBACK"); err != nil {
		return fmt.Errorf("leave the transaction: %w", err)
	}
	_, err := s.conn.Exec(ctx, `
		SELECT pg_terminate_backend(a.pid)
		FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND a.datname = current_database()
		  AND (l.classid::bigint << 32 | l.objid::bigint) = $1
		  AND a.wait_event = 'ClientRead' AND a.state_change < now() - interval '5s'`, s.lockKey)
	if err != nil {
		return fmt.Errorf("free the append lock: %w", err)
	}
	return nil
}

// fence ends the server process of a lost connection, which may have yet to read what was sent to it.
func (s *session[S]) fence(ctx context.Context, lost backend) error {
	for {
		var alive bool
		err := s.conn.QueryRow(ctx, `
			SELECT count(pg_terminate_backend(pid)) > 0
			FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2`, lost.pid, lost.started).Scan(&alive)
		if err != nil {
			return fmt.Errorf("end the lost session: %w", err)
		}
		if !alive {
			return nil
		}
		if !pause(ctx, retryDelay) {
			return fmt.Errorf("end the lost session: %w", context.Cause(ctx))
		}
	}
}
