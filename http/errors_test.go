package http

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
)

func TestErrorsHaveCodesAndStatuses(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	atForge := func(err error) error { return &forge.Error{Connection: "gitea", Op: "repositories", Err: err} }
	for _, c := range []struct {
		err    error
		status int
		code   code
		known  bool
	}{
		{projections.ErrNoSession, 401, "unauthenticated", true},
		{projections.ErrNoActiveForge, 412, "no_active_forge", true},
		{projections.ErrNotConnected, 409, "not_connected", true},
		{commands.ErrUnknownConnection, 404, "unknown_forge", true},
		{commands.ErrSetupCodeRequired, 403, "setup_code_required", true},
		{commands.ErrSetupCodeWrong, 403, "setup_code_wrong", true},
		{commands.ErrLoginDisabled, 403, "login_disabled", true},
		{&commands.ReturnPathError{Problem: "it climbs"}, 400, "bad_return", true},
		{&commands.OriginError{ForgeType: "gitea"}, 409, "origin_changed", true},
		{atForge(forge.ErrNeedsReauth), 409, "needs_reauth", true},
		{atForge(forge.ErrForbidden), 403, "forge_forbidden", true},
		{atForge(forge.ErrNotFound), 404, "forge_not_found", true},
		{atForge(forge.ErrUnsupported), 409, "forge_unsupported", true},
		{atForge(forge.ErrUnavailable), 502, "forge_unavailable", true},
		{atForge(forge.ErrEndlessPages), 502, "forge_unavailable", true},
		{atForge(&forge.ScopeMissingError{}), 403, "scope_missing", true},
		{atForge(&forge.RateLimitedError{Until: now.Add(90 * time.Second)}), 503, "forge_rate_limited", true},
		{atForge(forge.ErrDestination), 500, "internal", false},
		{fmt.Errorf("%w: %w", events.ErrCommitUnknown, context.DeadlineExceeded), 503, "commit_unknown", true},
		{events.ErrUnavailable, 503, "temporarily_unwritable", true},
		{events.ErrClosed, 503, "temporarily_unwritable", true},
		{events.ErrOutdated, 503, "outdated", true},
		{events.ErrBehind, 503, "behind", true},
		{events.ErrUnknownEvent, 503, "outdated", true},
		{events.ErrUnreadable, 503, "temporarily_unreadable", true},
		{fmt.Errorf("%w: %w", events.ErrUnreadable, context.DeadlineExceeded), 503, "temporarily_unreadable", true},
		{&commands.LoginError{Code: commands.CodeInternal, Err: events.ErrUnreadable}, 503, "temporarily_unreadable", true},
		{context.DeadlineExceeded, 503, "timeout", true},
		{&http.MaxBytesError{Limit: 1}, 413, "body_too_large", true},
		{&commands.LoginError{Code: commands.CodeNotAllowed, Account: "gitea:8"}, 403, "not_allowed", true},
		{&commands.LoginError{Code: commands.CodeExchangeFailed, Err: forge.ErrUnavailable}, 502, "exchange_failed", true},
		{&commands.LoginError{Code: commands.CodeInternal, Err: events.ErrCommitUnknown}, 503, "commit_unknown", true},
		{&commands.LoginError{Code: commands.CodeInternal, Err: errors.New("secret detail")}, 500, "internal", false},
		{errors.New("secret detail"), 500, "internal", false},
	} {
		t.Run(c.err.Error(), func(t *testing.T) {
			t.Parallel()
			p, known := problemOf(fmt.Errorf("while doing something: %w", c.err), now)
			if p.Status != c.status || p.Error != c.code || known != c.known {
				t.Errorf("got %d %s (known: %v), want %d %s (known: %v)", p.Status, p.Error, known, c.status, c.code, c.known)
			}
			if p.Title == "" || p.Detail == "" || p.Type != "urn:forgeauth:problem:"+string(c.code) {
				t.Errorf("incomplete: %+v", p)
			}
		})
	}
}

func TestEveryCodeOfASignInHasItsSentence(t *testing.T) {
	t.Parallel()
	for _, c := range []string{
		commands.CodeStateMismatch, commands.CodeExpiredAttempt, commands.CodeWrongForge, commands.CodeWrongIssuer,
		commands.CodeAccessDenied, commands.CodeExchangeFailed, commands.CodeProfileFailed, commands.CodeForgeUnavailable,
		commands.CodeNotAllowed, commands.CodeSetupCodeWrong, commands.CodeInternal,
	} {
		if _, ok := catalogue[code(c)]; !ok {
			t.Errorf("%s has no sentence", c)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"is rounded up":                       {&requestError{code: codeRateLimited, retryAfter: 1500 * time.Millisecond}, "2"},
		"is what the forge says":              {&forge.RateLimitedError{Until: now.Add(90 * time.Second)}, "90"},
		"is a minute if the forge is silent":  {&forge.RateLimitedError{}, "60"},
		"is a minute if the forge's is over":  {&forge.RateLimitedError{Until: now.Add(-time.Second)}, "60"},
		"is soon if nothing could be read":    {events.ErrUnreadable, "5"},
		"is soon if nothing could be written": {events.ErrUnavailable, "5"},
		"is soon if time ran out":             {&requestError{code: codeTimeout}, "5"},
		"is not for what has to be looked at": {events.ErrCommitUnknown, ""},
		"is not for our own faults":           {errors.New("fault"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := problemOf(c.err, now)
			h := http.Header{}
			p.header(h)
			if got := h.Get("Retry-After"); got != c.want {
				t.Errorf("Retry-After %q, want %q", got, c.want)
			}
		})
	}
}

// A client that leaves takes its query with it, which is nobody's failure and nothing to wake people for.
func TestAReadThatWasAbandonedIsNoFaultOfTheDatabase(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		abandon bool
		want    string
	}{
		{"the client left", true, "DEBUG"},
		{"the client waits", false, "WARN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(context.WithValue(t.Context(), scopeKey{}, &scope{}))
			defer cancel()
			if c.abandon {
				cancel()
			}
			var log bytes.Buffer
			s := &server{config: Config{
				Now: time.Now, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			}}
			s.explain(httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil), fmt.Errorf("read: %w", events.ErrUnreadable))
			if !strings.Contains(log.String(), "level="+c.want) {
				t.Errorf("logged %s", log.String())
			}
		})
	}
}
