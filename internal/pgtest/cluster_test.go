package pgtest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth/internal/pgtest"
)

// TestInAChild is what the children run: two tests that want a schema.
func TestInAChild(t *testing.T) {
	t.Parallel()
	if os.Getenv(childMode) == "" {
		t.Skip("runs in the children of TestWhereTheServerComesFrom")
	}
	for _, name := range []string{"first", "second"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var database string
			if err := pgtest.Schema(t).Conn(t).QueryRow(t.Context(), "SELECT current_database()").Scan(&database); err != nil {
				t.Fatal(err)
			}
			t.Log("in the database " + database)
		})
	}
}

func TestWhereTheServerComesFrom(t *testing.T) {
	t.Parallel()
	given := pgtest.Start(t)
	path, _, _ := strings.Cut(given, "?")
	database := path[strings.LastIndex(path, "/")+1:]
	const (
		variable = "FORGEAUTH_TEST_DATABASE_URL"
		tried    = "a start was tried"
	)
	for name, tt := range map[string]struct {
		mode    string
		environ []string
		outcome string // of both tests
		says    string // each of them
		starts  int
	}{
		"from the variable, and nothing is started": {
			withoutBinaries, []string{variable + "=" + given}, "PASS", "in the database " + database + "\n", 0,
		},
		"from the variable, without pgtest.Main": {
			withoutMain, []string{variable + "=" + given}, "PASS", "in the database " + database + "\n", 0,
		},
		"a variable that is no URL fails": {
			withoutBinaries, []string{variable + "=host=db"}, "FAIL", variable + " must be a URL such as", 0,
		},
		"none to be had skips, after one try": {
			withoutBinaries, nil, "SKIP", "no Postgres to test against, and " + variable + " is not set", 1,
		},
		"none to be had fails in CI": {
			withoutBinaries, []string{"CI=true"}, "FAIL", "start the test cluster", 1,
		},
		"one that does not start fails": {
			brokenServer, nil, "FAIL", "start the test cluster: the disk is full", 1,
		},
		"a package that would not stop it fails": {
			withoutMain, nil, "FAIL", "needs func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }", 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestInAChild$", "-test.v") //nolint:gosec // this very binary
			cmd.Env = append([]string{"PATH=", "TMPDIR=" + t.TempDir(), childMode + "=" + tt.mode}, tt.environ...)
			output, err := cmd.CombinedOutput()
			if failed := err != nil; failed != (tt.outcome == "FAIL") {
				t.Errorf("the child ended with %v", err)
			}
			for what, want := range map[string]int{
				"    --- " + tt.outcome + ": TestInAChild/": 2, tt.says: 2, tried: tt.starts,
			} {
				if got := strings.Count(string(output), what); got != want {
					t.Errorf("%q occurs %d times, want %d", what, got, want)
				}
			}
			if t.Failed() {
				t.Logf("%s", output)
			}
		})
	}
}
