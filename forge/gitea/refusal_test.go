package gitea

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
)

// TestRefusal reads the messages recorded at a running Gitea, and ones that only look alike.
func TestRefusal(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		want error
	}{
		"a missing scope": {
			`{"message":"token does not have at least one of required scope(s), required=[read:notification], token scope=write:repository,read:user","url":"x"}`,
			&forge.ScopeMissingError{Have: []string{"write:repository", "read:user"}, Want: []string{"read:notification"}},
		},
		"several scopes that would do": {
			`{"message":"token does not have at least one of required scope(s), required=[read:user read:repository], token scope=read:misc"}`,
			&forge.ScopeMissingError{Have: []string{"read:misc"}, Want: []string{"read:user", "read:repository"}},
		},
		"a message without what the token has": {
			`{"message":"token does not have at least one of required scope(s): required=[write:issue]"}`,
			&forge.ScopeMissingError{Have: []string{}, Want: []string{"write:issue"}},
		},
		"an account that may not sign in": {
			`{"message":"This account is prohibited from signing in, please contact your site administrator."}`, nil,
		},
		"a message about something else that is required": {`{"message":"required=[your attention]"}`, nil},
		"a page":        {`<html>required scope required=[x]`, nil},
		"an empty body": {``, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, refusal(http.StatusForbidden, http.Header{}, []byte(test.body), time.Time{})); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}
