package commands

import (
	"context"
	"encoding/hex"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
)

// StartLogin asks for a browser to be sent to a forge.
type StartLogin struct {
	ForgeType string
	// ReturnTo is a page of this deployment to go to afterwards, "/" if empty.
	ReturnTo string
	// SetupCode is a setup or recovery code as somebody typed it. It is looked at only where it matters: while the
	// deployment is unclaimed, or while a recovery code is out.
	SetupCode string
	// Session is the live session that starts the attempt, to link an account; nil if there is none.
	Session *projections.Session
}

// LoginStarted says where to send the browser and what it has to bring back.
type LoginStarted struct {
	AuthorizeURL string
	Attempt      Attempt
}

// StartLogin prepares a sign-in: a state and a PKCE verifier of 256 random bits each, sealed into a cookie with the
// forge, the exact redirect URI, the intent, the session, the return path and the code that was entered. No forge is
// contacted and nothing is stored. It fails with [ErrUnknownConnection], [*ReturnPathError], [ErrLoginDisabled],
// [ErrSetupCodeRequired] or [ErrSetupCodeWrong].
func (c *Commands) StartLogin(ctx context.Context, req StartLogin) (LoginStarted, error) {
	provider, err := c.provider(req.ForgeType)
	if err != nil {
		return LoginStarted{}, err
	}
	connection := provider.Connection()
	a := attempt{
		ForgeType: req.ForgeType, RedirectURI: c.redirectURI(connection), Intent: intentSignIn, Expires: c.now().Add(attemptLifetime),
	}
	if a.ReturnTo, err = returnPath(req.ReturnTo); err != nil {
		return LoginStarted{}, err
	}
	switch {
	case req.Session != nil:
		a.Intent, a.Session = intentLink, req.Session.ID
	case !connection.Login:
		return LoginStarted{}, ErrLoginDisabled
	default:
		if a.Code, err = c.codeFor(ctx, req.SetupCode); err != nil {
			return LoginStarted{}, err
		}
	}
	if err := c.drawSecrets(&a); err != nil {
		return LoginStarted{}, err
	}
	sealed, err := c.sealAttempt(a)
	if err != nil {
		return LoginStarted{}, err
	}
	return LoginStarted{AuthorizeURL: a.authorizeURL(provider), Attempt: sealed}, nil
}

// drawSecrets gives an attempt its name, its state and its PKCE verifier.
func (c *Commands) drawSecrets(a *attempt) error {
	id, err := c.random(8)
	if err != nil {
		return err
	}
	a.ID = hex.EncodeToString(id)
	if a.State, err = c.randomText(); err != nil {
		return err
	}
	a.Verifier, err = c.randomText()
	return err
}

// authorizeURL is where the person agrees.
func (a attempt) authorizeURL(provider forge.Provider) string {
	return provider.AuthorizeURL(forge.AuthorizeRequest{State: a.State, RedirectURI: a.RedirectURI, Challenge: a.challenge()})
}

// redirectURI is where the forge sends browsers back to, exactly as registered there.
func (c *Commands) redirectURI(connection forge.Connection) string {
	return c.publicURL + "/oauth/" + connection.Name + "/callback"
}

// codeFor checks the code with which a browser without a session starts.
func (c *Commands) codeFor(ctx context.Context, typed string) (*boundCode, error) {
	status, err := c.Status(ctx)
	switch {
	case err != nil:
		return nil, err
	case status.NeedsCode() && typed == "":
		return nil, ErrSetupCodeRequired
	case status.NeedsCode():
		return c.enterCode(ctx, purposeSetup, typed)
	case status.Recovery && typed != "":
		return c.enterCode(ctx, purposeRecovery, typed)
	}
	return nil, nil //nolint:nilnil // no code is needed
}

// sessionID is the id of a session that may not be there.
func sessionID(session *projections.Session) uuid.UUID {
	if session == nil {
		return uuid.Nil
	}
	return session.ID
}
