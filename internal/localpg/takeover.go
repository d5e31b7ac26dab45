package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pidFile is what Postgres keeps about a running server in data/postmaster.pid.
type pidFile struct {
	pid    int
	status string // "ready" once it accepts connections
}

func (d *directory) readPIDFile() (pidFile, error) {
	content, err := d.root.ReadFile(filepath.Join(dataName, "postmaster.pid"))
	if err != nil {
		return pidFile{}, fmt.Errorf("read postmaster.pid: %w", err)
	}
	lines := strings.Split(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid <= 1 {
		return pidFile{}, fmt.Errorf("postmaster.pid starts with %q", lines[0])
	}
	read := pidFile{pid: pid}
	const statusLine = 7
	if len(lines) > statusLine {
		read.status = strings.TrimSpace(lines[statusLine])
	}
	return read, nil
}

// takeOver ends a server that outlived the forgeauth that started it, and clears a pid file whose number now belongs
// to another program, at which Postgres would refuse to start. A pid file whose process is gone is left to Postgres.
//
// Should the cluster be in use nevertheless, say by a backend that outlived its postmaster, the new server notices it
// by the shared memory of the data directory and refuses; see launch.
func (d *directory) takeOver(ctx context.Context, logger *slog.Logger) error {
	read, err := d.readPIDFile()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		// Cut short while it was written: it was never a running server's.
		logger.WarnContext(ctx, "removing an unreadable postmaster.pid", "error", err)
		return d.removePIDFile()
	}
	ours, err := runsCluster(ctx, read.pid, d.join(dataName))
	if err != nil {
		return fmt.Errorf("localpg: look for a server that was left running: %w", err)
	}
	if ours {
		logger.InfoContext(ctx, "stopping the Postgres that an earlier forgeauth left running", "pid", read.pid)
		return d.endOrphan(ctx, read.pid)
	}
	if alive(read.pid) {
		logger.InfoContext(ctx, "removing a postmaster.pid whose number is another program's by now", "pid", read.pid)
		return d.removePIDFile()
	}
	return nil
}

func (d *directory) removePIDFile() error {
	if err := d.root.Remove(filepath.Join(dataName, "postmaster.pid")); err != nil {
		return fmt.Errorf("localpg: remove a stale postmaster.pid: %w", err)
	}
	return nil
}

// patience is how long a server gets for a fast shutdown before it is told to end without a checkpoint, and then again
// for that before it is killed.
const patience = 30 * time.Second

func (d *directory) endOrphan(ctx context.Context, pid int) error {
	gone := func() (bool, error) {
		running, err := runsCluster(ctx, pid, d.join(dataName))
		return !running, err
	}
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("localpg: stop the server that was left running (pid %d): %w", pid, err)
		}
		limited, cancel := context.WithTimeout(ctx, patience)
		err := waitUntil(limited, 10*time.Millisecond, gone)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("localpg: wait for the server that was left running (pid %d): %w", pid, err)
		}
	}
	return fmt.Errorf("localpg: the server that was left running (pid %d) does not end: end it by hand", pid)
}

// alive reports whether there is a process of that number.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
