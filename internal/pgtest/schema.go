package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// cleanupTimeout bounds each clean-up, and so shows a test that leaves a transaction open.
const cleanupTimeout = 30 * time.Second

// DB is a schema, or from [Start] a whole database, of one test's own.
type DB struct {
	URL    string // for pgx; names the schema by its search_path parameter
	Schema string
}

// Start creates an empty database and returns its URL. It is dropped when the test ends, connections and all. [Schema]
// is several times cheaper and enough for what stays within one schema.
func Start(tb testing.TB) string {
	tb.Helper()
	base := server(tb)
	name := freshName(tb)
	admin(tb, base, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	tb.Cleanup(func() { admin(tb, base, "DROP DATABASE "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)") })
	return rewrite(tb, base, func(u *url.URL) { u.Path = "/" + name })
}

// Schema creates an empty schema, which is dropped when the test ends. A test that still holds a lock in it by then
// fails.
func Schema(tb testing.TB) *DB {
	tb.Helper()
	base := server(tb)
	name := freshName(tb)
	admin(tb, base, "CREATE SCHEMA "+pgx.Identifier{name}.Sanitize())
	tb.Cleanup(func() {
		admin(tb, base, "SET lock_timeout = '20s'", "SET client_min_messages = warning",
			"DROP SCHEMA "+pgx.Identifier{name}.Sanitize()+" CASCADE")
	})
	return &DB{
		Schema: name,
		URL:    rewrite(tb, base, func(u *url.URL) { setQuery(u, "search_path", name) }),
	}
}

// Migrated creates a schema as [Schema] does and has migrate bring it up to date.
func Migrated(tb testing.TB, migrate func(ctx context.Context, databaseURL string) error) *DB {
	tb.Helper()
	db := Schema(tb)
	if err := migrate(tb.Context(), db.URL); err != nil {
		tb.Fatalf("pgtest: migrate: %v", err)
	}
	return db
}

// Pool returns a pool of connections to the schema, closed when the test ends.
func (db *DB) Pool(tb testing.TB) *pgxpool.Pool {
	tb.Helper()
	pool, err := pgxpool.New(tb.Context(), db.URL)
	if err != nil {
		tb.Fatalf("pgtest: open a pool: %v", err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// Conn returns a connection to the schema, closed when the test ends.
func (db *DB) Conn(tb testing.TB) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), db.URL)
	if err != nil {
		tb.Fatalf("pgtest: connect: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}

// admin runs statements on a connection of their own. It is called from clean-ups, where the context of the test has
// ended.
func admin(tb testing.TB, databaseURL string, statements ...string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		tb.Fatalf("pgtest: connect: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			tb.Fatalf("pgtest: %s: %v", statement, err)
		}
	}
}

// freshName returns an identifier that tells which test made it and is no other's.
func freshName(tb testing.TB) string {
	tb.Helper()
	const longestIdentifier, suffix = 63, 11
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		default:
			return '_'
		}
	}, strings.ToLower(tb.Name()))
	return fmt.Sprintf("t_%.*s_%s", longestIdentifier-suffix-3, name, strings.ToLower(rand.Text()[:suffix]))
}

func rewrite(tb testing.TB, raw string, change func(*url.URL)) string {
	tb.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		tb.Fatal("pgtest: the server's address is no URL")
	}
	change(u)
	return u.String()
}

func setQuery(u *url.URL, name, value string) {
	query := u.Query()
	query.Set(name, value)
	// Postgres, and pgx with it, takes a plus for itself and not for a space.
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
}
