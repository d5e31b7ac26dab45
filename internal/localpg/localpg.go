package localpg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
)

// role is both the superuser that owns the cluster and the name of forgeauth's database.
const role = "forgeauth"

// Config says which cluster to run.
type Config struct {
	// Dir is a directory of the cluster's own, made with mode 0700 where it is missing. May be empty for an ephemeral
	// cluster, which then gets a fresh one under the temporary directory.
	Dir string
	// Logger hears of take-overs and downloads; nil discards. What the server itself prints goes to Dir/server.log.
	Logger *slog.Logger
	// Ephemeral is for tests and the demo: nothing is flushed to disk, so that a crash of the machine may lose the
	// cluster, and Stop removes Dir.
	Ephemeral bool
	// BinDir forces a folder of binaries; empty means to find or fetch them.
	BinDir string
	// CacheDir holds fetched binaries; empty means /var/cache/forgeauth for root, else forgeauth in the user's cache
	// directory.
	CacheDir string
	// Repository is the base URL of a Maven repository that holds io.zonky.test.postgres; empty means Maven Central.
	Repository string
	// FetchMajor is the major version to fetch for a new cluster; 0 means the newest that is known.
	FetchMajor int
	// Fetching, if not nil, is called before binaries are fetched, which may take minutes, and what it returns when that has ended.
	Fetching func() (ended func())
	// Settings are further settings of the server, such as "max_connections": "300".
	Settings map[string]string

	// For tests of this package.
	search func(context.Context, account) []Binaries                              // stands in for installed
	initdb func(ctx context.Context, d *directory, b Binaries, work string) error // stands in for runInitdb
}

// Server is a running cluster. Its methods may be called concurrently.
type Server struct {
	dir       *directory
	process   *postmaster
	socketDir string
	ephemeral bool

	stop    sync.Once
	stopped chan struct{}
	result  error
}

// Start runs the cluster in c.Dir, making it first where there is none, and returns once it accepts connections and
// has the database forgeauth. It gives up when ctx ends, leaving no process behind; ctx does not bound the life of the server.
//
// Errors to tell apart: [InUseError], [VersionError], [UnreachableError], [OwnerError], [ForeignDirError], [ServerError],
// [ErrNoBinaries], [ErrNoAccount].
func Start(ctx context.Context, c Config) (_ *Server, err error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	as, err := chooseAccount(c.Dir)
	if err != nil {
		return nil, err
	}
	dir, err := c.open(ctx, as)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, ephemeral: c.Ephemeral, stopped: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.cleanUp())
		}
	}()
	c.Dir = dir.path
	dir.sweep(ctx, c.Logger)
	if err := dir.closeSocketDir(); err != nil {
		return nil, err
	}
	major, err := dir.major()
	if err != nil {
		return nil, err
	}
	binaries, err := c.choose(ctx, as, major)
	if err != nil {
		return nil, err
	}
	if major == 0 {
		if err := c.initialise(ctx, dir, binaries); err != nil {
			return nil, err
		}
	} else if err := dir.takeOver(ctx, c.Logger); err != nil {
		return nil, err
	}
	s.socketDir, err = dir.openSocketDir(func(socket string) error { return as.reaches(ctx, socket) })
	if err != nil {
		return nil, err
	}
	s.process, err = c.launch(ctx, dir, binaries, s.socketDir)
	if err != nil {
		return nil, err
	}
	if err := s.createDatabase(ctx); err != nil {
		s.process.kill()
		return nil, err
	}
	return s, nil
}

// open makes and locks the directory.
func (c Config) open(ctx context.Context, as account) (*directory, error) {
	if c.Dir == "" {
		if !c.Ephemeral {
			return nil, errors.New("localpg: Config.Dir is empty")
		}
		return openTemporary(ctx, as)
	}
	path, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("localpg: find the data directory: %w", err)
	}
	return openDirectory(ctx, path, as)
}

// URL returns the connection string for pgx: the database forgeauth over the Unix socket, as the owner of the cluster.
// It holds no secret.
func (s *Server) URL() string { return s.url(role) }

func (s *Server) url(database string) string {
	query := url.Values{"host": {s.socketDir}, "port": {port}, "user": {role}, "sslmode": {"disable"}}.Encode()
	// Postgres, and pgx with it, takes a plus for itself and not for a space.
	return "postgres:///" + database + "?" + strings.ReplaceAll(query, "+", "%20")
}

// SocketPath returns the Unix socket that the server listens on.
func (s *Server) SocketPath() string { return filepath.Join(s.socketDir, socketName) }

// Exited is closed when the server has ended, whether or not Stop was called.
func (s *Server) Exited() <-chan struct{} { return s.process.exited }

// Stop shuts the server down fast: it rolls back what is open, flushes and ends. Stop waits for that, removes an ephemeral
// cluster and lets the next Start have the directory. When ctx ends first the server is told to end at once, and the next start
// repairs the cluster from its log; Stop still waits, and returns the cause. Further calls return the same.
func (s *Server) Stop(ctx context.Context) error {
	s.stop.Do(func() {
		defer close(s.stopped)
		s.result = errors.Join(s.process.shutDown(ctx), s.cleanUp())
	})
	<-s.stopped
	return s.result
}

// createDatabase makes forgeauth's database where it is missing.
func (s *Server) createDatabase(ctx context.Context) (err error) {
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return fmt.Errorf("localpg: connect to the new server: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", role).Scan(&exists); err != nil {
		return fmt.Errorf("localpg: look for the database: %w", err)
	}
	if exists {
		return nil
	}
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{role}.Sanitize()); err != nil {
		return fmt.Errorf("localpg: create the database: %w", err)
	}
	return nil
}

// cleanUp removes what does not outlive the server, and the lock last.
func (s *Server) cleanUp() error {
	err := s.dir.closeSocketDir()
	if s.ephemeral {
		err = errors.Join(err, os.RemoveAll(s.dir.path))
	}
	return errors.Join(err, s.dir.release())
}
