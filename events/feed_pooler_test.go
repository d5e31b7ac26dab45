package events_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
)

// bouncer starts a pgbouncer before a database and returns the URL through it.
func bouncer(t *testing.T, databaseURL, mode string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("pgbouncer is needed: .ci/run installs it")
		}
		t.Skip("pgbouncer is not installed")
	}
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it listens on TCP
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // the pooler's account has to get there
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pgbouncer.ini")
	to := fmt.Sprintf("host=%s port=%d user=%s", config.Host, config.Port, config.User)
	if config.Password != "" {
		to += " password=" + config.Password
	}
	text := fmt.Sprintf(`[databases]
* = %s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = %s
`, to, port, mode)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil { //nolint:gosec // the pooler's account reads it
		t.Fatal(err)
	}
	arguments := []string{"--quiet", file}
	if os.Geteuid() == 0 {
		arguments = append([]string{"--user=nobody"}, arguments...) // it refuses to run as root
	}
	pooler := exec.CommandContext(context.WithoutCancel(t.Context()), program, arguments...) //nolint:gosec // of the test's own
	pooler.Stderr = t.Output()
	if err := pooler.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = pooler.Process.Kill()
		_ = pooler.Wait()
	})
	u := &url.URL{Scheme: "postgres", User: url.User(config.User), Host: "127.0.0.1:" + strconv.Itoa(port), Path: "/" + config.Database, RawQuery: "sslmode=disable"}
	eventually(t, "the pooler answers", func() bool {
		conn, err := pgx.Connect(t.Context(), u.String())
		if err != nil {
			return false
		}
		return conn.Close(t.Context()) == nil
	})
	return u.String()
}

func TestAPoolerInTransactionModeIsRefused(t *testing.T) {
	t.Parallel()
	db := pgtest.Start(t)
	if err := migrations.Up(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	b := &bench{db: &pgtest.DB{URL: db}}
	b.pool = b.db.Pool(t)
	_, through := b.db.Proxied(t) // the pooler's account may not use the server's socket
	for mode, want := range map[string]error{"transaction": events.ErrPooler, "session": nil} {
		if err := b.feed(t, bouncer(t, through, mode)).Check(t.Context()); !errors.Is(err, want) {
			t.Errorf("a pooler in %s mode: %v, want %v", mode, err, want)
		}
	}
}
