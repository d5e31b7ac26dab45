package commands

import (
	"context"
	"encoding/base64"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth/projections"
)

const (
	sessionSecretBytes = 32
	sessionIdle        = 7 * 24 * time.Hour
	sessionAbsolute    = 30 * 24 * time.Hour
)

// Authenticate returns the session of a cookie's value and what is active, in one query, or [projections.ErrNoSession]:
// for a value that no session ever had (which costs no query), a session that was ended or is past its time, and one
// that the configuration no longer honours, because FORGEAUTH_OPERATORS does not name its account or its forge is no way
// in any more. A session that was not extended for a day is queued to be; that never delays the answer.
func (c *Commands) Authenticate(ctx context.Context, cookie string) (projections.View, error) {
	value, ok := parseSessionSecret(cookie)
	if !ok {
		return projections.View{}, projections.ErrNoSession
	}
	hash := c.vault.SessionHash(value)
	view, err := c.reader.View(ctx, hash[:])
	if err != nil {
		return projections.View{}, err
	}
	now := c.now()
	if !view.Session.Live(now) || !c.policy.honours(view.Session.Account) {
		return projections.View{}, projections.ErrNoSession
	}
	if wantsExtension(view.Session, now) {
		c.extensions.offer(view.Session.ID)
	}
	return view, nil
}

// parseSessionSecret accepts the one spelling that a session's secret has.
func parseSessionSecret(cookie string) ([]byte, bool) {
	if len(cookie) != base64.RawURLEncoding.EncodedLen(sessionSecretBytes) || strings.ContainsAny(cookie, "\r\n") {
		return nil, false
	}
	value, err := base64.RawURLEncoding.Strict().DecodeString(cookie)
	return value, err == nil && len(value) == sessionSecretBytes
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
