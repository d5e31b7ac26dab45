package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// notEmptyError says why a database is not one for the demo to leave its history in.
type notEmptyError struct {
	holds string
}

// Error implements error.
func (e *notEmptyError) Error() string {
	return "the database that DATABASE_URL names is not empty: it " + e.holds +
		". The demo leaves a history of its own: create an empty database for it (createdb NAME), or unset DATABASE_URL"
}

// foundRelation is a table or view of a database.
type foundRelation struct {
	Schema, Name string
	Ours         bool // it stands where our migrations put their tables
}

// relationsSQL finds every table and view that is neither the system's nor an extension's.
const relationsSQL = `
SELECT n.nspname, c.relname, n.nspname = coalesce(current_schema(), '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2`

// requireEmpty returns a *[notEmptyError] unless the database holds nothing, or no more than `forgeauth migrate` leaves.
func requireEmpty(ctx context.Context, databaseURL string) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("look into the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, relationsSQL)
	if err != nil {
		return fmt.Errorf("look into the database: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[foundRelation])
	if err != nil {
		return fmt.Errorf("look into the database: %w", err)
	}
	// What a migrated database holds: the tables that have no rows then, the log before all, and those that have.
	empty := []string{
		"events", "active_forge_type", "data_keys", "log_checkpoints", "log_tiles", "operator", "operator_oauth_tokens", "operator_sessions", "parked", "replays",
		"setup_code", "subscriptions", "token_revocations", "unfinished_import", "vault_check",
	}
	filled := []string{"projections", "log_tree", "deployment", "forgeauth_migrations"}
	foreign := slices.DeleteFunc(slices.Clone(found), func(r foundRelation) bool {
		return r.Ours && (slices.Contains(empty, r.Name) || slices.Contains(filled, r.Name))
	})
	switch len(foreign) {
	case 0:
	case 1:
		return &notEmptyError{fmt.Sprintf("holds %s.%s", foreign[0].Schema, foreign[0].Name)}
	default:
		return &notEmptyError{fmt.Sprintf("holds %s.%s and %d more", foreign[0].Schema, foreign[0].Name, len(foreign)-1)}
	}
	for _, name := range empty {
		if !slices.ContainsFunc(found, func(r foundRelation) bool { return r.Name == name }) {
			continue
		}
		var count int64
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM "+pgx.Identifier{name}.Sanitize()).Scan(&count); err != nil {
			return fmt.Errorf("look into the database: %w", err)
		}
		switch {
		case count > 0 && name == "events":
			return &notEmptyError{fmt.Sprintf("holds a log with %d events", count)}
		case count > 0:
			return &notEmptyError{"was in use by forgeauth (there are rows in " + name + ")"}
		}
	}
	return nil
}
