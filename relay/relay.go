package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/components/metrics"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/forgeauth/forgeauth/events"
)

// Config says what a [Relay] stands on.
type Config struct {
	Feed *events.Feed
	// Registry is where the metrics of handlers are registered; nil keeps none.
	Registry prometheus.Registerer
	Logger   *slog.Logger
}

// Relay runs handlers and publishers over a feed. Safe for concurrent use.
type Relay struct {
	config Config
	logger watermill.LoggerAdapter

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
	ctx     context.Context //nolint:containedctx // of all groups; ended by Close
	stop    context.CancelFunc
}

// New returns a relay that runs nothing yet.
func New(config Config) *Relay {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Relay{
		config: config,
		// What the router tells of its own life is of interest to who debugs it.
		logger: watermill.NewSlogLoggerWithLevelMapping(config.Logger, map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug}),
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// Close ends all groups and waits for them: a handler that is under way may finish within its group's CloseTimeout.
func (r *Relay) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop()
	r.running.Wait()
	return nil
}

// closeSlack is what a router may take longer than its group to end.
const closeSlack = 5 * time.Second

// job is what one group is run for.
type job struct {
	group  *events.Group
	config events.GroupConfig
	topic  string
	handle message.NoPublishHandlerFunc
	inner  []message.HandlerMiddleware
	ended  func() // called once, when nothing of the job runs any more; may be nil
}

// run starts a router for one group, which runs until ctx ends or the relay is closed. Where it returns an error, the job has ended.
func (r *Relay) run(ctx context.Context, j job) error {
	if j.ended == nil {
		j.ended = func() {}
	}
	router, err := r.router(j)
	if err != nil {
		j.ended()
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		j.ended()
		return events.ErrFeedClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(r.ctx, cancel) //nolint:contextcheck // two contexts end it
	failed := make(chan error, 1)
	r.running.Go(func() {
		defer j.ended()
		defer cancel()
		defer stop()
		// The subscription ends with ctx, and the router with the subscription, once the handler under way is done.
		failed <- router.Run(ctx)
	})
	select {
	case <-router.Running():
		return nil
	case err := <-failed:
		return err
	}
}

func (r *Relay) router(j job) (*message.Router, error) {
	closeTimeout := j.config.CloseTimeout
	if closeTimeout == 0 {
		closeTimeout = events.DefaultCloseTimeout
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: closeTimeout + closeSlack}, r.logger)
	if err != nil {
		return nil, fmt.Errorf("group %s: %w", j.config.Name, err)
	}
	router.AddMiddleware(r.verdict)
	if r.config.Registry != nil {
		router.AddMiddleware(metrics.NewPrometheusMetricsBuilder(r.config.Registry, "forgeauth", "relay").NewRouterMiddleware().Middleware)
	}
	router.AddMiddleware(middleware.Recoverer)
	router.AddMiddleware(j.inner...)
	router.AddConsumerHandler(j.config.Name, j.topic, j.group, j.handle)
	return router, nil
}

// verdict tells the feed what became of a message. The router would only repeat in the log what the feed says there.
func (r *Relay) verdict(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		_, err := next(msg)
		if panicked, ok := errors.AsType[middleware.RecoveredPanicError](err); ok {
			r.config.Logger.ErrorContext(msg.Context(), "a handler of the feed panicked", "group", message.HandlerNameFromCtx(msg.Context()),
				"event", msg.UUID, "panic", fmt.Sprint(panicked.V), "stack", panicked.Stacktrace)
			err = fmt.Errorf("the handler panicked: %v", panicked.V)
		}
		if err != nil {
			events.Fail(msg, err)
			msg.Nack()
		}
		return nil, nil
	}
}
