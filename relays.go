package forgeauth

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/relay"
	"github.com/forgeauth/forgeauth/relay/kafka"
	"github.com/forgeauth/forgeauth/relay/nats"
	"github.com/forgeauth/forgeauth/relay/webhook"
	"github.com/forgeauth/forgeauth/secret"
)

// RelayConfig says where a consumer group's events are published to. [Service.Run] runs it.
type RelayConfig struct {
	// Name is the consumer group's.
	Name string
	// URL is nats://…, kafka://… or https://…: see [nats.ParseURL], [kafka.ParseURL] and [webhook.Config]. It may hold a
	// password.
	URL secret.Text
	// Secrets sign a webhook's requests; see [webhook.Config].
	Secrets []secret.Text
	// Types are the types of events; all if there is none.
	Types []string
	// Start is where a relay begins that has never run; now if nil.
	Start events.Start
	// Then is what becomes of an event that the destination refuses again and again.
	Then events.Exhausted
	// Checkpoints makes it carry the signed checkpoints of the log, each as soon as it was signed, and no events. Types, Start and
	// Then say nothing then.
	Checkpoints bool
	// AllowPrivate lets a webhook go to an address that is not public.
	AllowPrivate bool
	// RootCAs are the only authorities to trust; the system's if nil.
	RootCAs *x509.CertPool
}

// relayTime is how long a destination has for one event. The publishers have shorter times of their own.
const relayTime = 2 * time.Minute

// scheme is what the URL begins with.
func (c RelayConfig) scheme() string {
	scheme, _, _ := strings.Cut(c.URL.Reveal(), "://")
	return scheme
}

// String says where a relay leads, without anything that may be secret.
func (c RelayConfig) String() string {
	scheme, rest, _ := strings.Cut(c.URL.Reveal(), "://")
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	return scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
}

func (c RelayConfig) webhook() webhook.Config {
	return webhook.Config{
		URL: c.URL, Secrets: c.Secrets, AllowPrivate: c.AllowPrivate, RootCAs: c.RootCAs, UserAgent: "forgeauth/" + Version(),
	}
}

// validate finds out whether the destination is one, without connecting to it. The error is a *[relay.SettingError].
func (c RelayConfig) validate() error {
	var err error
	switch c.scheme() {
	case nats.Scheme:
		_, err = nats.ParseURL(c.URL)
	case kafka.Scheme:
		_, err = kafka.ParseURL(c.URL)
	case "https", "http":
		_, err = webhook.New(c.webhook())
		return err
	default:
		return &relay.SettingError{Setting: "URL", Problem: "begins with no scheme that is known", Remedy: "write nats://, kafka:// or https:// and where to"}
	}
	if err == nil && len(c.Secrets) > 0 {
		return &relay.SettingError{Setting: "SECRET", Problem: "is set, and only a webhook has one", Remedy: "put a broker's password into its URL, and unset it"}
	}
	return err
}

// destination connects to where a relay leads, and says how long it is waited for.
func (s *Service) destination(c RelayConfig) (to relay.Destination, policy events.Policy, err error) {
	logger := s.config.Logger.With("relay", c.Name)
	switch c.scheme() {
	case nats.Scheme:
		config, err := nats.ParseURL(c.URL)
		if err != nil {
			return relay.Destination{}, events.Policy{}, err
		}
		config.RootCAs, config.Logger = c.RootCAs, logger
		publisher, err := nats.New(config)
		return relay.Destination{Publisher: publisher, Address: config.Address}, events.Policy{Then: c.Then}, err
	case kafka.Scheme:
		config, err := kafka.ParseURL(c.URL)
		if err != nil {
			return relay.Destination{}, events.Policy{}, err
		}
		config.RootCAs, config.Logger = c.RootCAs, logger
		publisher, err := kafka.New(config)
		return relay.Destination{Publisher: publisher, Address: config.Address}, events.Policy{Then: c.Then}, err
	default:
		publisher, err := webhook.New(c.webhook())
		policy := webhook.Policy()
		policy.Then = c.Then
		return relay.Destination{Publisher: publisher, Failed: s.giveUp(logger)}, policy, err
	}
}

// giveUp has a webhook disabled whose endpoint is dead, which is a fact on the log.
func (s *Service) giveUp(logger *slog.Logger) func(context.Context, events.Delivery, error) {
	return func(ctx context.Context, d events.Delivery, failure error) {
		reason, dead := webhook.GiveUp{}.Decide(s.config.Now(), d, failure)
		if !dead {
			return
		}
		_, err := s.commands.DisableRelay(ctx, commands.DisableRelay{
			Caller: commands.Caller{Actor: "relay"}, Group: d.Group, Reason: reason,
		})
		if err != nil {
			logger.ErrorContext(ctx, "could not disable a relay whose endpoint is dead; it is tried again after the next failure", "error", err)
			return
		}
		logger.ErrorContext(ctx, "the endpoint is dead; the relay is disabled until `forgeauth subscriptions enable` is run", "reason", reason)
	}
}

// runRelays starts what the configuration names. They end with ctx.
func (s *Service) runRelays(ctx context.Context, background *sync.WaitGroup) error {
	for _, c := range s.config.Relays {
		run := s.runRelay
		if c.Checkpoints {
			run = func(ctx context.Context, c RelayConfig) error { return s.startCourier(ctx, c, background) }
		}
		if err := run(ctx, c); err != nil {
			return fmt.Errorf("relay %s: %w", c.Name, err)
		}
	}
	return nil
}

func (s *Service) runRelay(ctx context.Context, c RelayConfig) error {
	to, policy, err := s.destination(c)
	if err != nil {
		return err
	}
	topic := events.TopicAll
	if len(c.Types) > 0 {
		topic = strings.Join(c.Types, ",")
	}
	start := c.Start
	if start == nil {
		start = events.FromNow()
	}
	return s.relay.Publish(ctx, events.GroupConfig{Name: c.Name, Start: start, Policy: policy, AckTimeout: relayTime}, topic, to)
}

// checkRelays refuses relays that could not run.
func (c *Config) checkRelays() error {
	seen := map[string]bool{}
	for _, r := range c.Relays {
		if seen[r.Name] {
			return fmt.Errorf("relay %s is configured twice: give each a name of its own", r.Name)
		}
		seen[r.Name] = true
		if err := r.validate(); err != nil {
			return fmt.Errorf("relay %s: %w", r.Name, err)
		}
	}
	return nil
}
