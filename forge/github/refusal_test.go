package github

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
)

func TestRefusal(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		status  int
		header  map[string]string
		body    string
		limited bool
		until   time.Time
		missing *forge.ScopeMissingError
	}{
		"a primary rate limit, as 403": {
			status: 403, header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1795437000"},
			limited: true, until: time.Unix(1795437000, 0),
		},
		"a primary rate limit, as 429": {
			status: 429, header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1795437000"},
			limited: true, until: time.Unix(1795437000, 0),
		},
		"a secondary rate limit with a time": {
			status: 403, header: map[string]string{"Retry-After": "60", "X-RateLimit-Remaining": "4711", "X-RateLimit-Reset": "1795437000"},
			limited: true, until: now.Add(time.Minute),
		},
		"a secondary rate limit without a time": {
			status: 403, header: map[string]string{"X-RateLimit-Remaining": "4711", "X-RateLimit-Reset": "1795437000"},
			body:    `{"message":"You have exceeded a secondary rate limit. Please wait."}`,
			limited: true,
		},
		"a missing scope": {
			status: 403, header: map[string]string{"X-OAuth-Scopes": "gist, read:org", "X-Accepted-OAuth-Scopes": "admin:org, write:org"},
			missing: &forge.ScopeMissingError{Have: []string{"gist", "read:org"}, Want: []string{"admin:org", "write:org"}},
		},
		"a token without any scope": {
			status: 403, header: map[string]string{"X-OAuth-Scopes": "", "X-Accepted-OAuth-Scopes": "repo"},
			missing: &forge.ScopeMissingError{Have: []string{}, Want: []string{"repo"}},
		},
		"a plain no to a token with the scope": {
			status: 403, header: map[string]string{"X-OAuth-Scopes": "repo", "X-Accepted-OAuth-Scopes": "admin:org, repo"},
		},
		"a plain no that names no scopes":                 {status: 403, header: map[string]string{"X-OAuth-Scopes": "repo", "X-Accepted-OAuth-Scopes": ""}},
		"a plain no to a GitHub App, which has no scopes": {status: 403, header: map[string]string{"X-Accepted-OAuth-Scopes": "repo"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header := http.Header{}
			for name, value := range test.header {
				header.Set(name, value)
			}
			err := refusal(test.status, header, []byte(test.body), now)
			var limited *forge.RateLimitedError
			if errors.As(err, &limited) != test.limited || test.limited && !limited.Until.Equal(test.until) {
				t.Fatalf("%v, want until %v", err, test.until)
			}
			var missing *forge.ScopeMissingError
			if errors.As(err, &missing); !test.limited {
				if diff := cmp.Diff(test.missing, missing); diff != "" {
					t.Fatal(diff)
				}
			}
		})
	}
}
