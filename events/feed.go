package events

import (
	"errors"
	"log/slog"
	"time"

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
	// Poll is how often the log is looked at although nothing was heard, and how often this process says that it lives.
	// 5 seconds if zero.
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
	// AckTimeout is how long a handler has for one message. Then the message's context ends, and the try has failed; what
	// the handler does after that does not count. 30 seconds if zero.
	AckTimeout time.Duration
	// CloseTimeout is how long a handler that is under way has to finish when its subscription ends. 5 seconds if zero.
	CloseTimeout time.Duration
}

var (
	// ErrPooler says that notifications do not arrive on the feed's connection.
	ErrPooler = errors.New("notifications do not arrive on this connection, as behind a pooler in transaction mode: " +
		"set FORGEAUTH_DATABASE_DIRECT_URL to the database's own address")
	// ErrGroupName says that a name cannot be a consumer group's.
	ErrGroupName = errors.New("a group's name is of letters, digits, - and _, at most 100 of them")
	// ErrFeedClosed says that the feed, or the group, has been closed.
	ErrFeedClosed = errors.New("the feed is closed")
)
