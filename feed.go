package forgeauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/relay"
)

// openFeed makes the feed and what runs over it. Nothing of it connects before somebody subscribes; that notifications would
// arrive is found out now.
func (s *Service) openFeed(ctx context.Context) error {
	url := s.config.DatabaseDirectURL
	if url.IsZero() {
		url = s.config.DatabaseURL
	}
	config, err := pgxpool.ParseConfig(url.Reveal()) // as a pool's: it may have parameters that only a pool takes
	if err != nil {
		return errors.New("the direct database URL cannot be parsed: see https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING")
	}
	s.feed = events.NewFeed(events.FeedConfig{Pool: s.pool, Conn: config.ConnConfig, Logger: s.config.Logger})
	s.metrics = prometheus.NewRegistry()
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		relay.NewCollector(s.Subscriptions()))
	s.relay = relay.New(relay.Config{Feed: s.feed, Registry: s.metrics, Logger: s.config.Logger})
	if s.config.Maintenance {
		return nil
	}
	if err := s.feed.Check(ctx); err != nil {
		return fmt.Errorf("the feed: %w", err)
	}
	return nil
}

// closeFeed ends the handlers, and then what feeds them.
func (s *Service) closeFeed() error {
	if s.feed == nil {
		return nil
	}
	return errors.Join(s.relay.Close(), s.feed.Close())
}

// OnForgeActivated calls a handler for each switch of the active forge, in order, as the consumer group of that name: over all
// processes and restarts each switch is handled once, or again if the process died before that was written. A new group begins at
// the first switch there ever was. It returns at once; the handler is called until ctx ends or the service is closed. See [relay.On]
// for what its errors do, and [Service.Subscribe] for everything else.
func (s *Service) OnForgeActivated(ctx context.Context, group string, handle func(context.Context, events.ForgeActivated) error) error {
	return s.Subscribe(ctx, events.GroupConfig{Name: group}, relay.On(handle))
}

// Subscribe runs handlers as one consumer group; see [relay.Relay.Subscribe].
func (s *Service) Subscribe(ctx context.Context, group events.GroupConfig, handlers ...relay.Handler) error {
	return s.relay.Subscribe(ctx, group, handlers...)
}

// Feed is the log as it grows, for who wants it as a Watermill subscriber or without a group.
func (s *Service) Feed() *events.Feed { return s.feed }

// Subscriptions shows the consumer groups and takes requests to them.
func (s *Service) Subscriptions() *events.Subscriptions { return events.NewSubscriptions(s.pool) }

// Metrics serves what Prometheus scrapes: the process, the consumer groups, and how their handlers do. It tells who can reach it the
// names of groups, and no secret; it is not part of [Service.Handler].
func (s *Service) Metrics() http.Handler {
	return promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4})
}
