package forgeauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	forgehttp "github.com/forgeauth/forgeauth/http"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/vault"
)

// Handler serves the operator: sign-in, the active forge, the console. It expects to be reached under Config.PublicURL, at its
// root.
func (s *Service) Handler() http.Handler { return s.handler }

// Drain ends the streams of events that the handler serves, and those that begin later. [http.Server.Shutdown] waits for requests, and
// these do not end by themselves: register this with [http.Server.RegisterOnShutdown].
func (s *Service) Drain() { s.drain() }

// Run does the background work (tokens that are about to expire, sessions that end, revocations that forges have yet to hear of),
// publishes events to the configured relays and signs the log, until ctx ends. A deployment needs it running in one process at
// least; more do no harm.
func (s *Service) Run(ctx context.Context) error {
	var background sync.WaitGroup
	defer background.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := s.runRelays(ctx, &background); err != nil {
		return err
	}
	if s.signer != nil {
		background.Go(func() { s.signer.Run(ctx) })
	}
	return s.commands.Run(ctx)
}

// Commands are what changes the deployment.
func (s *Service) Commands() *commands.Commands { return s.commands }

// Log reads the facts.
func (s *Service) Log() *events.Log { return s.log }

// Reader reads the tables.
func (s *Service) Reader() *projections.Reader { return s.reader }

// CallbackURL is what has to be registered as the redirect URI of the OAuth application of a connection.
func (s *Service) CallbackURL(forgeType string) string {
	return s.config.PublicURL + "/oauth/" + forgeType + "/callback"
}

// ready answers GET /readyz. Errors of the driver stay in the log: the answer is public.
func (s *Service) ready(ctx context.Context) forgehttp.Readiness {
	var readiness forgehttp.Readiness
	check := func(name, fine string, err error, known ...error) {
		c := forgehttp.Check{Name: name, OK: err == nil, Detail: fine}
		if err != nil {
			c.Detail = "failed; the log says why"
			for _, target := range known {
				if errors.Is(err, target) {
					c.Detail = target.Error()
				}
			}
			s.config.Logger.WarnContext(ctx, "not ready", "check", name, "error", err)
		}
		readiness.Checks = append(readiness.Checks, c)
	}
	head, err := s.log.Head(ctx)
	readiness.LogHead = head.Position
	check("database", "reachable", err)
	if err != nil {
		return readiness // the rest would only say the same again
	}
	err = migrations.Check(ctx, s.config.DatabaseURL.Reveal())
	if version, ok := errors.AsType[*migrations.VersionError](err); ok {
		check("schema", "", version, version)
	} else {
		check("schema", "as this version needs it", err)
	}
	err = s.vault.CheckCanary(ctx, s.pool)
	if wrong, ok := errors.AsType[*vault.WrongKeyError](err); ok {
		check("key", "", wrong, wrong)
	} else {
		check("key", "opens what is stored", err)
	}
	check("log", "written by this version's folds", projections.CheckVersions(ctx, s.pool), events.ErrOutdated, events.ErrBehind)
	groups, err := s.Subscriptions().List(ctx)
	check("feed", feedDetail(groups), err)
	check("signed", s.signingDetail(head.Position), nil)
	return readiness
}

// feedDetail says what people should know about the consumer groups. Who serves is ready whatever they do: a destination that is
// down, or an event that cannot be handled, is no reason to take the service from the operator.
func feedDetail(groups []events.Subscription) string {
	var notes []string
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	for _, g := range groups {
		if g.Degraded() {
			note("%s is degraded: it does not hear of forge switches", g.Name)
		}
		switch {
		case !g.DisabledAt.IsZero():
			note("%s is disabled", g.Name)
		case g.Paused:
			note("%s is paused at an event it could not handle", g.Name)
		case g.Attempts > 0:
			note("%s is failing, %d times by now", g.Name, g.Attempts)
		}
		if n := len(g.Parked); n > 0 {
			note("%s holds back %d streams", g.Name, n)
		}
		if !g.Live && g.Lag > 0 {
			note("%s is run by nobody and %d events behind", g.Name, g.Lag)
		}
	}
	if len(notes) == 0 {
		return fmt.Sprintf("%d groups, all well", len(groups))
	}
	return strings.Join(notes, "; ") + ": see forgeauth subscriptions"
}
