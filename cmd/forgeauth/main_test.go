package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/internal/pgtest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// built is the binary, made once by the first test that runs it.
var built struct {
	sync.Once
	dir, path string
	err       error
}

func binary(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		built.dir, built.err = os.MkdirTemp("", "forgeauth-cmd-") //nolint:usetesting // it outlives the test
		if built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "forgeauth")
		args := []string{"build", "-o", built.path, "-ldflags", "-X github.com/forgeauth/forgeauth.version=" + testVersion}
		if raceEnabled {
			args = append(args, "-race")
		}
		// Not the context of the test: the binary outlives it.
		output, err := exec.CommandContext(context.Background(), "go", append(args, ".")...).CombinedOutput() //nolint:gosec // this package's own program
		if err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, output)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

const (
	testVersion      = "v1.2.3-test"
	testKey          = "q3J8vX0bN5mZ7rT2cW9yK4sH6dF1gA+eLpUoViEjRn0="
	testClientSecret = "3f786850e387550fdab836ed7e6dc881de23001b"
	testPassword     = "hunter2-is-no-password"
)

// configured is the environment of a deployment with one forge.
func configured(more ...string) []string {
	return append([]string{
		"OAUTH_ENCRYPTION_KEY=" + testKey,
		"FORGEAUTH_FORGE_GITEA_BASE_URL=https://git.example.com",
		"FORGEAUTH_FORGE_GITEA_CLIENT_ID=b9b3c1c6-6e6d-4a57-8a2b-7f4c3a2f1e0d",
		"FORGEAUTH_FORGE_GITEA_CLIENT_SECRET=" + testClientSecret,
	}, more...)
}

type result struct {
	code           exitCode
	stdout, stderr string
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d\nstdout:\n%s\nstderr:\n%s", r.code, r.stdout, r.stderr)
}

// invoke prepares the binary with nothing in its environment but what is given, and what finding Postgres needs.
func invoke(ctx context.Context, t *testing.T, environ []string, args ...string) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(ctx, binary(t), args...) //nolint:gosec // the binary just built
	command.Dir = t.TempDir()
	command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + command.Dir}, environ...)
	return command
}

// run runs the binary to its end. Whatever it prints holds none of the test's secrets.
func run(t *testing.T, environ []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	command := invoke(ctx, t, environ, args...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	r := result{exitCode(command.ProcessState.ExitCode()), stdout.String(), stderr.String()}
	assertNoSecret(t, r.stdout+r.stderr)
	return r
}

func assertNoSecret(t *testing.T, output string) {
	t.Helper()
	for _, secret := range []string{testKey, testClientSecret, testPassword} {
		if strings.Contains(output, secret) {
			t.Errorf("a secret was printed:\n%s", output)
		}
	}
}

// expect fails the test unless the result has the code, and its outputs hold the texts.
func (r result) expect(t *testing.T, code exitCode, stdout, stderr string) {
	t.Helper()
	if r.code != code || !strings.Contains(r.stdout, stdout) || !strings.Contains(r.stderr, stderr) {
		t.Errorf("want exit code %d, %q and %q; got %s", code, stdout, stderr, r)
	}
	if code != exitOK && code != exitDifferences && stdout == "" && r.stdout != "" {
		t.Errorf("a command that failed printed a result: %s", r)
	}
	if strings.Contains(r.stderr, "goroutine ") || strings.Contains(r.stderr, ".go:") {
		t.Errorf("a stack trace was printed: %s", r)
	}
}

var (
	durations = regexp.MustCompile(`\((\d+(\.\d+)?(µs|ms|s))\)`)
	moments   = regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z`)
)

// steady replaces what differs from run to run.
func steady(s string, more ...string) string {
	s = durations.ReplaceAllString(s, "(1ms)")
	s = moments.ReplaceAllString(s, "2026-01-02 03:04:05Z")
	return strings.NewReplacer(more...).Replace(s)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path) //nolint:gosec // named by the tests of this package
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
