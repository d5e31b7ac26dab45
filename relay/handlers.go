package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
)

// Handler handles events of one type, or of all. [On], [OnTx] and [OnEvent] make one.
type Handler struct {
	name          string // of the type; empty for all
	transactional bool
	handle        func(context.Context, events.Event) error
}

// On handles facts of a type. The context has what is known beside the fact ([events.DeliveryFrom]); it ends when the group's
// AckTimeout is over, or the group is another process's.
//
// An error has the event tried again as the group's policy says; it may wrap [events.ErrDestinationDown] or [events.ErrPoison]. An
// event may come more than once: if the process died after the handler was done and before that was written, and when a replay was
// asked for.
func On[F events.Fact](handle func(context.Context, F) error) Handler {
	var fact F
	return Handler{name: events.TypeOf(fact), handle: func(ctx context.Context, e events.Event) error {
		return handle(ctx, e.Fact.(F)) //nolint:forcetypeassert // the decoder of that type made it
	}}
}

// OnTx is [On] with the transaction in which the group's cursor moves past the event: what the handler writes in it commits with
// that or not at all, which makes its effect in this database happen exactly once. The handler must not end it, and one that talks
// to others meanwhile holds it open. All handlers of the group are then called in such a transaction.
func OnTx[F events.Fact](handle func(context.Context, pgx.Tx, F) error) Handler {
	h := On(func(ctx context.Context, fact F) error {
		tx, ok := events.TxFrom(ctx)
		if !ok {
			return errors.New("the message came without a transaction") // not from a group of ours
		}
		return handle(ctx, tx, fact)
	})
	h.transactional = true
	return h
}

// OnEvent handles every event.
func OnEvent(handle func(context.Context, events.Event) error) Handler {
	return Handler{handle: handle}
}

// ErrHandlers says that handlers cannot share a group.
var ErrHandlers = errors.New("a group needs a handler, and one at most for each type of event: what one handler has done must not be repeated because another failed")

// Subscribe runs handlers as one consumer group until ctx ends or the relay is closed, in the background. They are called one at a
// time, in the order of the log over all their types. It returns [ErrHandlers], [events.ErrGroupName] or [events.ErrFeedClosed]; faults
// of the database are waited out.
func (r *Relay) Subscribe(ctx context.Context, config events.GroupConfig, handlers ...Handler) error {
	byType := make(map[string]Handler, len(handlers))
	names := make([]string, 0, len(handlers))
	for _, h := range handlers {
		if _, twice := byType[h.name]; twice {
			return fmt.Errorf("group %s: %w", config.Name, ErrHandlers)
		}
		byType[h.name] = h
		names = append(names, h.name)
		config.Transactional = config.Transactional || h.transactional
	}
	all, everything := byType[""]
	if len(handlers) == 0 || everything && len(handlers) > 1 {
		return fmt.Errorf("group %s: %w", config.Name, ErrHandlers)
	}
	topic := strings.Join(names, ",")
	if everything {
		topic = events.TopicAll
	}
	group, err := r.config.Feed.Group(config)
	if err != nil {
		return err
	}
	handle := func(msg *message.Message) error { //nolint:contextcheck // the message has it
		delivery, ok := events.DeliveryFrom(msg.Context())
		if !ok {
			return fmt.Errorf("%w: the message is not of the feed", events.ErrPoison)
		}
		event, err := delivery.Record.Decode()
		if err != nil {
			// Trying again does not help; a newer program, which knows it, does.
			return fmt.Errorf("%w: %w", events.ErrPoison, err)
		}
		h := all
		if !everything {
			h = byType[event.Type]
		}
		return h.handle(msg.Context(), event)
	}
	return r.run(ctx, job{group: group, config: config, topic: topic, handle: handle})
}
