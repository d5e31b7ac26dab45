package commands

import (
	"fmt"
	"time"
)

const (
	// refusalLifetime is how long who was turned away can be told their own account again.
	refusalLifetime = 10 * time.Minute
	refusalPurpose  = "refused sign-in"
)

// Refusal is the account of somebody who was turned away, sealed for their browser alone to bring to the page that says so.
type Refusal struct {
	// Value is base64url.
	Value   string
	Expires time.Time
}

// SealRefusal seals the account of a [LoginError].
func (c *Commands) SealRefusal(account string) (Refusal, error) {
	expires := c.now().Add(refusalLifetime)
	value, err := c.vault.SealCookie(refusalPurpose, []byte(account), expires)
	if err != nil {
		return Refusal{}, fmt.Errorf("seal refusal: %w", err)
	}
	return Refusal{Value: value, Expires: expires}, nil
}

// RefusedAccount returns what SealRefusal sealed, forge:account_id, and false for anything else or after ten minutes.
func (c *Commands) RefusedAccount(value string) (account string, ok bool) {
	plaintext, err := c.vault.OpenCookie(refusalPurpose, value, c.now())
	return string(plaintext), err == nil
}
