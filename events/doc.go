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
// # The feed
//
// [Feed] gives the log to consumer groups ([Group], a Watermill subscriber) and to whoever follows along ([Follower]). It reads the
// events table; a subscription is a row with a cursor, and nothing is written per event and group.
//
//	listener  one connection per process: LISTEN, the advisory locks of its groups, a sign of life at least each 5 s
//	tail      the last events of the log, read once for all that follow; who is farther behind reads the table
//	run       one goroutine per group that this process owns: cursor, attempts, parked streams; replays beside it
//	marks     cursors, written behind the handlers, each 25 ms at most, in one statement for all groups of the process
//
// A group is in one of these states, which stand in the database and outlive the process:
//
//	live       its owner gives out the event behind the cursor, or waits for one
//	failing    that event is tried again at a time that is written down; everything behind it waits
//	parked     a stream is held back from an event on that could not be handled; other streams go on
//	paused     the group waits for a person to retry or skip an event (Policy.Then = Pause)
//	disabled   it is given nothing until a person enables it
//	unowned    no process runs it; who comes first takes it over
//
// What holds: everything of the group's types through the cursor was handled, is parked, or was skipped by a fact on the log. Only
// the owner moves the cursor and parked streams, under the epoch that it raised when it took over; everybody else leaves requests. An
// event is given out at least once, in the order of the log, and again only if the owner ended or was stopped before the cursor
// was written; in a transactional group what the handler wrote in its transaction is there once.
//
// When something fails:
//
//   - A notification that is missed costs one poll. A listener that is lost loses its groups; it connects again and takes them back, or
//     another process does.
//   - A process that dies lets its groups go with its connection. One that is stopped is silent for three polls, its session is ended,
//     and when it wakes every write of its finds another epoch and changes nothing.
//   - A handler that fails, panics (package relay) or takes too long is tried again as the policy says. If it says that its
//     destination is down, the group waits without parking anything.
//   - An event that this program does not know is parked, and tried again by the next owner, which may be newer.
//   - A statement that is not answered in time has the pool connect anew. A commit of which nobody knows whether it happened is settled by
//     looking where the cursor is, and the next one that finds it moved rolls back.
//
// # Facts
//
// [Fact] is a closed sum of plain structs. Every (type, schema) ever written decodes forever; an unknown one stops whoever
// folds the log ([ErrUnknownEvent]) and is never skipped. Golden files hold one payload of each.
package events
