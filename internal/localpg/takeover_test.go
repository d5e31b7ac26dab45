package localpg

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// awaitInit waits until an initdb is at work.
func awaitInit(t *testing.T, dir string) {
	t.Helper()
	err := waitUntil(t.Context(), time.Millisecond, func() (bool, error) {
		under, err := filepath.Glob(filepath.Join(dir, initPrefix+"*", "pg_wal"))
		return len(under) > 0, err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestASecondForgeauthIsRefused(t *testing.T) {
	t.Parallel()
	needsPostgres(t)
	dir := filepath.Join(reachable(t), "postgres")
	other := newHelper(t, dir, madeCluster(t))
	other.ready(t)
	_, err := Start(t.Context(), prepared(t, dir))
	var got *InUseError
	if !errors.As(err, &got) || got.PID != other.cmd.Process.Pid || got.Dir != dir {
		t.Errorf("got %v, want an InUseError that names pid %d", err, other.cmd.Process.Pid)
	}
	// The refusal did not disturb the first, which ends in order.
	if err := errors.Join(other.input.Close(), other.cmd.Wait()); err != nil {
		t.Error(err)
	}
	s := start(t, prepared(t, dir))
	_, err = Start(t.Context(), prepared(t, dir))
	if !errors.As(err, &got) || got.PID != os.Getpid() {
		t.Errorf("got %v, want an InUseError that names this process", err)
	}
	if value := query(t, s.URL(), "SELECT 'undisturbed'"); value != "undisturbed" {
		t.Errorf("got %q", value)
	}
}

func TestKilledForgeauth(t *testing.T) {
	t.Parallel()
	needsPostgres(t)
	dir := filepath.Join(reachable(t), "postgres")
	for round := range 3 {
		other := newHelper(t, dir, madeCluster(t))
		pid := other.ready(t)
		url := (&Server{socketDir: filepath.Join(dir, runName)}).URL()
		execute(t, url, fmt.Sprintf("CREATE TABLE kept%d AS SELECT 'still here' AS value", round))
		other.kill()
		if round == 1 && runtime.GOOS == "linux" {
			awaitEnd(t, pid, filepath.Join(dir, dataName)) // nobody but the kernel tells it to
		}
		s, err := Start(t.Context(), prepared(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		if got := query(t, s.URL(), fmt.Sprintf("SELECT value FROM kept%d", round)); got != "still here" {
			t.Errorf("round %d: the table holds %q", round, got)
		}
		stop(t, s)
	}
}

func TestAKillDuringInitdbIsStartedOver(t *testing.T) {
	t.Parallel()
	needsPostgres(t)
	dir := filepath.Join(reachable(t), "postgres")
	other := newHelper(t, dir, "")
	awaitInit(t, dir)
	other.kill()
	if _, err := os.Stat(filepath.Join(dir, dataName)); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the initdb had ended before the kill: %v", err)
	}
	s := start(t, Config{Dir: dir})
	if got := query(t, s.URL(), "SELECT current_database()"); got != role {
		t.Errorf("got %q", got)
	}
	stop(t, s)
	start(t, Config{Dir: dir})
	left, err := filepath.Glob(filepath.Join(dir, initPrefix+"*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// orphan makes the server of s look like one whose forgeauth was killed on a system that does not end it: the lock is free, the
// server runs.
func orphan(t *testing.T, s *Server) {
	t.Helper()
	if err := s.dir.release(); err != nil {
		t.Fatal(err)
	}
}

func TestAnOrphanIsTakenOver(t *testing.T) {
	t.Parallel()
	needsPostgres(t)
	// Long, so that the orphan's socket is outside the directory, too.
	dir := filepath.Join(reachable(t), fmt.Sprintf("%0150d", 0))
	first, err := Start(t.Context(), prepared(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	execute(t, first.URL(), "CREATE TABLE kept AS SELECT 'still here' AS value")
	connect(t, first.URL()) // stays open: no reason for the orphan to linger
	orphan(t, first)

	second := start(t, prepared(t, dir))
	select {
	case <-first.Exited():
	default:
		t.Error("the orphan still runs")
	}
	if got := query(t, second.URL(), "SELECT value FROM kept"); got != "still here" {
		t.Errorf("the table holds %q", got)
	}
	if _, err := os.Stat(first.socketDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory of the orphan's socket is still there: %v", err)
	}
}

func TestAStalePIDFileStopsNobody(t *testing.T) {
	t.Parallel()
	needsPostgres(t)
	as, err := chooseAccount("/")
	if err != nil {
		t.Fatal(err)
	}
	c := prepared(t, filepath.Join(reachable(t), "postgres"))
	stop(t, start(t, c))
	const ended = 1 << 22 // above the largest pid
	other := prepared(t, "")
	other.Ephemeral = true
	another := start(t, other).process.cmd.Process.Pid
	for name, content := range map[string]string{
		"of a process that is gone":                       pidFileOf(ended),
		"whose number another program of the account has": pidFileOf(program(t, as)),
		"of the server of another cluster":                pidFileOf(another),
		"cut short":                                       "",
	} {
		file := filepath.Join(c.Dir, dataName, "postmaster.pid")
		if err := errors.Join(os.WriteFile(file, []byte(content), 0o600), os.Lchown(file, as.uid, as.gid)); err != nil {
			t.Fatal(err)
		}
		s, err := Start(t.Context(), c)
		if err != nil {
			t.Errorf("a pid file %s: %v", name, err)
			continue
		}
		stop(t, s)
	}
	if !alive(another) {
		t.Error("the server of another cluster was ended")
	}
}

func pidFileOf(pid int) string {
	return fmt.Sprintf("%d\n/elsewhere\n1700000000\n5432\n/elsewhere\n\n  1  1\nready   \n", pid)
}
