package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/internal/localpg"
	"github.com/forgeauth/forgeauth/secret"
)

// Bounds of the HTTP server. A sign-in's callback waits for the forge, within forge's own timeouts, so writing may take
// longer than reading.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 150 * time.Second // a callback may take two minutes
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	// closeTimeout is how long a forge gets to answer a refresh that is under way when the service ends, and that to be stored.
	closeTimeout = 35 * time.Second
	// drainTimeout is how long requests get to finish when the service ends.
	drainTimeout = 8 * time.Second
)

func (p *program) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the service",
		Long: `Serves sign-in, sessions and the API until it is told to end by Ctrl-C or
SIGTERM; a second one ends it at once.

OAUTH_ENCRYPTION_KEY is required. Without DATABASE_URL it runs a Postgres of its
own, in FORGEAUTH_DATA_DIR, on a socket that only this user can reach, and
migrates it by itself. With DATABASE_URL it checks the schema and leaves
migrating to ` + "`forgeauth migrate`" + `; let it connect as a role that owns no table
(--runtime-role there).

At the start it prints the callback URL of every forge, to be registered there
exactly, and a setup code as long as nobody owns the deployment. That goes to
standard output, logs go to standard error.`,
		Example: `  OAUTH_ENCRYPTION_KEY_FILE=/etc/forgeauth/key forgeauth serve
  FORGEAUTH_LISTEN=:8080 FORGEAUTH_PUBLIC_URL=https://auth.example.org \
    forgeauth serve`,
		Args: cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error {
			err := p.serve(ctx)
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return nil // told to end while it was starting
			}
			return err
		}),
	}
}

func (p *program) serve(ctx context.Context) (err error) {
	e, err := p.environment(forgeauth.Serving)
	if err != nil {
		return err
	}
	logger := p.logger(e)
	// The address first: it costs nothing, and is what fails most often.
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", e.Config.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w: set FORGEAUTH_LISTEN to an address that is free", e.Config.Listen, err)
	}
	defer func() { _ = listener.Close() }()
	metrics, err := listenForMetrics(ctx, e.MetricsListen)
	if err != nil {
		return err
	}
	if metrics != nil {
		defer func() { _ = metrics.Close() }()
	}
	d, err := p.open(ctx, e, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close(ctx)) }()
	if err := p.printBanner(ctx, d, e); err != nil {
		return err
	}
	return d.run(ctx, listener, metrics, logger)
}

// listenForMetrics returns nil if there is no address.
func listenForMetrics(ctx context.Context, address string) (net.Listener, error) {
	if address == "" {
		return nil, nil //nolint:nilnil // metrics are not to be served
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w: set FORGEAUTH_METRICS_LISTEN to an address that is free", address, err)
	}
	return listener, nil
}

// deployment is a service with the Postgres that was started for it, if any.
type deployment struct {
	service  *forgeauth.Service
	postgres *localpg.Server // nil with DATABASE_URL
	database string          // what it keeps everything in, in words
}

func (p *program) open(ctx context.Context, e forgeauth.Environment, logger *slog.Logger) (_ *deployment, err error) {
	d := &deployment{database: describe(e.Config.DatabaseURL.Reveal())}
	config := e.Config
	config.Logger = logger
	if config.DatabaseURL.IsZero() {
		if d.postgres, err = p.startPostgres(ctx, localpg.Config{Dir: e.DataDir, Logger: logger}); err != nil {
			return nil, err
		}
		config.DatabaseURL, config.MigrateOnOpen = secret.New(d.postgres.URL()), true
		d.database = "a Postgres of its own in " + e.DataDir
	}
	d.service, err = forgeauth.Open(ctx, config)
	if err != nil {
		return nil, errors.Join(err, d.close(ctx))
	}
	return d, nil
}

// close ends the service and then its Postgres, also when ctx has ended.
func (d *deployment) close(ctx context.Context) error {
	var err error
	if d.service != nil {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = d.service.Close(closing)
	}
	if d.postgres != nil {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err = errors.Join(err, d.postgres.Stop(stopping))
	}
	if err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	return nil
}

// run serves until ctx ends or something fails: the listener, the background work or the embedded Postgres. Requests are then
// finished before the background work ends.
func (d *deployment) run(ctx context.Context, listener, metrics net.Listener, logger *slog.Logger) error {
	// Requests and background work outlive the signal: they end when they are done, or with the drain.
	working, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	group, running := errgroup.WithContext(ctx)
	serve := func(listener net.Listener, handler http.Handler) *http.Server {
		server := newServer(working, handler, logger)
		group.Go(func() error {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve: %w", err)
			}
			return nil
		})
		return server
	}
	server := serve(listener, d.service.Handler())
	server.RegisterOnShutdown(d.service.Drain)
	if metrics != nil {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", d.service.Metrics())
		scraped := serve(metrics, mux)
		group.Go(func() error {
			<-running.Done()
			return scraped.Close()
		})
	}
	group.Go(func() error {
		if err := d.service.Run(working); err != nil && working.Err() == nil {
			return fmt.Errorf("background work: %w", err)
		}
		return nil
	})
	if d.postgres != nil {
		group.Go(func() error {
			select {
			case <-d.postgres.Exited():
				return errors.New("the embedded Postgres has ended: its server.log in FORGEAUTH_DATA_DIR says why; start forgeauth again")
			case <-running.Done():
				return nil
			}
		})
	}
	group.Go(func() error {
		<-running.Done()
		defer stopWork()
		draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		if err := server.Shutdown(draining); err != nil {
			logger.WarnContext(ctx, "requests were cut short", "error", err)
			_ = server.Close()
		}
		return nil
	})
	return group.Wait() //nolint:wrapcheck // each of them says what failed
}

func newServer(working context.Context, handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return working },
	}
}
