// Package commands takes every decision of a deployment: who is let in, which forge is active, when a token or a session
// is over. A command is a method of [Commands], one per file. It owns the table setup_code.
//
// # How a command works
//
// What is slow comes first, with no transaction open: the forge is asked, tokens are sealed, randomness is drawn. Then
// the command hands the log one decision ([events.Decision]): a pure function from the rows it reads to the facts that
// follow, which the log executes under its lock. So a decision is right about the rows it saw, whatever other commands
// and processes do; it may be executed more than once, and only what it returns last is committed. All events of a
// command share one correlation id.
//
// Pure decisions are methods named decide, on small structs of what was prepared. The tests give them facts and compare
// the facts that follow.
//
// # Signing in
//
//	StartLogin ── sealed cookie, 10 minutes ──▶ forge ──▶ CompleteLogin
//	                                                       state · forge · iss · error · could anybody enter?
//	                                                       exchange, profile (no transaction)
//	                                                       one decision: policy, TokenIssued, ForgeActivated, sessions
//
// The policy is one function, [policy.admit]; it is judged under the lock, so that two people cannot both claim a
// deployment, and a session that ends a moment earlier links nobody. A one-time code is used up in the same transaction
// as what it was used for, and by nothing else: a sign-in that fails anywhere leaves it usable.
//
// A sign-in rotates the session of its browser. What other tabs have begun within that session, to link accounts, is carried
// over to the one that takes its place, and to no other: with a session that was signed out or has ended otherwise, its
// attempts to link are over.
//
// Whoever is turned away is recorded as LoginDenied (at most 60 in an hour and process; the rest are counted and
// summarised), and the token that the forge granted meanwhile is revoked in one attempt and never stored.
//
// An account of a connection with _LOGIN=false is never a way in: it is not linked, and the session that a live session
// gets for connecting it is again one of the account before, with the same end.
//
// # Signing in on the host
//
//	StartDeviceLogin ── user code ──▶ person ──▶ forge ◀── polls ── CompleteDeviceLogin
//	StartBrowserLogin ── address ──▶ person ──▶ forge ── address ──▶ CompleteBrowserLogin
//	                                                                  profile, question (no transaction)
//	                                                                  one decision: policy, TokenIssued, ForgeActivated
//
// Whoever has the database and the encryption key is the operator's own administrator. So a sign-in made there needs no setup
// code, begins no session, and may let an unknown account in, after asking ([HostLogin]); an allow-list decides all the same, and a
// connection with _LOGIN=false is connected and is no way in. A code that was granted is used up: from then on the sign-in is
// carried through, or the token is revoked, whatever becomes of the caller.
//
// # The life of a token
//
//	        ┌── TokenRefreshed: another token, the data key of this one shredded
//	living ─┼── TokenRefreshFailed, unknown ──▶ living: tried again, later each time
//	        ├── TokenRefreshFailed, rejected ─▶ asked once more, 5 s later ──▶ needs_reauth, or living
//	        └── refused in use (401) ─────────▶ refreshed; else asked once more ──▶ TokenRejected: needs_reauth, or living
//
// A token that is refused within a minute after it was granted is asked about once more first, and then refreshed if it came with
// a sign-in or an import; a forge that refuses what a refresh has brought gets no refresh for each request.
//
// [Commands.refreshToken] is the one way in which a token is refreshed. It announces the attempt (TokenRefreshStarted, with
// a deadline by the database's clock), makes the one request, and records what came of it. While an attempt is open nobody
// begins another, in no process; an attempt that is still open at its deadline is one whose outcome is not known, and
// after which a rejection is final. Whoever holds an answer retries the commit, never the grant, and may come late.
// docs/adr/0008-the-journal-is-the-lease.md says why there is no other lease.
//
// It is called in the background, by every process that runs [Commands.Run], when between a tenth and a fifth of a token's
// life are left; and on demand, by whoever needs a token that is within [expiryMargin] of its end or that the forge has
// refused. In one process they share one flight, which none of them can cancel. Reading a token that is not near its end does
// none of this: it is one query.
//
// Ports hold a [keeper], pinned to connection, base URL and account, which goes on with whatever token the connection has for
// that account. needs_reauth ends with a sign-in, or with an answer that comes late; the token stays sealed meanwhile, and
// one that is only refreshed no more is used for as long as it lives.
//
// # The end of a token
//
//	living ── replaced, disconnected ──▶ pending ── the forge said yes ──────────▶ confirmed
//	   │                                    ├────── the forge has no such call ──▶ unsupported
//	   └── same value again: key shredded   └────── 7 days, or not configured ───▶ given up
//
// A pending token is a row of token_revocations. It can be opened by the revoker alone, out of the event that holds it,
// and its data key is shredded in the transaction that settles it. Where its forge does not know the access token any more and
// a refresh token is left (a GitHub App's), the pair is traded for another, which is revoked and never stored.
//
// The journal is the lease. Before a process tells the forge it appends TokenRevocationAttempted, which is refused before
// the row's next_attempt_at and moves it: so one process asks at a time, of however many run, and none has to hold anything.
// A process that dies leaves the row, and whoever is there goes on when the next attempt is due; a forge that is told twice
// finds the token dead, which is a yes. A rate limit moves the turn of all of the connection's (TokenRevocationsPostponed).
// A token is only ever sent to the base URL that it was granted by, and only while the configuration says the same.
//
// # Watching the grant
//
// After a sign-in that did not say what was granted, after each refresh, and once a day, the forge is asked what it says about a
// token (forge.Port.Grant). That is done when the token is committed and not before, past the connection's keeper, and without
// consequence if the forge does not answer. What it says is compared with the row under the lock, so that any number of
// processes record it once: ScopesChanged, AccountRenamed (on the connection's stream, and on operator for an account that may
// sign in), and AccountChanged for a token that acts for another account, after which only a sign-in helps.
//
// # Consumer groups
//
// What people decide about the groups of the feed is on the log too, on relay/G: DisableRelay, EnableRelay, SkipDelivery, RequestReplay,
// RemoveSubscription. What follows for the group is written in the same transaction (an [events.Effect]), and carried out by the
// process that owns the group, now or later. A retry changes nothing that anybody has to know of, and is no command.
//
// # Failure
//
// Errors are this package's sentinels and [*LoginError], those of projections (ErrNoSession, ErrNotConnected,
// ErrNoActiveForge) and forge (ErrNeedsReauth, …), and of the log: [events.ErrUnavailable] (nothing was written) and
// [events.ErrCommitUnknown]. A command that fails has changed nothing, but for the latter and for a step that its own
// documentation names. No error and no log line holds anything that a forge answered, a code, a token or a cookie.
package commands
