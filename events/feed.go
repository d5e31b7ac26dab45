package events

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// TopicAll is the topic of all events. Every other topic is the name of one type, or several names separated by commas.
const TopicAll = "*"

// FeedConfig says what a [Feed] reads.
type FeedConfig struct {
	// Pool serves reads of history, and cursors.
	Pool *pgxpool.Pool
	// Conn is a direct connection to the same schema, not one through a pooler that switches servers between transactions: it
	// listens, and holds this process's consumer groups.
	Conn *pgx.ConnConfig
	// Owner is what this process is called where subscriptions are shown; host name and process id if empty.
	Owner string
	// Poll is at most how long the log is not looked at although nothing was heard, and how long this process does not say that it
	// lives. 5 seconds if zero.
	Poll   time.Duration
	Logger *slog.Logger
}

// GroupConfig says how a consumer group is delivered to.
type GroupConfig struct {
	// Name identifies the group's cursor, over all processes and restarts: letters, digits, - and _, at most 100.
	Name string
	// Start is where a group begins that has no cursor yet; at the first event if nil.
	Start Start
	// Policy is for what cannot be handled.
	Policy Policy
	// Transactional has each message handled in the transaction that moves the cursor past it ([TxFrom]).
	Transactional bool
	// AckTimeout is how long a handler has for one message. Then the message's context ends, and the handler has the CloseTimeout
	// to say what became of it. If it does not, the try has failed, and what the handler does after that does not count. [DefaultAckTimeout] if zero.
	AckTimeout time.Duration
	// CloseTimeout is how long a handler that is under way has to finish when its subscription ends. [DefaultCloseTimeout] if zero.
	CloseTimeout time.Duration
}

// The times of a [GroupConfig] that does not say them.
const (
	DefaultAckTimeout   = 30 * time.Second
	DefaultCloseTimeout = 5 * time.Second
)

var (
	// ErrPooler says that notifications do not arrive on the feed's connection.
	ErrPooler = errors.New("notifications do not arrive on this connection, as behind a pooler in transaction mode: " +
		"set FORGEAUTH_DATABASE_DIRECT_URL to the database's own address")
	// ErrGroupName says that a name cannot be a consumer group's.
	ErrGroupName = errors.New("a group's name is of letters, digits, - and _, at most 100 of them")
	// ErrFeedClosed says that the feed, or the group, has been closed.
	ErrFeedClosed = errors.New("the feed is closed")
)

// Feed gives the log to subscribers: to consumer groups, each with a cursor of its own ([Feed.Group]), and to whoever follows
// along ([Feed.Follow]). It reads the events table itself; nothing is written twice. One feed to a process is enough, however
// many subscribe. It connects with the first subscriber and goes on through any fault of the database. Safe for concurrent use.
type Feed struct {
	config FeedConfig
	now    func() time.Time // for waiting, which timers do: it is of no use to change it. What is kept about it is by the database's clock
	tail   *feedTail
	marks  *marks
	source atomic.Pointer[string]

	ctx     context.Context //nolint:containedctx // of all that the feed runs; ended by Close
	stop    context.CancelFunc
	running sync.WaitGroup
	start   sync.Once
	kicks   chan struct{} // has a token when there is something to do at once

	mu      sync.Mutex
	closed  bool
	members map[string][]*member // by group, in the order in which they came
	held    map[string]*lease
	done    []*lease // to be let go of
}

// NewFeed returns the feed of a log.
func NewFeed(config FeedConfig) *Feed {
	if config.Owner == "" {
		host, _ := os.Hostname()
		config.Owner = host + "/" + strconv.Itoa(os.Getpid())
	}
	if config.Poll == 0 {
		config.Poll = 5 * time.Second
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Feed{
		config:  config,
		now:     time.Now,
		tail:    newFeedTail(config.Pool),
		members: map[string][]*member{},
		held:    map[string]*lease{},
		kicks:   make(chan struct{}, 1),
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	f.marks = newMarks(config.Pool, config.Logger)
	return f
}

// begin connects, once.
func (f *Feed) begin() {
	f.start.Do(func() {
		f.running.Go(func() { f.listen(f.ctx) })
		f.running.Go(func() { f.marks.run(f.ctx) })
	})
}

// Follow returns a follower of what comes after a position, of certain types if there are any.
func (f *Feed) Follow(after int64, types ...string) *Follower {
	f.begin()
	return &Follower{tail: f.tail, types: types, scanned: after}
}

// Head is the end of the log as far as this process has heard of it; 0 before it has connected.
func (f *Feed) Head() int64 { return f.tail.position() }

// Structured returns a record of this log as one JSON document: the CloudEvent in structured mode.
func (f *Feed) Structured(ctx context.Context, r Record) ([]byte, error) {
	source, err := f.Source(ctx)
	if err != nil {
		return nil, err
	}
	return Structured(newMessage(source, r, uuid.Nil))
}

// Source is what the deployment's CloudEvents name as their source.
func (f *Feed) Source(ctx context.Context) (string, error) {
	if source := f.source.Load(); source != nil {
		return *source, nil
	}
	var deployment uuid.UUID
	if err := f.config.Pool.QueryRow(ctx, `SELECT id FROM deployment`).Scan((*[16]byte)(&deployment)); err != nil {
		return "", ReadError("read the deployment's id", err)
	}
	source := Source(deployment)
	f.source.Store(&source)
	return source, nil
}

// Close ends all subscriptions: handlers that are under way may finish within their groups' CloseTimeout, and cursors are
// saved. It returns when nothing of the feed runs any more.
func (f *Feed) Close() error {
	f.mu.Lock()
	f.closed = true
	var members []*member
	for _, group := range f.members {
		members = append(members, group...)
	}
	f.mu.Unlock()
	for _, m := range members {
		m.leave(ErrFeedClosed)
	}
	for _, m := range members {
		<-m.gone
	}
	f.kick() // so that the groups are let go of
	f.stop()
	f.running.Wait()
	return nil
}

// Check finds out whether notifications arrive on the feed's connection, and whether it leads to the log that the pool reads.
// It returns [ErrPooler] if they do not.
func (f *Feed) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, f.config.Conn)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	nonce := "forgeauth_check_" + strings.ToLower(rand.Text())
	if _, err := conn.Exec(ctx, `LISTEN `+nonce); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	var schemaThere string
	if err := f.config.Pool.QueryRow(ctx, `SELECT pg_notify($1, ''), `+schema, nonce).Scan(nil, &schemaThere); err != nil {
		return ReadError("notify", err)
	}
	arrives, cancelWait := context.WithTimeout(ctx, 3*time.Second)
	defer cancelWait()
	if _, err := conn.WaitForNotification(arrives); err != nil {
		return fmt.Errorf("%w: %w", ErrPooler, err)
	}
	var schemaHere string
	if err := conn.QueryRow(ctx, `SELECT `+schema).Scan(&schemaHere); err != nil {
		return ReadError("look for the log", err)
	}
	if schemaHere != schemaThere {
		return fmt.Errorf("%w: it leads to the schema %q, and the log is in %q", ErrPooler, schemaHere, schemaThere)
	}
	return nil
}
