package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
)

// run delivers to one member as long as it has the group. One goroutine moves the cursor and the parked streams; replays are
// delivered beside it.
type run struct {
	*member

	lease  *lease
	feed   *Feed
	config GroupConfig
	logger *slog.Logger
	lanes  *sync.WaitGroup // of replays, and of reading ahead
	base   context.Context //nolint:containedctx // of handlers; ends when the lease is lost
	ahead  *ahead          // nil if nothing is read ahead

	cursor   int64 // everything through it is handled, parked, or of no interest
	state    groupState
	replays  map[uuid.UUID]context.CancelFunc
	retryAt  time.Time // of the event that is next, on the monotonic clock; zero if it is not failing
	attempts int
	strikes  int
	since    time.Time // of failing

	parkedLast bool // the last step saw to what is parked
	faults     int  // of the database, one after the other
}

// groupState is what the database says of a group beside its cursor.
type groupState struct {
	disabled bool
	paused   bool
	parked   map[Stream]parkedStream
}

// parkedStream is a stream that is held back from a position on.
type parkedStream struct {
	position int64
	attempts int
	since    time.Time
	request  string
	unknown  bool
}

// maxUnsaved bounds how many events can be handled before the cursor is known to be written.
const maxUnsaved = 2 * pageSize

// outcome is what became of one delivery.
type outcome int

const (
	handled outcome = iota
	failed
	stopped // the subscription or the lease ended, or the database was lost: it is not known
)

func (r *run) work(ctx context.Context) {
	defer r.stopReplays()
	if !r.untilRead(ctx, func() error { return r.load(ctx, true) }) {
		return
	}
	for ctx.Err() == nil {
		select {
		case <-r.lease.control:
			if !r.untilRead(ctx, func() error { return r.load(ctx, false) }) {
				return
			}
		default:
		}
		changed, err := r.step(ctx)
		if err != nil {
			if ctx.Err() == nil {
				r.logger.WarnContext(ctx, "the feed could not go on; trying again", "error", err)
				doubt(r.feed.config.Pool, err)
				r.faults++
				pause(ctx, faultWait(r.faults))
				if errors.Is(err, errUnsettled) {
					r.cursor = 0 // the database knows
					r.lease.saved.Store(0)
				}
				r.untilRead(ctx, func() error { return r.load(ctx, true) })
			}
			continue
		}
		r.faults = 0
		if changed != nil {
			r.sleep(ctx, changed)
		}
	}
	r.close() //nolint:contextcheck // it is to be written although ctx has ended
}

// close writes how far the group got. The lease may be lost already; then this does nothing.
func (r *run) close() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), 5*time.Second)
	defer cancel()
	if r.cursor <= r.lease.saved.Load() || r.attempts > 0 {
		return
	}
	if err := r.lease.save(ctx, r.feed.config.Pool, r.cursor); err != nil && !errors.Is(err, errFenced) {
		r.logger.WarnContext(ctx, "could not save the cursor at the end; what was handled last will be given out again", "error", err)
	}
}

// step does the next thing there is to do. If there is nothing, it returns what tells that there may be.
func (r *run) step(ctx context.Context) (changed <-chan struct{}, err error) {
	switch {
	case r.state.disabled, r.state.paused:
		return never, nil
	case r.retryAt.Sub(r.feed.now()) > 0:
		return never, nil // sleep knows until when
	}
	// What was parked takes turns with what happens now.
	if r.parkedLast = !r.parkedLast; r.parkedLast {
		for stream, parked := range r.state.parked {
			if r.due(parked) {
				return nil, r.unpark(ctx, stream, parked)
			}
		}
	}
	page := r.read(ctx)
	if page.err != nil {
		return nil, page.err
	}
	for i, record := range page.records {
		if ctx.Err() != nil || len(r.lease.control) > 0 {
			return nil, nil //nolint:nilnil,nilerr // there is more to do
		}
		if done, err := r.next(ctx, record, page.message(i)); err != nil || !done {
			return nil, err
		}
	}
	r.cursor = max(r.cursor, page.scanned)
	if r.requested() {
		return nil, nil //nolint:nilnil // there is more to do
	}
	return page.changed, nil
}

// requested reports whether people want something of a parked stream.
func (r *run) requested() bool {
	for _, parked := range r.state.parked {
		if r.due(parked) {
			return true
		}
	}
	return false
}

// due reports whether people want something of a parked stream, and the group has got to where it is held back.
func (r *run) due(parked parkedStream) bool {
	return parked.request != "" && parked.position <= r.cursor
}

// never is what tells nothing.
var never <-chan struct{} = make(chan struct{})

// next sees to the event that follows the cursor. done says that the cursor has moved past it.
func (r *run) next(ctx context.Context, record Record, prepared *message.Message) (done bool, err error) {
	if _, waits := r.state.parked[record.Stream]; waits {
		r.moved(record.Position)
		r.attempts, r.strikes, r.since, r.retryAt = 0, 0, time.Time{}, time.Time{}
		return true, nil
	}
	switch unsaved := r.cursor - r.lease.saved.Load(); {
	case unsaved > maxUnsaved:
		r.feed.marks.hurry()
		r.feed.marks.wait(ctx, r.lease, r.cursor-maxUnsaved)
	case unsaved > maxUnsaved/2:
		r.feed.marks.hurry() // so that it need not come to that
	}
	d := Delivery{Group: r.lease.name, Record: record, Attempt: r.attempts + 1, FailingSince: r.since, prepared: prepared}
	outcome, failure := r.deliver(ctx, d, func(ctx context.Context, tx execer) error {
		return r.lease.saveIn(ctx, tx, record.Position)
	})
	switch outcome {
	case handled:
		if r.config.Transactional {
			r.lease.saved.Store(record.Position)
		}
		r.attempts, r.strikes, r.since, r.retryAt = 0, 0, time.Time{}, time.Time{}
		r.moved(record.Position)
		return true, nil
	case failed:
		return r.fail(ctx, record, failure)
	default:
		return false, failure
	}
}

// moved says that everything through a position is seen to. In a transactional group that is written already.
func (r *run) moved(position int64) {
	r.cursor = position
	if r.lease.saved.Load() < position {
		r.feed.marks.move(r.lease, position)
	}
}

// fail sees to an event that could not be handled: when it is tried again, or what becomes of it if it is not. done says that the
// event is parked, and that the cursor has moved past it.
func (r *run) fail(ctx context.Context, record Record, failure error) (done bool, err error) {
	outage := errors.Is(failure, ErrDestinationDown)
	r.attempts++
	if !outage {
		r.strikes++
	}
	if r.since.IsZero() {
		r.since = r.feed.now()
	}
	policy := r.config.Policy
	var wait time.Duration
	switch {
	case outage:
		wait = policy.outageWait(r.attempts, failure)
	case !errors.Is(failure, ErrPoison) && r.strikes <= len(policy.Waits):
		wait = policy.Waits[r.strikes-1]
	case policy.Then == Park:
		r.logger.ErrorContext(ctx, "an event could not be handled; it is parked, and its stream waits",
			"stream", record.Stream, "position", record.Position, "type", record.Type, "attempts", r.attempts, "error", failure)
		return true, r.park(ctx, record, failure)
	default:
		r.logger.ErrorContext(ctx, "an event could not be handled; the group is paused",
			"stream", record.Stream, "position", record.Position, "type", record.Type, "attempts", r.attempts, "error", failure)
		r.state.paused = true
		return false, r.saveFailure(ctx, failure, 0)
	}
	r.logger.WarnContext(ctx, "an event could not be handled yet", "stream", record.Stream, "position", record.Position,
		"type", record.Type, "attempts", r.attempts, "next_in", wait, "error", failure)
	r.retryAt = r.feed.now().Add(wait)
	return false, r.saveFailure(ctx, failure, wait)
}

// sleep waits until there may be something to do.
func (r *run) sleep(ctx context.Context, changed <-chan struct{}) {
	var retry <-chan time.Time
	if wait := r.retryAt.Sub(r.feed.now()); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		retry = timer.C
	}
	select {
	case <-changed:
	case <-retry:
	case <-r.lease.control:
		r.lease.notice() // for work to see
	case <-ctx.Done():
	}
}

// untilRead repeats what fails while the database is away. It returns false if ctx ends first.
func (r *run) untilRead(ctx context.Context, read func() error) bool {
	for faults := 1; ; faults++ {
		err := read()
		if err == nil {
			return true
		}
		if ctx.Err() == nil {
			r.logger.WarnContext(ctx, "the feed cannot read what became of a group; trying again", "error", err)
			doubt(r.feed.config.Pool, err)
		}
		if !pause(ctx, faultWait(faults)) {
			return false
		}
	}
}

// faultWait is how long to wait after so many faults of the database in a row.
func faultWait(faults int) time.Duration {
	return min(100*time.Millisecond<<min(faults, 10), 5*time.Second)
}

// unpark carries out what a person asked for a parked stream, one event at a time.
func (r *run) unpark(ctx context.Context, stream Stream, parked parkedStream) error {
	page, err := r.readStream(ctx, stream, parked.position)
	if err != nil {
		return err
	}
	if len(page) == 0 || page[0].Position != parked.position {
		return fmt.Errorf("the log has no event %d in stream %s, which is parked there", parked.position, stream)
	}
	following := parkedStream{request: "retry"}
	if len(page) > 1 {
		following.position = page[1].Position
	}
	if parked.request == "skip" {
		r.logger.WarnContext(ctx, "skipped an event", "stream", stream, "position", parked.position, "type", page[0].Type)
		return r.unparkTo(ctx, r.feed.config.Pool, stream, parked, following)
	}
	d := Delivery{Group: r.lease.name, Record: page[0], Attempt: parked.attempts + 1, FailingSince: parked.since}
	outcome, failure := r.deliver(ctx, d, func(ctx context.Context, tx execer) error {
		return r.writeUnparked(ctx, tx, stream, parked.position, following.position)
	})
	switch {
	case outcome == handled && r.config.Transactional:
		r.parkedAt(stream, following)
		return nil
	case outcome == handled:
		return r.unparkTo(ctx, r.feed.config.Pool, stream, parked, following)
	case outcome == failed && errors.Is(failure, ErrDestinationDown):
		// No fault of the event: everything waits, and then this is tried again.
		parked.attempts++
		r.retryAt = r.feed.now().Add(r.config.Policy.outageWait(parked.attempts, failure))
		r.state.parked[stream] = parked
		return nil
	case outcome == failed:
		return r.parkAgain(ctx, stream, parked, failure)
	default:
		return failure
	}
}

func (r *run) unparkTo(ctx context.Context, db execer, stream Stream, parked, following parkedStream) error {
	if err := r.writeUnparked(ctx, db, stream, parked.position, following.position); err != nil {
		return err
	}
	r.parkedAt(stream, following)
	return nil
}

// parkedAt remembers where a stream is held back now; nowhere if there is no position.
func (r *run) parkedAt(stream Stream, parked parkedStream) {
	if parked.position == 0 {
		delete(r.state.parked, stream)
		return
	}
	r.state.parked[stream] = parked
}

// readStream reads the event of a stream at a position, and the one that follows it among those that the group has got to.
func (r *run) readStream(ctx context.Context, stream Stream, position int64) ([]Record, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	types := r.types
	if len(types) == 0 {
		types = nil // as streamPageSQL wants it
	}
	return collect(r.feed.config.Pool.Query(ctx, streamPageSQL, position-1, max(r.cursor, position), 2, stream, types))
}
