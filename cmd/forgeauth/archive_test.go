package main

import (
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
)

// strange is a name with everything that JSON, HTML and SQL have ever tripped over.
const strange = "<a> & \u2028 \u2029 ' \" \\ \x7f é 🔑 \\u0000"

// withStrangeNames adds such events to a deployment.
func (d *signedDeployment) withStrangeNames(t *testing.T) {
	t.Helper()
	claimStrange := `INSERT INTO events SELECT position + 1, gen_random_uuid(), 'denials', 1, 'LoginDenied', 1, occurred_at, $1, gen_random_uuid(), $2
		FROM events ORDER BY position DESC LIMIT 1`
	payload := `{"forge_type":"gitea","base_url":"https://git.example.com","account_id":"1","account_login":"<&>` + "\u2028" + `\u0000","reason":"unknown_account"}`
	if _, err := d.conn.Exec(t.Context(), claimStrange, strange, payload); err != nil {
		t.Fatal(err)
	}
	d.serve(t, func(s *forgeauth.Service) { d.sign(t, s) })
}

// emptyDatabase returns the environment of d with another, migrated database.
func (d *signedDeployment) emptyDatabase(t *testing.T) []string {
	t.Helper()
	return append(append([]string{}, d.environ...), "DATABASE_URL="+pgtest.Migrated(t, migrations.Up).URL,
		"FORGEAUTH_CHECKPOINT_FILE="+t.TempDir()+"/checkpoint")
}

func TestADeploymentMovesByteForByte(t *testing.T) {
	t.Parallel()
	d := newSignedDeployment(t)
	d.withStrangeNames(t)
	exported := run(t, d.environ, "export", "--with-keys")
	exported.expect(t, exitOK, `"header":{"format":"forgeauth/1"`, "12 events exported")
	file := write(t, exported.stdout)
	elsewhere := d.emptyDatabase(t)
	run(t, elsewhere, "import", file, "--key", d.public).expect(t, exitOK, "12 events imported; the first 12 are those of the file's checkpoint.", "")
	again := run(t, elsewhere, "export", "--with-keys")
	if withoutHeader(again.stdout) != withoutHeader(exported.stdout) {
		t.Errorf("exported anew it is another file:\n%s\n%s", exported.stdout, again.stdout)
	}
	run(t, elsewhere, "verify").expect(t, exitOK, "4 rows equal the fold of the log up to position 12", "")
	run(t, elsewhere, "verify").expect(t, exitOK, "2 data keys, each of a token; 2 tokens opened", "")
	run(t, elsewhere, "import", file).expect(t, exitFailure, "", "this database has a history of its own")
	if state, moved := run(t, d.environ, "state", "--at", "12"), run(t, elsewhere, "state", "--at", "12"); state.stdout != moved.stdout {
		t.Errorf("the state is another:\n%s\n%s", state, moved)
	}
}

func withoutHeader(file string) string {
	_, rest, _ := strings.Cut(file, "\n")
	return rest
}

func TestWithoutKeysConnectionsNeedASignIn(t *testing.T) {
	t.Parallel()
	d := newSignedDeployment(t)
	exported := run(t, d.environ, "export")
	if strings.Contains(exported.stdout, "data_key\":{") || strings.Contains(exported.stdout, "canary") {
		t.Errorf("keys are exported without having been asked for: %s", exported)
	}
	elsewhere := d.emptyDatabase(t)
	run(t, elsewhere, "import", write(t, exported.stdout)).expect(t, exitOK, "11 events imported", "the file had no keys")
	run(t, elsewhere, "state").expect(t, exitOK, "needs_reauth", "")
	run(t, elsewhere, "connections", "list").expect(t, exitOK, "needs_reauth", "key_missing")
	run(t, elsewhere, "audit", "events", "--type", "TokenLost").expect(t, exitOK, "TokenLost", "")
	run(t, elsewhere, "verify").expect(t, exitOK, "0 data keys", "")
}

func TestAnImportThatWasBrokenOffGoesOn(t *testing.T) {
	t.Parallel()
	d := newSignedDeployment(t)
	d.serve(t, func(s *forgeauth.Service) {
		for range 2200 { // more than a transaction's worth
			d.switches(t, s, "gitea")
			d.switches(t, s, "gitlab")
		}
		d.sign(t, s)
	})
	exported := run(t, d.environ, "export", "--with-keys").stdout
	elsewhere := d.emptyDatabase(t)
	cut := write(t, exported[:len(exported)*2/3])
	run(t, elsewhere, "import", cut).expect(t, exitFailure, "", "the file is damaged at line")
	for _, command := range []string{"serve", "verify", "setup-code", "audit switches", "keys rotate"} {
		run(t, elsewhere, strings.Fields(command)...).expect(t, exitFailure, "", "the import into this database has not come to its end")
	}
	other := newSignedDeployment(t)
	run(t, elsewhere, "import", write(t, run(t, other.environ, "export").stdout), "--key", other.public).expect(t, exitFailure, "", "is not from this file")
	run(t, elsewhere, "import", write(t, exported)).expect(t, exitOK, "of them before", "")
	run(t, elsewhere, "verify").expect(t, exitOK, "events signed and as they were signed", "")
}

func TestADamagedFileIsNotImported(t *testing.T) {
	t.Parallel()
	d := newSignedDeployment(t)
	exported := run(t, d.environ, "export").stdout
	lines := strings.SplitAfter(exported, "\n")
	for name, test := range map[string]struct{ file, want string }{
		"nothing":                {"", "the file is damaged at line 1: it ends early"},
		"something else":         {"{}\n", "it is no file of forgeauth export"},
		"another event":          {strings.Replace(exported, `"actor":"program"`, `"actor":"somebody"`, 1), "its events are not those of its checkpoint"},
		"another payload":        {strings.Replace(exported, `\"previous\":null`, `\"previous\": null`, 1), "its events are not those of its checkpoint"},
		"one event less":         {strings.Join(append(append([]string{}, lines[:4]...), lines[5:]...), ""), "position 5 does not follow position 3"},
		"no end":                 {strings.Join(lines[:len(lines)-2], ""), "it ends early"},
		"a line of another kind": {lines[0] + `{"event":{},"more":1}` + "\n", "it is no JSON of this format"},
		"another checkpoint":     {strings.Replace(exported, "auth.example.org", "evil.example.org", 1), "not signed by a key of this log"},
	} {
		elsewhere := d.emptyDatabase(t)
		if got := run(t, elsewhere, "import", write(t, test.file), "--key", d.public); got.code != exitFailure || !strings.Contains(got.stderr, test.want) {
			t.Errorf("%s: want %q, got %s", name, test.want, got)
		}
	}
}
