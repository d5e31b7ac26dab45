// Package forgeauth holds one operator's sign-ins to code forges as an append-only log of facts in Postgres, and hands
// programs an adapter that acts on the active forge as the operator.
//
// [Open] wires everything, once, for the binary, for programs that embed it, and for tests:
//
//	http → commands → projections → events (the log)
//	         commands → vault, forge
//	relay → events (the feed)
//
// A [Service] is an HTTP handler for the operator, background work to run beside it, and the operator's state as Go methods:
// GetOperatorAdapter and what else a program that acts on forges asks for. Changes go through commands and so onto the log;
// reads come from the projections.
package forgeauth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/bitbucket"
	"github.com/forgeauth/forgeauth/forge/gitea"
	"github.com/forgeauth/forgeauth/forge/github"
	"github.com/forgeauth/forgeauth/forge/gitlab"
	forgehttp "github.com/forgeauth/forgeauth/http"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/proof"
	"github.com/forgeauth/forgeauth/relay"
	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

// Config says what a [Service] stands on. [FromEnvironment] makes one.
type Config struct {
	// DatabaseURL is a pgx connection string to a server that is reached directly, or through a pooler that keeps sessions.
	// It may hold a password.
	DatabaseURL secret.Text
	// DatabaseDirectURL leads to the same database without a pooler in between, for the feed: it listens and holds locks. DatabaseURL
	// if empty.
	DatabaseDirectURL secret.Text
	// MigrateOnOpen applies missing migrations, which needs the owner of the tables. Without it Open checks the schema's
	// version and says what to do.
	MigrateOnOpen bool
	// EncryptionKey is OAUTH_ENCRYPTION_KEY. It may only be missing with Maintenance.
	EncryptionKey secret.Text
	// PreviousKeys open what they sealed before EncryptionKey replaced them; see [commands.Commands.RotateKeys].
	PreviousKeys []secret.Text
	// Maintenance opens the service for work on the database beside the one that serves. Connections that were moved do not
	// keep it from opening, tables of an older fold are not repaired, and the key may be missing as long as nothing is
	// sealed, opened or hashed.
	Maintenance bool
	// Importing opens a database for [Service.Import], also one on which an import was broken off; together with Maintenance.
	Importing bool
	// Listen is where the operator's HTTP server listens, 127.0.0.1:8080 if empty. Open does not listen.
	Listen string
	// PublicURL is the origin under which browsers reach that server; http:// and Listen if empty.
	PublicURL string
	// TrustedProxies are the peers whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// Operators, if not nil, are the only accounts that may sign in.
	Operators []commands.AllowedAccount
	// Connections are the configured forges, each under a name of its own.
	Connections []forge.Connection
	// ForgeTimeout bounds one request to a forge, 30 s if zero. A refresh is announced in the log for twice that long; processes
	// on one database should have the same.
	ForgeTimeout time.Duration

	// Signing says how the log is signed.
	Signing SigningConfig

	// Relays are where events are published to while [Service.Run] runs.
	Relays []RelayConfig

	// Logger gets no secret from this module; wrapping its handler in [secret.NewLogHandler] guards what others write to
	// it as well. Nil discards.
	Logger *slog.Logger
	Now    func() time.Time // nil is the system's clock
	NewID  func() uuid.UUID // UUIDv7; nil draws random ones
	Rand   io.Reader        // nil is the system's
}

// ErrPublicURL says that Config.PublicURL is no origin to serve sessions under.
var ErrPublicURL = errors.New("the public URL must be an https:// origin, or http:// on loopback, without a path")

// DefaultListen is where a deployment listens unless it is told otherwise.
const DefaultListen = "127.0.0.1:8080"

// Service is an open deployment. Safe for concurrent use.
type Service struct {
	config   Config
	pool     *pgxpool.Pool
	writer   *events.Writer[*projections.State]
	log      *events.Log
	reader   *projections.Reader
	vault    *vault.Vault
	commands *commands.Commands
	feed     *events.Feed
	relay    *relay.Relay
	keys     *proof.Keys // nil if the log is not signed
	tree     *proof.Tree
	signer   *proof.Signer // nil if this process does not sign
	couriers couriers
	metrics  *prometheus.Registry
	handler  http.Handler
	draining chan struct{} // closed by Drain
	drain    func()
}

// Open connects to the database and checks that it can be worked with: its schema, that the key opens what is stored, the
// versions of the folds (tables written by an older one are repaired), and that no connection has moved to another base URL.
// It fails with [ErrPublicURL], *[migrations.VersionError], *[vault.KeyError], *[vault.WrongKeyError], [events.ErrOutdated],
// *[commands.ReboundError], *[commands.KindError], [proof.ErrBadSigningKey], [ErrNoCheckpointFile] or [events.ErrPooler], each of which says what to do.
func Open(ctx context.Context, config Config) (_ *Service, err error) {
	config.setDefaults()
	s := &Service{config: config, draining: make(chan struct{})}
	s.drain = sync.OnceFunc(func() { close(s.draining) })
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
		}
	}()
	key, previous, err := config.masterKeys()
	if err != nil {
		return nil, err
	}
	public, err := config.publicURL()
	if err != nil {
		return nil, err
	}
	config.PublicURL = public.String()
	s.config.PublicURL = config.PublicURL
	providers, err := config.providers()
	if err != nil {
		return nil, err
	}
	if err := config.checkRelays(); err != nil {
		return nil, err
	}
	if err := s.openDatabase(ctx); err != nil {
		return nil, err
	}
	s.vault = vault.New(key, config.Rand, previous...)
	if !config.EncryptionKey.IsZero() {
		err := s.vault.Check(ctx, s.pool)
		// The right key over rows that were altered is for [Service.Verify] to report.
		if wrong, ok := errors.AsType[*vault.WrongKeyError](err); err != nil && (!ok || wrong.CanaryFailed || !config.Maintenance) {
			return nil, fmt.Errorf("the encryption key: %w", err)
		}
	}
	s.commands = commands.New(commands.Config{
		Writer: s.writer, Log: s.log, Reader: s.reader, Pool: s.pool, Vault: s.vault,
		Connections: providers, Operators: config.Operators, PublicURL: config.PublicURL,
		ForgeTimeout: config.ForgeTimeout, Logger: config.Logger, Now: config.Now, NewID: config.NewID, Rand: config.Rand,
	})
	if !config.Maintenance {
		if err := s.commands.CheckOrigins(ctx); err != nil {
			return nil, fmt.Errorf("connections: %w", err)
		}
	}
	if err := s.openFeed(ctx); err != nil {
		return nil, err
	}
	if err := s.openSigner(ctx); err != nil {
		return nil, err
	}
	s.handler = forgehttp.New(forgehttp.Config{
		Commands: s.commands, Log: s.log, Tree: s.tree, PublicTree: config.Signing.Public, History: s.History(), Feed: s.feed, Draining: s.draining, Connections: config.Connections,
		PublicURL: public, Listen: config.Listen, TrustedProxies: config.TrustedProxies,
		Ready: s.ready, Version: Version(), Logger: config.Logger, Now: config.Now, NewID: config.NewID,
	})
	return s, nil
}

func (c *Config) setDefaults() {
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if c.PublicURL == "" {
		c.PublicURL = "http://" + c.Listen
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.NewID == nil {
		c.NewID = func() uuid.UUID { return uuid.Must(uuid.NewV7()) }
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
}

func (c *Config) masterKeys() (present vault.MasterKey, previous []vault.MasterKey, err error) {
	if c.Maintenance && c.EncryptionKey.IsZero() {
		return vault.MasterKey{}, nil, nil
	}
	if present, err = vault.ParseKey(c.EncryptionKey); err != nil {
		return vault.MasterKey{}, nil, fmt.Errorf("the encryption key: %w", err)
	}
	for _, text := range c.PreviousKeys {
		key, err := vault.ParseKey(text)
		if err != nil {
			return vault.MasterKey{}, nil, fmt.Errorf("a previous encryption key: %w", err)
		}
		previous = append(previous, key)
	}
	return present, previous, nil
}

// publicURL checks that the public URL is an origin over which a session cannot be stolen on the way.
func (c *Config) publicURL() (*url.URL, error) {
	canonical, err := forge.CanonicalBaseURL(c.PublicURL, true)
	if setting, ok := errors.AsType[*forge.SettingError](err); ok {
		return nil, fmt.Errorf("%w: %s", ErrPublicURL, setting.Problem)
	}
	public, err := url.Parse(canonical)
	if err != nil {
		return nil, fmt.Errorf("%w: it is no URL", ErrPublicURL)
	}
	if public.Path != "" || public.Scheme != "https" && !forge.IsLoopback(public.Hostname()) {
		return nil, ErrPublicURL
	}
	return public, nil
}

// providers makes each connection's adapter.
func (c *Config) providers() ([]forge.Provider, error) {
	providers := make([]forge.Provider, 0, len(c.Connections))
	for i, connection := range c.Connections {
		if slices.ContainsFunc(c.Connections[:i], func(c forge.Connection) bool { return c.Name == connection.Name }) {
			return nil, fmt.Errorf("connection %s is configured twice: give each a name of its own", connection.Name)
		}
		provider, err := newProvider(connection, forge.Options{
			UserAgent: "forgeauth/" + Version(), Now: c.Now, Logger: c.Logger, Timeout: c.ForgeTimeout,
		})
		if err != nil {
			return nil, err // names the connection
		}
		providers = append(providers, provider)
	}
	return providers, nil
}

func newProvider(connection forge.Connection, options forge.Options) (forge.Provider, error) {
	switch connection.Kind {
	case forge.GitHub:
		return github.New(connection, options)
	case forge.GitLab:
		return gitlab.New(connection, options)
	case forge.Gitea, forge.Forgejo:
		return gitea.New(connection, options)
	case forge.Bitbucket:
		return bitbucket.New(connection, options)
	default:
		return nil, fmt.Errorf("connection %s: %w", connection.Name, connection.Validate())
	}
}

// openDatabase connects, and sees to the schema and the folds.
func (s *Service) openDatabase(ctx context.Context) error {
	config, err := pgxpool.ParseConfig(s.config.DatabaseURL.Reveal())
	if err != nil {
		return errors.New("the database URL cannot be parsed: see https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING")
	}
	if s.config.MigrateOnOpen {
		err = migrations.Up(ctx, s.config.DatabaseURL.Reveal())
	} else {
		err = migrations.Check(ctx, s.config.DatabaseURL.Reveal())
	}
	if err != nil {
		return fmt.Errorf("the database: %w", err)
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		events.ScanInUTC(conn.TypeMap())
		// The statements are few and their plans never depend on their arguments.
		if _, err := conn.Exec(ctx, `SET plan_cache_mode = force_generic_plan`); err != nil {
			return fmt.Errorf("set up the connection: %w", err)
		}
		return nil
	}
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return fmt.Errorf("the database: %w", err)
	}
	s.log, s.reader = events.NewLog(s.pool), projections.NewReader(s.pool)
	s.writer = events.NewWriter(events.WriterConfig{
		Conn: config.ConnConfig, Now: s.config.Now, NewID: s.config.NewID, Logger: s.config.Logger,
	}, projections.NewState())
	if !s.config.Importing {
		if err := events.CheckImported(ctx, s.pool); err != nil {
			return fmt.Errorf("the database: %w", err)
		}
	}
	if s.config.Maintenance {
		return nil
	}
	if err := s.catchUp(ctx); err != nil {
		return fmt.Errorf("the tables: %w", err)
	}
	return s.warnOfOwner(ctx)
}

// catchUp repairs tables that an older fold has written.
func (s *Service) catchUp(ctx context.Context) error {
	err := projections.CheckVersions(ctx, s.pool)
	if !errors.Is(err, events.ErrBehind) {
		return err
	}
	s.config.Logger.InfoContext(ctx, "the tables were written by an older version; folding the log anew")
	_, err = projections.Verify(ctx, s.pool, projections.VerifyOptions{Repair: true})
	return err
}

// warnOfOwner says so when the process could do more to the log than append to it.
func (s *Service) warnOfOwner(ctx context.Context) error {
	if s.config.MigrateOnOpen {
		return nil // a cluster of our own, where there is no other role
	}
	var owner bool
	err := s.pool.QueryRow(ctx, `
		SELECT pg_has_role(current_user, relowner, 'MEMBER') FROM pg_class WHERE oid = 'events'::regclass`).Scan(&owner)
	if err != nil {
		return fmt.Errorf("the database: %w", err)
	}
	if owner {
		s.config.Logger.WarnContext(ctx, "connected as the owner of the tables, who could switch off what makes the log append-only; "+
			"give forgeauth a role of its own: forgeauth migrate --runtime-role NAME")
	}
	return nil
}

// Close waits for refreshes that are under way, works off what is being written and closes the connections, for as long as ctx
// allows: give it more than Config.ForgeTimeout, since a refresh whose answer is not stored costs a sign-in. The handler must not
// be in use any more. Who still reads the log keeps its connection until that is over, and then it is closed too.
func (s *Service) Close(ctx context.Context) error {
	s.Drain()
	err := s.closeFeed()
	if s.commands != nil {
		s.commands.Close(ctx)
	}
	if s.writer != nil {
		err = errors.Join(err, s.writer.Close(ctx))
	}
	if s.pool == nil {
		return err
	}
	closed := make(chan struct{})
	go func() {
		s.pool.Close() // waits for connections that are in use
		close(closed)
	}()
	select {
	case <-closed:
	case <-ctx.Done():
		err = errors.Join(err, fmt.Errorf("close: the connections to the database are not closed yet: %w", context.Cause(ctx)))
	}
	return err
}

// version is set by release builds: -ldflags "-X github.com/forgeauth/forgeauth.version=v1.2.3".
var version string

// Version is the release that the program is, or the version of the module it was built from, or "devel".
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Path == modulePath && info.Main.Version != "" && info.Main.Version != "(devel)" {
			return info.Main.Version
		}
		for _, dependency := range info.Deps {
			if dependency.Path == modulePath {
				return dependency.Version
			}
		}
	}
	return "devel"
}

const modulePath = "github.com/forgeauth/forgeauth"
