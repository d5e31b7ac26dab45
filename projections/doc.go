// Package projections owns the tables that are images of the log: operator_oauth_tokens, token_revocations,
// active_forge_type, operator and operator_sessions.
//
// Each row is the persisted image of a pure fold over exactly one stream, and carries that stream's version. What an event
// does to a row is said once, in Go: in [State.Apply] and the file of the table. That one fold serves
//
//   - the inline write: the log's writer loads the rows that a decision reads into a [State], folds what was decided, and
//     writes the changed rows in the same transaction as the events ([events.Tables]);
//   - [Verify], which folds the whole log and compares it with the tables, row by row, and repairs them by writing what differs;
//   - tests of decisions, which fold given facts into a State and need no database.
//
// SQL here stores, loads and joins rows; it never says what an event means. [Reader] answers questions with one query each.
//
// A fold that changes raises the version of its table. A process whose fold is older than the tables can no longer append
// ([events.ErrOutdated]); one whose fold is newer repairs them when it starts.
package projections
