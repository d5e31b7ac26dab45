package commands

import (
	"context"
	"fmt"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
)

// ImportToken stores a token that was had by other means as its connection's, as a sign-in does: it replaces the one
// there was, which is revoked where it can be. It never changes which forge is active. What is stored is the token,
// account, scopes and expiry; kind and base URL are the connection's own, and must be that or empty. It fails with
// [ErrUnknownConnection] or [ErrImport].
func (c *Commands) ImportToken(ctx context.Context, caller Caller, row OperatorOAuth) ([]events.Event, error) {
	provider, err := c.provider(row.ForgeType)
	if err != nil {
		return nil, err
	}
	connection := provider.Connection()
	if problem := importProblem(connection, row); problem != "" {
		return nil, fmt.Errorf("%w: %s", ErrImport, problem)
	}
	imported, err := c.seal(connection,
		forge.Account{ID: row.AccountID, Login: forge.CleanString(row.AccountLogin)},
		forge.Token{Access: row.AccessToken, Refresh: row.RefreshToken, ExpiresAt: row.ExpiresAt, Scopes: row.Scopes},
		grantImported)
	if err != nil {
		return nil, err
	}
	appended, err := c.append(ctx, caller, decision{
		Streams: []events.Stream{events.TokenStream(row.ForgeType)},
		Decide: func(state *projections.State, _ time.Time) (events.Outcome, error) {
			return imported.decide(state), nil
		},
	})
	if err != nil {
		return nil, err
	}
	c.revocationRequested(appended)
	c.grantChanged(row.ForgeType)
	return appended, nil
}

func importProblem(connection forge.Connection, row OperatorOAuth) string {
	switch {
	case row.AccessToken.IsZero():
		return "there is no access token"
	case !forge.IsToken(row.AccessToken.Reveal()) || !row.RefreshToken.IsZero() && !forge.IsToken(row.RefreshToken.Reveal()):
		return "a token is too long or has characters no token has"
	case row.AccountID == "" || !forge.IsClean(row.AccountID):
		return "the account id is empty, too long or has characters no id has"
	case forge.CleanString(row.AccountLogin) == "":
		return "there is no account login"
	case row.Kind != "" && row.Kind != connection.Kind:
		return "the connection is of another kind"
	case row.BaseURL != "" && row.BaseURL != connection.BaseURL:
		return "the connection has another base URL"
	}
	for _, scope := range row.Scopes {
		if !forge.IsClean(scope) {
			return "a scope is too long or has characters no scope has"
		}
	}
	return ""
}
