package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// WriterConfig says where a [Writer] writes.
type WriterConfig struct {
	// Conn is a direct connection to the database, not one through a pooler that switches servers between transactions.
	// The log is the table events of its current schema.
	Conn *pgx.ConnConfig
	// Now and NewID default to the clock in UTC and to random UUIDv7.
	Now   func() time.Time
	NewID func() uuid.UUID
	// Patience is how long a decision is tried for, from when its group begins: over lost connections, a busy lock, a
	// restarting server. 15 seconds if zero.
	Patience time.Duration
	// GroupSize bounds how many decisions share a transaction. 64 if zero.
	GroupSize int
	Logger    *slog.Logger
}

// Writer is the one place of a process that appends. Decisions from any number of goroutines queue here, and a goroutine
// of its own executes them in groups; each group is one transaction under the append lock, so that decisions are serial
// over all processes. Safe for concurrent use.
type Writer[S Tables] struct {
	config WriterConfig
	queue  chan *request[S]
	// closing ends the acceptance of decisions, done says that the queue has been worked off.
	closing   chan struct{}
	closeOnce sync.Once
	done      chan struct{}

	// Used by the writer's goroutine only: held is the decision that comes next and could not join the group before it.
	session *session[S]
	held    *request[S]
}

// NewWriter starts a writer over tables, which belong to it from then on. It connects when the first decision arrives.
func NewWriter[S Tables](config WriterConfig, tables S) *Writer[S] {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.NewID == nil {
		config.NewID = func() uuid.UUID { return uuid.Must(uuid.NewV7()) }
	}
	if config.Patience == 0 {
		config.Patience = 15 * time.Second
	}
	if config.GroupSize == 0 {
		config.GroupSize = 64
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Writer[S]{
		config:  config,
		queue:   make(chan *request[S], config.GroupSize),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
		session: &session[S]{config: config, tables: tables},
	}
	go w.run()
	return w
}

// request is one decision on its way through the writer.
type request[S Tables] struct {
	decision Decision[S]
	// taken decides between the writer, which starts to execute it, and a caller that gives up before that.
	taken atomic.Bool
	reply chan reply // buffered: the writer never waits for a caller
}

type reply struct {
	events []Event
	err    error
}

// Append executes the decision and returns its events, in order, once they are durable. A decision without drafts and
// effects returns nil, nil.
//
// The error is the decision's own refusal as it is; [ErrUnavailable] if nothing was written; [ErrCommitUnknown] if that
// cannot be said; [ErrOutdated] or [ErrBehind] if this process must not write to these tables; or another error of the
// database, in which case nothing was written. A caller whose ctx ends stops waiting and cancels nobody: before the
// decision was started nothing happens, after that the error is ErrCommitUnknown. Nobody needs to retry: lost connections and
// busy locks are retried here.
func (w *Writer[S]) Append(ctx context.Context, d Decision[S]) ([]Event, error) {
	r := &request[S]{decision: d, reply: make(chan reply, 1)}
	select {
	case <-w.closing:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case w.queue <- r:
	}
	select {
	case reply := <-r.reply:
		return reply.events, reply.err
	case <-w.done:
		select {
		case reply := <-r.reply:
			return reply.events, reply.err
		default: // queued behind the last group
			return nil, ErrClosed
		}
	case <-ctx.Done():
		if r.taken.CompareAndSwap(false, true) {
			return nil, context.Cause(ctx)
		}
		select {
		case reply := <-r.reply:
			return reply.events, reply.err
		default:
			return nil, fmt.Errorf("%w: %w", ErrCommitUnknown, context.Cause(ctx))
		}
	}
}

// Close stops accepting decisions, works off those that are queued, and closes the connection.
func (w *Writer[S]) Close(ctx context.Context) error {
	w.closeOnce.Do(func() { close(w.closing) })
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (w *Writer[S]) run() {
	defer close(w.done)
	defer w.session.disconnect(context.Background())
	for {
		first := w.next()
		if first == nil {
			return
		}
		if group := w.drain(first); len(group) > 0 {
			w.commit(group)
		}
	}
}

// next waits for a decision. It returns nil when the writer is closed and the queue worked off.
func (w *Writer[S]) next() *request[S] {
	if held := w.held; held != nil {
		w.held = nil
		return held
	}
	select {
	case r := <-w.queue:
		return r
	case <-w.closing:
	}
	select {
	case r := <-w.queue:
		return r
	default:
		return nil
	}
}

// drain returns first and the decisions queued behind it, up to the size of a group. Callers that the last group has just
// woken get their turn first: a group that waits for them is larger, and the round trips are shared by more. A decision with
// a Query is a group of its own. The group is empty if all their callers have left.
func (w *Writer[S]) drain(first *request[S]) []*request[S] {
	for queued := -1; queued != len(w.queue); {
		queued = len(w.queue)
		runtime.Gosched()
	}
	var group []*request[S]
	for r := first; ; {
		alone := r.decision.Query != nil
		if alone && len(group) > 0 {
			w.held = r
			return group
		}
		if r.taken.CompareAndSwap(false, true) {
			group = append(group, r)
			if alone {
				return group
			}
		}
		if len(group) == w.config.GroupSize {
			return group
		}
		select {
		case r = <-w.queue:
		default:
			return group
		}
	}
}

// commit executes a group and answers its members. The group has a context of its own.
func (w *Writer[S]) commit(group []*request[S]) {
	ctx, cancel := context.WithTimeout(context.Background(), w.config.Patience)
	defer cancel()
	replies, err := w.session.execute(ctx, group)
	if err != nil && len(group) > 1 && !concernsAll(err) {
		w.config.Logger.WarnContext(ctx, "a group of decisions was refused; running its members alone", "members", len(group), "error", err)
		for _, r := range group {
			w.commit([]*request[S]{r})
		}
		return
	}
	for i, r := range group {
		if err != nil {
			r.reply <- reply{err: err}
			continue
		}
		r.reply <- replies[i]
	}
}

// concernsAll reports whether an error is not about what a group decided: each of its members would meet it alone.
func concernsAll(err error) bool {
	return errors.Is(err, ErrCommitUnknown) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrOutdated) || errors.Is(err, ErrBehind)
}
