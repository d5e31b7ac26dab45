package main

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/localpg"
)

// TestADumpLosesNothing: pg_dump and pg_restore into a new cluster keep each byte of each payload, and where each subscriber is.
func TestADumpLosesNothing(t *testing.T) {
	t.Parallel()
	binaries, err := localpg.FindBinaries()
	if err != nil {
		t.Skip("no PostgreSQL is installed") // pgtest fails in CI where there is none
	}
	dump, restore := filepath.Join(binaries.Dir, "pg_dump"), filepath.Join(binaries.Dir, "pg_restore")
	if _, err := os.Stat(dump); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no pg_dump beside postgres")
		}
		t.Skip("there is no pg_dump beside postgres")
	}
	d := newSignedDeployment(t)
	d.withStrangeNames(t)
	d.serve(t, func(s *forgeauth.Service) {
		handled := make(chan struct{}, 10)
		err := s.OnForgeActivated(t.Context(), "chat", func(context.Context, events.ForgeActivated) error {
			handled <- struct{}{}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 7 {
			<-handled
		}
	})
	before := run(t, d.environ, "export", "--with-keys").stdout

	other, err := localpg.Start(t.Context(), localpg.Config{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Stop(context.Background()) })
	file := filepath.Join(t.TempDir(), "dump")
	tool(t, dump, "--format=custom", "--file="+file, "--schema="+d.db.Schema, "--no-owner", "--dbname="+inSchema(t, d.db.URL, ""))
	tool(t, restore, "--exit-on-error", "--no-owner", "--dbname="+inSchema(t, other.URL(), ""), file)

	restored := inSchema(t, other.URL(), d.db.Schema)
	elsewhere := append(append([]string{}, d.environ...), "DATABASE_URL="+restored)
	if after := run(t, elsewhere, "export", "--with-keys").stdout; withoutHeader(after) != withoutHeader(before) {
		t.Error(cmp.Diff(before, after))
	}
	run(t, elsewhere, "verify").expect(t, exitOK, "12 events signed and as they were signed", "")
	conn, err := pgx.Connect(t.Context(), restored)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if diff := cmp.Diff(subscribers(t, d.conn), subscribers(t, conn)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(run(t, d.environ, "subscriptions", "list", "--json").stdout, run(t, elsewhere, "subscriptions", "list", "--json").stdout); diff != "" {
		t.Error(diff)
	}
}

// inSchema takes the search path out of a URL, which the tools of Postgres do not take there, and puts another in if one is named.
func inSchema(t *testing.T, address, schema string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Del("search_path")
	if schema != "" {
		query.Set("search_path", schema)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

func tool(t *testing.T, program string, args ...string) {
	t.Helper()
	if output, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil { //nolint:gosec // of Postgres
		t.Fatalf("%s: %v\n%s", filepath.Base(program), err, output)
	}
}

// subscribers returns all that is known of them.
func subscribers(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `
		SELECT row_to_json(s)::text FROM subscriptions s UNION ALL SELECT row_to_json(p)::text FROM parked p
		UNION ALL SELECT row_to_json(d)::text FROM deployment d`)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(all) < 2 {
		t.Fatalf("%v, %v", all, err)
	}
	return all
}
