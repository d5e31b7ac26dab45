package localpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The names within Config.Dir; see the package's page.
const (
	lockName      = "lock"
	dataName      = "data"
	initPrefix    = "init-"
	runName       = "run"
	socketDirName = "socket-dir"
	logName       = "server.log"
	oldLogName    = "server.log.1"
)

// largeLog is the size in bytes from which a Start sets the server's log aside.
const largeLog = 8 << 20

// directory is a Config.Dir that this process holds the lock of.
type directory struct {
	path string
	root *os.Root
	lock *os.File
	as   account
}

// openDirectory makes the directory where it is missing, checks that it is ours to use and takes its lock.
func openDirectory(ctx context.Context, path string, as account) (_ *directory, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("localpg: make the data directory: %w", err)
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("localpg: make the data directory: %w", err)
	}
	root, err := os.OpenRoot(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, errors.Join(ownerError(path), err)
	} else if err != nil {
		return nil, fmt.Errorf("localpg: open the data directory: %w", err)
	}
	defer func() {
		if err != nil {
			_ = root.Close()
		}
	}()
	d := &directory{path: path, root: root, as: as}
	if err := d.claim(); err != nil {
		return nil, err
	}
	if err := as.reaches(ctx, path); err != nil {
		return nil, err
	}
	if d.lock, err = d.create(lockName, os.O_RDWR); err != nil {
		return nil, err
	}
	if err := d.takeLock(ctx); err != nil {
		_ = d.lock.Close()
		return nil, err
	}
	if err := writePID(d.lock); err != nil {
		_ = d.lock.Close()
		return nil, err
	}
	return d, nil
}

// claim makes sure that the directory belongs to the account and that nobody else can enter it.
func (d *directory) claim() error {
	info, err := d.root.Stat(".")
	if err != nil {
		return fmt.Errorf("localpg: look at the data directory: %w", err)
	}
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return fmt.Errorf("localpg: look at the data directory: %w", err)
	}
	if _, err := d.root.Lstat(lockName); err != nil && len(entries) > 0 {
		return &ForeignDirError{Dir: d.path}
	}
	if ownerOf(info) != d.as.uid {
		if d.as.become == nil {
			return &OwnerError{Dir: d.path, UID: ownerOf(info)}
		}
		if err := d.root.Lchown(".", d.as.uid, d.as.gid); err != nil {
			return fmt.Errorf("localpg: give the data directory to %s: %w", d.as.name, err)
		}
	}
	if info.Mode().Perm() != 0o700 {
		if err := d.root.Chmod(".", 0o700); err != nil {
			return fmt.Errorf("localpg: make the data directory private: %w", err)
		}
	}
	return nil
}

func ownerError(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("localpg: look at the data directory: %w", err)
	}
	return &OwnerError{Dir: path, UID: ownerOf(info)}
}

// create opens a file of the directory, making it with mode 0600 for the account where it is missing.
func (d *directory) create(name string, flags int) (*os.File, error) {
	file, err := d.root.OpenFile(name, flags|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("localpg: open %s: %w", name, err)
	}
	if d.as.become != nil {
		if err := file.Chown(d.as.uid, d.as.gid); err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("localpg: give %s to %s: %w", name, d.as.name, err)
		}
	}
	return file, nil
}

// mkdir makes a directory with mode 0700 for the account.
func (d *directory) mkdir(name string) error {
	if err := d.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("localpg: make %s: %w", name, err)
	}
	if d.as.become != nil {
		if err := d.root.Lchown(name, d.as.uid, d.as.gid); err != nil {
			return fmt.Errorf("localpg: give %s to %s: %w", name, d.as.name, err)
		}
	}
	return nil
}

func (d *directory) join(name string) string { return filepath.Join(d.path, name) }

// sweep removes the initdb that a Start cut short left behind. An initdb that is still running may be in the way; then it is left to
// the next Start.
func (d *directory) sweep(ctx context.Context, logger *slog.Logger) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), initPrefix) {
			err = errors.Join(err, d.root.RemoveAll(entry.Name()))
		}
	}
	if err != nil {
		logger.WarnContext(ctx, "could not remove an unfinished initdb", "error", err)
	}
}

// major returns the major version of Postgres that made the cluster, 0 where there is none yet.
func (d *directory) major() (int, error) {
	content, err := d.root.ReadFile(filepath.Join(dataName, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := d.root.Lstat(dataName); err == nil {
			return 0, fmt.Errorf("localpg: %s has no PG_VERSION: it is damaged; restore it, or move it away to start afresh", d.join(dataName))
		}
		return 0, nil
	} else if err != nil {
		return 0, fmt.Errorf("localpg: read the version of the cluster: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0, fmt.Errorf("localpg: read the version of the cluster: %w", err)
	}
	return major, nil
}

// openLog opens the server's log for appending and returns its size. A large one is set aside first.
func (d *directory) openLog() (*os.File, int64, error) {
	if info, err := d.root.Lstat(logName); err == nil && info.Size() > largeLog {
		if err := d.root.Rename(logName, oldLogName); err != nil {
			return nil, 0, fmt.Errorf("localpg: set the old log aside: %w", err)
		}
	}
	file, err := d.create(logName, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		return nil, 0, err
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		_ = file.Close()
		return nil, 0, fmt.Errorf("localpg: open %s: %w", logName, err)
	}
	return file, size, nil
}

// tail returns the end of what the log holds from an offset in bytes on, at most tailSize of it.
func (d *directory) tail(from int64) string {
	file, err := d.root.Open(logName)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && info.Size()-from > tailSize {
		from = info.Size() - tailSize
	}
	content, err := io.ReadAll(io.NewSectionReader(file, from, tailSize))
	if err != nil {
		return ""
	}
	return lastWords(content)
}

const tailSize = 4 << 10

func lastWords(output []byte) string {
	if len(output) > tailSize {
		output = output[len(output)-tailSize:]
	}
	return strings.TrimSpace(string(output))
}

// release gives the directory up for the next Start. Closing the lock alone would not do: a process that is being started elsewhere in
// this program has a copy of it until it runs its own program.
func (d *directory) release() error {
	return errors.Join(dropLock(d.lock), d.lock.Close(), d.root.Close())
}

// The lock is a flock: the kernel drops it with the process that holds it, however that ends, and the server does not
// inherit it. The file stays, since removing it would let two processes lock two files of one name.
func takeLock(file *os.File) error { return flock(file, syscall.LOCK_EX|syscall.LOCK_NB) }

func dropLock(file *os.File) error { return flock(file, syscall.LOCK_UN) }

func flock(file *os.File, how int) error {
	for {
		err := syscall.Flock(int(file.Fd()), how)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, syscall.EINTR):
			return fmt.Errorf("flock: %w", err)
		}
	}
}

// takeLock takes the directory's lock or returns an InUseError. The lock of a process that is gone is waited for: one
// that it was just starting may have held it for a moment longer.
func (d *directory) takeLock(ctx context.Context) error {
	err := waitUntil(ctx, 10*time.Millisecond, func() (bool, error) {
		err := takeLock(d.lock)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			held := &InUseError{Dir: d.path, PID: d.holder()}
			if held.PID != 0 && !alive(held.PID) {
				return false, nil
			}
			return false, held
		}
		return err == nil, err
	})
	if held := (*InUseError)(nil); err != nil && !errors.As(err, &held) {
		return fmt.Errorf("localpg: lock %s: %w", d.path, err)
	}
	return err
}

// holder returns the pid in the lock, 0 where there is none yet.
func (d *directory) holder() int {
	content, err := d.root.ReadFile(lockName)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0
	}
	return pid
}

func writePID(file *os.File) error {
	content := strconv.AppendInt(nil, int64(os.Getpid()), 10)
	if err := file.Truncate(0); err != nil {
		return fmt.Errorf("localpg: write the pid into the lock: %w", err)
	}
	if _, err := file.WriteAt(append(content, '\n'), 0); err != nil {
		return fmt.Errorf("localpg: write the pid into the lock: %w", err)
	}
	return nil
}

// waitForLock takes the lock of a file, waiting for who holds it.
func waitForLock(ctx context.Context, path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("localpg: open a lock: %w", err)
	}
	err = waitUntil(ctx, 50*time.Millisecond, func() (bool, error) {
		err := takeLock(file)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("localpg: lock %s: %w", path, err)
	}
	return file, nil
}

// waitUntil asks at the given interval until the answer is yes or an error, or the context ends.
func waitUntil(ctx context.Context, every time.Duration, ask func() (bool, error)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if yes, err := ask(); yes || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
