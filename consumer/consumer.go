package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
)

// Event is an event that arrived.
type Event struct {
	events.Event

	// Source names the deployment: urn:uuid: and its id.
	Source string
	// Replay is the replay that the event is sent again for; zero if it is sent because it happened.
	Replay uuid.UUID
}

// Handler handles events of one type, or of all. [On] and [OnEvent] make one.
type Handler struct {
	name   string // of the type; empty for all
	handle func(context.Context, Event) error
}

// On handles facts of a type.
func On[F events.Fact](handle func(context.Context, Event, F) error) Handler {
	var fact F
	return Handler{events.TypeOf(fact), func(ctx context.Context, e Event) error {
		return handle(ctx, e, e.Fact.(F)) //nolint:forcetypeassert // the decoder of that type made it
	}}
}

// OnEvent handles every event of a type that this version of the module knows.
func OnEvent(handle func(context.Context, Event) error) Handler { return Handler{"", handle} }

// Config says how events are handled.
type Config struct {
	// Store remembers what was handled. One store belongs to one consumer and one way of listening.
	Store Store
	// Source, if set, is the only deployment whose events are taken.
	Source string
	Logger *slog.Logger
}

// Consumer hands events to handlers. Safe for concurrent use; handlers of one stream are called one after the other.
type Consumer struct {
	config   Config
	handlers map[string]Handler
	known    map[string]bool // types of events
}

var (
	// ErrHandlers says that two handlers would be called for one event.
	ErrHandlers = errors.New("a consumer needs a handler, and one at most for each type of event")
	// ErrSource says that an event is another deployment's.
	ErrSource = errors.New("the event is of another deployment")
	// ErrForked says that there are two histories: another event was handled at the same place. A deployment that was restored from a
	// backup, or copied, has forgotten what it told this consumer.
	ErrForked = errors.New("another event was handled at this position: was the deployment restored from a backup? Remove this consumer's store to begin anew")
)

// New returns a consumer, or [ErrHandlers].
func New(config Config, handlers ...Handler) (*Consumer, error) {
	c := &Consumer{config: config, handlers: map[string]Handler{}, known: map[string]bool{}}
	for _, name := range events.Types() {
		c.known[name] = true
	}
	if c.config.Logger == nil {
		c.config.Logger = slog.New(slog.DiscardHandler)
	}
	if c.config.Store == nil {
		c.config.Store = NewMemory()
	}
	for _, h := range handlers {
		if _, twice := c.handlers[h.name]; twice {
			return nil, ErrHandlers
		}
		c.handlers[h.name] = h
	}
	if _, all := c.handlers[""]; len(handlers) == 0 || all && len(handlers) > 1 {
		return nil, ErrHandlers
	}
	return c, nil
}

// Handle handles one event, given as CloudEvent in structured mode (JSON), unless it was handled before or no handler is for it. When it
// returns nil the store remembers that. It returns [events.ErrNotOurs], [events.ErrUnknownEvent], [ErrSource], [ErrForked], or what
// the handler or the store returned.
func (c *Consumer) Handle(ctx context.Context, document []byte) error {
	msg, err := events.ParseStructured(document)
	if err != nil {
		return err
	}
	record, replay, err := events.ParseMessage(msg)
	if err != nil {
		return err
	}
	source := msg.Metadata.Get(events.MetadataSource)
	if c.config.Source != "" && source != c.config.Source {
		return fmt.Errorf("%w: %s", ErrSource, source)
	}
	h, wanted := c.handlers[record.Type]
	if !wanted {
		h, wanted = c.handlers[""]
		wanted = wanted && c.known[record.Type]
	}
	if !wanted {
		return nil
	}
	event, err := record.Decode()
	if err != nil {
		return fmt.Errorf("update the module: %w", err)
	}
	key := string(record.Stream)
	if replay != uuid.Nil {
		key = "replay/" + replay.String() + "/" + key
	}
	e := Event{Event: event, Source: source, Replay: replay}
	return c.config.Store.Do(ctx, key, Mark{Position: record.Position, ID: record.ID}, func(ctx context.Context) error {
		return c.call(ctx, h, e)
	})
}

// call has a panic be the failure of one event.
func (c *Consumer) call(ctx context.Context, h Handler, e Event) (err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			c.config.Logger.ErrorContext(ctx, "a handler panicked", "event", e.ID, "panic", fmt.Sprint(panicked), "stack", string(debug.Stack()))
			err = fmt.Errorf("the handler panicked: %v", panicked)
		}
	}()
	return h.handle(ctx, e)
}

// Message is [Consumer.Handle] as the handler of a Watermill router, for messages of a relay to NATS or Kafka. An error nacks the message.
func (c *Consumer) Message(msg *message.Message) error { return c.Handle(msg.Context(), msg.Payload) }

// types are the types that handlers are for; none for all.
func (c *Consumer) types() []string {
	var names []string
	for name := range c.handlers {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}
