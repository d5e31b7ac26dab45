package gitlab

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
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		status int
		header map[string]string
		body   string
		want   error
	}{
		"a limit of the whole API": {
			429,
			map[string]string{"Retry-After": "60", "RateLimit-Reset": "1795694500"},
			"Retry later\n",
			&forge.RateLimitedError{Until: now.Add(time.Minute)},
		},
		"a limit that names a time alone": {
			429, map[string]string{"RateLimit-Reset": "1795694500"}, "Retry later\n", &forge.RateLimitedError{Until: now.Add(100 * time.Second)},
		},
		"a limit of one operation": {
			429, nil, `{"message":{"error":"This endpoint has been requested too many times. Try again later."}}`, &forge.RateLimitedError{},
		},
		"a missing scope": {
			403, nil, `{"error":"insufficient_scope","error_description":"x","scope":"api read_api"}`,
			&forge.ScopeMissingError{Want: []string{"api", "read_api"}},
		},
		"a missing scope without a name": {403, nil, `{"error":"insufficient_scope"}`, &forge.ScopeMissingError{}},
		"a plain no":                     {403, nil, `{"message":"403 Forbidden"}`, nil},
		"a page":                         {403, nil, `<html>insufficient_scope`, nil},
	} {
		header := http.Header{}
		for key, value := range test.header {
			header.Set(key, value)
		}
		if diff := cmp.Diff(test.want, refusal(test.status, header, []byte(test.body), now)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestReason(t *testing.T) {
	t.Parallel()
	const pending = `{"message":"Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition via \"enqueue\")"}`
	const moved = `{"message":"Non GET methods are not allowed for moved projects"}`
	for name, test := range map[string]struct {
		status int
		body   string
		want   error
	}{
		"pending already":     {400, pending, forge.ErrConflict},
		"only said so":        {422, pending, nil},
		"another transition":  {400, `{"message":"Cannot transition status via :run from :running"}`, nil},
		"moved":               {405, moved, forge.ErrMoved},
		"moved, said so":      {400, moved, nil},
		"no method":           {405, `{"error":"405 Not Allowed"}`, nil},
		"a message of fields": {400, `{"message":{"note":["can't be blank"]}}`, nil},
		"a page":              {405, `<html>not allowed for moved projects`, nil},
	} {
		if got := reason(test.status, []byte(test.body)); !errors.Is(got, test.want) || (got == nil) != (test.want == nil) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestWithoutQuickActions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"/close":                      `\/close`,
		"/Close now":                  `\/Close now`,
		"/target_branch x\nand more":  `\/target_branch x` + "\nand more",
		"first\n/merge\t\n/approve":   "first\n\\/merge\t\n\\/approve",
		"first\r/merge\r\n/approve\r": "first\n\\/merge\n\\/approve\n",
		"/q-1 x":                      `\/q-1 x`,
		"/schließen":                  `\/schließen`,
		// Code cannot be told apart safely: what GitLab takes for code depends on what stands before it.
		"```\n/close\n```": "```\n\\/close\n```",
		" \t/close":        " \t\\/close",
		// None of these is a command.
		"/usr/bin/env sh":      "/usr/bin/env sh",
		"> /close":             "> /close",
		"either /close or not": "either /close or not",
		"/":                    "/",
		"//close":              "//close",
		"/ close":              "/ close",
		`\/close`:              `\/close`,
		"a\n\nb\n":             "a\n\nb\n",
	} {
		if got := withoutQuickActions(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestSegment(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"group/sub/name": "group%2Fsub%2Fname", "a b+c": "a%20b+c", "site.json": "site%2Ejson", "ü": "%C3%BC", "100%": "100%25", "a?b#c": "a%3Fb%23c",
	} {
		if got := segment(value); got != want {
			t.Errorf("%s: %s, want %s", value, got, want)
		}
	}
}
