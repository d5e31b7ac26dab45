package events

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var (
	// ErrCommitUnknown says that the connection was lost around COMMIT and that it could not be found out in time which
	// way it went, or that the caller left while its decision was being committed. The events may be in the log. Read
	// before doing it again.
	ErrCommitUnknown = errors.New("it is not known whether this was committed: look before doing it again")
	// ErrUnavailable says that the log could not be reached, or that its lock could not be had, in time. Nothing was
	// written; it can be tried again.
	ErrUnavailable = errors.New("the log cannot be written at the moment, and nothing was: try again")
	// ErrUnreadable says that the database could not be asked, or did not answer. It can be tried again.
	ErrUnreadable = errors.New("the database cannot be read at the moment: try again")
	// ErrOutdated says that a newer version of forgeauth has taken over the tables. This process must not write any more.
	ErrOutdated = errors.New("a newer version of forgeauth keeps the tables now: this process no longer writes, stop it")
	// ErrBehind says that the tables were written by an older version of the fold and await their repair.
	ErrBehind = errors.New("the tables were written by an older version of forgeauth: run `forgeauth verify --repair`")
	// ErrClosed says that the writer has been closed.
	ErrClosed = errors.New("the log is closed")
	// ErrDamaged says that a row holds a value that forgeauth never writes, such as an infinite time: somebody was at the table.
	ErrDamaged = errors.New("the database holds a value that forgeauth never wrote: run `forgeauth verify`")
	// ErrTooLarge says that an event has more than [MaxEvent] bytes.
	ErrTooLarge = errors.New("the event is too large for the log")
	// ErrNotFound says that the log has no event at that position.
	ErrNotFound = errors.New("no event at that position")
)

// retryable reports whether the server says that the same statements may well succeed in a moment.
func retryable(err error) bool {
	pgErr, said := errors.AsType[*pgconn.PgError](err)
	if !said {
		return false
	}
	switch pgErr.Code[:2] {
	case "08", // connection exception
		"40", // serialization failure, deadlock
		"53", // insufficient resources
		"55", // lock not available
		"57": // operator intervention: timeouts, shutdown, a session that was ended
		return true
	}
	return fatal(pgErr) || stalePlan(pgErr)
}

// stalePlan reports whether a statement was prepared before a migration changed the type of one of its columns. A new
// connection prepares it anew.
func stalePlan(err *pgconn.PgError) bool {
	return err.Code == "0A000" && err.Routine == "RevalidateCachedQuery"
}

// fatal reports whether the server has ended the session along with the statement. What was sent before may have been
// executed all the same.
func fatal(err *pgconn.PgError) bool { return err.SeverityUnlocalized != "ERROR" }

// lockTimeout reports whether the append lock could not be had in time.
func lockTimeout(err error) bool {
	pgErr, said := errors.AsType[*pgconn.PgError](err)
	return said && pgErr.Code == "55P03"
}

// ReadError wraps an error of the driver that a read ended with. Unless the server understood the statement and refused it,
// that is [ErrUnreadable], and [ErrDamaged] for a value that no variable of ours can hold.
func ReadError(what string, err error) error {
	if refusal, ok := errors.AsType[*pgconn.PgError](err); ok && !retryable(refusal) {
		return fmt.Errorf("%s: %w", what, err)
	}
	if _, ok := errors.AsType[pgx.ScanArgError](err); ok {
		return fmt.Errorf("%s: %w: %w", what, ErrDamaged, err)
	}
	return fmt.Errorf("%s: %w: %w", what, ErrUnreadable, err)
}
