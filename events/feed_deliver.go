package events

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

var (
	errNacked  = errors.New("the handler did not take it")
	errTimeout = errors.New("the handler did not answer in time")
	// errUnsettled says that a transaction may have committed or not. Where the cursor is tells which.
	errUnsettled = errors.New("it is not known whether this was committed")
)

// queryTime bounds one statement of the feed, so that a connection whose other end is gone is noticed.
const queryTime = 10 * time.Second

// doubt has the pool make new connections after a statement that was not answered in time: the others may be as dead.
func doubt(pool *pgxpool.Pool, err error) {
	if errors.Is(err, context.DeadlineExceeded) {
		pool.Reset()
	}
}

// deliver gives out one event and waits for what becomes of it. In a transactional group, mark is called in the transaction
// once the handler is done, and commits together with what that wrote; in others the caller sees to it.
func (r *run) deliver(ctx context.Context, d Delivery, mark func(context.Context, execer) error) (outcome, error) {
	if !r.config.Transactional {
		outcome, _, err := r.give(ctx, d, nil)
		return outcome, err
	}
	// The transaction ends with this function, not with ctx: a handler that is under way may finish.
	longest := r.config.AckTimeout + 2*r.config.CloseTimeout + queryTime
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), longest)
	defer cancel()
	conn, err := r.feed.config.Pool.Acquire(within)
	if err != nil {
		return stopped, ReadError("connect for the handler's transaction", err)
	}
	// Should this process be stopped in the middle, the server ends the transaction, and with it the lock on the group's row.
	tx, err := conn.BeginTx(within, pgx.TxOptions{
		BeginQuery: `BEGIN; SET LOCAL idle_in_transaction_session_timeout = ` + strconv.FormatInt(longest.Milliseconds(), 10),
	})
	if err != nil {
		conn.Release()
		return stopped, ReadError("begin the handler's transaction", err)
	}
	outcome, abandoned, err := r.give(ctx, d, tx)
	if abandoned {
		// The handler may go on using the transaction. Its connection is cut, which nobody has to agree on with it, and
		// is nobody else's any more.
		_ = conn.Hijack().PgConn().Conn().Close()
		return outcome, err
	}
	defer conn.Release()
	defer func() { _ = tx.Rollback(within) }()
	if outcome == failed && tx.Conn().IsClosed() {
		return stopped, fmt.Errorf("the handler lost its connection: %w", err) // no fault of the event
	}
	if outcome != handled {
		return outcome, err
	}
	if err := mark(within, tx); err != nil {
		return stopped, err
	}
	if err := tx.Commit(within); err != nil {
		return stopped, fmt.Errorf("%w: %w", errUnsettled, ReadError("commit the handler's transaction", err))
	}
	return handled, nil
}

// give sends the message and waits for the handler. abandoned says that the handler was given it and did not say what became of it:
// it may still be at work.
func (r *run) give(ctx context.Context, d Delivery, tx pgx.Tx) (_ outcome, abandoned bool, err error) {
	source, err := r.feed.Source(ctx)
	if err != nil {
		return stopped, false, err
	}
	msg := d.prepared
	if d.prepared = nil; msg == nil {
		msg = newMessage(source, d.Record, d.Replay)
	}
	// The handler's context does not end with the subscription, so that what is under way can be finished; it does with the lease.
	until, cancel := context.WithCancel(r.base)
	defer cancel()
	handling := &handlingContext{Context: until, delivery: d, tx: tx}
	msg.SetContext(handling) //nolint:contextcheck // it is not ctx, on purpose
	select {
	case r.out <- msg:
	case <-ctx.Done():
		return stopped, false, context.Cause(ctx)
	}
	timeout := time.NewTimer(r.config.AckTimeout)
	defer timeout.Stop()
	ending := ctx.Done()
	late := false
	for {
		select {
		case <-msg.Acked():
			return handled, false, nil
		case <-msg.Nacked():
			err := cmp.Or(handling.failure.get(), errNacked)
			if late && !errors.Is(err, ErrDestinationDown) {
				err = fmt.Errorf("%w: %s", errTimeout, r.config.AckTimeout)
			}
			return failed, false, err
		case <-timeout.C:
			switch {
			case ctx.Err() != nil:
				return stopped, true, context.Cause(ctx)
			case late:
				return failed, true, fmt.Errorf("%w: %s", errTimeout, r.config.AckTimeout)
			}
			// It is told that its time is over, and gets some more to say what became of it: most then fail by themselves, and nobody
			// works on after the event is tried again.
			late = true
			cancel()
			timeout.Reset(r.config.CloseTimeout)
		case <-ending:
			// It gets some time more to say what became of it, so that it need not be told again.
			ending = nil
			timeout.Reset(r.config.CloseTimeout)
		}
	}
}
