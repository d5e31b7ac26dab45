package github

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
)

func TestReason(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		body   string
		want   error
	}{
		"an issue tracker that is off": {410, `{"message":"Issues are disabled for this repo"}`, forge.ErrUnsupported},
		"an issue that was deleted":    {410, `{"message":"This issue was deleted"}`, nil},
		"a webhook that is there": {
			422, `{"message":"Validation Failed","errors":[{"resource":"Hook","code":"custom","message":"Hook already exists on this repository"}]}`,
			forge.ErrConflict,
		},
		"a pull request that is there": {
			422, `{"message":"Validation Failed","errors":[{"resource":"PullRequest","code":"custom","message":"A pull request already exists for a:b."}]}`,
			forge.ErrConflict,
		},
		"a commit that is not there": {422, `{"message":"No commit found for SHA: 0a"}`, forge.ErrNotFound},
		"branches without a commit between": {
			422, `{"message":"Validation Failed","errors":[{"resource":"PullRequest","code":"custom","message":"No commits between main and b"}]}`, nil,
		},
		"a draft on a plan without drafts": {422, `{"message":"Draft pull requests are not supported in this repository."}`, forge.ErrUnsupported},
		"a repository that was taken down": {451, `{"message":"Repository access blocked"}`, forge.ErrForbidden},
		"the words with another status":    {409, `{"message":"A pull request already exists, Moved Permanently, disabled"}`, nil},
		"nothing":                          {422, ``, nil},
	} {
		if got := reason(test.status, []byte(test.body)); !errors.Is(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

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
		"a missing scope, as 404": {
			status: 404, header: map[string]string{
				"X-OAuth-Scopes": "read:org", "X-Accepted-OAuth-Scopes": "admin:repo_hook, repo, write:repo_hook", "X-RateLimit-Remaining": "0",
			},
			missing: &forge.ScopeMissingError{Have: []string{"read:org"}, Want: []string{"admin:repo_hook", "repo", "write:repo_hook"}},
		},
		"not found": {status: 404, header: map[string]string{"X-OAuth-Scopes": "repo", "X-Accepted-OAuth-Scopes": "repo"}},
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

func TestRefusalWithAReasonOfItsOwn(t *testing.T) {
	t.Parallel()
	const address = "https://github.com/orgs/acme/sso?authorization_request=plantedmark"
	for name, test := range map[string]struct {
		header http.Header
		body   string
		want   error
		says   string
	}{
		"a file of more than 100 MB": {
			body: `{"message":"This API returns blobs up to 100 MB in size.","errors":[{"resource":"Blob","field":"data","code":"too_large"}]}`,
			want: forge.ErrTooLarge,
		},
		"an organization with single sign-on": {
			header: http.Header{"X-Github-Sso": {"required; url=" + address}}, body: `{"message":"Resource protected by organization SAML enforcement."}`,
			want: forge.ErrForbidden, says: "single sign-on",
		},
		"results that leave an organization out": {header: http.Header{"X-Github-Sso": {"partial-results; organizations=1,2"}}},
	} {
		got := refusal(http.StatusForbidden, test.header, []byte(test.body), time.Time{})
		if !errors.Is(got, test.want) || (test.want == nil) != (got == nil) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
		if got != nil && (!strings.Contains(got.Error(), test.says) || strings.Contains(got.Error(), "plantedmark")) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
