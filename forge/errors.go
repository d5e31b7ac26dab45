package forge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The ways in which a forge does not do what was asked. They come wrapped in an [*Error]; compare with [errors.Is].
var (
	// ErrNotFound says that the thing does not exist, or that the token may not see it; forges do not tell which.
	ErrNotFound = errors.New("not found, or not visible to this account")
	// ErrNeedsReauth says that the forge no longer takes the token: the operator has to sign in again.
	ErrNeedsReauth = errors.New("the forge no longer accepts the token: sign in again")
	// ErrForbidden says that the account itself may not do that, whatever the token's scopes.
	ErrForbidden = errors.New("the forge forbids this to the account: look at its permissions there")
	// ErrInvalid says that the forge cannot take what it was asked: a name, a number or a text is not fit for it.
	ErrInvalid = errors.New("the forge does not accept what was sent: check names, numbers and lengths")
	// ErrConflict says that it is there already, or in a state in which that cannot be done.
	ErrConflict = errors.New("it exists already, or its state does not allow that")
	// ErrTooLarge says that a file is larger than [MaxFile].
	ErrTooLarge = errors.New("the file is too large for this: fetch it by git, or through HTTPClient")
	// ErrUnsupported says that this kind of forge cannot do that at all.
	ErrUnsupported = errors.New("this kind of forge does not support that")
	// ErrUnavailable says that the forge could not be reached or did not answer in a way that decides anything. It never
	// says anything about the token.
	ErrUnavailable = errors.New("the forge is unavailable or did not answer sensibly: try again later")
	// ErrNotSent is an [ErrUnavailable] of which it is certain that the forge has not heard of the request.
	ErrNotSent = fmt.Errorf("%w (nothing was sent)", ErrUnavailable)
	// ErrDestination says that a request with a token was about to leave the configured forge.
	ErrDestination = errors.New("refused to send the token outside of the configured forge")
)

// ErrMoved is an [ErrNotFound]: the repository has another path by now, and what writes is not sent after it.
var ErrMoved = fmt.Errorf("%w (it has moved: look it up by its id)", ErrNotFound)

// ErrEndlessPages is an [ErrUnavailable]: the forge's pagination repeats itself or passes [MaxPages].
var ErrEndlessPages = unavailable("its pagination does not end")

// errTooLong is an [ErrUnavailable]: nobody expects an answer of that length.
var errTooLong = unavailable("its answer is too long")

// Error names the connection and the operation in which something went wrong. It never holds a forge's body.
type Error struct {
	Connection string // the connection's name
	Op         string // what was being done: exchange, account, repositories, revoke, …
	Status     int    // HTTP status, 0 if there was no answer
	Err        error
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: ", e.Connection, e.Op)
	if e.Status != 0 {
		fmt.Fprintf(&b, "HTTP %d: ", e.Status)
	}
	b.WriteString(e.Err.Error())
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Timeout reports whether it took too long, which net/http asks of what it wraps ([url.Error.Timeout]).
func (e *Error) Timeout() bool { return errors.Is(e.Err, context.DeadlineExceeded) }

// ExchangeError says that the token endpoint refused. Code is the OAuth error code of RFC 6749 §5.2 or one of the
// forge's own (bad_verification_code), reduced to [a-z_] and 64 characters; descriptions are dropped, because they can
// repeat what was sent.
type ExchangeError struct {
	Code string
}

func (e *ExchangeError) Error() string {
	return "the forge refused the exchange: " + e.Code
}

// RefreshRejectedError says that the forge no longer takes a refresh token: it was used, revoked, or has expired. Code is like
// that of an [ExchangeError].
type RefreshRejectedError struct {
	Code string
}

func (e *RefreshRejectedError) Error() string {
	return "the forge rejected the refresh token: " + e.Code
}

// RateLimitedError says that the forge wants to be left alone until a time; Until is zero where it does not say.
type RateLimitedError struct {
	Until time.Time
}

func (e *RateLimitedError) Error() string {
	if e.Until.IsZero() {
		return "rate limited by the forge"
	}
	return "rate limited by the forge until " + e.Until.UTC().Format(time.RFC3339)
}

// ScopeMissingError says that the token was not granted what the request needs. Have and Want are nil where the forge
// does not say.
type ScopeMissingError struct {
	Have, Want []string
}

func (e *ScopeMissingError) Error() string {
	if len(e.Want) == 0 {
		return "the token lacks a scope that this needs"
	}
	return "the token lacks a scope: this needs " + strings.Join(e.Want, " or ")
}
