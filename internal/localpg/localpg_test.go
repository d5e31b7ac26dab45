package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStartMakesAPrivateCluster(t *testing.T) {
	t.Setenv("OAUTH_ENCRYPTION_KEY", "kept-from-the-server")
	t.Setenv("PGPORT", "1")
	needsPostgres(t)
	dir := filepath.Join(reachable(t), "data dir", "postgres")
	s := start(t, Config{Dir: dir})

	got := map[string]string{}
	for name, sql := range map[string]string{
		"database":         "SELECT current_database()",
		"role":             "SELECT current_user",
		"superuser":        "SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user",
		"encoding":         "SHOW server_encoding",
		"collation":        "SELECT datcollate FROM pg_database WHERE datname = current_database()",
		"checksums":        "SHOW data_checksums",
		"listen_addresses": "SHOW listen_addresses",
		"fsync":            "SHOW fsync",
	} {
		got[name] = query(t, s.URL(), sql)
	}
	want := map[string]string{
		"database": "forgeauth", "role": "forgeauth", "superuser": "true", "encoding": "UTF8", "collation": "C",
		"checksums": "on", "listen_addresses": "", "fsync": "on",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the cluster (-want +got):\n%s", diff)
	}
	for _, private := range []string{dir, s.socketDir, filepath.Join(dir, dataName), s.SocketPath()} {
		info, err := os.Stat(private)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v, want 0700", private, info.Mode())
		}
		if isRoot() && ownerOf(info) == 0 {
			t.Errorf("%s belongs to root, under whom Postgres cannot run", private)
		}
	}
	if runtime.GOOS == "linux" {
		process := fmt.Sprintf("/proc/%d/", s.process.cmd.Process.Pid)
		environ, err := os.ReadFile(process + "environ")
		if err != nil && !errors.Is(err, os.ErrPermission) {
			t.Fatal(err)
		}
		if strings.Contains(string(environ), "kept-from-the-server") {
			t.Error("the server's environment holds forgeauth's encryption key")
		}
	}
}

func TestRestartKeepsData(t *testing.T) {
	t.Parallel()
	needsPostgres(t)
	c := prepared(t, filepath.Join(reachable(t), "postgres"))
	s := start(t, c)
	execute(t, s.URL(), "CREATE TABLE kept AS SELECT 'still here' AS value")
	pid := s.process.cmd.Process.Pid
	stop(t, s)
	select {
	case <-s.Exited():
	default:
		t.Error("Stop returned before the server had ended")
	}
	if alive(pid) {
		t.Error("Stop left the server's process")
	}
	s = start(t, c)
	if got := query(t, s.URL(), "SELECT value FROM kept"); got != "still here" {
		t.Errorf("after a restart the table holds %q", got)
	}
}

func TestStopIsAnImmediateShutdownOnceItsContextEnds(t *testing.T) {
	t.Parallel()
	needsPostgres(t)
	c := prepared(t, filepath.Join(reachable(t), "postgres"))
	s, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	execute(t, s.URL(), "CREATE TABLE kept AS SELECT 'still here' AS value")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	pid := s.process.cmd.Process.Pid
	// The server may still be quick enough for the fast shutdown that it is told first.
	if err := s.Stop(ended); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Stop: %v", err)
	}
	if alive(pid) {
		t.Error("Stop left the server's process")
	}
	again, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, again)
	if got := query(t, again.URL(), "SELECT value FROM kept"); got != "still here" {
		t.Errorf("after the repair the table holds %q", got)
	}
}

func TestAnEphemeralClusterLeavesNothing(t *testing.T) {
	t.Parallel()
	needsPostgres(t)
	s := start(t, Config{Ephemeral: true, Settings: map[string]string{"max_connections": "17"}})
	if got := query(t, s.URL(), "SHOW max_connections"); got != "17" {
		t.Errorf("max_connections is %s, want the 17 that was set", got)
	}
	if got := query(t, s.URL(), "SHOW fsync"); got != "off" {
		t.Errorf("fsync is %s, want off", got)
	}
	path := s.dir.path
	stop(t, s)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", path, err)
	}
}

func TestAnAbandonedEphemeralClusterIsRemovedByTheNext(t *testing.T) {
	needsPostgres(t)
	c := prepared(t, "")
	c.Ephemeral = true
	temporary := reachable(t)
	t.Setenv("TMPDIR", temporary)
	if err := os.Chmod(temporary, 0o777); err != nil {
		t.Fatal(err)
	}
	first, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	held := start(t, c)
	first.process.kill() // and its forgeauth with it:
	if err := first.dir.release(); err != nil {
		t.Fatal(err)
	}
	start(t, c)
	if _, err := os.Stat(first.dir.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the abandoned cluster is still there: %v", err)
	}
	if got := query(t, held.URL(), "SELECT 'alive'"); got != "alive" {
		t.Errorf("a cluster that is in use says %q", got)
	}
}

func TestALongPathAndOneWithACommaGetASocketElsewhere(t *testing.T) {
	t.Parallel()
	needsPostgres(t)
	for _, name := range []string{strings.Repeat("long", 40), `with, "quotes" & 'more' ü`} {
		dir := filepath.Join(reachable(t), name, "postgres")
		s := start(t, prepared(t, dir))
		if strings.HasPrefix(s.SocketPath(), dir) || len(s.SocketPath()) > longestSocket() {
			t.Errorf("the socket is %s", s.SocketPath())
		}
		if got := query(t, s.URL(), "SELECT 'reached'"); got != "reached" {
			t.Errorf("got %q", got)
		}
		stop(t, s)
		if _, err := os.Stat(s.socketDir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Stop left the directory of the socket: %v", err)
		}
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	binaries := needsPostgres(t)
	made := func(t *testing.T, version string) string {
		t.Helper()
		dir := reachable(t)
		if err := errors.Join(
			os.WriteFile(filepath.Join(dir, lockName), nil, 0o600),
			os.Mkdir(filepath.Join(dir, dataName), 0o700),
			os.WriteFile(filepath.Join(dir, dataName, "PG_VERSION"), []byte(version), 0o600),
		); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	tests := map[string]struct {
		config func(t *testing.T) Config
		check  func(t *testing.T, dir string, err error)
	}{
		"a cluster of a version that is not installed": {
			func(t *testing.T) Config {
				t.Helper()
				return Config{Dir: made(t, "99\n")}
			},
			func(t *testing.T, dir string, err error) {
				t.Helper()
				var got *VersionError
				if !errors.As(err, &got) || got.Cluster != 99 || got.Dir != dir || got.Found[0] != binaries {
					t.Errorf("got %v, want a VersionError of the cluster of 99 and what is installed", err)
				}
			},
		},
		"a directory of something else": {
			func(t *testing.T) Config {
				t.Helper()
				dir := reachable(t)
				if err := os.WriteFile(filepath.Join(dir, "diary"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
				return Config{Dir: dir}
			},
			func(t *testing.T, dir string, err error) {
				t.Helper()
				var got *ForeignDirError
				if !errors.As(err, &got) || got.Dir != dir {
					t.Errorf("got %v, want a ForeignDirError", err)
				}
			},
		},
		"settings that the server does not take, quoting its log": {
			func(t *testing.T) Config {
				t.Helper()
				c := prepared(t, filepath.Join(reachable(t), "postgres"))
				c.Settings["max_connections"] = "plenty"
				return c
			},
			func(t *testing.T, _ string, err error) {
				t.Helper()
				var got *ServerError
				if !errors.As(err, &got) || !strings.Contains(got.Tail, `"plenty"`) || !strings.Contains(err.Error(), logName) {
					t.Errorf("got %v, want a ServerError with the server's complaint and the path of its log", err)
				}
			},
		},
		"a damaged cluster": {
			func(t *testing.T) Config {
				t.Helper()
				dir := made(t, "")
				if err := os.Remove(filepath.Join(dir, dataName, "PG_VERSION")); err != nil {
					t.Fatal(err)
				}
				return Config{Dir: dir}
			},
			func(t *testing.T, _ string, err error) {
				t.Helper()
				if err == nil || !strings.Contains(err.Error(), "PG_VERSION") {
					t.Errorf("got %v, want an error about PG_VERSION", err)
				}
			},
		},
		"a folder without binaries": {
			func(t *testing.T) Config {
				t.Helper()
				return Config{Dir: filepath.Join(reachable(t), "postgres"), BinDir: t.TempDir()}
			},
			func(t *testing.T, _ string, err error) {
				t.Helper()
				if !errors.Is(err, os.ErrNotExist) {
					t.Errorf("got %v, want that there is no postgres", err)
				}
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := tt.config(t)
			s, err := Start(t.Context(), c)
			if err == nil {
				stop(t, s)
				t.Fatal("it started")
			}
			tt.check(t, c.Dir, err)
			// What was refused holds nothing: the lock is free.
			lock, err := os.OpenFile(filepath.Join(c.Dir, lockName), os.O_RDWR, 0)
			if errors.Is(err, os.ErrNotExist) {
				return
			} else if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(takeLock(lock), lock.Close()); err != nil {
				t.Errorf("the lock is still held: %v", err)
			}
		})
	}
}

func TestStartAsRootNamesTheFolderThatPostgresCannotEnter(t *testing.T) {
	t.Parallel()
	if !isRoot() {
		t.Skip("needs root")
	}
	needsPostgres(t)
	blocked := filepath.Join(reachable(t), "home")
	dir := filepath.Join(blocked, "below", "postgres")
	if err := errors.Join(os.Mkdir(blocked, 0o700), os.Mkdir(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Config{Dir: dir})
	var got *UnreachableError
	if !errors.As(err, &got) || got.Blocked != blocked || got.Dir != dir {
		t.Errorf("got %v, want an UnreachableError that names %s", err, blocked)
	}
}

func TestStartAsAUserLeavesTheClusterOfAnotherAlone(t *testing.T) {
	t.Parallel()
	if isRoot() {
		t.Skip("root takes the account of the owner")
	}
	_, err := Start(t.Context(), Config{Dir: "/root"})
	var got *OwnerError
	if !errors.As(err, &got) || got.UID != 0 {
		t.Errorf("got %v, want an OwnerError of user id 0", err)
	}
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	c := prepared(t, filepath.Join(reachable(t), "postgres"))
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		awaitInit(t, c.Dir)
		cancel()
	}()
	_, err := Start(ctx, Config{Dir: c.Dir})
	<-watched
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	start(t, c)
}
