package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

var (
	errNacked  = errors.New("the handler did not take it")
	errTimeout = errors.New("the handler did not answer in time")
	// errUnsettled says that a transaction may have committed or not. Where the cursor is tells which.
	errUnsettled = errors.New("it is not known whether this was committed")
)

// deliver gives out one event and waits for what becomes of it. In a transactional group, mark is called in the transaction
// once the handler is done, and commits together with what that wrote; in others the caller sees to it.
func (r *run) deliver(ctx context.Context, d Delivery, mark func(context.Context, execer) error) (outcome, error) {
	if !r.config.Transactional {
		return r.give(ctx, d, nil)
	}
	// The transaction ends with this function, not with ctx: a handler that is under way may finish.
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.config.AckTimeout+r.config.CloseTimeout+10*time.Second)
	defer cancel()
	tx, err := r.feed.config.Pool.Begin(within)
	if err != nil {
		return stopped, ReadError("begin the handler's transaction", err)
	}
	defer func() { _ = tx.Rollback(within) }()
	outcome, err := r.give(ctx, d, tx)
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

// give sends the message and waits for the handler.
func (r *run) give(ctx context.Context, d Delivery, tx pgx.Tx) (outcome, error) {
	source, err := r.feed.sourceName(ctx)
	if err != nil {
		return stopped, err
	}
	msg := newMessage(source, d.Record, d.Replay)
	slot := &failure{}
	// The handler's context does not end with the subscription, so that what is under way can be finished; it does with the lease.
	handling, cancel := context.WithCancel(context.WithoutCancel(r.ctx))
	defer cancel()
	forget := context.AfterFunc(r.lease.ctx, cancel) //nolint:contextcheck // two contexts end it
	defer forget()
	handling = context.WithValue(context.WithValue(handling, deliveryKey{}, d), failureKey{}, slot)
	if tx != nil {
		handling = context.WithValue(handling, txKey{}, tx)
	}
	msg.SetContext(handling) //nolint:contextcheck // it is not ctx, on purpose
	select {
	case r.out <- msg:
	case <-ctx.Done():
		return stopped, context.Cause(ctx)
	}
	timeout := time.NewTimer(r.config.AckTimeout)
	defer timeout.Stop()
	ending := ctx.Done()
	for {
		select {
		case <-msg.Acked():
			return handled, nil
		case <-msg.Nacked():
			if err := slot.get(); err != nil {
				return failed, err
			}
			return failed, errNacked
		case <-timeout.C:
			if ctx.Err() != nil {
				return stopped, context.Cause(ctx)
			}
			return failed, fmt.Errorf("%w: %s", errTimeout, r.config.AckTimeout)
		case <-ending:
			// It gets some time more to say what became of it, so that it need not be told again.
			ending = nil
			timeout.Reset(r.config.CloseTimeout)
		}
	}
}
