package commands

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/github"
	"github.com/forgeauth/forgeauth/projections"
)

func TestTheCookieOfASession(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	completed := d.claim()
	value := completed.SessionSecret.Reveal()
	if raw, err := base64.RawURLEncoding.DecodeString(value); err != nil || len(raw) != 32 {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	if err := live(t.Context(), d.Commands, completed.SessionSecret); err != nil {
		t.Fatal(err)
	}
	last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", value[42])
	respelt := value[:42] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last^1])
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, malformed := range []string{
		"", "x", value + "=", value + "A", value[:42], " " + value[1:], respelt, completed.Session.ID.String(),
		strings.Repeat("+", 43), value[:20] + "\n" + value[21:], strings.Repeat("A", 1<<16),
	} {
		// A context that has ended makes every query fail: these cost none.
		if _, err := authenticate(ended, d.Commands, malformed); !errors.Is(err, projections.ErrNoSession) {
			t.Errorf("%.50q: %v", malformed, err)
		}
	}
	if _, err := authenticate(ended, d.Commands, value); err == nil || errors.Is(err, projections.ErrNoSession) {
		t.Errorf("a well-formed value without a database: %v", err)
	}
	if _, err := authenticate(t.Context(), d.Commands, strings.Repeat("A", 43)); !errors.Is(err, projections.ErrNoSession) {
		t.Errorf("a value that no session has: %v", err)
	}
	raw, _ := base64.RawURLEncoding.DecodeString(value)
	keyed, bare := d.vault.SessionHash(raw), sha256.Sum256(raw)
	if n := d.count(`SELECT count(*) FROM operator_sessions WHERE secret_hash = $1`, keyed[:]); n != 1 {
		t.Errorf("%d rows hold the keyed hash", n)
	}
	for name, held := range map[string][]byte{"cookie": []byte(value), "secret": raw, "hash without a key": bare[:]} {
		n := d.count(`
			SELECT (SELECT count(*) FROM operator_sessions WHERE position($1::bytea IN secret_hash) > 0)
			     + (SELECT count(*) FROM events WHERE position($1::bytea IN sealed) > 0)`, held)
		if n > 0 {
			t.Errorf("%d rows hold the %s", n, name)
		}
	}
}

func TestASessionRotatesOnEverySignIn(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	session := d.claim()
	for range 3 {
		next := d.enter(d.login("github", "alice", &session.Session, ""))
		if next.Session.ID == session.Session.ID || next.SessionSecret.Equal(session.SessionSecret) {
			t.Fatal("the session was kept")
		}
		if err := live(t.Context(), d.Commands, session.SessionSecret); !errors.Is(err, projections.ErrNoSession) {
			t.Errorf("the session before: %v", err)
		}
		session = next
	}
	other := d.enter(d.login("github", "alice", nil, "")) // another browser
	if err := live(t.Context(), d.Commands, session.SessionSecret); err != nil {
		t.Errorf("the session of the first browser: %v", err)
	}
	appended, err := d.EndSession(t.Context(), SessionCaller(other.Session.ID), other.Session.ID)
	if err != nil {
		t.Fatal(err)
	}
	d.expectTypes(appended, "SessionEnded")
	if err := live(t.Context(), d.Commands, other.SessionSecret); !errors.Is(err, projections.ErrNoSession) {
		t.Errorf("after logging out: %v", err)
	}
	if appended, err := d.EndSession(t.Context(), Caller{}, other.Session.ID); err != nil || len(appended) > 0 {
		t.Errorf("logging out twice: %v, %v", appended, err)
	}
	if n := d.count(`SELECT count(*) FROM operator_oauth_tokens`); n != 1 {
		t.Error("logging out dropped the token")
	}
}

func TestASessionIdlesOut(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	session := d.claim()
	d.clock.advance(sessionIdle - time.Microsecond)
	if err := live(t.Context(), d.Commands, session.SessionSecret); err != nil {
		t.Fatal(err)
	}
	d.clock.advance(time.Microsecond)
	if err := live(t.Context(), d.Commands, session.SessionSecret); !errors.Is(err, projections.ErrNoSession) {
		t.Fatalf("after seven days without use: %v", err)
	}
	if err := d.expireSessions(t.Context()); err != nil {
		t.Fatal(err)
	}
	if history := d.history(); !strings.HasSuffix(history, " SessionEnded") {
		t.Errorf("the log holds %s", history)
	}
	if err := d.expireSessions(t.Context()); err != nil {
		t.Fatal(err)
	}
	if history := d.history(); strings.Count(history, "SessionEnded") > 1 {
		t.Error("it was ended twice")
	}
}

func TestASessionInUseIsExtendedOnceADay(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	session := d.claim()
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- d.Run(ctx) }()
	extensions := func() int { return d.count(`SELECT count(*) FROM events WHERE type = 'SessionExtended'`) }
	use := func() {
		t.Helper()
		for range 5 {
			if err := live(t.Context(), d.Commands, session.SessionSecret); err != nil {
				t.Fatalf("at %v: %v", d.clock.Now(), err)
			}
		}
	}
	use()
	for day := 1; day <= 23; day++ { // until seven days before the end there is something to extend
		d.clock.advance(24 * time.Hour)
		use()
		d.eventually("extended", func() bool { return extensions() == day })
	}
	for range 6 {
		d.clock.advance(24 * time.Hour)
		use()
	}
	d.clock.advance(24*time.Hour - time.Microsecond)
	use()
	d.clock.advance(time.Microsecond)
	if err := live(t.Context(), d.Commands, session.SessionSecret); !errors.Is(err, projections.ErrNoSession) {
		t.Errorf("after thirty days of daily use: %v", err)
	}
	stop()
	if err := <-stopped; err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := extensions(); n != 23 {
		t.Errorf("%d extensions", n)
	}
	for e, err := range d.log.Read(t.Context(), events.Query{Types: []string{"SessionExtended"}}) {
		if err != nil {
			t.Fatal(err)
		}
		if fact, ok := e.Fact.(events.SessionExtended); !ok || fact.IdleUntil.After(session.Session.ExpiresAt) {
			t.Errorf("extended to %v, the end is %v", fact.IdleUntil, session.Session.ExpiresAt)
		}
	}
}

func TestAFullQueueOfExtensionsHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	session := d.claim()
	for n := range 2 * mostExtensions {
		d.extensions.offer(numbered(byte(n)))
	}
	d.clock.advance(24 * time.Hour)
	if err := live(t.Context(), d.Commands, session.SessionSecret); err != nil {
		t.Fatal(err)
	}
	if n := len(d.extensions.queue); n != mostExtensions {
		t.Errorf("%d wait", n)
	}
}

func TestASessionOfAForgeThatStopsBeingAWayIn(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	session := d.claim()
	for name, edit := range map[string]func(*Config){
		"its connection is gone": func(c *Config) { c.Connections = c.Connections[1:] },
		"its connection is for use alone": func(c *Config) {
			c.Connections[0] = d.provider("github", forge.GitHub, github.New, func(c *forge.Connection) { c.Login = false })
		},
	} {
		if err := live(t.Context(), d.process(edit), session.SessionSecret); !errors.Is(err, projections.ErrNoSession) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := live(t.Context(), d.process(), session.SessionSecret); err != nil {
		t.Errorf("configured as before: %v", err)
	}
}
