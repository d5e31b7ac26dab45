// Command forgeauth runs the service and looks after its database.
//
// It owns no decision: configuration is read by [forgeauth.FromEnvironment], everything else is done by the facade, the commands
// and the migrations. What is here is what a person meets: help, prompts, tables, progress, exit codes, signals, and
// the embedded Postgres where DATABASE_URL is not set.
//
// # Output
//
// What a command was asked for goes to standard output, as a table for eyes or with --json as data. Everything else goes to
// standard error: logs, prompts, progress, notes and errors, the last in one line that says what to do next; faults of the
// configuration are a list. No secret is printed but the one-time codes that setup-code, recover and the start of serve
// exist to print, and those never go through the logger.
//
// # Exit codes
//
// See [exitCode]. They are a contract.
//
// # Signals
//
// The first SIGINT or SIGTERM cancels the command's context: serve stops accepting, finishes the requests it has, ends the
// background work, closes the log's writer and stops the embedded Postgres, in this order. The second one ends the process
// at once; nothing committed is lost by that.
//
// # The database of another process
//
// The embedded cluster is held by one process. A command that meets a running serve connects to that one's socket
// instead; where none runs, it runs the cluster for itself and stops it again. See reach.
package main
