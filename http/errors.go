package http

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/proof"
)

// The codes of problems that begin in this package. Those of a failed sign-in come with *[commands.LoginError].
const (
	codeInternal              code = commands.CodeInternal
	codeTimeout               code = "timeout"
	codeUnauthenticated       code = "unauthenticated"
	codeDuplicateCookie       code = "duplicate_cookie"
	codeNotFound              code = "not_found"
	codeMethodNotAllowed      code = "method_not_allowed"
	codeWrongHost             code = "wrong_host"
	codeCrossOrigin           code = "cross_origin"
	codeConfirmationRequired  code = "confirmation_required"
	codeRateLimited           code = "rate_limited"
	codeBodyTooLarge          code = "body_too_large"
	codeBadBody               code = "bad_body"
	codeUnsupportedMediaType  code = "unsupported_media_type"
	codeBadJSON               code = "bad_json"
	codeBadForm               code = "bad_form"
	codeBadQuery              code = "bad_query"
	codeBadReturn             code = "bad_return"
	codeBadCursor             code = "bad_cursor"
	codeBadPosition           code = "bad_position"
	codeNoCheckpoint          code = "no_checkpoint"
	codeNoTile                code = "no_tile"
	codeBadMoment             code = "bad_moment"
	codeNoEvent               code = "no_event"
	codeNotSigned             code = "not_signed"
	codeLogContradicts        code = "log_contradicts"
	codeDamaged               code = "damaged"
	codePositionAhead         code = "position_ahead"
	codeUnknownType           code = "unknown_type"
	codeNotAcceptable         code = "not_acceptable"
	codeTooManyStreams        code = "too_many_streams"
	codeBadCallback           code = "bad_callback"
	codeUnknownForge          code = "unknown_forge"
	codeSetupCodeRequired     code = "setup_code_required"
	codeSetupCodeWrong        code = commands.CodeSetupCodeWrong
	codeLoginDisabled         code = "login_disabled"
	codeNotAllowed            code = commands.CodeNotAllowed
	codeNoActiveForge         code = "no_active_forge"
	codeNotConnected          code = "not_connected"
	codeNeedsReauth           code = "needs_reauth"
	codeOriginChanged         code = "origin_changed"
	codeScopeMissing          code = "scope_missing"
	codeForgeForbidden        code = "forge_forbidden"
	codeForgeNotFound         code = "forge_not_found"
	codeForgeUnsupported      code = "forge_unsupported"
	codeForgeRateLimited      code = "forge_rate_limited"
	codeForgeUnavailable      code = commands.CodeForgeUnavailable
	codeCommitUnknown         code = "commit_unknown"
	codeTemporarilyUnwritable code = "temporarily_unwritable"
	codeTemporarilyUnreadable code = "temporarily_unreadable"
	codeOutdated              code = "outdated"
	codeBehind                code = "behind"
)

// entry is what a code says to a person, and its status.
type entry struct {
	status        int
	title, detail string
}

// catalogue holds every code an answer can carry. The sentences say what to do next.
var catalogue = map[code]entry{
	codeInternal: {500, "Something went wrong here", "It has been logged. Try again; if it stays, look for the request id in the log."},
	codeTimeout:  {503, "This took too long", "Try again in a moment."},

	codeUnauthenticated: {401, "You are not signed in", "There is no session, or it has ended. Sign in."},
	codeDuplicateCookie: {400, "Two session cookies were sent", "One of them was set by somebody else. Delete the cookies of this address in your browser, then sign in."},
	codeNotFound:        {404, "There is nothing here", "Check the address."},
	codeMethodNotAllowed: {
		405, "This address does not take that method", "The header Allow lists the methods it takes.",
	},
	codeWrongHost: {
		421, "This is not the address of this deployment",
		"Open it under the address that FORGEAUTH_PUBLIC_URL names, or set FORGEAUTH_PUBLIC_URL to the one you use.",
	},
	codeCrossOrigin: {403, "This came from another site", "A change is only taken from the pages of this deployment itself."},
	codeConfirmationRequired: {
		403, "Starting a sign-in needs a POST", "Send the same request with the method POST.",
	},
	codeRateLimited: {429, "Too many requests", "Wait for as long as the header Retry-After says."},

	codeBodyTooLarge: {413, "The request body is too large", "Send at most 64 KiB."},
	codeBadBody:      {400, "The request body is broken", "It ended too soon, or its encoding for the way is wrong. Send it again."},
	codeUnsupportedMediaType: {
		415, "The request body has the wrong type",
		"Send application/json, or what an HTML form sends (application/x-www-form-urlencoded) where a page would; not compressed.",
	},
	codeBadJSON: {
		400, "The request body is not the JSON this takes",
		"Send one object with exactly the documented members, each once and with the right type, and nothing after it.",
	},
	codeBadForm:   {400, "The form is not the one this takes", "Send exactly the documented fields, each once."},
	codeBadQuery:  {400, "The query of this address is malformed", "Send each parameter once, percent-encoded, with a value in its range."},
	codeBadReturn: {400, "The return path leads nowhere", "return is the path of a page here, such as /."},
	codeBadCursor: {400, "The cursor does not fit", "The active forge has changed since, or the cursor was altered. Start again without a cursor."},

	codeBadPosition: {
		400, "That is no position of the log",
		"Last-Event-ID is the id of the last event that was received. Without it, from is now, beginning, a position or a time such as 2026-01-31T00:00:00Z.",
	},
	codeNoCheckpoint: {404, "Nothing has been signed", "Set FORGEAUTH_SIGNING_KEY: the log is signed within a second of the first event."},
	codeNoTile:       {404, "The tree has no such tile", "Tiles are those of C2SP tlog-tiles, up to the size of a checkpoint that was served."},
	codeBadMoment: {
		400, "That is no place on the log",
		"It is now, beginning, a position (1200), a time in RFC 3339 (2026-11-26T15:00:00Z), a day in UTC (2026-11-26), or how long ago (90s, 30m, 2h, 7d).",
	},
	codeNoEvent:        {404, "There is no event at that position", "GET /audit/events lists them."},
	codeNotSigned:      {409, "No checkpoint covers this event yet", "Try again in a second."},
	codeLogContradicts: {500, "The log is not the one that was signed", "Run forgeauth verify: it says what was changed."},
	codeDamaged:        {500, "The database holds what forgeauth never wrote", "Run forgeauth verify: it says what and where."},
	codePositionAhead: {
		409, "The log ends before that position",
		"It may have been restored from a backup, in which case what followed may differ from what was received. Look at the state anew, then start with from=now.",
	},
	codeUnknownType: {400, "There is no such type of event", "Known are " + strings.Join(events.Types(), ", ") + "."},
	codeNotAcceptable: {
		406, "This address has a stream of events only", "Send Accept: text/event-stream.",
	},
	codeTooManyStreams: {
		429, "Too many streams of events are open", "This session, or this process, has as many as it may. Close one, or wait for one to end.",
	},

	codeUnknownForge:      {404, "No such forge", "No connection of that name is configured. GET /forges lists them."},
	codeSetupCodeRequired: {403, "The setup code is needed", "Nobody owns this deployment yet. Enter the setup code that it printed at boot; forgeauth setup-code prints another."},
	codeSetupCodeWrong:    {403, "That code is not good", "A code works once and for one hour. forgeauth setup-code (or forgeauth recover) prints another."},
	codeLoginDisabled:     {403, "This forge is no way in", "It can be connected, but not signed in with. Sign in with another forge first."},
	codeNotAllowed: {
		403, "This account may not sign in",
		"The deployment does not know it. Its operator can link it from within a session, or put it on FORGEAUTH_OPERATORS.",
	},
	codeNoActiveForge: {412, "No forge is active", "Sign in to a forge, or activate a connected one with PUT /forges/active."},
	codeNotConnected:  {409, "This forge is not connected", "Sign in to it first."},

	codeNeedsReauth:      {409, "The forge no longer takes the token", "Sign in to that forge again."},
	codeOriginChanged:    {409, "The forge's address has changed", "The token is for another address than the one configured. Run forgeauth connections rebind."},
	codeScopeMissing:     {403, "The token lacks a scope", "Add the scope to the connection's settings and sign in to that forge again."},
	codeForgeForbidden:   {403, "The forge forbids this to the account", "Look at the account's permissions at the forge."},
	codeForgeNotFound:    {404, "The forge does not have it", "It does not exist there, or this account may not see it."},
	codeForgeUnsupported: {409, "This kind of forge cannot do that", "Nothing can be done about it here."},
	codeForgeRateLimited: {503, "The forge wants to be left alone for a while", "Try again after the time that Retry-After says."},
	codeForgeUnavailable: {502, "The forge does not answer", "It could not be reached, or did not answer sensibly. Try again later."},

	codeCommitUnknown: {
		503, "It is not known whether this was done",
		"The database was lost at the last moment. Look at the state first, and only then try again.",
	},
	codeTemporarilyUnwritable: {503, "Nothing can be written at the moment", "Nothing was changed. Try again in a moment."},
	codeTemporarilyUnreadable: {503, "The database does not answer", "Nothing was changed. Try again in a moment."},
	codeOutdated:              {503, "This process is outdated", "A newer version has taken over. Stop this one."},
	codeBehind:                {503, "The tables await their repair", "Run forgeauth verify --repair."},

	// Failed sign-ins.
	codeBadCallback:             {400, "The sign-in could not be read", "The forge sent the browser back with an address that makes no sense. Sign in again."},
	commands.CodeStateMismatch:  {400, "The sign-in does not fit", "It was not started in this browser, or it was used before. Sign in again."},
	commands.CodeExpiredAttempt: {400, "The sign-in took too long", "It has to be completed within ten minutes. Sign in again."},
	commands.CodeWrongForge:     {400, "The sign-in does not fit", "It was started for another forge. Sign in again."},
	commands.CodeWrongIssuer:    {400, "The sign-in does not fit", "Another server answered than the one you were sent to. Sign in again, and tell whoever runs the forge if it stays."},
	commands.CodeAccessDenied:   {403, "The forge was not given your consent", "You can sign in again and authorize the application."},
	commands.CodeExchangeFailed: {502, "The forge refused to complete the sign-in", "Sign in again. If it stays, check the connection's client id, client secret and callback URL."},
	commands.CodeProfileFailed:  {502, "The forge did not say who you are", "Sign in again. If it stays, check the connection's scopes."},
}

// codes maps the errors of the packages below to codes; the first that matches counts.
var codes = []struct {
	err  error
	code code
}{
	{projections.ErrNoSession, codeUnauthenticated},
	{projections.ErrNoActiveForge, codeNoActiveForge},
	{projections.ErrNotConnected, codeNotConnected},
	{commands.ErrUnknownConnection, codeUnknownForge},
	{commands.ErrSetupCodeRequired, codeSetupCodeRequired},
	{commands.ErrSetupCodeWrong, codeSetupCodeWrong},
	{commands.ErrLoginDisabled, codeLoginDisabled},
	{forge.ErrNeedsReauth, codeNeedsReauth},
	{forge.ErrForbidden, codeForgeForbidden},
	{forge.ErrNotFound, codeForgeNotFound},
	{forge.ErrUnsupported, codeForgeUnsupported},
	{forge.ErrUnavailable, codeForgeUnavailable},
	{events.ErrCommitUnknown, codeCommitUnknown},
	{events.ErrUnavailable, codeTemporarilyUnwritable},
	{events.ErrClosed, codeTemporarilyUnwritable},
	{events.ErrOutdated, codeOutdated},
	{events.ErrUnknownEvent, codeOutdated},
	{events.ErrBehind, codeBehind},
	{events.ErrUnreadable, codeTemporarilyUnreadable},
	{proof.ErrNoCheckpoint, codeNoCheckpoint},
	{proof.ErrNoTile, codeNoTile},
	{proof.ErrNotSigned, codeNotSigned},
	{events.ErrDamaged, codeDamaged},
	{events.ErrNotFound, codeNoEvent},
	{events.ErrAhead, codePositionAhead},
	{context.DeadlineExceeded, codeTimeout},
}

// soonOver are the codes of what is likely to be over in a moment.
var soonOver = []code{codeTimeout, codeTemporarilyUnreadable, codeTemporarilyUnwritable}

const (
	// retrySoon is when to come again after one of [soonOver].
	retrySoon = 5 * time.Second
	// retryLimited is when to come again to a forge that does not say; GitHub asks for at least a minute.
	retryLimited = time.Minute
)

// problemOf returns the problem that an error is, and false if the table does not know it.
func problemOf(err error, now time.Time) (problem, bool) {
	var (
		refused  *requestError
		login    *commands.LoginError
		origin   *commands.OriginError
		path     *commands.ReturnPathError
		scope    *forge.ScopeMissingError
		limited  *forge.RateLimitedError
		tooLarge *http.MaxBytesError

		contradiction *proof.RefusedError
	)
	switch {
	case errors.As(err, &refused):
		p := newProblem(refused.code)
		p.retryAfter, p.allow = max(p.retryAfter, refused.retryAfter), refused.allow
		return p, true
	case errors.As(err, &login) && login.Code != commands.CodeInternal:
		p := newProblem(code(login.Code))
		p.Account = login.Account
		return p, true
	case errors.As(err, &contradiction):
		return newProblem(codeLogContradicts), true
	case errors.As(err, &origin):
		return newProblem(codeOriginChanged), true
	case errors.As(err, &path):
		return newProblem(codeBadReturn), true
	case errors.As(err, &scope):
		return newProblem(codeScopeMissing), true
	case errors.As(err, &limited):
		p := newProblem(codeForgeRateLimited)
		if p.retryAfter = limited.Until.Sub(now); p.retryAfter <= 0 {
			p.retryAfter = retryLimited // the forge did not say, or its time is over
		}
		return p, true
	case errors.As(err, &tooLarge):
		return newProblem(codeBodyTooLarge), true
	}
	for _, known := range codes {
		if errors.Is(err, known.err) {
			return newProblem(known.code), true
		}
	}
	return newProblem(codeInternal), false
}

// requestError is a refusal by this package itself.
type requestError struct {
	code       code
	retryAfter time.Duration
	allow      string
	cause      error
}

func (e *requestError) Error() string {
	if e.cause != nil {
		return string(e.code) + ": " + e.cause.Error()
	}
	return string(e.code)
}

func (e *requestError) Unwrap() error { return e.cause }

func refuse(c code) error { return &requestError{code: c} }
