package events

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// replay is a part of the log that is given to a group once more.
type replay struct {
	id       uuid.UUID
	types    []string
	position int64 // through which it has got
	through  int64
}

const (
	replayedSQL = `
UPDATE replays SET position = greatest(replays.position, $3) FROM subscriptions s
WHERE id = $4 AND subscription = s.name AND s.name = $1 AND s.epoch = $2`

	replayEndedSQL = `
UPDATE replays SET position = greatest(replays.position, $3), ended_at = clock_timestamp(), error = $5 FROM subscriptions s
WHERE id = $4 AND subscription = s.name AND s.name = $1 AND s.epoch = $2`
)

// startReplays runs those replays that are not running yet, and stops all while the group is to be given nothing.
func (r *run) startReplays(ctx context.Context, pending map[uuid.UUID]replay) {
	if r.state.disabled || r.state.paused {
		r.stopReplays()
		return
	}
	for id, stop := range r.replays {
		if _, open := pending[id]; !open {
			stop()
			delete(r.replays, id)
		}
	}
	for id, p := range pending {
		if _, running := r.replays[id]; running {
			continue
		}
		lane, stop := context.WithCancel(ctx)
		r.replays[id] = stop
		r.lanes.Go(func() { r.replay(lane, p) })
	}
}

func (r *run) stopReplays() {
	for _, stop := range r.replays {
		stop()
	}
	clear(r.replays)
	r.lanes.Wait()
}

// replay gives out what a person asked for, beside what happens now.
func (r *run) replay(ctx context.Context, p replay) {
	logger := r.logger.With("replay", p.id)
	logger.InfoContext(ctx, "replaying", "after", p.position, "through", p.through)
	p.types = r.replayed(p.types)
	for faults := 0; p.position < p.through && ctx.Err() == nil; {
		page, err := r.readReplay(ctx, p)
		if err == nil {
			err = r.replayPage(ctx, &p, page)
		}
		if failure, given := errors.AsType[*replayError](err); given {
			logger.ErrorContext(ctx, "the replay ended early", "position", failure.position, "error", failure.err)
			r.endReplay(ctx, p, failure.err.Error())
			return
		}
		if err != nil {
			if ctx.Err() == nil {
				logger.WarnContext(ctx, "the replay could not go on; trying again", "error", err)
				doubt(r.feed.config.Pool, err)
			}
			faults++
			pause(ctx, faultWait(faults))
			r.resume(ctx, &p, err)
			continue
		}
		faults = 0
	}
	if ctx.Err() == nil {
		logger.InfoContext(ctx, "replayed")
		r.endReplay(ctx, p, "")
	}
}

func (r *run) readReplay(ctx context.Context, p replay) ([]Record, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	return readPage(ctx, r.feed.config.Pool, p.position, p.through, p.types, pageSize)
}

// resume finds out how far a replay got whose last transaction may have committed or not.
func (r *run) resume(ctx context.Context, p *replay, err error) {
	if !errors.Is(err, errUnsettled) {
		return
	}
	r.untilRead(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, queryTime)
		defer cancel()
		err := r.feed.config.Pool.QueryRow(ctx, `SELECT position FROM replays WHERE id = $1`, [16]byte(p.id)).Scan(&p.position)
		if errors.Is(err, pgx.ErrNoRows) {
			p.position = p.through // the group was removed
			return nil
		}
		if err != nil {
			return ReadError("read how far a replay got", err)
		}
		return nil
	})
}

// replayed are the types that are replayed, of those that were asked for: what the group does not get, it does not get now.
func (r *run) replayed(asked []string) []string {
	switch {
	case len(asked) == 0:
		return r.types
	case len(r.types) == 0:
		return asked
	}
	common := slices.DeleteFunc(slices.Clone(asked), func(name string) bool { return !slices.Contains(r.types, name) })
	if len(common) == 0 {
		return []string{""} // none has that name
	}
	return common
}

// replayError is a failure of the handler that ends a replay.
type replayError struct {
	position int64
	err      error
}

func (e *replayError) Error() string { return e.err.Error() }

func (e *replayError) Unwrap() error { return e.err }

// markReplayEvery is how many events of a replay are handled between two writes of how far it got.
const markReplayEvery = 64

func (r *run) replayPage(ctx context.Context, p *replay, page []Record) error {
	through := p.through
	if len(page) == pageSize {
		through = page[pageSize-1].Position
	}
	for i, record := range page {
		if err := r.replayOne(ctx, p.id, record); err != nil {
			return err
		}
		p.position = record.Position
		if i%markReplayEvery == markReplayEvery-1 && !r.config.Transactional {
			if err := r.markReplay(ctx, r.feed.config.Pool, p.id, p.position); err != nil {
				return err
			}
		}
	}
	p.position = through
	return r.markReplay(ctx, r.feed.config.Pool, p.id, p.position)
}

// replayOne gives out one event until it is handled, or as often as the group's policy allows.
func (r *run) replayOne(ctx context.Context, id uuid.UUID, record Record) error {
	policy := r.config.Policy
	d := Delivery{Group: r.lease.name, Record: record, Replay: id}
	for strikes := 0; ; {
		d.Attempt++
		outcome, failure := r.deliver(ctx, d, func(ctx context.Context, tx execer) error {
			return r.replayedIn(ctx, tx, id, record.Position)
		})
		if outcome == handled {
			return nil
		}
		if outcome == stopped {
			return failure
		}
		if d.FailingSince.IsZero() {
			d.FailingSince = r.feed.now()
		}
		var wait time.Duration
		if errors.Is(failure, ErrDestinationDown) {
			wait = policy.outageWait(d.Attempt, failure)
		} else if strikes++; errors.Is(failure, ErrPoison) || strikes > len(policy.Waits) {
			return &replayError{record.Position, failure}
		} else {
			wait = policy.Waits[strikes-1]
		}
		if !pause(ctx, wait) {
			return context.Cause(ctx)
		}
	}
}

func (r *run) markReplay(ctx context.Context, db execer, id uuid.UUID, position int64) error {
	return r.write(ctx, db, "save how far a replay got", replayedSQL, r.lease.name, r.lease.epoch, position, [16]byte(id))
}

// replayedIn is for a replay what saveIn is for the cursor.
func (r *run) replayedIn(ctx context.Context, tx execer, id uuid.UUID, position int64) error {
	tag, err := tx.Exec(ctx, replayedSQL+` AND replays.position < $3`, r.lease.name, r.lease.epoch, position, [16]byte(id))
	switch {
	case err != nil:
		return ReadError("save how far a replay got", err)
	case tag.RowsAffected() == 0:
		return fmt.Errorf("%w: the replay has moved, or the group is another process's", errUnsettled)
	}
	return nil
}

func (r *run) endReplay(ctx context.Context, p replay, failure string) {
	err := r.write(ctx, r.feed.config.Pool, "end a replay", replayEndedSQL, r.lease.name, r.lease.epoch, p.position, [16]byte(p.id), failure)
	if err != nil {
		r.logger.WarnContext(ctx, "could not write that a replay has ended; its end will be repeated", "error", err)
	}
}
