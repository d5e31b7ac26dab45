package migrations_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

// newRole makes a role that may log in and nothing else. Its name needs quoting.
func newRole(t *testing.T, db *pgtest.DB, options string) string {
	t.Helper()
	name := `Run "time" ` + rand.Text()[:10]
	run(t, db, "CREATE ROLE "+quote(name)+" LOGIN "+options)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, db.URL)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close(ctx) }()
		for _, statement := range []string{"DROP OWNED BY " + quote(name), "DROP ROLE " + quote(name)} {
			if _, err := conn.Exec(ctx, statement); err != nil {
				t.Error(err)
			}
		}
	})
	return name
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func run(t *testing.T, db *pgtest.DB, statements ...string) {
	t.Helper()
	conn := db.Conn(t)
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// as returns the URL of the database for another role.
func as(t *testing.T, db *pgtest.DB, role string) string {
	t.Helper()
	u, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("user", role)
	u.User, u.RawQuery = nil, strings.ReplaceAll(query.Encode(), "+", "%20") // which is how pgx reads a space
	return u.String()
}

func connect(t *testing.T, databaseURL string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func sqlState(err error) string {
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return refused.Code
	}
	return ""
}

// privilegesOf returns what a role may do with each table, by whatever way.
func privilegesOf(t *testing.T, db *pgtest.DB, role string) map[string]string {
	t.Helper()
	rows, err := db.Conn(t).Query(t.Context(), `
		SELECT c.relname, string_agg(p, ' ' ORDER BY p) FILTER (WHERE has_table_privilege($1, c.oid, p))
		FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p
		WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
		GROUP BY c.relname`, role)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	var name string
	var privileges *string
	if _, err := pgx.ForEachRow(rows, []any{&name, &privileges}, func() error {
		found[name] = ""
		if privileges != nil {
			found[name] = *privileges
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// wanted is every table of the schema: a migration that adds one has to decide here, too.
var wanted = map[string]string{
	"events":                "INSERT SELECT",
	"projections":           "INSERT SELECT UPDATE",
	"operator_oauth_tokens": "DELETE INSERT SELECT UPDATE",
	"token_revocations":     "DELETE INSERT SELECT UPDATE",
	"active_forge_type":     "DELETE INSERT SELECT UPDATE",
	"operator":              "DELETE INSERT SELECT UPDATE",
	"operator_sessions":     "DELETE INSERT SELECT UPDATE",
	"data_keys":             "DELETE INSERT SELECT UPDATE",
	"vault_check":           "DELETE INSERT SELECT UPDATE",
	"log_checkpoints":       "INSERT SELECT UPDATE",
	"log_tiles":             "INSERT SELECT UPDATE",
	"log_tree":              "SELECT UPDATE",
	"unfinished_import":     "SELECT",
	"setup_code":            "DELETE INSERT SELECT UPDATE",
	"deployment":            "SELECT",
	"subscriptions":         "DELETE INSERT SELECT UPDATE",
	"parked":                "DELETE INSERT SELECT UPDATE",
	"replays":               "DELETE INSERT SELECT UPDATE",
	"forgeauth_migrations":  "SELECT",
}

func TestARuntimeRoleGetsExactlyWhatServeNeeds(t *testing.T) {
	t.Parallel()
	db := pgtest.Migrated(t, migrations.Up)
	role := newRole(t, db, "")
	// More than it should have, in each way that the owner can take back.
	run(t, db,
		"GRANT ALL ON ALL TABLES IN SCHEMA "+db.Schema+" TO "+quote(role)+" WITH GRANT OPTION",
		"GRANT UPDATE (payload) ON events TO "+quote(role),
		"GRANT DELETE ON events TO PUBLIC",
		"GRANT USAGE, CREATE ON SCHEMA "+db.Schema+" TO "+quote(role), "GRANT CREATE ON SCHEMA "+db.Schema+" TO PUBLIC")
	run(t, &pgtest.DB{URL: as(t, db, role), Schema: db.Schema}, "GRANT TRUNCATE ON events TO PUBLIC")
	for range 2 { // granting again changes nothing
		if err := migrations.Grant(t.Context(), db.URL, role); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wanted, privilegesOf(t, db, role)); diff != "" {
			t.Errorf("privileges (-want +got):\n%s", diff)
		}
		_, err := connect(t, as(t, db, role)).Exec(t.Context(), "CREATE FUNCTION "+db.Schema+".mine() RETURNS int LANGUAGE sql AS 'SELECT 1'")
		if sqlState(err) != "42501" {
			t.Errorf("create a function beside the tables: %v, want it refused", err)
		}
	}
}

func TestARuntimeRoleCanServe(t *testing.T) {
	t.Parallel()
	db := pgtest.Migrated(t, migrations.Up)
	role := newRole(t, db, "")
	if err := migrations.Grant(t.Context(), db.URL, role); err != nil {
		t.Fatal(err)
	}
	runtimeURL := as(t, db, role)
	if err := migrations.Check(t.Context(), runtimeURL); err != nil {
		t.Errorf("check the schema version: %v", err)
	}
	config, err := pgx.ParseConfig(runtimeURL)
	if err != nil {
		t.Fatal(err)
	}
	writer := events.NewWriter(events.WriterConfig{Conn: config}, projections.NewState())
	defer func() { _ = writer.Close(context.WithoutCancel(t.Context())) }()
	appended, err := writer.Append(t.Context(), events.Decision[*projections.State]{
		Actor: "test", Correlation: uuid.Must(uuid.NewV7()), Streams: []events.Stream{events.StreamActiveForge},
		Decide: func(*projections.State, time.Time) (events.Outcome, error) {
			return events.Outcome{Drafts: []events.Draft{{Stream: events.StreamActiveForge, Fact: events.ForgeActivated{ForgeType: "github"}}}}, nil
		},
	})
	if err != nil || len(appended) != 1 {
		t.Fatalf("append: %v", err)
	}
	conn := connect(t, runtimeURL)
	key, err := vault.ParseKey(secret.New(rand.Text() + rand.Text()))
	if err != nil {
		t.Fatal(err)
	}
	if err := vault.New(key, rand.Reader).Check(t.Context(), conn); err != nil {
		t.Errorf("check the key: %v", err)
	}
	for _, statement := range []string{
		"INSERT INTO data_keys (id, wrapped) VALUES (gen_random_uuid(), 'x')",
		"DELETE FROM data_keys",
		"INSERT INTO setup_code VALUES ('setup', 'x', now()) ON CONFLICT (purpose) DO UPDATE SET code_hash = EXCLUDED.code_hash",
		"DELETE FROM setup_code",
		"INSERT INTO projections (name, version) VALUES ('more', 1) ON CONFLICT (name) DO UPDATE SET version = 2, repairs = projections.repairs + 1",
		"UPDATE active_forge_type SET version = version",
		"DELETE FROM active_forge_type",
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

func TestNobodyRewritesTheLog(t *testing.T) {
	t.Parallel()
	db := pgtest.Migrated(t, migrations.Up)
	role := newRole(t, db, "")
	if err := migrations.Grant(t.Context(), db.URL, role); err != nil {
		t.Fatal(err)
	}
	runtime, owner := connect(t, as(t, db, role)), db.Conn(t)
	if _, err := runtime.Exec(t.Context(), `INSERT INTO events VALUES
		(1, gen_random_uuid(), 'operator', 1, 'OperatorClaimed', 1, now(), 'test', gen_random_uuid(), '{}')`); err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Exec(t.Context(), "SET session_replication_role = replica"); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"UPDATE events SET actor = 'x'", "UPDATE events SET actor = 'x' WHERE false", "DELETE FROM events", "TRUNCATE events",
		"UPDATE events SET payload = '{}' WHERE position = 1", "TRUNCATE events CASCADE",
		"INSERT INTO events SELECT * FROM events ON CONFLICT (position) DO UPDATE SET actor = 'x'",
	} {
		_, err := runtime.Exec(t.Context(), statement)
		if sqlState(err) != "42501" || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("the runtime role: %s: %v, want permission denied", statement, err)
		}
		_, err = owner.Exec(t.Context(), statement)
		if sqlState(err) != "42501" || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("the owner: %s: %v, want the trigger's refusal", statement, err)
		}
	}
	for _, statement := range []string{
		"ALTER TABLE events DISABLE TRIGGER ALL", "DROP TABLE events", "SET session_replication_role = replica",
		"CREATE TABLE " + db.Schema + ".mine ()", "DELETE FROM log_tree", "DELETE FROM log_checkpoints", "DELETE FROM forgeauth_migrations",
		"CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
	} {
		if _, err := runtime.Exec(t.Context(), statement); sqlState(err) != "42501" {
			t.Errorf("the runtime role: %s: %v, want it refused", statement, err)
		}
	}
}

func TestGrantRefusesWhatItCannotBind(t *testing.T) {
	t.Parallel()
	db := pgtest.Migrated(t, migrations.Up)
	superuser, plain, wide := newRole(t, db, "SUPERUSER"), newRole(t, db, ""), newRole(t, db, "")
	run(t, db, "GRANT pg_write_all_data TO "+quote(wide))
	var owner string
	if err := db.Conn(t).QueryRow(t.Context(), "SELECT current_user").Scan(&owner); err != nil {
		t.Fatal(err)
	}
	ownerless := newRole(t, db, "")
	run(t, db, "GRANT USAGE ON SCHEMA "+db.Schema+" TO "+quote(ownerless), "GRANT SELECT ON forgeauth_migrations TO "+quote(ownerless))
	builder, builds := newRole(t, db, ""), newRole(t, db, "")
	run(t, db, "GRANT CREATE ON SCHEMA "+db.Schema+" TO "+quote(builder), "GRANT "+quote(builder)+" TO "+quote(builds))
	var excess *migrations.ExcessError
	for name, test := range map[string]struct {
		url, role string
		want      func(error) bool
	}{
		"a superuser":           {db.URL, superuser, func(err error) bool { return errors.Is(err, migrations.ErrUnboundRole) }},
		"the owner":             {db.URL, owner, func(err error) bool { return errors.Is(err, migrations.ErrUnboundRole) }},
		"a role that is not":    {db.URL, "nobody; DROP TABLE events", func(err error) bool { return errors.Is(err, migrations.ErrNoRole) }},
		"PUBLIC":                {db.URL, "public", func(err error) bool { return errors.Is(err, migrations.ErrNoRole) }},
		"one that is not owner": {as(t, db, ownerless), plain, func(err error) bool { return errors.Is(err, migrations.ErrNotOwner) }},
		"a member of a wide role": {db.URL, wide, func(err error) bool {
			return errors.As(err, &excess) && slices.Contains(excess.Excess, "UPDATE on events")
		}},
		"a member of one that creates": {db.URL, builds, func(err error) bool {
			return errors.As(err, &excess) && slices.Equal(excess.Excess, []string{"CREATE on the schema " + db.Schema})
		}},
	} {
		if err := migrations.Grant(t.Context(), test.url, test.role); !test.want(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := privilegesOf(t, db, plain)["events"]; got != "" {
		t.Errorf("a refused grant left %s", got)
	}
}

func TestASchemaIsCheckedByARoleThatMayCreateNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.Schema(t)
	role := newRole(t, db, "")
	run(t, db, "GRANT USAGE ON SCHEMA "+db.Schema+" TO "+quote(role))
	var outdated *migrations.VersionError
	if err := migrations.Check(t.Context(), as(t, db, role)); !errors.As(err, &outdated) || outdated.Have != 0 {
		t.Errorf("check of an empty schema: %v, want a VersionError", err)
	}
	if err := migrations.Grant(t.Context(), db.URL, role); !errors.As(err, &outdated) {
		t.Errorf("grant on an empty schema: %v, want a VersionError", err)
	}
}

func TestApplyReportsEachMigrationOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.Schema(t)
	var first, second []int64
	if err := migrations.Apply(t.Context(), db.URL, func(a migrations.Applied) { first = append(first, a.Version) }); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Apply(t.Context(), db.URL, func(a migrations.Applied) { second = append(second, a.Version) }); err != nil {
		t.Fatal(err)
	}
	have, want, err := migrations.Version(t.Context(), db.URL)
	if err != nil || have != want || int64(len(first)) != want || !slices.IsSorted(first) || second != nil {
		t.Errorf("applied %v, then %v; version %d of %d, %v", first, second, have, want, err)
	}
}

// Replicas of a deployment may each run `forgeauth migrate --runtime-role` before they start.
func TestGrantsAtOnceWaitForEachOther(t *testing.T) {
	t.Parallel()
	db := pgtest.Migrated(t, migrations.Up)
	role := newRole(t, db, "")
	const at = 8
	granted := make(chan error, at)
	for range at {
		go func() { granted <- migrations.Grant(t.Context(), db.URL, role) }()
	}
	for range at {
		if err := <-granted; err != nil {
			t.Error(err)
		}
	}
}
