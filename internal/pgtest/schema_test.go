package pgtest_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/internal/pgtest"
)

func TestSchemasAreApart(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"one", "two"} {
		t.Run("a table of "+value+" holds what its own test wrote", func(t *testing.T) {
			t.Parallel()
			db := pgtest.Migrated(t, func(ctx context.Context, databaseURL string) error {
				conn, err := pgx.Connect(ctx, databaseURL)
				if err != nil {
					return err
				}
				defer func() { _ = conn.Close(ctx) }()
				_, err = conn.Exec(ctx, "CREATE TABLE kept (value text)")
				return err
			})
			pool := db.Pool(t)
			if _, err := pool.Exec(t.Context(), "INSERT INTO kept VALUES ($1)", value); err != nil {
				t.Fatal(err)
			}
			var got, schema string
			err := db.Conn(t).QueryRow(t.Context(), "SELECT string_agg(value, ','), current_schema() FROM kept").Scan(&got, &schema)
			if err != nil {
				t.Fatal(err)
			}
			if got != value || schema != db.Schema {
				t.Errorf("got %q in schema %q, want %q in %q", got, schema, value, db.Schema)
			}
		})
	}
}

func TestASchemaIsDroppedWithItsTest(t *testing.T) { //nolint:tparallel // its subtest has to have ended
	t.Parallel()
	var schema string
	t.Run("a test that ends", func(t *testing.T) { schema = pgtest.Schema(t).Schema })
	var exists bool
	err := pgtest.Schema(t).Conn(t).QueryRow(t.Context(), "SELECT to_regnamespace($1) IS NOT NULL", schema).Scan(&exists)
	if err != nil {
		t.Fatal(err)
	}
	if exists {
		t.Errorf("schema %s outlived its test", schema)
	}
}

func TestStartReturnsAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	first, second := pgtest.Start(t), pgtest.Start(t)
	if first == second {
		t.Fatalf("two calls returned the same database %s", first)
	}
	conn, err := pgx.Connect(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	var tables int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()").Scan(&tables); err != nil {
		t.Fatal(err)
	}
	if tables != 0 {
		t.Errorf("a fresh database has %d tables", tables)
	}
	// The connection is left open: the clean-up drops the database all the same.
}
