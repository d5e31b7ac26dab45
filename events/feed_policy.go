package events

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Policy says what becomes of an event whose handler fails. Nothing of it is waited for in memory alone: attempts and the time
// of the next one are kept with the group's cursor, so that waits of hours outlive the process.
type Policy struct {
	// Waits are how long to wait after the first, second, … failed try at an event. When they are used up, the try after the
	// last was the last one. Nil is [DefaultWaits].
	Waits []time.Duration
	// Then is what follows.
	Then Exhausted
	// OutageWaits are how long to wait after the first, second, … try that ended with [ErrDestinationDown]; the last one
	// counts for all that follow. Nil is [DefaultOutageWaits].
	OutageWaits []time.Duration
}

// longestWait bounds what a destination can ask for.
const longestWait = 24 * time.Hour

// outageWait is how long to wait after a try, the attempt-th, that ended with an outage.
func (p Policy) outageWait(attempt int, failure error) time.Duration {
	wait := p.OutageWaits[min(attempt, len(p.OutageWaits))-1]
	var asks interface{ RetryAfter() time.Duration }
	if errors.As(failure, &asks) {
		wait = max(wait, min(asks.RetryAfter(), longestWait))
	}
	return wait
}

// Exhausted is what becomes of an event that failed as often as its group's policy allows.
type Exhausted int

const (
	// Park holds back the event and what comes after it in its stream; other streams go on.
	Park Exhausted = iota
	// Pause holds back everything until a person retries or skips the event.
	Pause
)

// String returns "park" or "pause".
func (e Exhausted) String() string {
	if e == Pause {
		return "pause"
	}
	return "park"
}

// The waits of a [Policy] that says nothing of them.
var (
	DefaultWaits       = []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second, 30 * time.Second}
	DefaultOutageWaits = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 15 * time.Second, 30 * time.Second}
)

// What a handler can say of its failure, by wrapping one of these. Any other error counts against the event alone.
var (
	// ErrDestinationDown says that no event can be handled at the moment: the whole group waits, in order, and nothing
	// is parked for it however long it takes. If the error also has a method RetryAfter() time.Duration, it waits for that long at
	// least, a day at most.
	ErrDestinationDown = errors.New("the destination takes no events at the moment")
	// ErrPoison says that this event will not be handled however often it is tried: the policy's end is reached at once.
	ErrPoison = errors.New("this event cannot be handled")
)

// Delivery is what the feed knows about a message that it gives out, beside the event itself.
type Delivery struct {
	Group  string
	Record Record // without what is sealed
	// Attempt counts the tries at this event: 1, 2, 3, …
	Attempt int
	// FailingSince is when the first try failed; zero at the first try.
	FailingSince time.Time
	// Replay is the id of the replay that the event is given out again for; zero if it is not.
	Replay uuid.UUID

	prepared *message.Message // that was made ahead of its turn; nil if it was not
}

// handlingContext is the context of a message: what [DeliveryFrom], [TxFrom] and [Fail] find in it.
type handlingContext struct {
	context.Context //nolint:containedctx // it is one

	delivery Delivery
	tx       pgx.Tx // nil unless the group is transactional
	failure  failure
}

// Value implements [context.Context].
func (c *handlingContext) Value(key any) any {
	switch key.(type) {
	case deliveryKey:
		return &c.delivery
	case txKey:
		return c.tx
	case failureKey:
		return &c.failure
	}
	return c.Context.Value(key)
}

type (
	deliveryKey struct{}
	txKey       struct{}
	failureKey  struct{}
)

// DeliveryFrom returns what the feed knows about the message whose context this is.
func DeliveryFrom(ctx context.Context) (Delivery, bool) {
	d, ok := ctx.Value(deliveryKey{}).(*Delivery)
	if !ok {
		return Delivery{}, false
	}
	return *d, true
}

// TxFrom returns the transaction in which a group that is Transactional moves its cursor past the message whose context this
// is: what the handler writes in it commits together with that, or not at all. It must not be committed or rolled back.
func TxFrom(ctx context.Context) (pgx.Tx, bool) {
	tx, ok := ctx.Value(txKey{}).(pgx.Tx)
	return tx, ok
}

// Fail says why a message is about to be nacked. It may wrap [ErrDestinationDown] or [ErrPoison]. Its text is shown to people
// and kept in the database: it must not hold a secret. Without it a nack counts against the event. For a message of another
// subscriber it does nothing.
func Fail(msg *message.Message, err error) {
	if slot, ok := msg.Context().Value(failureKey{}).(*failure); ok {
		slot.set(err)
	}
}

// failure is where [Fail] leaves why a delivery failed, for the group to read once the message has been nacked.
type failure struct {
	mu  sync.Mutex
	err error
}

func (f *failure) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *failure) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
