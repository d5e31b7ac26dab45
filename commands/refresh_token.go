package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

const (
	// confirmAfter is how long after a forge has rejected a refresh token it is asked again before the operator is. A replica of
	// GitLab's database that lags answers one spurious invalid_grant.
	confirmAfter = 5 * time.Second
	// An attempt that decided nothing is followed by another after firstRetry, the double of that, and so on up to lastRetry.
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
	// limitedRetry is how long a forge is left alone that says that it wants to be and not until when.
	limitedRetry = time.Minute
	// storePatience is how long a new pair that cannot be committed is kept in memory and tried again.
	storePatience = time.Hour
	// refreshRounds bounds how often one flight begins anew: after waiting for another process, or for a confirmation.
	refreshRounds = 8
)

// Codes of a TokenRefreshFailed that are not the forge's.
const (
	codeUnavailable    = "unavailable"
	codeRateLimited    = "rate_limited"
	codeNotSent        = "not_sent"
	codeOutcomeUnknown = projections.ReasonOutcomeUnknown
)

// refreshToken trades the refresh token of a connection for a new pair: the one way in which that is done. stale names the
// token that is to be replaced. It returns nil as soon as the connection has another one, whoever has seen to that;
// [forge.ErrNeedsReauth] if only a sign-in helps; [projections.ErrNotConnected]; or what keeps the forge from deciding.
//
// It waits: for the attempt of another process, up to its deadline; for the confirmation of a rejection.
func (c *Commands) refreshToken(ctx context.Context, forgeType string, stale uuid.UUID) error {
	var last error
	for range refreshRounds {
		row, provider, key, err := c.living(ctx, forgeType)
		switch {
		case err != nil:
			return err
		case row.DataKey != stale:
			return nil
		}
		err = c.attemptRefresh(ctx, provider, row, key)
		if err == nil || errors.Is(err, errTokenMoved) {
			return nil
		}
		last = err
		busy, isBusy := errors.AsType[*refreshingError](err)
		later, isLater := errors.AsType[*retryLaterError](err)
		switch {
		case isBusy:
			err = c.awaitAttempt(ctx, forgeType, busy.attempt)
		case isLater && later.again:
			err = c.pause(ctx, later.at.Sub(c.now()))
		default:
			return err
		}
		if err != nil {
			return err
		}
	}
	return last
}

// attemptRefresh is one attempt: it is announced in the log, made, and recorded there.
func (c *Commands) attemptRefresh(ctx context.Context, provider forge.Provider, row projections.Token, key vault.DataKey) error {
	var spent secret.Text
	if row.Refreshable() {
		opened, err := key.Open(refreshContext(row.Account, row.DataKey), row.RefreshToken)
		if err != nil {
			return fmt.Errorf("operator token: %w", err)
		}
		spent = opened
	}
	if retry := row.Refresh.RetryAt; retry != nil && row.Refresh.Deadline == nil && c.now().Before(*retry) {
		return laterOf(row) // which needs no lock to be seen
	}
	if !c.flights.begin() {
		return events.ErrClosed
	}
	defer c.flights.end()
	caller := c.identified(Caller{Actor: actorRefresher})
	start := &startRefresh{forgeType: row.ForgeType, dataKey: row.DataKey, attempt: c.newID(), window: 2 * c.forgeTimeout}
	maySend := within(c.forgeTimeout) // from before the deadline was set, so that it is over before that is
	for {
		_, err := c.append(ctx, caller, start.decision())
		if err == nil {
			break
		}
		if !errors.Is(err, events.ErrCommitUnknown) || !maySend() {
			return err
		}
	}
	fresh, err := provider.Refresh(ctx, forge.RefreshRequest{RefreshToken: spent, MaySend: maySend})
	if err != nil {
		return c.recordFailure(ctx, caller, start, err, !maySend())
	}
	return c.storeRefreshed(ctx, caller, provider, start, row.Account, fresh)
}

// within returns what reports whether less than d has passed since now, both by the time that the system has been running and
// by the clock on the wall: the former stands still while a machine sleeps, the latter can be set.
func within(d time.Duration) func() bool {
	begun := time.Now() //nolint:forbidigo // how long this process was stopped is not for an injected clock to say
	return func() bool {
		now := time.Now() //nolint:forbidigo // likewise
		return now.Sub(begun) < d && now.Round(0).Sub(begun.Round(0)) < d
	}
}

// The refusals of an attempt.
var errTokenMoved = errors.New("the connection has another token by now")

// refreshingError says that another attempt is open.
type refreshingError struct {
	attempt uuid.UUID
	until   time.Time // by the database's clock
}

func (e *refreshingError) Error() string {
	return "another process refreshes the token, until " + e.until.Format(time.RFC3339) + " at the latest"
}

// retryLaterError says that the last attempt failed a moment ago.
type retryLaterError struct {
	verdict, code string
	at            time.Time
	// again says that whoever waits for a token goes on then: a rejection is to be confirmed, or nothing was sent because the
	// process came too late.
	again bool
}

func (e *retryLaterError) Error() string {
	return fmt.Sprintf("the last attempt to refresh the token ended with %s; the next is due at %s", e.code, e.at.Format(time.RFC3339))
}

// laterOf is what a row says of the next attempt. Who finds that a rejection is to be confirmed does so.
func laterOf(row projections.Token) *retryLaterError {
	return &retryLaterError{
		verdict: row.Refresh.Verdict, code: row.Refresh.Code, at: *row.Refresh.RetryAt, again: row.Refresh.Verdict == events.VerdictRejected,
	}
}

// Unwrap says what that means to whoever needs a token now.
func (e *retryLaterError) Unwrap() error {
	if e.code == codeRateLimited {
		return &forge.RateLimitedError{Until: e.at}
	}
	return forge.ErrUnavailable
}

// startRefresh announces an attempt. As it is decided under the append lock, it is also what keeps every other process from
// beginning one before the deadline (docs/adr/0008-the-journal-is-the-lease.md).
type startRefresh struct {
	forgeType string
	dataKey   uuid.UUID // of the token that is to be refreshed
	attempt   uuid.UUID
	window    time.Duration
	clock     time.Time // the database's, when the decision is taken
}

func (s *startRefresh) decision() decision {
	return decision{
		Streams: []events.Stream{events.TokenStream(s.forgeType)},
		Query:   func(batch *pgx.Batch) { events.QueueClock(batch, func(now time.Time) { s.clock = now }) },
		Decide:  s.decide,
	}
}

func (s *startRefresh) decide(state *projections.State, now time.Time) (events.Outcome, error) {
	row, ok := state.Token(s.forgeType)
	open := row.Refresh.Deadline != nil
	switch {
	case !ok:
		return events.Outcome{}, projections.ErrNotConnected
	case row.DataKey != s.dataKey:
		return events.Outcome{}, errTokenMoved
	case !row.Refreshable():
		return events.Outcome{}, needsReauth(s.forgeType, nil)
	case open && row.Refresh.Attempt == s.attempt:
		return events.Outcome{}, nil // it was committed, although nobody said so
	case open && s.clock.Before(*row.Refresh.Deadline):
		return events.Outcome{}, &refreshingError{attempt: row.Refresh.Attempt, until: *row.Refresh.Deadline}
	case !open && row.Refresh.RetryAt != nil && now.Before(*row.Refresh.RetryAt):
		return events.Outcome{}, laterOf(row)
	}
	return events.Outcome{Drafts: []events.Draft{{
		Stream: events.TokenStream(s.forgeType),
		Fact: events.TokenRefreshStarted{
			ForgeType: s.forgeType, DataKey: s.dataKey, Attempt: s.attempt,
			Deadline: stored(s.clock.Add(s.window)), Recovering: row.Refresh.Recovering || open,
		},
	}}}, nil
}

// recordFailure says in the log that an attempt brought no token, and returns what that means. If it cannot be said, the
// attempt stays open until its deadline, and its outcome is not known.
func (c *Commands) recordFailure(ctx context.Context, caller Caller, start *startRefresh, failure error, late bool) error {
	f := &failRefresh{startRefresh: start, late: late && errors.Is(failure, forge.ErrNotSent)}
	f.verdict, f.code, f.until = judgeRefresh(failure)
	c.logger.WarnContext(ctx, "a token was not refreshed", slog.String("forge_type", start.forgeType),
		slog.String("verdict", f.verdict), slog.String("code", f.code), slog.Any("error", failure))
	appended, err := c.append(ctx, caller, decision{
		Streams: []events.Stream{events.TokenStream(start.forgeType)}, Decide: f.decide,
	})
	if err != nil {
		return errors.Join(failure, fmt.Errorf("record it: %w", err))
	}
	for _, e := range appended {
		fact, ok := e.Fact.(events.TokenRefreshFailed)
		switch {
		case ok && fact.Verdict == events.VerdictSuperseded:
			return errTokenMoved
		case ok && fact.NeedsReauth:
			return needsReauth(start.forgeType, failure)
		case ok && (fact.Verdict == events.VerdictRejected || f.late):
			return &retryLaterError{verdict: fact.Verdict, code: fact.Code, at: *fact.RetryAt, again: true}
		}
	}
	if _, isRefused := errors.AsType[*forge.ExchangeError](failure); isRefused {
		// For whoever needs a token that is as if the forge were away.
		return &forge.Error{Connection: start.forgeType, Op: "refresh", Err: errors.Join(forge.ErrUnavailable, failure)}
	}
	return failure
}

// judgeRefresh says what a failure means for the token. Only the forge's own word on the refresh token is against it.
func judgeRefresh(failure error) (verdict, code string, until time.Time) {
	rejected, isRejected := errors.AsType[*forge.RefreshRejectedError](failure)
	limited, isLimited := errors.AsType[*forge.RateLimitedError](failure)
	refused, isRefused := errors.AsType[*forge.ExchangeError](failure)
	switch {
	case isRejected:
		return events.VerdictRejected, rejected.Code, until
	case isLimited:
		return events.VerdictUnknown, codeRateLimited, limited.Until
	case isRefused:
		return events.VerdictUnknown, refused.Code, until
	case errors.Is(failure, forge.ErrNotSent):
		return events.VerdictUnknown, codeNotSent, until
	default:
		return events.VerdictUnknown, codeUnavailable, until
	}
}

// failRefresh closes an attempt that brought no token.
type failRefresh struct {
	*startRefresh

	verdict, code string
	until         time.Time // until when the forge wants to be left alone; zero if it does not say
	late          bool      // nothing was sent, because the process was not running when it was time to
}

func (f *failRefresh) decide(state *projections.State, now time.Time) (events.Outcome, error) {
	fact := events.TokenRefreshFailed{
		ForgeType: f.forgeType, DataKey: f.dataKey, Attempt: f.attempt, Verdict: f.verdict, Code: f.code,
	}
	row, ok := state.Token(f.forgeType)
	switch {
	case !ok || row.DataKey != f.dataKey:
		// That a token which was replaced meanwhile is rejected is no alarm: on Gitea a sign-in kills the refresh tokens before it.
		fact.Verdict = events.VerdictSuperseded
	case row.Refresh.Attempt != f.attempt:
		return events.Outcome{}, nil // another attempt has taken over, or this is recorded already
	case f.late:
		fact.RetryAt = new(stored(now)) // the forge has had no part in it
	case f.verdict != events.VerdictRejected:
		fact.RetryAt = new(stored(later(now.Add(retryDelay(f.code, row.Refresh.Failures)), f.until)))
	case row.Refresh.Recovering:
		fact.Code, fact.NeedsReauth = codeOutcomeUnknown, true
	case row.Refresh.RejectedAt != nil && now.Sub(*row.Refresh.RejectedAt) >= confirmAfter:
		fact.NeedsReauth = true
	default:
		fact.RetryAt = new(stored(now.Add(confirmAfter)))
	}
	return events.Outcome{Drafts: []events.Draft{{Stream: events.TokenStream(f.forgeType), Fact: fact}}}, nil
}

// retryDelay is how long a forge is left alone after an attempt that decided nothing, if so many have failed before.
func retryDelay(code string, failures int64) time.Duration {
	delay := min(firstRetry<<min(failures, 16), lastRetry)
	if code == codeRateLimited {
		delay = max(delay, limitedRetry)
	}
	return delay
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
