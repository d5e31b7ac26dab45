package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
)

// embedded is the environment of a deployment with a Postgres of its own in dir.
func embedded(dir string, more ...string) []string {
	return configured(append([]string{"FORGEAUTH_DATA_DIR=" + dir}, more...)...)
}

// dataDir returns a folder for a cluster, which does not exist yet, in one that the account which Postgres runs as can enter: for a
// root, the test's own temporary directory is closed to it.
func dataDir(t *testing.T, name string) string {
	t.Helper()
	parent, err := os.MkdirTemp("", "forgeauth-serve-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(parent) })
	if err := os.Chmod(parent, 0o755); err != nil { //nolint:gosec // that account has to enter it
		t.Fatal(err)
	}
	return filepath.Join(parent, name)
}

func TestServeRunsAPostgresOfItsOwn(t *testing.T) {
	t.Parallel()
	dir := dataDir(t, "data dir")
	run(t, embedded(dir), "verify").expect(t, exitFailure, "", "there is no database in "+dir+" yet: run `forgeauth serve` first")
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a command that only looks made the data directory: %v", err)
	}

	p := serve(t, embedded(dir))
	p.get(t, "/readyz")
	code := setupCode.FindStringSubmatch(p.banner())
	if code == nil {
		t.Fatalf("no setup code was printed: %s", p.output())
	}
	golden(t, "banner.golden", steady(p.banner(), p.address, "127.0.0.1:8080", dir, "/var/lib/forgeauth", code[1], "CODE"))

	// Beside the running serve, on its Postgres.
	printed := run(t, embedded(dir, "FORGEAUTH_PUBLIC_URL=http://127.0.0.1:8080"), "setup-code", "--json")
	printed.expect(t, exitOK, `"login_url": "http://127.0.0.1:8080/login"`, "")
	var answer printedCode
	if err := json.Unmarshal([]byte(printed.stdout), &answer); err != nil || answer.Code == "" || answer.Code == code[1] {
		t.Errorf("setup-code --json: %v: %s", err, printed)
	}
	run(t, embedded(dir), "setup-code").expect(t, exitOK, "Setup code: ", "")
	run(t, embedded(dir), "recover").expect(t, exitFailure, "", "unclaimed: `forgeauth setup-code`")
	run(t, embedded(dir), "accounts", "list").expect(t, exitOK, "Nobody owns this deployment yet", "")
	run(t, embedded(dir), "verify").expect(t, exitOK, "0 rows equal the fold of the log up to position 0", "")
	run(t, embedded(dir), "migrate").expect(t, exitOK, "nothing to do", "")
	if strings.Contains(p.output(), answer.Code) {
		t.Error("the code that another process printed is in serve's output")
	}

	// A second one is refused, and says why.
	run(t, embedded(dir, "FORGEAUTH_LISTEN="+freeAddress(t)), "serve").expect(t, exitFailure, "", "is running on "+dir)
	run(t, embedded(dataDir(t, "other"), "FORGEAUTH_LISTEN="+p.address), "serve").
		expect(t, exitFailure, "", "set FORGEAUTH_LISTEN to an address that is free")

	p.signal(t, syscall.SIGTERM)
	if code := p.end(t); code != exitOK {
		t.Errorf("SIGTERM: exit code %d\n%s", code, p.output())
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "postmaster.pid")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the embedded Postgres was not stopped: %v", err)
	}
	// With none running, the command runs it for itself.
	run(t, embedded(dir), "verify").expect(t, exitOK, "0 rows equal", "")
	if _, err := os.Stat(filepath.Join(dir, "data", "postmaster.pid")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("verify did not stop the Postgres that it had started: %v", err)
	}
	again := serve(t, embedded(dir))
	if !strings.Contains(again.banner(), "printed before and good until") {
		t.Errorf("the code that is out is not mentioned:\n%s", again.banner())
	}
}

func TestADataDirectoryThatCannotBeMadeNamesTheSetting(t *testing.T) {
	t.Parallel()
	file := dataDir(t, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, embedded(filepath.Join(file, "data"), "FORGEAUTH_LISTEN="+freeAddress(t)), "serve").
		expect(t, exitFailure, "", "forgeauth: start the embedded Postgres")
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	run(t, embedded("/forgeauth-data", "FORGEAUTH_LISTEN="+freeAddress(t)), "serve").
		expect(t, exitFailure, "", "set FORGEAUTH_DATA_DIR to a folder that this user may write to")
}

func TestServeStartsAgainAfterAKill(t *testing.T) {
	t.Parallel()
	dir := dataDir(t, "data")
	for range 3 {
		p := serve(t, embedded(dir))
		p.signal(t, syscall.SIGKILL)
		if code := p.end(t); code != -1 {
			t.Fatalf("SIGKILL: exit code %d", code)
		}
	}
	p := serve(t, embedded(dir))
	p.get(t, "/readyz")
	p.signal(t, os.Interrupt)
	if code := p.end(t); code != exitOK {
		t.Errorf("SIGINT: exit code %d\n%s", code, p.output())
	}
	run(t, embedded(dir), "verify").expect(t, exitOK, "equal the fold", "")
}

func TestServeEndsWhenItsPostgresDoes(t *testing.T) {
	t.Parallel()
	dir := dataDir(t, "data")
	p := serve(t, embedded(dir))
	content, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid")) //nolint:gosec // in a directory of the test
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if err := json.Unmarshal([]byte(strings.SplitN(string(content), "\n", 2)[0]), &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	if code := p.end(t); code != exitFailure || !strings.Contains(p.output(), "the embedded Postgres has ended") {
		t.Errorf("exit code %d\n%s", code, p.output())
	}
}

func TestASecondSignalEndsServeAtOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.Migrated(t, migrations.Up)
	p := serve(t, configured("DATABASE_URL="+db.URL))
	// A request whose body never comes keeps the first signal's shutdown waiting. That it is being handled is known from the
	// invitation to send the body, which goes out when the handler reads it.
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "POST /oauth/gitea/init HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\n"+
		"Content-Length: 1\r\nExpect: 100-continue\r\n\r\n", p.address); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("got %q, %v", line, err)
	}
	p.signal(t, os.Interrupt)
	p.waitFor(t, &p.stderr, "shutting down")
	p.signal(t, os.Interrupt)
	if code := p.end(t); code != exitInterrupted {
		t.Errorf("exit code %d, want %d\n%s", code, exitInterrupted, p.output())
	}
}

func TestServeLeavesMigratingADatabaseToMigrate(t *testing.T) {
	t.Parallel()
	db := pgtest.Schema(t)
	environ := configured("DATABASE_URL="+db.URL, "FORGEAUTH_LISTEN="+freeAddress(t))
	run(t, environ, "serve").expect(t, exitFailure, "", "run `forgeauth migrate` as the owner of the tables")
	var tables int
	if err := db.Conn(t).QueryRow(t.Context(), `SELECT count(*) FROM pg_tables WHERE schemaname = $1`, db.Schema).Scan(&tables); err != nil || tables != 0 {
		t.Errorf("serve made %d tables, %v", tables, err)
	}
	run(t, configured("DATABASE_URL=postgres://nobody:"+testPassword+"@127.0.0.1:1/x?connect_timeout=2"), "verify").
		expect(t, exitFailure, "", "cannot connect to Postgres")
}

func TestServeLogsAsJSONBesideItsBanner(t *testing.T) {
	t.Parallel()
	db := pgtest.Migrated(t, migrations.Up)
	p := serve(t, configured("DATABASE_URL="+db.URL, "FORGEAUTH_LOG_FORMAT=json", "FORGEAUTH_LOG_LEVEL=debug"))
	p.get(t, "/healthz")
	p.signal(t, syscall.SIGTERM)
	p.end(t)
	code := setupCode.FindStringSubmatch(p.banner())
	if code == nil || strings.Contains(p.stderr.String(), code[1]) {
		t.Errorf("the setup code is not on standard output, or not on it alone:\n%s", p.output())
	}
	for line := range strings.Lines(p.stderr.String()) {
		if !json.Valid([]byte(line)) && !strings.HasPrefix(line, "forgeauth: shutting down") {
			t.Errorf("not JSON: %s", line)
		}
	}
	if !strings.Contains(p.stderr.String(), "owner of the tables") {
		t.Errorf("running as the owner was not warned about:\n%s", p.output())
	}
}

func TestServeToldToEndWhileStartingLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	dir := dataDir(t, "data")
	p := start(t, embedded(dir), "serve")
	waitUntil(t, "the data directory is being made", func() bool {
		_, err := os.Stat(filepath.Join(dir, "lock"))
		return err == nil
	})
	p.signal(t, syscall.SIGTERM)
	if code := p.end(t); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.output())
	}
	serve(t, embedded(dir)).get(t, "/readyz")
}

func TestServeEndsAlthoughItsEventsAreFollowed(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	connection := forge.Connection{Name: "gitea", Kind: forge.Gitea}
	at := standIn{connection: connection, Forge: forgetest.Start(t, forgetest.Config{
		Dialect: forgetest.Gitea, RequirePKCE: true, Users: []forgetest.User{{ID: 7, Login: demoOperator}},
		Clients: []forgetest.Client{{
			ID: "client", Secret: testClientSecret, RedirectURIs: []string{"http://" + address + "/oauth/gitea/callback"},
		}},
	})}
	at.connection.BaseURL = at.URL()
	p := serve(t, []string{
		"OAUTH_ENCRYPTION_KEY=" + testKey, "DATABASE_URL=" + pgtest.Migrated(t, migrations.Up).URL,
		"FORGEAUTH_LISTEN=" + address, "FORGEAUTH_PUBLIC_URL=http://" + address, "FORGEAUTH_FORGE_GITEA_BASE_URL=" + at.URL(),
		"FORGEAUTH_FORGE_GITEA_CLIENT_ID=client", "FORGEAUTH_FORGE_GITEA_CLIENT_SECRET=" + testClientSecret,
	})
	o, err := newOperator("http://" + address)
	if err != nil {
		t.Fatal(err)
	}
	code := setupCode.FindStringSubmatch(p.banner())
	if code == nil {
		t.Fatalf("no setup code was printed: %s", p.output())
	}
	if err := o.signIn(t.Context(), at, code[1]); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := o.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Body.Close() }()
	if stream.StatusCode != http.StatusOK {
		t.Fatalf("GET /events: %s", stream.Status)
	}
	p.signal(t, syscall.SIGTERM)
	if _, err := io.Copy(io.Discard, stream.Body); err != nil {
		t.Errorf("the stream was cut off: %v", err)
	}
	if code := p.end(t); code != exitOK || strings.Contains(p.output(), "cut short") {
		t.Errorf("SIGTERM: exit code %d\n%s", code, p.output())
	}
}
