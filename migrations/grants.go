package migrations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// grant is what a runtime role may do with a table, and nothing else.
type grant struct {
	table      string
	privileges []string
}

// grants lists every table.
func grants() []grant {
	image := []string{"SELECT", "INSERT", "UPDATE", "DELETE"}
	return []grant{
		{"events", []string{"SELECT", "INSERT"}},
		{"projections", []string{"SELECT", "INSERT", "UPDATE"}},
		{"operator_oauth_tokens", image},
		{"token_revocations", image},
		{"active_forge_type", image},
		{"operator", image},
		{"operator_sessions", image},
		{"data_keys", image},
		{"vault_check", image},
		{"setup_code", image},
		{"deployment", []string{"SELECT"}},
		{"subscriptions", image},
		{"parked", image},
		{"replays", image},
		{"unfinished_import", []string{"SELECT"}},
		{"log_tiles", []string{"SELECT", "INSERT", "UPDATE"}},
		{"log_tree", []string{"SELECT", "UPDATE"}},
		{"log_checkpoints", []string{"SELECT", "INSERT", "UPDATE"}},
		{table, []string{"SELECT"}},
	}
}

// The refusals of [Grant]. Nothing was changed.
var (
	// ErrNoRole says that the server has no role of that name.
	ErrNoRole = errors.New("there is no such role: create it with CREATE ROLE … LOGIN first")
	// ErrNotOwner says that the connection is not the tables' owner.
	ErrNotOwner = errors.New("only the owner of the tables can grant them: connect as the role that ran `forgeauth migrate`")
	// ErrUnboundRole says that no grant can bind the role: it is a superuser, or the owner, or a member of the owner.
	ErrUnboundRole = errors.New("the role can do everything with the tables whatever is granted: use one that is neither superuser nor their owner, nor a member of it")
)

// ExcessError says that the role may do more than it needs by a way that Grant does not close: the role is a member of
// another role, or somebody else than the owner granted it, to the role or to PUBLIC. Nothing was changed.
type ExcessError struct {
	Role string
	// Excess lists what it may do, as "UPDATE on events".
	Excess []string
}

// Error implements error.
func (e *ExcessError) Error() string {
	return fmt.Sprintf("the role %s may do more than forgeauth needs, through another role or by what somebody else granted it or PUBLIC: %s: have that revoked, or use another role",
		e.Role, strings.Join(e.Excess, ", "))
}

// Grant gives a role exactly what `forgeauth serve` needs on the tables in the current schema of the URL's connections,
// and takes from it whatever more it had there: of the log, it may read and append, and beside the tables it may create
// nothing, for which PUBLIC loses these rights on the schema and the tables too. It works in one transaction, is to be repeated after each migration, and changes nothing when repeated; several at
// once wait for each other. The URL must be that of the tables' owner, and the schema version this program's.
//
// Errors to tell apart: [VersionError], [ErrNoRole], [ErrNotOwner], [ErrUnboundRole], [ExcessError].
func Grant(ctx context.Context, databaseURL, role string) error {
	if err := Check(ctx, databaseURL); err != nil {
		return err
	}
	conn, err := connect(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// Postgres refuses one of two that grant on the same table at once.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('forgeauth.grants.' || current_schema(), 0))`); err != nil {
			return fmt.Errorf("wait for another that grants: %w", err)
		}
		if err := checkRole(ctx, tx, role); err != nil {
			return err
		}
		if err := grantAll(ctx, tx, role); err != nil {
			return err
		}
		return checkExcess(ctx, tx, role)
	})
	if err != nil {
		return fmt.Errorf("grant %q: %w", role, err)
	}
	return nil
}

// checkRole finds roles that cannot be granted to, and connections that cannot grant.
func checkRole(ctx context.Context, tx pgx.Tx, role string) error {
	var owns, unbound bool
	err := tx.QueryRow(ctx, `
		SELECT pg_has_role(c.relowner, 'USAGE'), r.rolsuper OR pg_has_role(r.oid, c.relowner, 'MEMBER')
		FROM pg_roles r, pg_class c
		WHERE r.rolname = $1 AND c.oid = 'events'::regclass`, role).Scan(&owns, &unbound)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return ErrNoRole
	case err != nil:
		return fmt.Errorf("look up the role: %w", err)
	case !owns:
		return ErrNotOwner
	case unbound:
		return ErrUnboundRole
	}
	return nil
}

func grantAll(ctx context.Context, tx pgx.Tx, role string) error {
	var (
		database, schema               string
		canConnect, canLook, canCreate bool
	)
	err := tx.QueryRow(ctx, `
		SELECT current_database(), current_schema(), has_database_privilege($1, current_database(), 'CONNECT'),
		       has_schema_privilege($1, current_schema(), 'USAGE'), has_schema_privilege($1, current_schema(), 'CREATE')`,
		role).Scan(&database, &schema, &canConnect, &canLook, &canCreate)
	if err != nil {
		return fmt.Errorf("look at the schema: %w", err)
	}
	to := pgx.Identifier{role}.Sanitize()
	var statements []string
	// Asked first, because only their owners may grant these, and mostly everybody has them.
	if !canConnect {
		statements = append(statements, "GRANT CONNECT ON DATABASE "+pgx.Identifier{database}.Sanitize()+" TO "+to)
	}
	if !canLook {
		statements = append(statements, "GRANT USAGE ON SCHEMA "+pgx.Identifier{schema}.Sanitize()+" TO "+to)
	}
	// What it creates beside the tables, the owner's statements might call.
	if canCreate {
		statements = append(statements, "REVOKE CREATE ON SCHEMA "+pgx.Identifier{schema}.Sanitize()+" FROM PUBLIC, "+to+" CASCADE")
	}
	for _, g := range grants() {
		name := pgx.Identifier{schema, g.table}.Sanitize()
		statements = append(statements,
			"REVOKE ALL ON "+name+" FROM PUBLIC, "+to+" CASCADE", // columns and grant options too
			"GRANT "+strings.Join(g.privileges, ", ")+" ON "+name+" TO "+to)
	}
	for _, statement := range statements {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// checkExcess asks the server what the role may do now, by whatever way, and compares.
func checkExcess(ctx context.Context, tx pgx.Tx, role string) error {
	all := []string{"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"}
	var excess []string
	var schema string
	var canCreate bool
	err := tx.QueryRow(ctx, `SELECT current_schema(), has_schema_privilege($1, current_schema(), 'CREATE')`, role).Scan(&schema, &canCreate)
	if err != nil {
		return fmt.Errorf("look at the schema: %w", err)
	}
	if canCreate {
		excess = append(excess, "CREATE on the schema "+schema)
	}
	for _, g := range grants() {
		for _, privilege := range all {
			if slices.Contains(g.privileges, privilege) {
				continue
			}
			var has bool
			// A privilege on one column only does not show as one on the table.
			question := `SELECT has_table_privilege($1, $2, $3)`
			if slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "REFERENCES"}, privilege) {
				question = `SELECT has_any_column_privilege($1, $2, $3)`
			}
			if err := tx.QueryRow(ctx, question, role, g.table, privilege).Scan(&has); err != nil {
				return fmt.Errorf("look at the privileges: %w", err)
			}
			if has {
				excess = append(excess, privilege+" on "+g.table)
			}
		}
	}
	if len(excess) > 0 {
		return &ExcessError{Role: role, Excess: excess}
	}
	return nil
}
