package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/projections"
)

func TestMigrateTellsWhatItDid(t *testing.T) {
	t.Parallel()
	db := pgtest.Schema(t)
	environ := []string{"DATABASE_URL=" + db.URL}
	first := run(t, environ, "migrate")
	first.expect(t, exitOK, "schema version 0 → ", "")
	golden(t, "migrate.golden", steady(first.stdout))
	run(t, environ, "migrate").expect(t, exitOK, "nothing to do", "")
	run(t, environ, "migrate", "--runtime-role", "nobody here").expect(t, exitFailure, "nothing to do", "there is no such role")

	if _, err := db.Conn(t).Exec(t.Context(), `INSERT INTO forgeauth_migrations (version_id, is_applied) VALUES (9999, true)`); err != nil {
		t.Fatal(err)
	}
	run(t, environ, "migrate").expect(t, exitFailure, "", "run the newer forgeauth")
}

// runtimeURL makes a role for the test and returns the database's URL for it.
func runtimeURL(t *testing.T, db *pgtest.DB) (role, databaseURL string) {
	t.Helper()
	role = "runtime_" + strings.ToLower(rand.Text()[:10])
	admin := func(statement string) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, db.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(ctx) }()
		if _, err := conn.Exec(ctx, statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	admin("CREATE ROLE " + role + " LOGIN PASSWORD '" + testPassword + "'")
	t.Cleanup(func() {
		admin("DROP OWNED BY " + role)
		admin("DROP ROLE " + role)
	})
	u, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("user", role)
	query.Set("password", testPassword)
	u.User, u.RawQuery = nil, query.Encode()
	return role, u.String()
}

func TestServeRunsAsTheRuntimeRole(t *testing.T) {
	t.Parallel()
	db := pgtest.Schema(t)
	role, databaseURL := runtimeURL(t, db)
	environ := configured("DATABASE_URL=" + databaseURL)
	run(t, environ, "verify").expect(t, exitFailure, "", "")
	run(t, []string{"DATABASE_URL=" + db.URL}, "migrate", "--runtime-role", role).
		expect(t, exitOK, "role "+role+" may do what serve needs, and no more", "")
	p := serve(t, environ)
	p.get(t, "/readyz")
	if strings.Contains(p.output(), "owner") {
		t.Errorf("the runtime role was taken for the owner:\n%s", p.output())
	}
	run(t, environ, "setup-code").expect(t, exitOK, "Setup code: ", "")
	run(t, environ, "verify", "--repair").expect(t, exitOK, "equal the fold", "")
	claim(t, databaseURL, "7")
	run(t, environ, "accounts", "remove", "gitea:7", "--yes").expect(t, exitOK, "gitea:7 may no longer sign in, and its sessions have ended (event 2)", "")
	run(t, environ, "recover").expect(t, exitOK, "Recovery code: ", "")
	run(t, environ, "verify").expect(t, exitOK, "1 row equals the fold of the log up to position 3", "")

	if _, err := db.Conn(t).Exec(t.Context(), `INSERT INTO subscriptions (name, position) VALUES ('chat', 3)`); err != nil {
		t.Fatal(err)
	}
	run(t, environ, "subscriptions", "disable", "chat").expect(t, exitOK, "(event 4)", "")
	run(t, environ, "subscriptions", "enable", "chat").expect(t, exitOK, "(event 5)", "")
	run(t, environ, "replay-to", "chat", "--from", "1").expect(t, exitOK, "(event 6)", "")
	run(t, environ, "subscriptions", "remove", "chat", "-y").expect(t, exitOK, "(event 7)", "")
}

// claim writes that accounts of gitea own the deployment.
func claim(t *testing.T, databaseURL string, accounts ...string) {
	t.Helper()
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	writer := events.NewWriter(events.WriterConfig{Conn: config}, projections.NewState())
	defer func() { _ = writer.Close(context.WithoutCancel(t.Context())) }()
	_, err = writer.Append(t.Context(), events.Decision[*projections.State]{
		Actor: "test", Correlation: uuid.Must(uuid.NewV7()), Streams: []events.Stream{events.StreamOperator},
		Decide: func(*projections.State, time.Time) (events.Outcome, error) {
			var out events.Outcome
			for i, id := range accounts {
				account := events.Account{ForgeType: "gitea", BaseURL: "https://git.example.com", AccountID: id, AccountLogin: "operator" + id}
				var fact events.Fact = events.AccountLinked{Account: account}
				if i == 0 {
					fact = events.OperatorClaimed{Account: account}
				}
				out.Drafts = append(out.Drafts, events.Draft{Stream: events.StreamOperator, Fact: fact})
			}
			return out, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAccountsAreListedAndRemoved(t *testing.T) {
	t.Parallel()
	db := pgtest.Migrated(t, migrations.Up)
	// No key: these commands need none.
	environ := []string{"DATABASE_URL=" + db.URL}
	run(t, environ, "accounts", "list").expect(t, exitOK, "Nobody owns this deployment yet", "")
	run(t, environ, "accounts", "list", "--json").expect(t, exitOK, `"accounts": []`, "")
	claim(t, db.URL, "7", "42")
	list := run(t, environ, "accounts", "list")
	list.expect(t, exitOK, "gitea:42", "")
	golden(t, "accounts_list.golden", steady(list.stdout))
	listed := run(t, environ, "accounts", "list", "--json")
	golden(t, "accounts_list.json.golden", steady(listed.stdout))
	if strings.Contains(list.stdout+listed.stdout, "\x1b") {
		t.Error("colours were printed where there is no terminal")
	}

	run(t, environ, "accounts", "remove", "gitea:8").expect(t, exitFailure, "", "gitea:8: no such account may sign in: `forgeauth accounts list`")
	run(t, environ, "accounts", "remove", "gitea:7").expect(t, exitOK, "gitea:7 may no longer sign in, and its sessions have ended (event 3)", "")
	// The last one is asked about, and here there is nobody to ask.
	run(t, environ, "accounts", "remove", "gitea:42").expect(t, exitUsage, "", "nobody can be asked here, so say --yes")
	removed := run(t, environ, "accounts", "remove", "gitea:42", "--yes", "--json")
	removed.expect(t, exitOK, "", "")
	golden(t, "accounts_remove.json.golden", removed.stdout)
	run(t, environ, "accounts", "list").expect(t, exitOK, "No account may sign in: `forgeauth recover` lets one in", "")
	run(t, environ, "verify").expect(t, exitOK, "1 row equals the fold of the log up to position 4", "")

	listed = run(t, configured("DATABASE_URL="+db.URL, "FORGEAUTH_OPERATORS=gitea:1"), "accounts", "list", "--json")
	listed.expect(t, exitOK, `"gitea:1"`, "")
	run(t, configured("DATABASE_URL="+db.URL, "FORGEAUTH_OPERATORS=gitea:1"), "setup-code").expect(t, exitFailure, "", "FORGEAUTH_OPERATORS decides")
}

func TestConnectionsAreListedAndRebound(t *testing.T) {
	t.Parallel()
	db := pgtest.Migrated(t, migrations.Up)
	environ := configured("DATABASE_URL="+db.URL, "FORGEAUTH_LISTEN="+freeAddress(t), "FORGEAUTH_PUBLIC_URL=https://auth.example.org")
	list := run(t, environ, "connections", "list")
	golden(t, "connections_list.golden", list.stdout)
	listed := run(t, environ, "connections", "list", "--json")
	golden(t, "connections_list.json.golden", listed.stdout)
	run(t, environ, "connections", "rebind", "gitea").expect(t, exitOK, "nothing to change", "")
	run(t, environ, "connections", "rebind", "gitlab").expect(t, exitFailure, "", "no forge of that name is configured")

	claim(t, db.URL, "7")
	moved := append(environ, "FORGEAUTH_FORGE_GITEA_BASE_URL=https://new.example.com")
	run(t, moved, "serve").expect(t, exitFailure, "", "run `forgeauth connections rebind gitea`")
	run(t, moved, "connections", "rebind", "gitea").expect(t, exitUsage, "", "say --yes")
	run(t, moved, "connections", "rebind", "gitea", "--keep-accounts", "--yes").expect(t, exitOK, "gitea is bound to its new base URL (event", "")
	run(t, moved, "accounts", "list").expect(t, exitOK, "https://new.example.com", "")
	run(t, moved, "verify").expect(t, exitOK, "1 row equals the fold", "")
	p := serve(t, moved)
	p.get(t, "/readyz")
}

func TestVerifyNamesDifferencesAndRepairsThem(t *testing.T) {
	t.Parallel()
	db := pgtest.Migrated(t, migrations.Up)
	environ := []string{"DATABASE_URL=" + db.URL}
	claim(t, db.URL, "7")
	run(t, environ, "verify").expect(t, exitOK, "1 row equals the fold of the log up to position 1", "")
	for _, statement := range []string{
		"UPDATE operator SET claimed_at = '2020-01-01', version = 9",
		"INSERT INTO active_forge_type (forge_type, since, version) VALUES ('evil', '2020-01-01', 1)",
	} {
		if _, err := db.Conn(t).Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	found := run(t, environ, "verify")
	found.expect(t, exitDifferences, "`forgeauth verify --repair` repairs", "")
	golden(t, "verify.golden", steady(found.stdout))
	asData := run(t, environ, "verify", "--json")
	asData.expect(t, exitDifferences, "", "")
	golden(t, "verify.json.golden", steady(asData.stdout))
	var report projections.Report
	if err := json.Unmarshal([]byte(asData.stdout), &report); err != nil {
		t.Error(err)
	}
	run(t, environ, "verify", "--repair").expect(t, exitOK, "repaired", "")
	run(t, environ, "verify").expect(t, exitOK, "1 row equals the fold", "")
}

func TestCommandsThatNeedNoKeyTakeNoNoticeOfAWrongOne(t *testing.T) {
	t.Parallel()
	db := pgtest.Migrated(t, migrations.Up)
	run(t, configured("DATABASE_URL="+db.URL), "setup-code").expect(t, exitOK, "Setup code", "") // the key is this database's from now on
	claim(t, db.URL, "7", "42")
	environ := configured("DATABASE_URL="+db.URL, "OAUTH_ENCRYPTION_KEY=another-key-that-was-never-this-database's")
	run(t, environ, "recover").expect(t, exitFailure, "", "is not the key that this database was sealed under")
	run(t, environ, "verify").expect(t, exitOK, "1 row equals the fold", "")
	run(t, environ, "accounts", "list").expect(t, exitOK, "gitea:42", "")
	run(t, environ, "accounts", "remove", "gitea:7").expect(t, exitOK, "gitea:7 may no longer sign in", "")
	run(t, environ, "connections", "list").expect(t, exitOK, "gitea", "")
}

func TestAnInterruptedCommandExitsWith130(t *testing.T) {
	t.Parallel()
	db := pgtest.Migrated(t, migrations.Up)
	conn := db.Conn(t)
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	p := start(t, []string{"DATABASE_URL=" + db.URL}, "verify")
	waitUntil(t, "verify waits for the log", func() bool {
		var waiting bool
		err := conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'events'::regclass)").Scan(&waiting)
		return err == nil && waiting
	})
	p.signal(t, os.Interrupt)
	if code := p.end(t); code != exitInterrupted || !strings.Contains(p.output(), "interrupted") {
		t.Errorf("exit code %d\n%s", code, p.output())
	}
}
