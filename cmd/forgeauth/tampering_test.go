package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/proof"
	"github.com/forgeauth/forgeauth/secret"
)

// signedDeployment is a deployment with a history under a signed checkpoint, at rest.
type signedDeployment struct {
	db      *pgtest.DB
	conn    *pgx.Conn
	environ []string
	public  string
	kept    string
	head    int64
	config  forgeauth.Config
}

// newSignedDeployment has two forges connected, a token that was replaced, and seven switches, which are positions 5 to 11.
func newSignedDeployment(t *testing.T) *signedDeployment {
	t.Helper()
	key, public, err := proof.GenerateKey("auth.example.org/log")
	if err != nil {
		t.Fatal(err)
	}
	d := &signedDeployment{db: pgtest.Migrated(t, migrations.Up), public: public, kept: filepath.Join(t.TempDir(), "checkpoint")}
	d.conn = d.db.Conn(t)
	d.environ = configured("DATABASE_URL="+d.db.URL, "FORGEAUTH_SIGNING_KEY="+key.Reveal(), "FORGEAUTH_CHECKPOINT_FILE="+d.kept,
		"FORGEAUTH_FORGE_GITLAB_CLIENT_ID=application", "FORGEAUTH_FORGE_GITLAB_CLIENT_SECRET="+testClientSecret)
	e, err := forgeauth.FromEnvironment(d.environ, forgeauth.Serving)
	if err != nil {
		t.Fatal(err)
	}
	d.config = e.Config
	claim(t, d.db.URL, "7")
	d.serve(t, func(s *forgeauth.Service) {
		for _, name := range []string{"gitea", "gitlab", "gitea"} {
			d.imports(t, s, name)
		}
		d.switches(t, s, "gitlab")
		for range 3 {
			d.switches(t, s, "gitea")
			d.switches(t, s, "gitlab")
		}
		d.sign(t, s)
	})
	return d
}

// serve opens the service for a while, without its background work.
func (d *signedDeployment) serve(t *testing.T, do func(*forgeauth.Service)) {
	t.Helper()
	s, err := forgeauth.Open(t.Context(), d.config)
	if err != nil {
		t.Fatal(err)
	}
	do(s)
	head, err := s.Log().Head(t.Context())
	d.head = head.Position
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (*signedDeployment) imports(t *testing.T, s *forgeauth.Service, name string) {
	t.Helper()
	err := s.UpsertOperatorOAuth(t.Context(), forgeauth.OperatorOAuth{
		ForgeType: name, AccountID: "4711", AccountLogin: "robot", AccessToken: secret.New("access-of-" + name), RefreshToken: secret.New("refresh"),
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (*signedDeployment) switches(t *testing.T, s *forgeauth.Service, name string) {
	t.Helper()
	if err := s.SetActiveForge(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

func (d *signedDeployment) sign(t *testing.T, s *forgeauth.Service) {
	t.Helper()
	if err := s.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// exec does what a superuser can, past the triggers.
func (d *signedDeployment) exec(t *testing.T, statements ...string) {
	t.Helper()
	for _, statement := range append([]string{`ALTER TABLE events DISABLE TRIGGER ALL`}, statements...) {
		if _, err := d.conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// forget takes tree and checkpoints out of the database, as who covers their tracks would.
const forgetTree = `DELETE FROM log_tiles; DELETE FROM log_checkpoints; UPDATE log_tree SET size = 0, root = sha256(''), until = '-infinity'`

// TestTamperingIsFound: with the triggers gone and all rights in the database, whatever is changed under a signed checkpoint is
// reported, with what and where.
func TestTamperingIsFound(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		do   []string
		more func(t *testing.T, d *signedDeployment)
		want []string // parts of what verify prints
	}{
		"a payload": {
			do:   []string{`UPDATE events SET payload = replace(payload::text, '"gitea"', '"gitlab"')::json WHERE position = 6`},
			want: []string{"log: position 6: not what was signed"},
		},
		"an actor":    {do: []string{`UPDATE events SET actor = 'somebody' WHERE position = 3`}, want: []string{"log: position 3: not what was signed"}},
		"a timestamp": {do: []string{`UPDATE events SET occurred_at = occurred_at - interval '1 microsecond' WHERE position = 2`}, want: []string{"log: position 2: not what was signed"}},
		"a time that is none": {
			do:   []string{`UPDATE events SET occurred_at = 'infinity' WHERE position = 3`},
			want: []string{"log: position 3: not what was signed", "The tables were not compared"},
		},
		"the last time, to one that is none": {
			do:   []string{`UPDATE events SET occurred_at = '-infinity' WHERE position IN (10, 11)`},
			want: []string{"log: positions 10 to 11: not what was signed", "The tables were not compared"},
		},
		"a payload larger than any": {
			do:   []string{`UPDATE events SET payload = json_build_object('forge_type', repeat('x', 200000), 'previous', null) WHERE position = 6`},
			want: []string{"log: position 6: not what was signed"},
		},
		"one far ahead": {
			do: []string{`INSERT INTO events SELECT 4611686018427387904, gen_random_uuid(), 'denials', 1, 'LoginDenied', 1, occurred_at, actor, gen_random_uuid(),
				'{}', NULL FROM events WHERE position = 3`},
			want: []string{"log: positions 12 to 4611686018427387903: missing", "The tables were not compared"},
		},
		"one deleted, with its hash": {
			do:   []string{`DELETE FROM events WHERE position = 4`, `UPDATE log_tiles SET hashes = substring(hashes FROM 1 FOR 96) WHERE level = 0`},
			want: []string{"log: position 4: missing, as is its stored hash", "log: positions 5 to 11: its stored hash is missing"},
		},
		"a correlation": {do: []string{`UPDATE events SET correlation_id = gen_random_uuid() WHERE position = 2`}, want: []string{"log: position 2: not what was signed"}},
		"two rows swapped": {
			do: []string{
				`UPDATE events SET position = 1000 WHERE position = 7`, `UPDATE events SET position = 7 WHERE position = 8`,
				`UPDATE events SET position = 8 WHERE position = 1000`,
			},
			want: []string{"log: positions 7 to 8: not what was signed"},
		},
		"one deleted from the middle": {
			do:   []string{`DELETE FROM events WHERE position = 4`},
			want: []string{"log: position 4: signed, and missing", "The tables were not compared: the log is not whole: position 3 is followed by 5"},
		},
		"one deleted and the rest moved up": {
			do: []string{
				`DELETE FROM events WHERE position = 7`, `UPDATE events SET position = position + 1000 WHERE position > 7`,
				`UPDATE events SET position = position - 1001 WHERE position > 1000`,
			},
			want: []string{"log: positions 7 to 10: not what was signed", "log: position 11: signed, and missing"},
		},
		"the tail cut": {
			do:   []string{`DELETE FROM events WHERE position > 9`},
			want: []string{"log: positions 10 to 11: signed, and missing: the end of the log was cut off, or an older backup restored"},
		},
		"the tail cut, with the tree": {
			do:   []string{`DELETE FROM events WHERE position > 9`, forgetTree},
			want: []string{"log: positions 10 to 11: signed, and missing"},
		},
		"one inserted": {
			do: []string{
				`UPDATE events SET position = position + 1000 WHERE position > 5`, `UPDATE events SET position = position - 999 WHERE position > 1000`,
				`INSERT INTO events (position, event_id, stream, stream_version, type, schema, occurred_at, actor, correlation_id, payload)
					SELECT 6, gen_random_uuid(), 'denials', 1, 'LoginDenied', schema, occurred_at, 'visitor', gen_random_uuid(),
					'{"forge_type":"gitea","base_url":"https://git.example.com","account_id":"1","account_login":"eve","reason":"unknown_account"}'
					FROM events WHERE position = 5`,
			},
			want: []string{"log: positions 6 to 11: not what was signed"},
		},
		"an event and all hashes": {
			do: []string{`UPDATE events SET actor = 'somebody' WHERE position = 3`, forgetTree},
			more: func(t *testing.T, d *signedDeployment) { // the tree is made anew by a signer that has no kept checkpoint
				t.Helper()
				kept := readFile(t, d.kept)
				if err := os.Remove(d.kept); err != nil {
					t.Fatal(err)
				}
				d.serve(t, func(s *forgeauth.Service) { d.sign(t, s) })
				if err := os.WriteFile(d.kept, []byte(kept), 0o600); err != nil {
					t.Fatal(err)
				}
			},
			want: []string{"log: positions 1 to 11: another tree than the one that was signed"},
		},
		"a hash": {
			do:   []string{`UPDATE log_tiles SET hashes = set_byte(hashes, 70, 255 - get_byte(hashes, 70)) WHERE level = 0`},
			want: []string{"log: position 3: not what was signed"},
		},
		"a checkpoint": {
			do:   []string{`UPDATE log_checkpoints SET note = replace(note, 'auth.example.org', 'evil.example.org')`},
			want: []string{"log: the newest checkpoint is not signed by a key of this log"},
		},
		"a projection row": {
			do:   []string{`UPDATE operator SET accounts = '[]'`},
			want: []string{"operator", "1 difference to the log"},
		},
		"the active forge": {
			do:   []string{`UPDATE active_forge_type SET forge_type = 'gitea'`},
			want: []string{"active_forge_type", "gitlab", "1 difference to the log"},
		},
		"a sealed token moved to another forge": {
			do: []string{`UPDATE operator_oauth_tokens SET access_token = t.access_token, data_key = t.data_key
				FROM operator_oauth_tokens t WHERE operator_oauth_tokens.forge_type = 'gitlab' AND t.forge_type = 'gitea'`},
			want: []string{"operator_oauth_tokens", "access_token", "vault: gitlab (data key", "the box was sealed for something else"},
		},
		"a sealed token moved to another forge, in the log too": {
			do:   []string{`UPDATE events SET sealed = (SELECT sealed FROM events WHERE position = 2) WHERE position = 3`},
			want: []string{"log: position 3: not what was signed"},
		},
		"a base URL repointed": {
			do:   []string{`UPDATE operator_oauth_tokens SET base_url = 'https://evil.example.com' WHERE forge_type = 'gitlab'`},
			want: []string{"base_url", "https://evil.example.com", "vault: gitlab (data key"},
		},
		"a data key replaced": {
			do: []string{`UPDATE data_keys SET wrapped = (SELECT k.wrapped FROM data_keys k JOIN operator_oauth_tokens t ON t.data_key = k.id AND t.forge_type = 'gitea')
				WHERE id = (SELECT data_key FROM operator_oauth_tokens WHERE forge_type = 'gitlab')`},
			want: []string{"vault: gitlab (data key", "the living token does not open"},
		},
		"a data key deleted": {
			do:   []string{`DELETE FROM data_keys WHERE id = (SELECT data_key FROM operator_oauth_tokens WHERE forge_type = 'gitlab')`},
			want: []string{"vault: gitlab (data key", "the living token's data key is missing"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newSignedDeployment(t)
			run(t, d.environ, "verify").expect(t, exitOK, "11 events signed and as they were signed", "")
			d.exec(t, test.do...)
			if test.more != nil {
				test.more(t, d)
			}
			found := run(t, d.environ, "verify")
			if found.code != exitDifferences {
				t.Errorf("verify ends with %s", found)
			}
			for _, want := range test.want {
				if !strings.Contains(found.stdout+found.stderr, want) {
					t.Errorf("want %q\n%s", want, found)
				}
			}
			if !slices.ContainsFunc(test.want, func(want string) bool { return strings.HasPrefix(want, "log: ") }) {
				return
			}
			// Nothing is repaired from a log that does not verify, unless forced, and then the log says so.
			run(t, d.environ, "verify", "--repair").expect(t, exitFailure, "", "nothing was repaired: the log does not verify")
		})
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name) //nolint:gosec // of this test
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestAnOlderBackupIsFound restores the database as it was and goes on from there: verify says so, and the signer refuses.
func TestAnOlderBackupIsFound(t *testing.T) {
	t.Parallel()
	d := newSignedDeployment(t)
	older, err := os.ReadFile(d.kept)
	if err != nil {
		t.Fatal(err)
	}
	backup := map[string]string{}
	tables := []string{"events", "active_forge_type", "log_tiles", "log_tree", "log_checkpoints"}
	for _, table := range tables {
		backup[table] = "backup_" + table
		d.exec(t, "CREATE TABLE "+backup[table]+" AS SELECT * FROM "+table)
	}
	d.serve(t, func(s *forgeauth.Service) {
		d.switches(t, s, "gitea")
		d.sign(t, s)
	})
	run(t, d.environ, "audit", "check", "--against", write(t, string(older))).expect(t, exitOK,
		"The log only grew: the 11 events of the older checkpoint are the first of 12 events today.", "")
	newest := readFile(t, d.kept)
	for _, table := range tables {
		d.exec(t, "DELETE FROM "+table, "INSERT INTO "+table+" SELECT * FROM "+backup[table])
	}
	const missing = "log: position 12: signed, and missing: the end of the log was cut off, or an older backup restored"
	run(t, d.environ, "verify").expect(t, exitDifferences, missing, "")
	run(t, d.environ, "audit", "check", "--against", write(t, newest)).expect(t, exitDifferences, "", "the log had 12 events and has 11 now")
	// Another event takes the place of the one that is gone: the log is as long as before, and another.
	d.serve(t, func(s *forgeauth.Service) {
		d.switches(t, s, "gitea")
		if err := s.Sign(t.Context()); err == nil || !strings.Contains(err.Error(), "its first 12 events hash to another root") {
			t.Errorf("the signer goes on: %v", err)
		}
	})
	run(t, d.environ, "verify").expect(t, exitDifferences, "another tree than the one that was signed", "")
	// An operator who restored it on purpose says so by removing the kept checkpoint.
	if err := os.Remove(d.kept); err != nil {
		t.Fatal(err)
	}
	d.serve(t, func(s *forgeauth.Service) { d.sign(t, s) })
	run(t, d.environ, "verify").expect(t, exitOK, "12 events signed and as they were signed", "")
	run(t, d.environ, "audit", "check", "--against", write(t, newest)).expect(t, exitDifferences, "", "are not those of the older checkpoint")
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil { //nolint:gosec // a folder of the test
		t.Fatal(err)
	}
	return name
}

func TestAForcedRepairIsAFact(t *testing.T) {
	t.Parallel()
	d := newSignedDeployment(t)
	d.exec(t, `UPDATE events SET actor = 'somebody' WHERE position = 3`, `UPDATE active_forge_type SET forge_type = 'gitea'`)
	run(t, d.environ, "verify", "--force").expect(t, exitUsage, "", "--force says how to --repair")
	run(t, d.environ, "verify", "--repair", "--force").expect(t, exitDifferences, "1 difference to the log up to position 11, repaired", "")
	d.serve(t, func(s *forgeauth.Service) {
		last, err := s.Log().At(t.Context(), 12)
		if err != nil {
			t.Fatal(err)
		}
		if fact, ok := last.Fact.(events.RepairForced); !ok || fact.Findings != 1 || fact.Differences == 0 {
			t.Errorf("the log ends with %+v", last.Fact)
		}
	})
}

func TestAProofIsForWhoHasThePublicKeyAlone(t *testing.T) {
	t.Parallel()
	d := newSignedDeployment(t)
	bundle := run(t, d.environ, "audit", "prove", "6")
	bundle.expect(t, exitOK, "c2sp.org/tlog-proof@v1", "")
	file := write(t, bundle.stdout)
	nothing := []string{}
	run(t, nothing, "audit", "check", file, "--key", d.public).expect(t, exitOK, "Proven: the log auth.example.org/log, signed when it had 11 events, holds this one.", "")
	run(t, nothing, "audit", "check", file).expect(t, exitUsage, "", "give the log's public key with --key")
	run(t, d.environ, "audit", "check", file).expect(t, exitOK, "Proven", "")
	var proven provenEntry
	asJSON := run(t, nothing, "audit", "check", file, "--key", d.public, "--json")
	if err := json.Unmarshal([]byte(asJSON.stdout), &proven); err != nil || proven.Position != 6 || proven.Type != "ForgeActivated" || proven.Size != 11 {
		t.Errorf("%v %+v", err, proven)
	}
	_, stranger, err := proof.GenerateKey("auth.example.org/log")
	if err != nil {
		t.Fatal(err)
	}
	run(t, nothing, "audit", "check", file, "--key", stranger).expect(t, exitDifferences, "", "this proves nothing")
	run(t, nothing, "audit", "check", write(t, "nonsense"), "--key", d.public).expect(t, exitDifferences, "", "this proves nothing")
	run(t, nothing, "audit", "check", file, "--key", "nonsense").expect(t, exitUsage, "", "not the public key of a log")
	run(t, d.environ, "audit", "prove", "0").expect(t, exitUsage, "", "no position")
	run(t, d.environ, "audit", "prove", "99").expect(t, exitFailure, "", "no event at that position")
	run(t, d.environ, "keys", "status").expect(t, exitOK, d.public, "")
}
