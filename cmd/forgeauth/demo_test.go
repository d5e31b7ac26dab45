package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/internal/localpg"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
)

// demoPlace is a temporary directory that only one demo uses, and what else a demo that runs a Postgres needs.
func demoPlace(t *testing.T) (dir string, environ []string) {
	t.Helper()
	if _, err := localpg.FindBinaries(); err != nil {
		pgtest.Start(t) // fetches them, or skips the test where none can be had
	}
	dir = t.TempDir()
	// Run by root, Postgres is another account's process.
	for _, path := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(path, 0o755); err != nil { //nolint:gosec // that account has to enter it
			t.Fatal(err)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = dir
	}
	return dir, []string{"TMPDIR=" + dir, "XDG_CACHE_HOME=" + cache}
}

// assertNothingLeft fails the test if a demo has left a file in its place, or a process that uses it.
func assertNothingLeft(t *testing.T, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("the demo left %v (%v)", left, err)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines { // none where there is no /proc
		line, err := os.ReadFile(path) //nolint:gosec // a file of the kernel's
		if err == nil && bytes.Contains(line, []byte(dir)) {
			t.Errorf("the demo left a process: %s", bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
		}
	}
}

var (
	loopbackPorts = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	sessions      = regexp.MustCompile(`session/[0-9a-f-]{36}`)
	databases     = regexp.MustCompile(`Postgres at .*`)
)

func steadyDemo(output string) string {
	output = loopbackPorts.ReplaceAllString(output, "127.0.0.1:PORT")
	output = sessions.ReplaceAllString(output, "session/ID")
	return databases.ReplaceAllString(output, "Postgres at PLACE")
}

func TestDemoTellsTheWholeStory(t *testing.T) {
	t.Parallel()
	dir, environ := demoPlace(t)
	r := run(t, environ, "demo", "--exit")
	r.expect(t, exitOK, "Everything held.", "")
	if r.stderr != "" {
		t.Errorf("standard error is not empty: %s", r.stderr)
	}
	golden(t, "demo/exit.golden", steadyDemo(r.stdout))
	assertFits(t, r.stdout)
	assertNothingLeft(t, dir)
}

// assertFits holds the demo to its columns and, where no terminal sees it, plain text.
func assertFits(t *testing.T, output string) {
	t.Helper()
	for line := range strings.Lines(output) {
		if width := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); width > widestStep {
			t.Errorf("a line has %d columns: %s", width, line)
		}
	}
	if strings.Contains(output, "\x1b") {
		t.Error("there are escape sequences, although nothing is a terminal")
	}
}

func TestDemoAsData(t *testing.T) {
	t.Parallel()
	dir, environ := demoPlace(t)
	r := run(t, environ, "demo", "--exit", "--json")
	r.expect(t, exitOK, `"type":"end"`, "")
	golden(t, "demo/exit_json.golden", steadyDemo(r.stdout))
	assertNothingLeft(t, dir)
}

func TestDemoHelpTeaches(t *testing.T) {
	t.Parallel()
	r := run(t, nil, "demo", "--help")
	r.expect(t, exitOK, "DATABASE_URL", "")
	golden(t, "demo/help.golden", r.stdout)
}

func TestDemoUsesAnEmptyDatabaseAndLeavesItsHistoryThere(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string][]string{
		"empty": nil, "migrated and not used": {"migrate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Start(t)
			dir := t.TempDir()
			environ := []string{"DATABASE_URL=" + url, "TMPDIR=" + dir, "NO_COLOR=1"}
			if prepare != nil {
				run(t, environ, prepare...).expect(t, exitOK, "", "")
			}
			run(t, environ, "demo", "--exit").expect(t, exitOK, "Everything held. The log has 19 events", "")
			assertNothingLeft(t, dir)
			run(t, environ, "verify").expect(t, exitOK, "5 rows equal the fold of the log up to position 19", "")

			again := run(t, environ, "demo", "--exit")
			again.expect(t, exitFailure, "", "the database that DATABASE_URL names is not empty: it holds a log with 19 events.")
			if count := countRows(t, url, "events"); count != 19 {
				t.Errorf("the demo that was refused left %d events", count)
			}
		})
	}
}

func countRows(t *testing.T, url, table string) (count int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&count); err != nil {
		t.Fatal(err)
	}
	return count
}

func TestDemoRefusesADatabaseThatIsNotEmpty(t *testing.T) {
	t.Parallel()
	const code = `INSERT INTO setup_code (purpose, code_hash, expires_at) VALUES ('setup', '\x00', now())`
	for name, test := range map[string]struct {
		migrated bool
		sql      string
		holds    string
	}{
		"somebody's table":           {false, `CREATE TABLE orders ()`, "holds public.orders."},
		"a view and tables":          {false, `CREATE TABLE a (); CREATE TABLE b (); CREATE VIEW c AS SELECT 1`, "holds public.a and 2 more."},
		"a table in another schema":  {false, `CREATE SCHEMA shop; CREATE TABLE shop.events ()`, "holds shop.events."},
		"a table beside ours":        {true, `CREATE TABLE orders ()`, "holds public.orders."},
		"a deployment not yet owned": {true, code, "was in use by forgeauth (there are rows in setup_code)."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Start(t)
			if test.migrated {
				if err := migrations.Up(t.Context(), url); err != nil {
					t.Fatal(err)
				}
			}
			conn, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
			if _, err := conn.Exec(t.Context(), test.sql); err != nil {
				t.Fatal(err)
			}
			p, out := demoProgram("DATABASE_URL=" + url)
			err = p.demo(t.Context(), demoOptions{exit: true})
			var refused *notEmptyError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), "it "+test.holds+" The demo") || codeOf(err) != exitFailure {
				t.Errorf("refused with %v", err)
			}
			if out.Len() != 0 {
				t.Errorf("a demo that was refused printed %s", out)
			}
			var migrated bool
			if err := conn.QueryRow(t.Context(), `SELECT to_regclass('forgeauth_migrations') IS NOT NULL`).Scan(&migrated); err != nil || migrated != test.migrated {
				t.Errorf("migrated: %v, %v", migrated, err)
			}
		})
	}
}

// demoProgram is the program in this process, so that its forges can be disturbed.
func demoProgram(environ ...string) (*program, *bytes.Buffer) {
	var out bytes.Buffer
	return &program{environ: environ, out: &out, err: io.Discard, started: true}, &out
}

func TestDemoEndsWith1AtAStepThatDoesNotHold(t *testing.T) {
	t.Parallel()
	for name, disturb := range map[string]func(a, b *forgetest.Forge){
		"the forge is down when repositories are listed": func(a, _ *forgetest.Forge) {
			a.Next(forgetest.RepositoriesEndpoint, forgetest.Status(http.StatusServiceUnavailable))
		},
		"the second forge refuses the code": func(_, b *forgetest.Forge) { b.Next(forgetest.TokenEndpoint, forgetest.ReplicaLag()) },
		"a revocation is not confirmed": func(a, _ *forgetest.Forge) {
			a.Next(forgetest.RevokeEndpoint, forgetest.Status(http.StatusBadGateway))
		},
		"a page of the forge fails": func(a, _ *forgetest.Forge) {
			a.Next(forgetest.AuthorizeEndpoint, forgetest.Status(http.StatusInternalServerError))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, out := demoProgram("DATABASE_URL=" + pgtest.Start(t))
			// Without exit: one that would have stayed up ends too.
			err := p.demo(t.Context(), demoOptions{disturb: disturb})
			if !errors.Is(err, errUnheld) || codeOf(err) != exitFailure {
				t.Errorf("it ended with %v", err)
			}
			golden(t, "demo/"+strings.ReplaceAll(name, " ", "_")+".golden", steadyDemo(out.String()))
			assertFits(t, steadyDemo(out.String()))
		})
	}
}

func TestDemoThatFailsLeavesNothing(t *testing.T) {
	dir, _ := demoPlace(t)
	t.Setenv("TMPDIR", dir)
	p, out := demoProgram()
	err := p.demo(t.Context(), demoOptions{json: true, disturb: func(a, _ *forgetest.Forge) {
		a.Next(forgetest.TokenEndpoint, forgetest.GarbageBody())
	}})
	if !errors.Is(err, errUnheld) {
		t.Errorf("it ended with %v", err)
	}
	golden(t, "demo/failed_json.golden", steadyDemo(out.String()))
	assertNothingLeft(t, dir)
}

func TestDemoInterruptedInItsScriptLeavesNothing(t *testing.T) {
	dir, _ := demoPlace(t)
	t.Setenv("TMPDIR", dir)
	p, out := demoProgram()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	started := make(chan *forgetest.Forge, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- p.demo(ctx, demoOptions{disturb: func(_, b *forgetest.Forge) {
			b.Next(forgetest.TokenEndpoint, forgetest.Slow(nil)) // for as long as the client waits
			started <- b
		}})
	}()
	go func() { // a demo that ends before it gets there must not be waited for
		err := <-ended
		cancel()
		ended <- err
	}()
	_ = (<-started).Await(ctx, forgetest.TokenEndpoint, 1)
	cancel()
	err := <-ended
	if codeOf(err) != exitInterrupted {
		t.Errorf("it ended with %v", err)
	}
	if output := out.String(); !strings.Contains(output, "✓ lists the repositories") || strings.Contains(output, "✗") {
		t.Errorf("it printed\n%s", output)
	}
	assertNothingLeft(t, dir)
}

func TestDemoInterruptedBeforeItsScriptLeavesNothing(t *testing.T) {
	dir, _ := demoPlace(t)
	t.Setenv("TMPDIR", dir)
	p, out := demoProgram()
	ctx, cancel := context.WithCancel(t.Context())
	// The forges are there by then, and Postgres is not.
	err := p.demo(ctx, demoOptions{disturb: func(*forgetest.Forge, *forgetest.Forge) { cancel() }})
	if codeOf(err) != exitInterrupted {
		t.Errorf("it ended with %v", err)
	}
	if strings.Contains(out.String(), "✓") {
		t.Errorf("it printed\n%s", out)
	}
	assertNothingLeft(t, dir)
}

func TestDemoStaysUpUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			dir, environ := demoPlace(t)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			command := invoke(ctx, t, environ, "demo", "--listen", "127.0.0.1:0")
			command.Stderr = os.Stderr
			stdout, err := command.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			var output strings.Builder
			lines := bufio.NewScanner(stdout)
			for lines.Scan() && !strings.HasPrefix(lines.Text(), "  Ctrl-C") {
				output.WriteString(lines.Text() + "\n")
			}
			output.WriteString(lines.Text() + "\n\n")
			golden(t, "demo/stay.golden", steadyDemo(output.String()))
			assertFits(t, output.String())
			visitTheDemo(t, output.String())

			if err := command.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, stdout); err != nil {
				t.Fatal(err)
			}
			if err := command.Wait(); err != nil {
				t.Errorf("it ended with %v", err)
			}
			assertNothingLeft(t, dir)
		})
	}
}

// visitTheDemo does with every address that a demo printed what a person would do first.
func visitTheDemo(t *testing.T, output string) {
	t.Helper()
	visited := map[string]bool{}
	for _, address := range regexp.MustCompile(`http://\S+`).FindAllString(output, -1) {
		visited[address] = true
	}
	if len(visited) != 4 { // forgeauth, the forges, the sign-in page
		t.Errorf("these addresses are printed: %v", visited)
	}
	for address := range visited {
		o, err := newOperator(address)
		if err != nil {
			t.Fatal(err)
		}
		page, err := o.page(t.Context(), address)
		if err != nil || page.status >= http.StatusBadRequest {
			t.Errorf("%s answers %d, %v", address, page.status, err)
		}
		if strings.HasSuffix(address, "/login") && (!strings.Contains(page.body, "Sign in with GitHub") || strings.Contains(page.body, "setup_code")) {
			t.Errorf("the sign-in page is not as described:\n%s", page.body)
		}
	}
}

func TestDemoWhoseReaderLeavesEndsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	dir, environ := demoPlace(t)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	command := invoke(t.Context(), t, environ, "demo")
	command.Stdout = writer
	_ = reader.Close()
	err = command.Run()
	_ = writer.Close()
	if code := exitCode(command.ProcessState.ExitCode()); code != exitFailure {
		t.Errorf("it ended with %d, %v", code, err)
	}
	assertNothingLeft(t, dir)
}

func TestDemoTakesAnotherPortWhereItsOwnIsTaken(t *testing.T) {
	t.Parallel()
	first, err := listenOnLoopback(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()
	second, err := listenOnLoopback(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	if first.Addr().String() == second.Addr().String() {
		t.Errorf("both listen on %s", first.Addr())
	}
	if _, err := listenOnLoopback(t.Context(), second.Addr().String()); err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("a port that was asked for and is taken: %v", err)
	}
}

func TestDemoListensOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	for address, allowed := range map[string]bool{
		"127.0.0.1:0": true, "localhost:0": true, "127.0.0.2:0": true, ":0": false, "0.0.0.0:0": false, "[::]:0": false,
		"192.0.2.1:80": false, "example.org:80": false, "8080": false, "127.0.0.1": false, "127.0.0.1:70000": false,
	} {
		listener, err := listenOnLoopback(t.Context(), address)
		if (err == nil) != allowed {
			t.Errorf("%q: %v", address, err)
		}
		if err == nil {
			_ = listener.Close()
		}
	}
}

func TestDemoIsColouredForTerminalsOnly(t *testing.T) {
	t.Parallel()
	written := []events.Event{{Record: events.Record{Position: 9, ID: uuid.Nil, Type: "ForgeActivated"}}}
	steps := []played{
		{does: "writes", events: written},
		{does: "sees", saw: "something"},
		{does: "fails", unmet: &unmetError{expected: "this", got: "that"}},
	}
	for _, test := range []struct {
		interactive bool
		environ     []string
		coloured    bool
	}{
		{true, nil, true}, {true, []string{"NO_COLOR="}, true}, {true, []string{"NO_COLOR=1"}, false}, {true, []string{"TERM=dumb"}, false}, {false, nil, false},
	} {
		t.Run(fmt.Sprintf("terminal %v %v", test.interactive, test.environ), func(t *testing.T) {
			t.Parallel()
			p, out := demoProgram(test.environ...)
			p.interactive = test.interactive
			for _, s := range steps {
				if err := p.demoOutput(demoOptions{}).step(s); err != nil {
					t.Fatal(err)
				}
			}
			if got := strings.Contains(out.String(), "\x1b["); got != test.coloured {
				t.Errorf("coloured: %v", got)
			}
			bare := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(out.String(), "")
			golden(t, "demo/steps.golden", bare)
		})
	}
}

func TestDemoGoesOnBelowWhereATerminalIsNarrow(t *testing.T) {
	t.Parallel()
	written := []events.Event{{Record: events.Record{Position: 14}}, {Record: events.Record{Position: 17}}}
	for i, name := range []string{"TokenIssuedAndMore", "SessionStartedAfterThat"} {
		written[i].Type = name
	}
	p, out := demoProgram()
	p.interactive, p.columns = true, 80
	for _, s := range []played{
		{does: "writes", events: written},
		{does: "sees", saw: "more than fits into what is left of a line of eighty columns"},
		{does: "fails", unmet: &unmetError{expected: strings.Repeat("that ", 20), got: "this"}},
	} {
		if err := p.demoOutput(demoOptions{}).step(s); err != nil {
			t.Fatal(err)
		}
	}
	bare := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(out.String(), "")
	golden(t, "demo/narrow.golden", bare)
	for line := range strings.Lines(bare) {
		if width := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); width > p.columns {
			t.Errorf("a line has %d columns: %s", width, line)
		}
	}
}
