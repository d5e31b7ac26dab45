package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// temporaryPrefix starts the names of ephemeral clusters that hold their lock; until then they are newPrefix.
const (
	temporaryPrefix = "forgeauth-ephemeral-"
	newPrefix       = "forgeauth-new-"
)

// openTemporary makes a directory for an ephemeral cluster, and removes those that a killed process left. A directory gets its
// final name only when it is locked, so one with that name and a free lock has no owner any more.
func openTemporary(ctx context.Context, as account) (*directory, error) {
	parent := os.TempDir()
	old, err := filepath.Glob(filepath.Join(parent, temporaryPrefix+"*"))
	if err != nil {
		return nil, fmt.Errorf("localpg: look for old clusters: %w", err)
	}
	for _, path := range old {
		removeAbandoned(ctx, path, as)
	}
	path, err := os.MkdirTemp(parent, newPrefix)
	if err != nil {
		return nil, fmt.Errorf("localpg: make a temporary data directory: %w", err)
	}
	d, err := openDirectory(ctx, path, as)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	final := filepath.Join(parent, temporaryPrefix+strings.TrimPrefix(filepath.Base(path), newPrefix))
	if err := os.Rename(path, final); err != nil {
		return nil, errors.Join(fmt.Errorf("localpg: make a temporary data directory: %w", err), d.release(), os.RemoveAll(path))
	}
	d.path = final
	return d, nil
}

// removeAbandoned removes an ephemeral cluster of the account that nobody holds. It is best effort: what it cannot
// judge it leaves alone.
func removeAbandoned(ctx context.Context, path string, as account) {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() || ownerOf(info) != as.uid {
		return
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return
	}
	defer func() { _ = root.Close() }()
	lock, err := root.OpenFile(lockName, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer func() { _ = lock.Close() }()
	if takeLock(lock) != nil {
		return
	}
	d := &directory{path: path, root: root, lock: lock, as: as}
	read, err := d.readPIDFile()
	if err == nil {
		if running, err := runsCluster(ctx, read.pid, d.join(dataName)); running || err != nil {
			return // still shutting down
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return
	}
	_ = d.closeSocketDir()
	_ = os.RemoveAll(path)
}
