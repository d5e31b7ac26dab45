package localpg

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// initialise makes the cluster in a directory of another name and renames it when it is whole.
func (c Config) initialise(ctx context.Context, d *directory, binaries Binaries) error {
	// A name of its own: an initdb that outlived its forgeauth may still be writing to another.
	work := initPrefix + rand.Text()
	if err := d.mkdir(work); err != nil {
		return err
	}
	run := c.initdb
	if run == nil {
		run = c.runInitdb
	}
	if err := run(ctx, d, binaries, work); err != nil {
		return errors.Join(err, d.root.RemoveAll(work))
	}
	if err := d.root.Rename(work, dataName); err != nil {
		return fmt.Errorf("localpg: keep the new cluster: %w", err)
	}
	if c.Ephemeral {
		return nil
	}
	return d.flush()
}

// runInitdb makes the cluster in an empty folder of the directory.
func (c Config) runInitdb(ctx context.Context, d *directory, binaries Binaries, work string) error {
	args := []string{
		"--pgdata=" + d.join(work), "--username=" + role, "--auth=trust", "--encoding=UTF8", "--locale=C",
		"--data-checksums", "--no-instructions",
	}
	if c.Ephemeral {
		args = append(args, "--no-sync")
	}
	cmd := d.as.command(ctx, d.path, binaries.program("initdb"), args...)
	// initdb gets a SIGTERM, at which it clears up after itself; its postgres would outlive a SIGKILL for a moment.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	endWithParent(cmd.SysProcAttr)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	initdb, err := supervise(cmd)
	if err != nil {
		return fmt.Errorf("localpg: start %s: %w", cmd.Path, err)
	}
	<-initdb.exited
	if err := initdb.failure; err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return &ServerError{Doing: "make the cluster with initdb", Tail: lastWords(output.Bytes()), Err: err}
	}
	return nil
}

// flush makes the names in the directory durable.
func (d *directory) flush() error {
	self, err := d.root.Open(".")
	if err != nil {
		return fmt.Errorf("localpg: flush the data directory: %w", err)
	}
	if err := errors.Join(self.Sync(), self.Close()); err != nil {
		return fmt.Errorf("localpg: flush the data directory: %w", err)
	}
	return nil
}

// settings returns the arguments that configure the server. They stand above the configuration file, so an upgrade of
// forgeauth needs no change to a cluster.
func (c Config) settings(socketDir string) []string {
	values := map[string]string{
		"listen_addresses":        "",
		"port":                    port,
		"unix_socket_directories": `"` + strings.ReplaceAll(socketDir, `"`, `""`) + `"`,
		"unix_socket_permissions": "0700",
		"cluster_name":            role,
		"logging_collector":       "off",
		"log_destination":         "stderr",
		"log_line_prefix":         "%m [%p] ",
		// What a failing statement holds, and the row it names in its detail, is nobody's business in a log.
		"log_min_error_statement": "panic",
		"log_error_verbosity":     "terse",
	}
	if c.Ephemeral {
		values["fsync"] = "off"
		values["full_page_writes"] = "off"
	}
	maps.Copy(values, c.Settings)
	args := make([]string, 0, 2*len(values))
	for name, value := range values {
		args = append(args, "-c", name+"="+value)
	}
	return args
}

var errEnded = errors.New("it ended before it was ready")

// postmaster is the server's first process, a child of ours.
type postmaster struct {
	cmd     *exec.Cmd
	exited  chan struct{}
	failure error // how it ended, nil for status 0; to be read once exited is closed
}

// launch starts the server and waits until it accepts connections. A backend that outlived a killed postmaster keeps
// the new one from starting until it notices, so that refusal alone is tried again.
func (c Config) launch(ctx context.Context, d *directory, binaries Binaries, socketDir string) (*postmaster, error) {
	var running *postmaster
	err := waitUntil(ctx, 200*time.Millisecond, func() (bool, error) {
		started, err := c.launchOnce(ctx, d, binaries, socketDir)
		var failed *ServerError
		if errors.As(err, &failed) && ctx.Err() == nil && strings.Contains(failed.Tail, "shared memory block") {
			return false, nil
		}
		running = started
		return err == nil, err
	})
	return running, err
}

func (c Config) launchOnce(ctx context.Context, d *directory, binaries Binaries, socketDir string) (*postmaster, error) {
	log, size, err := d.openLog()
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	args := append([]string{"-D", d.join(dataName)}, c.settings(socketDir)...)
	// The server outlives ctx, which only bounds its start.
	cmd := d.as.command(context.WithoutCancel(ctx), d.path, binaries.program("postgres"), args...)
	cmd.Stdout, cmd.Stderr = log, log
	endWithParent(cmd.SysProcAttr)
	p, err := supervise(cmd)
	if err != nil {
		return nil, fmt.Errorf("localpg: start %s: %w", binaries.program("postgres"), err)
	}
	err = waitUntil(ctx, 5*time.Millisecond, func() (bool, error) {
		select {
		case <-p.exited:
			return false, errors.Join(errEnded, p.failure)
		default:
		}
		read, err := d.readPIDFile()
		return err == nil && read.pid == p.cmd.Process.Pid && read.status == "ready", nil
	})
	if err != nil {
		p.kill()
		return nil, &ServerError{Doing: "start Postgres", LogPath: d.join(logName), Tail: d.tail(size), Err: err}
	}
	return p, nil
}

// supervise starts a command and waits for its end on a thread of its own, which lives as long as the command: the
// parent death signal is bound to it.
func supervise(cmd *exec.Cmd) (*postmaster, error) {
	p := &postmaster{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.failure = cmd.Wait()
		close(p.exited)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// shutDown ends the server: fast, without a checkpoint once ctx has ended, and by force should even that not do.
func (p *postmaster) shutDown(ctx context.Context) error {
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
	}
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.kill()
	}
	return fmt.Errorf("localpg: Postgres was stopped at once and will repair itself at the next start: %w", context.Cause(ctx))
}

// kill ends the server without any shutdown and waits for it. Its children notice and end too.
func (p *postmaster) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-p.exited:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}
