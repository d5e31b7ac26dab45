package events

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// lease is this process's hold of a group: an advisory lock on the feed's connection, and the epoch under which cursors are
// moved. Who lost it without knowing moves nothing any more, because whoever has it now has raised the epoch.
type lease struct {
	name  string
	epoch int64
	hub   *hub // whose connection has the lock

	ctx   context.Context //nolint:containedctx // ends when the lease is lost
	lose  context.CancelCauseFunc
	saved atomic.Int64 // the cursor as far as it is known to be written

	// control has a token when people have asked something of the group, or may have.
	control chan struct{}
	asked   string // what was asked when it was last looked at; the hub's own
}

// silent is after how many polls without a word an owner counts as stopped.
const silent = 3

const (
	groupKey = `hashtextextended('forgeauth.group.' || $1 || '.' || $2, 0)`

	takeSQL   = `SELECT pg_try_advisory_lock(` + groupKey + `)`
	unlockSQL = `SELECT pg_advisory_unlock(` + groupKey + `)`

	// takeOverSQL raises the epoch, durably. A row that somebody has locked, such as the open transaction of an owner that was
	// stopped, is not waited for: one group must not hold up the others.
	takeOverSQL = `
WITH free AS (SELECT name FROM subscriptions WHERE name = $1 FOR UPDATE SKIP LOCKED)
UPDATE subscriptions s SET epoch = epoch + 1, owner = $2, seen_at = clock_timestamp(), types = $3 FROM free WHERE s.name = free.name
RETURNING s.epoch, s.position`

	createSQL = `
INSERT INTO subscriptions (name, types, position) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING`

	// beatSQL says that the process lives, and asks what people want of its groups: whatever changes in the answer is news. A
	// group whose row a handler's transaction has locked is asked about and not written to.
	beatSQL = `
WITH held AS (SELECT * FROM unnest($1::text[], $2::bigint[]) AS held (name, epoch)),
free AS (SELECT s.name FROM subscriptions s JOIN held USING (name, epoch) FOR UPDATE OF s SKIP LOCKED),
beaten AS (UPDATE subscriptions s SET seen_at = clock_timestamp() FROM free WHERE s.name = free.name)
SELECT s.name, concat_ws(' ', s.disabled_at, s.retry_at,
    (SELECT string_agg(concat_ws(' ', p.stream, p.position, p.attempts, p.request), ' ' ORDER BY p.stream) FROM parked p WHERE p.subscription = s.name AND p.request <> ''),
    (SELECT string_agg(r.id::text, ' ' ORDER BY r.id) FROM replays r WHERE r.subscription = s.name AND r.ended_at IS NULL))
FROM subscriptions s JOIN held USING (name, epoch)`

	letGoSQL = `
UPDATE subscriptions SET owner = '', seen_at = NULL WHERE name = $1 AND epoch = $2`

	// evictSQL ends the session of an owner that has not been heard of for long although its connection lives: a process that
	// was stopped. It may go on later, and will find that the epoch is not its own any more.
	evictSQL = `
SELECT count(pg_terminate_backend(l.pid))
FROM pg_locks l JOIN pg_database d ON d.oid = l.database
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND d.datname = current_database()
  AND (l.classid::bigint << 32 | l.objid::bigint) = ` + groupKey + `
  AND EXISTS (SELECT FROM subscriptions s WHERE name = $2 AND ` + heardSQL + ` < clock_timestamp() - $3::interval)`
)

// claim tries to get the group of a member for it.
func (h *hub) claim(ctx context.Context, m *member) error {
	name := m.group.config.Name
	var mine bool
	if err := h.conn.QueryRow(ctx, takeSQL, h.schema, name).Scan(&mine); err != nil {
		return fmt.Errorf("take group %s: %w", name, err)
	}
	if !mine {
		var evicted int
		if err := h.conn.QueryRow(ctx, evictSQL, h.schema, name, silent*h.config.Poll).Scan(&evicted); err != nil {
			return fmt.Errorf("look after the owner of group %s: %w", name, err)
		}
		if evicted > 0 {
			h.config.Logger.WarnContext(ctx, "the owner of a group has not been heard of; taking it over", "group", name)
		}
		return nil
	}
	l := &lease{name: name, hub: h, control: make(chan struct{}, 1)}
	var position int64
	err := h.conn.QueryRow(ctx, takeOverSQL, name, h.config.Owner, m.types).Scan(&l.epoch, &position)
	if errors.Is(err, pgx.ErrNoRows) {
		// Nobody could create it when it was subscribed to, or it was removed, or its row is locked.
		if err = m.create(ctx, h.conn); err == nil {
			err = h.conn.QueryRow(ctx, takeOverSQL, name, h.config.Owner, m.types).Scan(&l.epoch, &position)
		}
	}
	if errors.Is(err, pgx.ErrNoRows) {
		if _, err := h.conn.Exec(ctx, unlockSQL, h.schema, name); err != nil {
			return fmt.Errorf("leave group %s: %w", name, err)
		}
		return nil // the next poll tries again
	}
	if err != nil {
		return fmt.Errorf("take over group %s: %w", name, err)
	}
	l.saved.Store(position)
	l.ctx, l.lose = context.WithCancelCause(context.Background())
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held[name] = l
	if slices.Contains(h.members[name], m) {
		m.leases <- l // has room for the one
	} else {
		h.done = append(h.done, l) // it left meanwhile
		h.kick()
	}
	return nil
}

// waiting returns the members that are next to have a group that this process does not hold.
func (f *Feed) waiting() []*member {
	f.mu.Lock()
	defer f.mu.Unlock()
	var next []*member
	for name, members := range f.members {
		if f.held[name] == nil && len(members) > 0 {
			next = append(next, members[0])
		}
	}
	return next
}

// release has the group let go of that the lease is for.
func (f *Feed) release(l *lease) {
	l.lose(errLeaseLost)
	f.mu.Lock()
	if f.held[l.name] == l {
		f.done = append(f.done, l)
	}
	f.mu.Unlock()
	f.kick()
}

// letGo unlocks groups that are no longer used here and tells those who wait for one.
func (h *hub) letGo(ctx context.Context) error {
	h.mu.Lock()
	done := slices.Clone(h.done)
	h.mu.Unlock()
	for _, l := range done {
		if l.hub == h {
			batch := &pgx.Batch{}
			batch.Queue(letGoSQL, l.name, l.epoch)
			batch.Queue(unlockSQL, h.schema, l.name)
			batch.Queue(`SELECT pg_notify($1, $2)`, h.channel, controlNotice)
			if err := h.conn.SendBatch(ctx, batch).Close(); err != nil {
				return fmt.Errorf("let go of group %s: %w", l.name, err)
			}
		}
		h.mu.Lock()
		h.done = slices.DeleteFunc(h.done, func(d *lease) bool { return d == l })
		if h.held[l.name] == l {
			delete(h.held, l.name)
		}
		h.mu.Unlock()
	}
	return nil
}

// loseAll ends all leases of a connection that is lost.
func (f *Feed) loseAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.held {
		l.lose(errLeaseLost)
	}
	clear(f.held)
	f.done = nil
}

// beat says that this process lives, and passes on what people have asked of its groups.
func (h *hub) beat(ctx context.Context) error {
	h.mu.Lock()
	leases := make(map[string]*lease, len(h.held))
	var names []string
	var epochs []int64
	for name, l := range h.held {
		if l.ctx.Err() == nil {
			leases[name] = l
			names, epochs = append(names, name), append(epochs, l.epoch)
		}
	}
	h.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	rows, err := h.conn.Query(ctx, beatSQL, names, epochs)
	if err != nil {
		return fmt.Errorf("say that this process lives: %w", err)
	}
	var name, asked string
	_, err = pgx.ForEachRow(rows, []any{&name, &asked}, func() error {
		if l := leases[name]; l.asked != asked {
			l.asked = asked
			l.notice()
		}
		delete(leases, name)
		return nil
	})
	if err != nil {
		return fmt.Errorf("say that this process lives: %w", err)
	}
	for _, l := range leases { // of which nothing came back
		l.lose(errFenced)
		h.config.Logger.WarnContext(ctx, "a group has been taken over by another process, or removed", "group", l.name)
	}
	return nil
}

// notice has the group's owner look at what people have asked.
func (l *lease) notice() {
	select {
	case l.control <- struct{}{}:
	default:
	}
}

// save moves the group's cursor at once. The error is [errFenced] if the group is no longer this process's.
func (l *lease) save(ctx context.Context, db execer, position int64) error {
	tag, err := db.Exec(ctx, saveSQL, l.name, l.epoch, position)
	switch {
	case err != nil:
		return ReadError("save the cursor", err)
	case tag.RowsAffected() == 0:
		l.lose(errFenced)
		return errFenced
	}
	l.saved.Store(max(position, l.saved.Load()))
	return nil
}

// saveIn moves the cursor in a handler's transaction, and only if it is not there yet: where a transaction before, of which it is
// not known whether it committed, did commit after all, this one must not. The error is then [errUnsettled].
func (l *lease) saveIn(ctx context.Context, tx execer, position int64) error {
	tag, err := tx.Exec(ctx, saveSQL+` AND position < $3`, l.name, l.epoch, position)
	switch {
	case err != nil:
		return ReadError("save the cursor", err)
	case tag.RowsAffected() == 0:
		return fmt.Errorf("%w: the cursor has moved, or the group is another process's", errUnsettled)
	}
	return nil
}

// saveSQL leaves what is said of an event that fails, unless that event is what the cursor moves past.
const saveSQL = `
UPDATE subscriptions SET position = greatest(position, $3), moved_at = clock_timestamp(),
       attempts = CASE WHEN position < $3 THEN 0 ELSE attempts END,
       strikes = CASE WHEN position < $3 THEN 0 ELSE strikes END,
       failing_since = CASE WHEN position < $3 THEN NULL ELSE failing_since END,
       retry_at = CASE WHEN position < $3 THEN NULL ELSE retry_at END,
       error = CASE WHEN position < $3 THEN '' ELSE error END
WHERE name = $1 AND epoch = $2`
