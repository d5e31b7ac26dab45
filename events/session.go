package events

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// session is the writer's connection and what it remembers of the tail of the log.
//
// A group takes two round trips. The first begins the transaction, takes the append lock and reads the head of the log,
// the versions of the folds and the rows and stream versions that the decisions read. The second writes and commits. Where
// the session wrote the tail itself and remembers all that the group reads, it takes one: the writes go out with the lock and
// a guard on the head and the folds, which fails if anybody else has appended or repaired since.
type session[S Tables] struct {
	config WriterConfig
	tables S

	conn    *pgx.Conn
	lockKey int64
	channel string
	backend backend

	// tail is what is remembered of the log; valid is false when it must be read anew. After a surprise it is not used for
	// the next cooldown groups: another process is writing too.
	tail     tail
	cooldown int
}

type tail struct {
	valid    bool
	position int64
	last     uuid.UUID // id of the event that the log ended with when it was read or written last; zero if it was empty
	time     time.Time
	versions map[Stream]int64
	repairs  int64
}

// backend identifies the server process of a connection.
type backend struct {
	pid     uint32
	started time.Time
}

const (
	// surpriseCooldown is for how many groups the tail is read from the database after somebody else has appended.
	surpriseCooldown = 16
	// rememberedStreams bounds the memory of the tail.
	rememberedStreams = 4096
	retryDelay        = 20 * time.Millisecond
)

var (
	errSurprise = errors.New("the log is not where this process left it")
	// errStandby refuses a server that may not have heard yet of what was committed, and so cannot settle anything.
	errStandby = errors.New("the server is a standby: it can be written to when it has been promoted")
)

// execute commits the group's decisions and returns their replies, retrying what can be retried until ctx ends.
func (s *session[S]) execute(ctx context.Context, group []*request[S]) ([]reply, error) {
	for {
		replies, err := s.attempt(ctx, group)
		if err == nil {
			return replies, nil
		}
		unknown, lost := errors.AsType[*unknownCommitError](err)
		switch {
		case errors.Is(err, errSurprise):
			s.cooldown = surpriseCooldown
			s.forget()
			continue
		case lost:
			s.config.Logger.WarnContext(ctx, "lost the connection around COMMIT; settling what became of it", "error", unknown.cause)
			committed, err := s.settle(ctx, unknown)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrCommitUnknown, err)
			}
			if committed {
				return unknown.replies, nil
			}
		case !s.transient(err):
			s.rollback(ctx)
			return nil, err
		case lockTimeout(err) && s.evict(ctx) == nil:
			s.config.Logger.WarnContext(ctx, "waited long for the append lock; trying again")
			s.forget()
		default:
			s.config.Logger.WarnContext(ctx, "could not append; trying again", "error", err)
			s.disconnect(ctx)
		}
		if !pause(ctx, retryDelay) {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// attempt is one try of a group: one round trip if the tail can be trusted, two otherwise.
func (s *session[S]) attempt(ctx context.Context, group []*request[S]) ([]reply, error) {
	if s.conn == nil {
		if err := s.connect(ctx); err != nil {
			return nil, err
		}
	}
	streams, known := s.reads(group)
	inTransaction := !known
	if inTransaction {
		if err := s.begin(ctx, group, streams); err != nil {
			return nil, err
		}
	}
	replies, appended, effects, err := s.decide(group)
	if err == nil && len(appended) == 0 && !inTransaction {
		// All refused, by what is remembered. Nothing will be sent whose guard would tell if that is out of date, so they are
		// judged again by what is there.
		inTransaction = true
		if err := s.begin(ctx, group, streams); err != nil {
			return nil, err
		}
		replies, appended, effects, err = s.decide(group)
	}
	if err != nil {
		return nil, err
	}
	return replies, s.write(ctx, inTransaction, replies, appended, effects)
}

// reads returns the streams that the group's decisions read, and whether the session remembers them all.
func (s *session[S]) reads(group []*request[S]) (streams []Stream, known bool) {
	known = s.tail.valid && s.cooldown == 0 && len(s.tail.versions) <= rememberedStreams
	if s.cooldown > 0 {
		s.cooldown--
		s.forget()
	}
	wanted := map[Stream]struct{}{}
	for _, r := range group {
		known = known && r.decision.Query == nil
		for _, stream := range r.decision.Streams {
			wanted[stream] = struct{}{}
			known = known && s.tables.Has(stream)
		}
	}
	return slices.Sorted(maps.Keys(wanted)), known
}

// decide runs the decisions one after the other, each on what the ones before it have left.
func (s *session[S]) decide(group []*request[S]) (replies []reply, appended []Event, effects []Effect, err error) {
	now := s.config.Now().UTC().Truncate(time.Microsecond)
	if now.Before(s.tail.time) {
		now = s.tail.time
	}
	replies = make([]reply, len(group))
	for i, r := range group {
		outcome, err := r.decision.run(s.tables, now)
		if err != nil {
			replies[i].err = err
			continue
		}
		own, err := s.stamp(r.decision, outcome, now)
		if err != nil {
			return nil, nil, nil, err
		}
		replies[i].events = own
		appended = append(appended, own...)
		effects = append(effects, outcome.Effects...)
	}
	return replies, appended, effects, nil
}

// run calls Decide. A decision that panics is refused; it has changed nothing.
func (d Decision[S]) run(state S, now time.Time) (outcome Outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a decision of %s panicked: %v", d.Actor, p)
		}
	}()
	return d.Decide(state, now)
}

// MaxEvent is how many bytes stream, type, actor and payload of an event have together at most: an entry bundle of the tree over the
// log (C2SP tlog-tiles) holds entries of less than 64 KiB.
const MaxEvent = 65_000

// stamp gives drafts their places in the log and folds them into the tables.
func (s *session[S]) stamp(d Decision[S], outcome Outcome, now time.Time) ([]Event, error) {
	if len(outcome.Drafts) == 0 {
		if len(outcome.Effects) > 0 {
			return nil, errors.New("a decision has effects but no events to commit them with")
		}
		return nil, nil
	}
	stamped := make([]Event, 0, len(outcome.Drafts))
	for _, draft := range outcome.Drafts {
		if !slices.Contains(d.Streams, draft.Stream) && !slices.Contains(d.Fresh, draft.Stream) {
			return nil, fmt.Errorf("%s on stream %s, which its decision does not name", TypeOf(draft.Fact), draft.Stream)
		}
		payload, err := encode(draft.Fact)
		if err != nil {
			return nil, err
		}
		kind := draft.Fact.fact()
		if size := len(draft.Stream) + len(kind.name) + len(d.Actor) + len(payload); size > MaxEvent {
			return nil, fmt.Errorf("%w: %s on %s has %d bytes", ErrTooLarge, kind.name, draft.Stream, size)
		}
		s.tail.position++
		s.tail.versions[draft.Stream]++
		e := Event{
			Record: Record{
				Position:      s.tail.position,
				ID:            s.config.NewID(),
				Stream:        draft.Stream,
				StreamVersion: s.tail.versions[draft.Stream],
				Type:          kind.name,
				Schema:        kind.schema,
				OccurredAt:    now,
				Actor:         d.Actor,
				CorrelationID: d.Correlation,
				Payload:       payload,
				Sealed:        draft.Sealed,
			},
			Fact: draft.Fact,
		}
		if err := s.tables.Apply(e); err != nil {
			return nil, err
		}
		stamped = append(stamped, e)
	}
	s.tail.time = now
	s.tables.Begin(d.Fresh)
	return stamped, nil
}

// forget drops what is remembered of the log.
func (s *session[S]) forget() {
	s.tables.Reset()
	s.tail = tail{versions: map[Stream]int64{}}
}

// transient reports whether the same group may well succeed in a moment: the connection is lost, or the server says so.
func (s *session[S]) transient(err error) bool {
	return s.conn == nil || s.conn.IsClosed() || retryable(err)
}

// connect opens the session's connection.
func (s *session[S]) connect(ctx context.Context) error {
	s.forget()
	config := s.config.Conn.Copy()
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 5 * time.Second
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := s.prepare(ctx, conn); err != nil {
		_ = conn.Close(ctx)
		return fmt.Errorf("connect: %w", err)
	}
	s.conn = conn
	return nil
}

// settings bound how long a process that stopped can hold the append lock: its session is ended by the server when it idles
// in a transaction or no longer answers on the network. Generic plans, because planning would be half the cost of an append.
const settings = `
SET default_transaction_isolation = 'read committed';
SET lock_timeout = '6s';
SET statement_timeout = '12s';
SET idle_in_transaction_session_timeout = '5s';
SET tcp_keepalives_idle = 5;
SET tcp_keepalives_interval = 2;
SET tcp_keepalives_count = 3;
SET tcp_user_timeout = '10s';
SET plan_cache_mode = force_generic_plan;
SET synchronous_commit = on`

func (s *session[S]) prepare(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.PgConn().Exec(ctx, settings).ReadAll(); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	ScanInUTC(conn.TypeMap())
	// The process is asked for, because behind a pooler the protocol's process id is the pooler's invention.
	var standby bool
	err := conn.QueryRow(ctx, `
		SELECT `+lockKey+`, `+channel+`, pid, backend_start, pg_is_in_recovery()
		FROM pg_stat_activity WHERE pid = pg_backend_pid()`,
	).Scan(&s.lockKey, &s.channel, &s.backend.pid, &s.backend.started, &standby)
	switch {
	case err != nil:
		return fmt.Errorf("identify: %w", err)
	case standby:
		return errStandby
	}
	return nil
}

// ScanInUTC makes timestamps be read in UTC, as the log keeps them, and not in the zone of the machine.
func ScanInUTC(types *pgtype.Map) {
	types.RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
}

// disconnect closes the connection and forgets what was read over it.
func (s *session[S]) disconnect(ctx context.Context) {
	s.forget()
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx)
	s.conn = nil
}

// rollback leaves a transaction that was refused, and the connection too if that is not possible.
func (s *session[S]) rollback(ctx context.Context) {
	s.forget()
	if s.conn == nil || s.conn.IsClosed() {
		s.conn = nil
		return
	}
	if s.conn.PgConn().TxStatus() == 'I' {
		return
	}
	if _, err := s.conn.Exec(ctx, "ROLLBACK"); err != nil {
		s.disconnect(ctx)
	}
}

// unknownCommitError carries what would have been the answer of a group whose connection was lost around COMMIT.
type unknownCommitError struct {
	replies []reply
	ids     []uuid.UUID
	cause   error
}

func (e *unknownCommitError) Error() string { return "unknown outcome: " + e.cause.Error() }

func (e *unknownCommitError) Unwrap() error { return e.cause }
