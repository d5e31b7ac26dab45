package events

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// controlNotice is the payload of a notification that says that people have asked something of the owners of groups, or that a
// group is free.
const controlNotice = "control"

// listenSettings are those of the connection that holds a process's groups: the server ends it soon after the process's
// machine no longer answers.
const listenSettings = `
SET statement_timeout = '10s';
SET lock_timeout = '5s';
SET tcp_keepalives_idle = 5;
SET tcp_keepalives_interval = 2;
SET tcp_keepalives_count = 3;
SET tcp_user_timeout = '10s';
SET plan_cache_mode = force_generic_plan`

// listen keeps the feed's connection: it hears of appends, and holds the groups of this process. When it is lost, so are they.
func (f *Feed) listen(ctx context.Context) {
	for delay := 50 * time.Millisecond; ctx.Err() == nil; delay = min(2*delay, f.config.Poll) {
		began, err := f.listenOnce(ctx)
		f.loseAll()
		if ctx.Err() != nil {
			return
		}
		if began {
			delay = 50 * time.Millisecond
		}
		f.config.Logger.WarnContext(ctx, "the feed lost its connection; connecting again", "error", err)
		pause(ctx, delay)
	}
}

// hub is one connection of the feed, used by one goroutine.
type hub struct {
	*Feed

	conn    *pgx.Conn
	channel string
	schema  string
}

// answerTime is how long the database has to answer the listening connection. It is part of the poll: a connection whose other end is
// gone is noticed within one, counted from the last that was heard over it.
func (f *Feed) answerTime() time.Duration { return max(2*f.config.Poll/5, time.Second) }

// listenOnce works until the connection is lost or ctx ends. began says that it got as far as listening.
func (f *Feed) listenOnce(ctx context.Context) (began bool, err error) {
	connecting, cancel := context.WithTimeout(ctx, max(f.config.Poll, time.Second))
	defer cancel()
	conn, err := pgx.ConnectConfig(connecting, f.config.Conn)
	if err != nil {
		return false, fmt.Errorf("connect: %w", err)
	}
	h := &hub{Feed: f, conn: conn}
	defer h.disconnect() //nolint:contextcheck // it is to be closed although ctx has ended
	if err := h.prepare(connecting); err != nil {
		return false, fmt.Errorf("connect: %w", err)
	}
	for ctx.Err() == nil {
		// After LISTEN, read first: what was appended before it is not announced.
		if err := h.poll(ctx); err != nil {
			return true, err
		}
		if err := h.hear(ctx); err != nil {
			return true, err
		}
	}
	return true, h.letGo(context.WithoutCancel(ctx))
}

func (h *hub) prepare(ctx context.Context) error {
	ScanInUTC(h.conn.TypeMap())
	if _, err := h.conn.PgConn().Exec(ctx, listenSettings).ReadAll(); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	var deployment [16]byte
	err := h.conn.QueryRow(ctx, `SELECT `+channel+`, `+schema+`, id FROM deployment`).Scan(&h.channel, &h.schema, &deployment)
	if err != nil {
		return fmt.Errorf("identify: %w", err)
	}
	source := Source(deployment)
	h.source.Store(&source)
	if _, err := h.conn.Exec(ctx, `LISTEN `+pgx.Identifier{h.channel}.Sanitize()); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	var head int64
	if err := h.conn.QueryRow(ctx, `SELECT coalesce(max(position), 0) FROM events`).Scan(&head); err != nil {
		return fmt.Errorf("read the head of the log: %w", err)
	}
	switch known := h.tail.position(); {
	case known == 0:
		h.tail.reset(head)
	case head < known:
		h.config.Logger.ErrorContext(ctx, "the log ends earlier than it did: was a backup restored?", "was", known, "is", head)
		h.tail.reset(head)
	}
	return nil
}

func (h *hub) disconnect() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = h.conn.Close(ctx)
}

// hear waits for notifications until it is time to poll, and has what was appended read as it is announced.
func (h *hub) hear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(h.config.Poll-h.answerTime(), h.config.Poll/2))
	var kicked sync.WaitGroup
	kicked.Go(func() {
		select {
		case <-h.kicks:
			cancel()
		case <-ctx.Done():
		}
	})
	defer kicked.Wait()
	defer cancel()
	for {
		notice, err := h.conn.WaitForNotification(ctx)
		switch {
		case err != nil && ctx.Err() != nil && !h.conn.IsClosed():
			return nil // time to poll, or somebody wants something
		case err != nil:
			return fmt.Errorf("wait for notifications: %w", err)
		case notice.Payload == controlNotice:
			return nil
		}
		position, err := strconv.ParseInt(notice.Payload, 10, 64)
		if err == nil && position <= h.tail.position() {
			continue // read already, together with one before it
		}
		if err := h.read(ctx); err != nil {
			return err
		}
	}
}

// read has the tail read what is new. It has its own deadline: one that ended in the middle would cost the connection.
func (h *hub) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.answerTime())
	defer cancel()
	return h.tail.advance(ctx, h.conn)
}

// kick has the feed look at once for what it is to do.
func (f *Feed) kick() {
	select {
	case f.kicks <- struct{}{}:
	default: // it has been kicked already
	}
}

// poll says that this process lives, reads what is new, lets go of groups that are no longer wanted and tries to get those that are.
func (h *hub) poll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.answerTime())
	defer cancel()
	if err := h.letGo(ctx); err != nil {
		return err
	}
	if err := h.beat(ctx); err != nil {
		return err
	}
	if err := h.tail.advance(ctx, h.conn); err != nil {
		return err
	}
	for _, m := range h.waiting() {
		if err := h.claim(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

var (
	errLeaseLost = errors.New("the group may be another process's by now: the connection that held it is lost")
	errFenced    = errors.New("another process has taken over the group")
)
