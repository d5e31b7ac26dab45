// Package migrations holds the numbered SQL that makes the tables, embedded, and applies it.
//
// Applied migrations are never edited: a change is another number. The newest number is the schema version that a running
// forgeauth expects to find; see [Check].
package migrations

import (
	"context"
	"embed"
	"fmt"
	"hash/fnv"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed *.sql
var files embed.FS

// VersionError says that the database has another schema version than this program.
type VersionError struct {
	Have, Want int64
}

func (e *VersionError) Error() string {
	if e.Have > e.Want {
		return fmt.Sprintf("the database has schema version %d, this program knows %d: run the newer forgeauth", e.Have, e.Want)
	}
	return fmt.Sprintf("the database has schema version %d, this program needs %d: run `forgeauth migrate` as the owner of the tables",
		e.Have, e.Want)
}

// Up applies what is missing, in the current schema of the URL's connections. Processes that do so at once wait for each
// other. A migration that fails leaves the ones before it.
func Up(ctx context.Context, databaseURL string) error {
	return with(ctx, databaseURL, func(provider *goose.Provider) error {
		_, err := provider.Up(ctx)
		return err //nolint:wrapcheck // with says what was being done
	})
}

// Version returns the schema version of the database, 0 for an empty one, and the one this program needs. It only reads,
// and so works for a role that may create nothing.
func Version(ctx context.Context, databaseURL string) (have, want int64, err error) {
	known, err := fs.Glob(files, "*.sql")
	if err != nil {
		return 0, 0, fmt.Errorf("schema version: %w", err)
	}
	for _, name := range known {
		version, err := goose.NumericComponent(name)
		if err != nil {
			return 0, 0, fmt.Errorf("schema version: %w", err)
		}
		want = max(want, version)
	}
	conn, err := connect(ctx, databaseURL)
	if err != nil {
		return 0, 0, fmt.Errorf("schema version: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var applied bool
	if err := conn.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, table).Scan(&applied); err != nil {
		return 0, 0, fmt.Errorf("schema version: %w", err)
	}
	if !applied {
		return 0, want, nil
	}
	err = conn.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM `+table+` WHERE is_applied`).Scan(&have)
	if err != nil {
		return 0, 0, fmt.Errorf("schema version: %w", err)
	}
	return have, want, nil
}

// Check returns a *[VersionError] unless the database has exactly this program's schema version.
func Check(ctx context.Context, databaseURL string) error {
	have, want, err := Version(ctx, databaseURL)
	if err == nil && have != want {
		err = &VersionError{Have: have, Want: want}
	}
	return err
}

// table is where goose notes what has been applied.
const table = "forgeauth_migrations"

// connect opens one connection by a URL that may have a pool's settings in it.
func connect(ctx context.Context, databaseURL string) (*pgx.Conn, error) {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("parse the database URL: %w", err)
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}

func with(ctx context.Context, databaseURL string, do func(*goose.Provider) error) error {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	db := stdlib.OpenDB(*config.ConnConfig)
	defer func() { _ = db.Close() }()
	var schema string
	if err := db.QueryRowContext(ctx, `SELECT coalesce(current_schema(), '')`).Scan(&schema); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	// A lock of its own for each schema, so that migrating one never waits for another.
	hash := fnv.New32a()
	_, _ = hash.Write([]byte("forgeauth.migrations." + schema))
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(int64(hash.Sum32())))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithTableName(table), goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if err := do(provider); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}
