package github

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

// reason reads what GitHub says in words alone: a 422 that is about what is there, or not there, and an issue tracker that is
// switched off (410, as for an issue that was deleted).
func reason(status int, body []byte) error {
	says := func(words string) bool { return bytes.Contains(body, []byte(words)) }
	switch status {
	case http.StatusGone:
		if says("disabled") {
			return forge.ErrUnsupported
		}
	case http.StatusUnprocessableEntity:
		switch {
		case says("already exists"):
			return forge.ErrConflict
		case says("No commit found for SHA"):
			return forge.ErrNotFound
		case says("Draft pull requests are not supported"):
			return fmt.Errorf("%w (drafts need another plan for a private repository)", forge.ErrUnsupported)
		}
	case http.StatusUnavailableForLegalReasons:
		return forge.ErrForbidden
	}
	return nil
}

// refusal tells GitHub's reasons for 403 and 429 apart: a primary rate limit has X-RateLimit-Remaining: 0, a secondary
// one Retry-After or only its message; a file of more than 100 MB has a code; an organization that wants the application
// authorized in a single sign-on has X-GitHub-SSO; a missing scope shows by comparing X-OAuth-Scopes with
// X-Accepted-OAuth-Scopes, which lists every scope that would do, wider ones included. The latter tells of a 404, too, which is
// how GitHub refuses to say that there are webhooks.
func refusal(status int, header http.Header, body []byte, now time.Time) error {
	isSecondary := bytes.Contains(body, []byte("secondary rate limit"))
	if status != http.StatusNotFound && (status == http.StatusTooManyRequests || isSecondary ||
		header.Get("X-Ratelimit-Remaining") == "0" || header.Get("Retry-After") != "") {
		reset := ""
		if header.Get("X-Ratelimit-Remaining") == "0" {
			reset = "X-RateLimit-Reset"
		}
		return &forge.RateLimitedError{Until: forge.RetryAfter(header, reset, now)}
	}
	switch {
	case bytes.Contains(body, []byte(`"too_large"`)):
		return forge.ErrTooLarge
	case status == http.StatusForbidden && strings.HasPrefix(header.Get("X-Github-Sso"), "required"):
		return fmt.Errorf("%w (an organization wants single sign-on: authorize the application there, or sign in again)", forge.ErrForbidden)
	}
	accepted := forge.ParseScopes(header.Get("X-Accepted-Oauth-Scopes"))
	granted, says := header["X-Oauth-Scopes"]
	if !says || len(accepted) == 0 {
		return nil
	}
	have := forge.ParseScopes(granted[0])
	if slices.ContainsFunc(accepted, func(s string) bool { return slices.Contains(have, s) }) {
		return nil
	}
	return &forge.ScopeMissingError{Have: have, Want: accepted}
}
