package localpg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// helperDir makes the test binary a forgeauth that runs the cluster in the directory it names until its input ends.
	helperDir = "LOCALPG_TEST_HELPER_DIR"
	// helperTemplate is the cluster that the helper copies in place of an initdb, if it is set.
	helperTemplate = "LOCALPG_TEST_HELPER_TEMPLATE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		c := Config{Dir: dir}
		if made := os.Getenv(helperTemplate); made != "" {
			c = copying(made, dir)
		}
		os.Exit(runHelper(c, os.Stdout))
	}
	code := m.Run()
	if err := removeTemplate(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func runHelper(c Config, out io.Writer) int {
	s, err := Start(context.Background(), c)
	if err != nil {
		_, _ = fmt.Fprintln(out, err)
		return 1
	}
	_, _ = fmt.Fprintln(out, "ready", s.process.cmd.Process.Pid)
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := s.Stop(context.Background()); err != nil {
		_, _ = fmt.Fprintln(out, err)
		return 1
	}
	return 0
}

// helper is another process that runs a cluster.
type helper struct {
	cmd    *exec.Cmd
	input  io.Closer
	output *bufio.Scanner
}

// newHelper starts one, whose cluster is a copy of the template where that is not empty.
func newHelper(t *testing.T, dir, template string) *helper {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), helperDir+"="+dir, helperTemplate+"="+template)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h := &helper{cmd: cmd, input: input, output: bufio.NewScanner(output)}
	t.Cleanup(h.kill)
	return h
}

// ready waits for the cluster and returns the pid of its server.
func (h *helper) ready(t *testing.T) int {
	t.Helper()
	h.output.Scan()
	number, ready := strings.CutPrefix(h.output.Text(), "ready ")
	pid, err := strconv.Atoi(number)
	if !ready || err != nil {
		t.Fatalf("the helper said %q", h.output.Text())
	}
	return pid
}

// kill ends the helper as kill -9 does.
func (h *helper) kill() {
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
}

// reachable returns a temporary directory that the account of the server can enter: those of testing are closed to
// all but root, where root runs the test.
func reachable(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "localpg-test-") //nolint:usetesting // see above
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// missing skips the test for want of something that the machine should have. In CI, where nothing is left out, it fails the test.
func missing(tb testing.TB, err error) {
	tb.Helper()
	if os.Getenv("CI") == "true" {
		tb.Fatal(err)
	}
	tb.Skip(err)
}

// needsPostgres skips where there is none to test with; see missing.
func needsPostgres(tb testing.TB) Binaries {
	tb.Helper()
	found, err := FindBinaries()
	if errors.Is(err, ErrNoBinaries) {
		missing(tb, err)
	} else if err != nil {
		tb.Fatal(err)
	}
	return found
}

func start(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func execute(t *testing.T, url, sql string) {
	t.Helper()
	if _, err := connect(t, url).Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func query(t *testing.T, url, sql string) (value string) {
	t.Helper()
	if err := connect(t, url).QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// awaitEnd waits until no server runs the cluster.
func awaitEnd(t *testing.T, pid int, data string) {
	t.Helper()
	err := waitUntil(t.Context(), 5*time.Millisecond, func() (bool, error) {
		running, err := runsCluster(t.Context(), pid, data)
		return !running, err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func isRoot() bool { return os.Geteuid() == 0 }

// TestAsAnUnprivilegedUser runs the tests of this package again as nobody, when root runs them.
func TestAsAnUnprivilegedUser(t *testing.T) {
	t.Parallel()
	if !isRoot() {
		t.Skip("these are the tests as an unprivileged user")
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		missing(t, err)
	}
	as, err := lookUpAccount(user.Lookup, nobody.Username)
	if err != nil {
		t.Fatal(err)
	}
	dir := reachable(t)
	home := filepath.Join(dir, "home")
	if err := errors.Join(os.Mkdir(home, 0o700), os.Chown(home, as.uid, as.gid)); err != nil {
		t.Fatal(err)
	}
	// The folder of the test binary is closed to others.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "localpg.test")
	if err := os.WriteFile(program, content, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := as.command(t.Context(), home, program, "-test.v="+strconv.FormatBool(testing.Verbose()),
		"-test.run=PrivateCluster|RestartKeeps|ALongPath|Refuse|AnotherAlone|Killed|KillDuringInitdb|TakenOver|StalePID")
	cmd.Env = append(cmd.Env, "HOME="+home, "TMPDIR="+home, "CI="+os.Getenv("CI"))
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as nobody: %v\n%s", err, output)
	} else {
		t.Logf("as nobody:\n%s", output)
	}
	left, err := fs.ReadDir(os.DirFS(home), ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		if strings.HasPrefix(entry.Name(), socketDirPattern) || strings.HasPrefix(entry.Name(), temporaryPrefix) {
			t.Errorf("%s was left behind", entry.Name())
		}
	}
}

// program starts a process of the account that has nothing to do with Postgres and returns its pid.
func program(t *testing.T, as account) int {
	t.Helper()
	cmd := as.command(t.Context(), "/", "/bin/cat")
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}
