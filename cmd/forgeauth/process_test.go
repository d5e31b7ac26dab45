package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds each wait; the start of an embedded Postgres on a busy machine is what takes longest.
const patience = time.Minute

// process is a running command, a serve mostly.
type process struct {
	command *exec.Cmd
	address string // it listens on
	exited  chan struct{}

	mu             sync.Mutex
	stdout, stderr strings.Builder
	changed        chan struct{} // closed and replaced when there is more output
}

// serve starts the binary on a free port and waits until it has printed its banner and answers.
func serve(t *testing.T, environ []string) *process {
	t.Helper()
	p := start(t, environ, "serve")
	p.waitFor(t, &p.stdout, "Open ")
	p.get(t, "/healthz")
	return p
}

func start(t *testing.T, environ []string, args ...string) *process {
	t.Helper()
	return startTyping(t, nil, environ, args...)
}

// startTyping is start with something on standard input, which the caller closes.
func startTyping(t *testing.T, keyboard *os.File, environ []string, args ...string) *process {
	t.Helper()
	p := &process{exited: make(chan struct{}), changed: make(chan struct{})}
	for _, entry := range environ {
		if address, ok := strings.CutPrefix(entry, "FORGEAUTH_LISTEN="); ok {
			p.address = address
		}
	}
	if p.address == "" {
		p.address = freeAddress(t)
	}
	// Not the context of the test: the process is stopped by signals, below.
	p.command = invoke(context.Background(), t, append(environ, "FORGEAUTH_LISTEN="+p.address), args...)
	if keyboard != nil {
		p.command.Stdin = keyboard
	}
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	for from, to := range map[*bufio.Scanner]*strings.Builder{bufio.NewScanner(stdout): &p.stdout, bufio.NewScanner(stderr): &p.stderr} {
		reading.Go(func() {
			for from.Scan() {
				p.mu.Lock()
				to.WriteString(from.Text() + "\n")
				close(p.changed)
				p.changed = make(chan struct{})
				p.mu.Unlock()
			}
		})
	}
	go func() {
		reading.Wait()
		_ = p.command.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.signal(t, syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(patience):
			t.Error("serve did not end; killing it")
			_ = p.command.Process.Kill()
			<-p.exited
		}
		if output := p.output(); t.Failed() {
			t.Log(output)
		} else {
			assertNoSecret(t, output)
		}
	})
	return p
}

// freeAddress returns a loopback address with a port that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprintf("stdout:\n%s\nstderr:\n%s", p.stdout.String(), p.stderr.String())
}

// banner returns what was printed on standard output.
func (p *process) banner() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String()
}

// waitFor waits until one of the outputs holds a text.
func (p *process) waitFor(t *testing.T, output *strings.Builder, text string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		p.mu.Lock()
		found, changed := strings.Contains(output.String(), text), p.changed
		p.mu.Unlock()
		if found {
			return
		}
		select {
		case <-changed:
		case <-p.exited:
			t.Fatalf("serve ended with %s before it printed %q:\n%s", p.command.ProcessState, text, p.output())
		case <-deadline:
			t.Fatalf("serve did not print %q:\n%s", text, p.output())
		}
	}
}

func (p *process) get(t *testing.T, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Timeout: patience}).Do(request)
	if err != nil {
		t.Fatalf("GET %s: %v\n%s", path, err, p.output())
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("GET %s: %s\n%s", path, response.Status, p.output())
	}
}

func (p *process) signal(t *testing.T, signal os.Signal) {
	t.Helper()
	select {
	case <-p.exited:
	default:
		if err := p.command.Process.Signal(signal); err != nil {
			t.Logf("signal: %v", err)
		}
	}
}

// end waits for the process and returns its exit code, -1 if a signal ended it.
func (p *process) end(t *testing.T) exitCode {
	t.Helper()
	select {
	case <-p.exited:
		return exitCode(p.command.ProcessState.ExitCode())
	case <-time.After(patience):
		t.Fatalf("serve did not end:\n%s", p.output())
		return -1
	}
}

// waitUntil asks until the answer is yes. It is for conditions that nobody announces.
func waitUntil(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

var setupCode = regexp.MustCompile(`Setup code +(\S+)\n`)
