package commands

import (
	"context"
	"errors"

	"github.com/forgeauth/forgeauth/forge"
)

// identify finds out whose token it is and seals it.
func (c *Commands) identify(ctx context.Context, provider forge.Provider, token forge.Token, grant string) (issue, error) {
	account, err := profile(ctx, provider, token)
	if err != nil {
		return issue{}, err
	}
	granted, err := c.seal(provider.Connection(), account, token, grant)
	if err != nil {
		return issue{}, &LoginError{Code: CodeInternal, Err: err}
	}
	return granted, nil
}

var errNoAccountID = errors.New("the forge names no account id")

// profile asks whose token it is.
func profile(ctx context.Context, provider forge.Provider, token forge.Token) (forge.Account, error) {
	account, err := bindFresh(provider, token).Account(ctx)
	if err != nil {
		return forge.Account{}, forgeFailure(CodeProfileFailed, err)
	}
	if account.ID == "" || !forge.IsClean(account.ID) {
		return forge.Account{}, &LoginError{Code: CodeProfileFailed, Err: errNoAccountID}
	}
	account.Login = forge.CleanString(account.Login)
	return account, nil
}
