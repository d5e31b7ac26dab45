package events

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// execer is a pool, a connection or a transaction.
type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// markEvery is how often cursors are written at most while events keep coming: one write for all groups of the process, so
// that neither a busy log nor many groups make for many writes.
const markEvery = 25 * time.Millisecond

// marks writes the cursors of this process's groups behind their handlers, so that none waits for it. What was handled and is
// not yet written when the process dies is given out again. Safe for concurrent use.
type marks struct {
	pool   *pgxpool.Pool
	logger *slog.Logger

	mu      sync.Mutex
	pending map[*lease]int64
	kicks   chan struct{}
	hurries chan struct{} // has a token when somebody would have to wait
	written chan struct{} // closed at each write
}

func newMarks(pool *pgxpool.Pool, logger *slog.Logger) *marks {
	return &marks{
		pool: pool, logger: logger,
		pending: map[*lease]int64{}, kicks: make(chan struct{}, 1), hurries: make(chan struct{}, 1), written: make(chan struct{}),
	}
}

// move has a cursor written soon.
func (k *marks) move(l *lease, position int64) {
	k.mu.Lock()
	k.pending[l] = position
	k.mu.Unlock()
	select {
	case k.kicks <- struct{}{}:
	default:
	}
}

// hurry has the cursors written at once: much has been handled since they were.
func (k *marks) hurry() {
	select {
	case k.hurries <- struct{}{}:
	default:
	}
}

// wait waits until a cursor is written up to a position, or the lease is lost, or ctx ends.
func (k *marks) wait(ctx context.Context, l *lease, position int64) {
	for {
		k.mu.Lock()
		written := k.written
		k.mu.Unlock()
		if l.saved.Load() >= position {
			return
		}
		select {
		case <-written:
		case <-l.ctx.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

func (k *marks) run(ctx context.Context) {
	for {
		select {
		case <-k.kicks:
		case <-ctx.Done():
			return
		}
		k.mu.Lock()
		pending := k.pending
		k.pending = map[*lease]int64{}
		k.mu.Unlock()
		if err := k.write(ctx, pending); err != nil {
			k.logger.WarnContext(ctx, "could not save the cursors of the feed; trying again", "error", err)
			doubt(k.pool, err)
			k.putBack(pending)
			if !pause(ctx, markEvery) {
				return
			}
		}
		select {
		case <-time.After(markEvery):
		case <-k.hurries:
		case <-ctx.Done():
			return
		}
	}
}

// putBack keeps what could not be written, unless it is outdated by now.
func (k *marks) putBack(pending map[*lease]int64) {
	k.mu.Lock()
	for l, position := range pending {
		if _, newer := k.pending[l]; !newer {
			k.pending[l] = position
		}
	}
	k.mu.Unlock()
	select {
	case k.kicks <- struct{}{}:
	default:
	}
}

// marksSQL does not wait for the disk: what a crash of the server loses here is given out again.
const marksSQL = `
WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
UPDATE subscriptions s SET position = greatest(s.position, moved.position), moved_at = clock_timestamp(),
       attempts = CASE WHEN s.position < moved.position THEN 0 ELSE attempts END,
       strikes = CASE WHEN s.position < moved.position THEN 0 ELSE strikes END,
       failing_since = CASE WHEN s.position < moved.position THEN NULL ELSE failing_since END,
       retry_at = CASE WHEN s.position < moved.position THEN NULL ELSE retry_at END,
       error = CASE WHEN s.position < moved.position THEN '' ELSE error END
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS moved (name, epoch, position), lazily
WHERE s.name = moved.name AND s.epoch = moved.epoch
RETURNING s.name, s.epoch`

func (k *marks) write(ctx context.Context, pending map[*lease]int64) error {
	type hold struct {
		name  string
		epoch int64
	}
	leases := make(map[hold]*lease, len(pending))
	var names []string
	var epochs, positions []int64
	for l, position := range pending {
		if l.ctx.Err() != nil || position <= l.saved.Load() {
			continue // whoever lost a group has seen to its cursor
		}
		leases[hold{l.name, l.epoch}] = l
		names, epochs, positions = append(names, l.name), append(epochs, l.epoch), append(positions, position)
	}
	if len(names) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTime)
	defer cancel()
	rows, err := k.pool.Query(ctx, marksSQL, names, epochs, positions)
	if err != nil {
		return ReadError("save cursors", err)
	}
	var h hold
	_, err = pgx.ForEachRow(rows, []any{&h.name, &h.epoch}, func() error {
		l := leases[h]
		l.saved.Store(max(pending[l], l.saved.Load()))
		delete(leases, h)
		return nil
	})
	if err != nil {
		return ReadError("save cursors", err)
	}
	for _, l := range leases { // of which nothing came back
		l.lose(errFenced)
	}
	k.mu.Lock()
	close(k.written)
	k.written = make(chan struct{})
	k.mu.Unlock()
	return nil
}
