package commands

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth/projections"
)

const (
	sessionSecretBytes = 32
	sessionIdle        = 7 * 24 * time.Hour
	sessionAbsolute    = 30 * 24 * time.Hour
)

// Authenticate returns the session of that key ([Commands.SessionKey]) and what is active, in one query, or
// [projections.ErrNoSession]: for a key of no session, a session that was ended or is past its time, and one that the
// configuration no longer honours, because FORGEAUTH_OPERATORS does not name its account or its forge is no way in any more; or
// [events.ErrUnreadable]. A session that was not extended for a day is queued to be; that never delays the answer.
func (c *Commands) Authenticate(ctx context.Context, key [32]byte) (projections.View, error) {
	view, err := c.reader.View(ctx, key[:])
	if err != nil {
		return projections.View{}, err
	}
	now := c.now()
	if !c.isLive(view.Session, now) {
		return projections.View{}, projections.ErrNoSession
	}
	if wantsExtension(view.Session, now) {
		c.extensions.offer(view.Session.ID)
	}
	return view, nil
}

// isLive reports whether a session that has not ended lets anybody in.
func (c *Commands) isLive(session projections.Session, now time.Time) bool {
	return session.Live(now) && c.policy.honours(session.Account)
}

// SessionKey returns what the session of a cookie's value can be told by, without keeping the value: the keyed hash that its
// row holds. It asks nobody; ok is false for a value that no session ever had.
func (c *Commands) SessionKey(cookie string) (key [32]byte, ok bool) {
	value, ok := parseSessionSecret(cookie)
	if !ok {
		return key, false
	}
	return c.vault.SessionHash(value), true
}

// LiveSessions returns the keys of all sessions for which [Commands.Authenticate] would answer now, in one query.
func (c *Commands) LiveSessions(ctx context.Context) ([][32]byte, error) {
	sessions, err := c.reader.Sessions(ctx)
	if err != nil {
		return nil, fmt.Errorf("live sessions: %w", err)
	}
	now := c.now()
	var keys [][32]byte
	for _, session := range sessions {
		if c.isLive(session, now) && len(session.SecretHash) == len([32]byte{}) {
			keys = append(keys, [32]byte(session.SecretHash))
		}
	}
	return keys, nil
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
