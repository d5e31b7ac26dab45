package commands

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/vault"
)

// Config is what commands work with. Everything down to Connections is required.
type Config struct {
	// Writer appends decisions, Log reads single events, Reader the tables.
	Writer *events.Writer[*projections.State]
	Log    *events.Log
	Reader *projections.Reader
	// Pool is for the table setup_code.
	Pool  *pgxpool.Pool
	Vault *vault.Vault
	// Connections are the configured forges, in the order in which people see them.
	Connections []forge.Provider
	// Operators is FORGEAUTH_OPERATORS; nil means that it is not set. When set, it is the whole truth about who may
	// sign in.
	Operators []AllowedAccount
	// PublicURL is the origin under which browsers reach this deployment, without a trailing slash.
	PublicURL string
	// ForgeTimeout is how long the providers wait for an answer ([forge.Options]), and what a refresh is announced with in the
	// log: for twice that long no other process begins one. 30 s if zero. Processes on one database should have the same.
	ForgeTimeout time.Duration

	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil is the system's clock
	NewID  func() uuid.UUID // UUIDv7; nil draws random ones
	Rand   io.Reader        // nil is the system's

	// after is time.After by the clock of Now; nil is that.
	after func(time.Duration) <-chan time.Time
}

// AllowedAccount is an entry of FORGEAUTH_OPERATORS: a connection and an immutable account id there.
type AllowedAccount struct {
	ForgeType, AccountID string
}

// Commands decides everything that changes this deployment. Safe for concurrent use.
type Commands struct {
	writer    *events.Writer[*projections.State]
	log       *events.Log
	reader    *projections.Reader
	pool      *pgxpool.Pool
	vault     *vault.Vault
	providers map[string]forge.Provider
	order     []string
	policy    policy
	publicURL string
	logger    *slog.Logger
	now       func() time.Time
	newID     func() uuid.UUID
	rand      io.Reader

	forgeTimeout time.Duration
	after        func(time.Duration) <-chan time.Time
	jitter       uint64 // what makes this process's schedule its own

	ports      ports
	flights    flights
	doubts     doubts
	denials    denials
	extensions extensions
	// granted wakes Run when a token has come, or an attempt to refresh one has failed.
	granted chan struct{}
	watched watched
	// unsettled wakes Run when a revocation was requested that nobody has tried yet.
	unsettled chan struct{}
}

// New returns the commands over a deployment. Background work starts with [Commands.Run].
func New(config Config) *Commands {
	c := &Commands{
		writer:     config.Writer,
		log:        config.Log,
		reader:     config.Reader,
		pool:       config.Pool,
		vault:      config.Vault,
		providers:  make(map[string]forge.Provider, len(config.Connections)),
		publicURL:  config.PublicURL,
		logger:     config.Logger,
		now:        config.Now,
		newID:      config.NewID,
		rand:       config.Rand,
		ports:      ports{last: map[string]openedPort{}},
		flights:    flights{open: map[uuid.UUID]*flight{}},
		doubts:     newDoubts(),
		granted:    make(chan struct{}, 1),
		extensions: newExtensions(),
		watched:    newWatched(),
		unsettled:  make(chan struct{}, 1),
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.newID == nil {
		c.newID = func() uuid.UUID { return uuid.Must(uuid.NewV7()) }
	}
	if c.rand == nil {
		c.rand = rand.Reader
	}
	if c.after = config.after; c.after == nil {
		c.after = time.After
	}
	c.forgeTimeout = cmp.Or(config.ForgeTimeout, defaultForgeTimeout)
	id := c.newID()
	c.jitter = binary.BigEndian.Uint64(id[8:])
	c.policy = policy{
		connections: make(map[string]forge.Connection, len(config.Connections)),
		operators:   config.Operators,
		allowList:   config.Operators != nil,
	}
	for _, provider := range config.Connections {
		connection := provider.Connection()
		c.providers[connection.Name] = provider
		c.order = append(c.order, connection.Name)
		c.policy.connections[connection.Name] = connection
	}
	return c
}

const defaultForgeTimeout = 30 * time.Second

// Caller says on whose behalf a command runs. It ends up in every event of the command.
type Caller struct {
	// Actor is session/<uuid>, cli, relay, or a name that an embedding program gives itself; empty is "library".
	Actor string
	// Correlation is the UUIDv7 that all events of the command share; zero draws one.
	Correlation uuid.UUID
}

// SessionCaller is the caller for a request with a session.
func SessionCaller(id uuid.UUID) Caller { return Caller{Actor: "session/" + id.String()} }

// The actors of what happens without a person.
const (
	actorAnonymous = "anonymous" // a browser that is not signed in
	actorRevoker   = "revoker"   // settles pending revocations
	actorRefresher = "refresher" // refreshes tokens, and says of those that their forge refuses
	actorWatcher   = "watcher"   // records what forges say about tokens
	actorExpirer   = "expirer"   // ends sessions whose time is over, or whose account may not sign in
	actorLibrary   = "library"
)

// identified fills in what the caller left open, once for all decisions of a command.
func (c *Commands) identified(caller Caller) Caller {
	if caller.Actor == "" {
		caller.Actor = actorLibrary
	}
	if caller.Correlation == uuid.Nil {
		caller.Correlation = c.newID()
	}
	return caller
}

// decision is what a command hands to the log.
type decision = events.Decision[*projections.State]

// append executes a decision on behalf of caller.
func (c *Commands) append(ctx context.Context, caller Caller, d decision) ([]events.Event, error) {
	caller = c.identified(caller)
	d.Actor, d.Correlation = caller.Actor, caller.Correlation
	appended, err := c.writer.Append(ctx, d)
	for _, e := range appended {
		if forgeType, ok := e.Stream.ForgeType(); ok {
			c.ports.forget(forgeType) // the token may have ended
			select {
			case c.granted <- struct{}{}:
			default:
			}
		}
	}
	return appended, err
}

// provider returns a configured forge.
func (c *Commands) provider(forgeType string) (forge.Provider, error) {
	provider, ok := c.providers[forgeType]
	if !ok {
		return nil, ErrUnknownConnection
	}
	return provider, nil
}

// random returns n random bytes.
func (c *Commands) random(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(c.rand, b); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	return b, nil
}

// randomText returns 32 random bytes as 43 characters of base64url.
func (c *Commands) randomText() (string, error) {
	b, err := c.random(32)
	return base64.RawURLEncoding.EncodeToString(b), err
}

// stored brings a time into the form in which the log and the tables hold it alike: UTC, whole microseconds.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
