// Package pgtest gives each test a real Postgres of its own to work on.
//
// A package whose tests use SQL has
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
// and its tests call [Schema] or [Migrated] for a fresh schema, which the search_path of the returned URL names, or
// [Start] for a fresh database. All tests of one binary share one ephemeral cluster of internal/localpg, which the
// first of them starts (about a second) and [Main] stops; a run that uses no SQL starts none. Commits are synchronous, as in
// production, but nothing is flushed to disk.
//
// FORGEAUTH_TEST_DATABASE_URL names a server to use instead. Its role must be allowed to create databases and
// schemas. Where there is no server and none can be had, tests are skipped, unless CI=true, where they fail.
//
// [Proxy] stands between a client and the server and loses connections at chosen moments of the protocol.
//
// The package knows no schema: who tests against the migrated one passes migrations.Up to [Migrated].
package pgtest
