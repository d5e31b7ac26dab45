package commands

import (
	"context"
	"crypto/subtle"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

// BrowserLogin is a sign-in that was started on the host and is answered through a browser anywhere: by the authorization code
// flow, with PKCE, to the same redirect URI as every other sign-in. The verifier and the state are in the memory of the process
// that started it and nowhere else.
type BrowserLogin struct {
	ForgeType string
	// AuthorizeURL is where the person agrees, and CallbackURL where the forge sends their browser then.
	AuthorizeURL, CallbackURL string
	ExpiresAt                 time.Time

	attempt attempt
}

// StartBrowserLogin prepares a sign-in. Nothing is stored and no forge contacted. It fails with [ErrUnknownConnection],
// [*OriginError] or [*KindError].
func (c *Commands) StartBrowserLogin(ctx context.Context, forgeType string) (BrowserLogin, error) {
	provider, err := c.hostProvider(ctx, forgeType)
	if err != nil {
		return BrowserLogin{}, err
	}
	a := attempt{
		ForgeType: forgeType, RedirectURI: c.redirectURI(provider.Connection()), Intent: intentSignIn, Expires: c.now().Add(attemptLifetime),
	}
	if err := c.drawSecrets(&a); err != nil {
		return BrowserLogin{}, err
	}
	a.State = hostStatePrefix + a.State
	return BrowserLogin{
		ForgeType: forgeType, AuthorizeURL: a.authorizeURL(provider), CallbackURL: a.RedirectURI, ExpiresAt: a.Expires, attempt: a,
	}, nil
}

// Answers reports whether a callback is the answer to this sign-in: it compares the state in constant time.
func (l BrowserLogin) Answers(query CallbackQuery) bool {
	return l.attempt.State != "" && subtle.ConstantTimeCompare([]byte(l.attempt.State), []byte(query.State)) == 1
}

// CompleteBrowserLogin exchanges what the forge sent the browser back with and signs the account in, as
// [Commands.CompleteDeviceLogin] does. It checks first what needs no forge: the state, the time, the issuer, the forge's error, the
// code. It fails with a [*LoginError].
func (c *Commands) CompleteBrowserLogin(ctx context.Context, l BrowserLogin, query CallbackQuery, req HostLogin) (HostLoginCompleted, error) {
	switch {
	case !l.Answers(query):
		return HostLoginCompleted{}, &LoginError{Code: CodeStateMismatch}
	case !c.now().Before(l.ExpiresAt):
		return HostLoginCompleted{}, &LoginError{Code: CodeExpiredAttempt}
	}
	provider, err := c.checkCallback(l.attempt, CompleteLogin{ForgeType: l.ForgeType, Query: query})
	if err != nil {
		return HostLoginCompleted{}, err
	}
	exchanging, cancel := context.WithTimeout(context.WithoutCancel(ctx), completeTimeout)
	defer cancel()
	token, err := provider.Exchange(exchanging, forge.ExchangeRequest{
		Code: query.Code, RedirectURI: l.attempt.RedirectURI, Verifier: l.attempt.Verifier,
	})
	if err != nil {
		return HostLoginCompleted{}, forgeFailure(CodeExchangeFailed, err)
	}
	return c.enterFromHost(ctx, provider, token, grantAuthorizationCode, req)
}
