package localpg

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNoBinaries says that no usable Postgres is installed and, from [Start], that none could be fetched either.
var ErrNoBinaries = fmt.Errorf("localpg: no Postgres %d or newer found: install it (Debian: postgresql, Homebrew: "+
	"postgresql@17) or set DATABASE_URL to a server of your own", oldestMajor)

// ErrNoAccount says that forgeauth runs as root on a system with no account to run Postgres as.
var ErrNoAccount = errors.New("localpg: Postgres refuses to run as root and there is none of the accounts " +
	strings.Join(accountNames(), ", ") + ": create one of them or run forgeauth as an ordinary user")

// InUseError says that another forgeauth holds the cluster.
type InUseError struct {
	Dir string
	PID int // 0 where the holder has not written its pid yet
}

// Error implements error.
func (e *InUseError) Error() string {
	holder := "another forgeauth"
	if e.PID != 0 {
		holder = fmt.Sprintf("another forgeauth (pid %d)", e.PID)
	}
	return fmt.Sprintf("localpg: %s is running on %s: stop it, or give this one a data directory of its own", holder, e.Dir)
}

// VersionError says that a cluster was made by a major version of Postgres of which there are no binaries.
type VersionError struct {
	Dir     string
	Cluster int        // the major version that made the cluster
	Found   []Binaries // what there is instead
}

// Error implements error.
func (e *VersionError) Error() string {
	found := make([]string, len(e.Found))
	for i, b := range e.Found {
		found[i] = fmt.Sprintf("%s in %s", b.Version, b.Dir)
	}
	return fmt.Sprintf("localpg: the cluster in %s was made by Postgres %d and only %s is installed: install Postgres %d, "+
		"or dump the cluster with %d and restore it into a new data directory",
		e.Dir, e.Cluster, strings.Join(found, " and "), e.Cluster, e.Cluster)
}

// UnreachableError says that the account that Postgres runs as cannot enter a directory that it needs.
type UnreachableError struct {
	Dir     string // what it needs to reach
	Blocked string // the outermost folder that it cannot enter
	Account string
}

// Error implements error.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("localpg: Postgres runs as the account %s, which cannot enter %s on the way to %s: choose a data "+
		"directory that it can reach (such as /var/lib/forgeauth), allow it with \"chmod o+x %s\", or run forgeauth as an "+
		"ordinary user", e.Account, e.Blocked, e.Dir, e.Blocked)
}

// OwnerError says that a directory belongs to another user than the one who runs forgeauth.
type OwnerError struct {
	Dir string
	UID int // the owner
}

// Error implements error.
func (e *OwnerError) Error() string {
	return fmt.Sprintf("localpg: %s belongs to user id %d: run forgeauth as that user or as root, or choose another data directory",
		e.Dir, e.UID)
}

// ForeignDirError says that a directory holds files but nothing that localpg made, so it was left alone.
type ForeignDirError struct {
	Dir string
}

// Error implements error.
func (e *ForeignDirError) Error() string {
	return fmt.Sprintf("localpg: %s holds files but no cluster of forgeauth: choose an empty or new directory", e.Dir)
}

// ServerError says that initdb or the server failed, and quotes the end of what it printed.
type ServerError struct {
	Doing   string
	LogPath string // where the whole log is; empty where it was not kept
	Tail    string
	Err     error
}

// Error implements error.
func (e *ServerError) Error() string {
	message := fmt.Sprintf("localpg: %s: %v", e.Doing, e.Err)
	if e.Tail != "" {
		message += "; its last words:\n" + e.Tail
	}
	if e.LogPath != "" {
		message += "\n(the whole log is in " + e.LogPath + ")"
	}
	return message
}

// Unwrap returns what went wrong.
func (e *ServerError) Unwrap() error { return e.Err }
