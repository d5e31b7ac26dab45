package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/internal/localpg"
	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

// stopTimeout is how long the embedded Postgres gets to shut down before it is told to leave that to its next start.
const stopTimeout = 20 * time.Second

// environment reads the configuration for a purpose.
func (p *program) environment(purpose forgeauth.Purpose) (forgeauth.Environment, error) {
	e, err := forgeauth.FromEnvironment(p.environ, purpose)
	if err != nil {
		return forgeauth.Environment{}, fmt.Errorf("read the environment: %w", err)
	}
	return e, nil
}

// reach returns the URL of the deployment's database: DATABASE_URL, else that of the cluster in the data directory, which is
// the running serve's where one runs, and is started for this command where none does. With create it is made where there is none
// yet. release is to be called when the command is done with it.
func (p *program) reach(ctx context.Context, e forgeauth.Environment, logger *slog.Logger, create bool) (url string, release func(), err error) {
	if !e.Config.DatabaseURL.IsZero() {
		return e.Config.DatabaseURL.Reveal(), func() {}, nil
	}
	// The folder of the cluster is there when initdb has finished; see package localpg.
	if _, err := os.Stat(filepath.Join(e.DataDir, "data")); errors.Is(err, fs.ErrNotExist) && !create {
		return "", nil, fmt.Errorf("there is no database in %s yet: run `forgeauth serve` first, or set DATABASE_URL or FORGEAUTH_DATA_DIR "+
			"to where it is", e.DataDir)
	}
	server, err := p.startPostgres(ctx, localpg.Config{Dir: e.DataDir, Logger: logger})
	if _, inUse := errors.AsType[*localpg.InUseError](err); inUse {
		url, err := localpg.Running(e.DataDir)
		if err != nil {
			return "", nil, fmt.Errorf("connect to the Postgres of the forgeauth that is running: %w", err)
		}
		return url, func() {}, nil
	}
	if err != nil {
		return "", nil, err
	}
	return server.URL(), func() { p.stop(context.WithoutCancel(ctx), server) }, nil
}

// startPostgres runs the embedded cluster.
func (p *program) startPostgres(ctx context.Context, c localpg.Config) (*localpg.Server, error) {
	c.Fetching = func() func() { return p.waiting("fetching Postgres") }
	server, err := localpg.Start(ctx, c)
	switch {
	case errors.Is(err, fs.ErrPermission) && c.Dir != "":
		return nil, fmt.Errorf("start the embedded Postgres in %s: %w: set FORGEAUTH_DATA_DIR to a folder that this user may write to", c.Dir, err)
	case err != nil:
		return nil, fmt.Errorf("start the embedded Postgres: %w", err)
	}
	return server, nil
}

// stop shuts the embedded Postgres down, within stopTimeout.
func (p *program) stop(ctx context.Context, server *localpg.Server) {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := server.Stop(ctx); err != nil {
		p.note("%s", oneLine(err.Error()))
	}
}

// maintain opens the deployment for a command beside serve, which may be running or not.
func (p *program) maintain(ctx context.Context, purpose forgeauth.Purpose, do func(*forgeauth.Service, forgeauth.Environment) error) error {
	e, err := p.environment(purpose)
	if err != nil {
		return err
	}
	if e.LogLevel == slog.LevelInfo {
		e.LogLevel = slog.LevelWarn // what it does is printed
	}
	logger := p.logger(e)
	url, release, err := p.reach(ctx, e, logger, false)
	if err != nil {
		return err
	}
	defer release()
	e.Config.DatabaseURL, e.Config.Logger, e.Config.Maintenance = secret.New(url), logger, true
	service, err := forgeauth.Open(ctx, e.Config)
	if _, wrong := errors.AsType[*vault.WrongKeyError](err); wrong && purpose == forgeauth.Checking {
		p.note("what is sealed is not looked at: %v", err)
		e.Config.EncryptionKey, e.Config.PreviousKeys = secret.Text{}, nil
		service, err = forgeauth.Open(ctx, e.Config)
	}
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	err = do(service, e)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return errors.Join(err, service.Close(closing))
}
