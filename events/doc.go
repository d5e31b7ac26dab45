// Package events owns the log: what facts there are, how they are stored, how they are appended and how they are read.
//
// # The log
//
// One table, events, is log, outbox and feed at once. Positions are dense and in commit order, so whoever has seen position n
// has seen everything before it; within a stream, versions are dense. Rows are never changed: triggers refuse UPDATE, DELETE
// and TRUNCATE even to the owner. A payload is public JSON, byte for byte as written; what is secret is in the column sealed,
// as ciphertext or keyed hash, and never leaves through the feed.
//
// # Appending
//
// A command does what is slow first (it asks the forge, it seals) and then hands the [Writer] a [Decision]: the streams it
// reads, and a pure function from their rows to what happened, or to a refusal. The one writer of a process executes
// waiting decisions in groups, each a transaction of two round trips:
//
//	trip 1   BEGIN · append lock · head of the log · versions of the folds · the rows and versions that the group reads
//	in Go    one decision after the other: decide, stamp (position, version, time), fold into the rows
//	trip 2   events · changed rows · effects · NOTIFY · COMMIT
//
// The append lock is an advisory lock that every process takes, so decisions are serial over any number of processes: there
// is no write skew and no lost race to retry. Where the writer wrote the tail of the log itself and remembers all that a group
// reads, it skips the first trip: the lock goes out together with the writes and a guard, which fails if the log does not end
// with the event that this writer left there or the folds have changed, and the group is run again with two trips.
//
// # Failing
//
//   - A refusal is its caller's alone and leaves nothing.
//   - A group that the database refuses is run again, its members alone.
//   - A connection lost before the last trip has written nothing: the group runs again on a new one.
//   - A connection lost in the last trip is settled: the old server process is ended, the append lock taken, and the event
//     ids looked for. What committed is reported as success, what did not runs again. Unsettled at the deadline is
//     [ErrCommitUnknown], never "failed".
//   - A process that stops while it holds the lock loses it to the server's timeouts, or to a waiting writer that ends its
//     session.
//   - A process with an older fold than the tables gets [ErrOutdated] on every append.
//
// # Facts
//
// [Fact] is a closed sum of plain structs. Every (type, schema) ever written decodes forever; an unknown one stops whoever
// folds the log ([ErrUnknownEvent]) and is never skipped. Golden files hold one payload of each.
package events
