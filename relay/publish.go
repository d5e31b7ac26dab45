package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/forgeauth/forgeauth/events"
)

// Destination is where a relay publishes to.
type Destination struct {
	// Publisher takes messages whose payload is the CloudEvent in structured mode (JSON) and whose metadata are its
	// attributes as the feed has them. An error that wraps [events.ErrDestinationDown] has the group wait, one that wraps
	// [events.ErrPoison] is for that event alone. It is closed when the group ends.
	Publisher message.Publisher
	// Address is the publisher's topic for a message; nil for a publisher that has none.
	Address func(*message.Message) string
	// Failed, if not nil, is told of each try that failed, before the feed decides when there is another.
	Failed func(context.Context, events.Delivery, error)
}

// Publish has a publisher given the events of a topic as one consumer group, until ctx ends or the relay is closed, in the background.
// Whatever becomes of it, the publisher is closed. It returns [events.ErrGroupName], [events.ErrTopic] or [events.ErrFeedClosed].
func (r *Relay) Publish(ctx context.Context, config events.GroupConfig, topic string, to Destination) error {
	ended := func() {
		if err := to.Publisher.Close(); err != nil {
			r.config.Logger.WarnContext(ctx, "could not close a relay's publisher", "group", config.Name, "error", err)
		}
	}
	group, err := r.config.Feed.Group(config)
	if err != nil {
		ended()
		return err
	}
	publish := func(msg *message.Message) error { //nolint:contextcheck // the message has it
		document, err := events.Structured(msg)
		if err != nil {
			return fmt.Errorf("%w: %w", events.ErrPoison, err)
		}
		out := message.NewMessage(msg.UUID, document)
		out.Metadata = msg.Metadata
		out.SetContext(msg.Context())
		address := ""
		if to.Address != nil {
			address = to.Address(msg)
		}
		err = to.Publisher.Publish(address, out)
		if delivery, ok := events.DeliveryFrom(msg.Context()); ok && err != nil && to.Failed != nil {
			to.Failed(msg.Context(), delivery, err)
		}
		return err //nolint:wrapcheck // the publisher says what failed
	}
	return r.run(ctx, job{
		group: group, config: config, topic: topic, handle: publish, ended: ended,
		inner: []message.HandlerMiddleware{blinks.Middleware},
	})
}

// blinks is for a destination that is away for a moment and does not say for how long.
var blinks = middleware.Retry{
	MaxRetries: 2, InitialInterval: 50 * time.Millisecond, MaxInterval: 150 * time.Millisecond, Multiplier: 3,
	ShouldRetry: func(p middleware.RetryParams) bool {
		var asks interface{ RetryAfter() time.Duration }
		return errors.Is(p.Err, events.ErrDestinationDown) && !errors.As(p.Err, &asks)
	},
}
