package commands

import (
	"errors"
	"fmt"
	"strings"

	"github.com/forgeauth/forgeauth/forge"
)

var (
	// ErrUnknownConnection says that no forge of that name is configured.
	ErrUnknownConnection = errors.New("no forge of that name is configured")
	// ErrSetupCodeRequired says that nobody owns this deployment yet and that whoever wants to has to know the setup
	// code.
	ErrSetupCodeRequired = errors.New("this deployment is unclaimed: enter the setup code printed at boot, or by `forgeauth setup-code`")
	// ErrSetupCodeWrong says that a setup or recovery code is not the current one or has expired.
	ErrSetupCodeWrong = errors.New("the code is wrong or has expired: `forgeauth setup-code` (or `forgeauth recover`) prints a new one")
	// ErrLoginDisabled says that the connection is no way in: only a live session can connect it.
	ErrLoginDisabled = errors.New("this forge is not a way to sign in: sign in with another one and connect it from there")
	// ErrClaimed says that there is no use for a setup code any more.
	ErrClaimed = errors.New("this deployment is claimed: sign in with a known account, or run `forgeauth recover`")
	// ErrUnclaimed says that there is nothing to recover yet.
	ErrUnclaimed = errors.New("this deployment is unclaimed: `forgeauth setup-code` prints the code that claims it")
	// ErrAllowList says that FORGEAUTH_OPERATORS alone decides who may sign in, so that no code lets anybody in.
	ErrAllowList = errors.New("FORGEAUTH_OPERATORS decides who may sign in: add the account there")
	// ErrAlreadySignedIn says that a callback was replayed by a browser that is signed in: send it home.
	ErrAlreadySignedIn = errors.New("already signed in")
	// ErrUnknownAccount says that the account is not among those that may sign in.
	ErrUnknownAccount = errors.New("no such account may sign in: `forgeauth accounts list` names those that may")
	// ErrImport says that a token cannot be imported as given; the text says which part is wrong.
	ErrImport = errors.New("the token cannot be imported")
	// ErrBusy says that sessions of an account kept appearing while it was being removed. Nothing was changed.
	ErrBusy = errors.New("sessions kept being started meanwhile: try again")
)

// The codes of a [LoginError]. They are stable: they appear in URLs, problem documents and documentation.
const (
	CodeStateMismatch    = "state_mismatch"    // the callback belongs to no attempt of this browser
	CodeExpiredAttempt   = "expired_attempt"   // the attempt is older than ten minutes
	CodeWrongForge       = "wrong_forge"       // the callback came in on another forge's path
	CodeWrongIssuer      = "wrong_issuer"      // iss (RFC 9207) names somebody else
	CodeAccessDenied     = "access_denied"     // the person said no at the forge
	CodeExchangeFailed   = "exchange_failed"   // the forge refused the authorization or the code
	CodeProfileFailed    = "profile_failed"    // the forge does not say whose token it is
	CodeForgeUnavailable = "forge_unavailable" // the forge did not answer
	CodeNotAllowed       = "not_allowed"       // this account may not sign in here: 403
	CodeSetupCodeWrong   = "setup_code_wrong"  // the setup code was replaced, used or expired meanwhile
	CodeInternal         = "internal"          // our own fault; Err says which
)

// LoginError says why a callback did not sign anybody in. Nothing of it was stored but, perhaps, a LoginDenied.
type LoginError struct {
	// Code is one of the Code constants.
	Code string
	// AttemptID names the attempt that is over, whose cookie can be deleted; empty if none was recognised.
	AttemptID string
	// Account is forge:account_id of who was turned away, to be shown to that person; empty if nobody got that far.
	Account string
	// Err is the cause, for the log. It holds nothing of a forge's answer.
	Err error
}

// Error implements error.
func (e *LoginError) Error() string {
	if e.Err == nil {
		return "sign-in failed: " + e.Code
	}
	return "sign-in failed: " + e.Code + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *LoginError) Unwrap() error { return e.Err }

// ReturnPathError says that a return path is not a page of this deployment.
type ReturnPathError struct {
	Problem string
}

// Error implements error. It does not repeat the path.
func (e *ReturnPathError) Error() string {
	return "the return path is refused: " + e.Problem
}

// OriginError says that a stored token belongs to another base URL than the one configured now. It is sent nowhere.
type OriginError struct {
	ForgeType, Stored, Configured string
}

// Error implements error with the remedy.
func (e *OriginError) Error() string {
	return fmt.Sprintf("%s: the token is for %s and the configuration says %s: run `forgeauth connections rebind %s`",
		e.ForgeType, e.Stored, e.Configured, e.ForgeType)
}

// OtherAccountError says that a connection belongs to another account than the one that a port was made for. It comes with
// [forge.ErrNeedsReauth]: the port has no token any more. Ask for another port.
type OtherAccountError struct {
	ForgeType string
	Was, Is   string // account ids
}

// Error implements error.
func (e *OtherAccountError) Error() string {
	return fmt.Sprintf("%s: this adapter is for account %s, and the connection is now that of account %s: ask for another adapter",
		e.ForgeType, e.Was, e.Is)
}

// KindError says at boot that a connection is configured as another kind of forge than the one that issued its token. Account
// ids of one mean nothing at the other, so no name can go from one to the other.
type KindError struct {
	ForgeType          string
	Stored, Configured forge.Kind
}

// Error implements error with the remedy.
func (e *KindError) Error() string {
	return fmt.Sprintf("%s: the history is of a %s, the configuration says %s: restore the former, or give the new forge a name of its own",
		e.ForgeType, e.Stored, e.Configured)
}

// ReboundError says at boot that connections mean another base URL than their history does.
type ReboundError struct {
	Connections []OriginError
}

// Error implements error with the remedies.
func (e *ReboundError) Error() string {
	var b strings.Builder
	b.WriteString("the base URL of a connection with history has changed:")
	for _, c := range e.Connections {
		fmt.Fprintf(&b, "\n  %s: the history says %s, the configuration %s: restore the former, or run `forgeauth connections rebind %s`",
			c.ForgeType, c.Stored, c.Configured, c.ForgeType)
	}
	return b.String()
}
