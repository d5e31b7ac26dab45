package http_test

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

func decode[T any](t *testing.T, body string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return v
}

// What differs from run to run.
var (
	loopback = regexp.MustCompile(`127\.0\.0\.1(:|%3A)\d+`)
	anyUUID  = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	anyBrief = regexp.MustCompile(`/…[0-9a-f]{8}`)
	anyHash  = regexp.MustCompile(`\.[0-9a-f]{16}\.`)
	drawn    = regexp.MustCompile(`(state|code_challenge)=[A-Za-z0-9_-]{43}`)
)

// golden compares an answer with testdata/golden/name; JSON is indented there, so that a difference is one of lines.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if strings.HasSuffix(name, ".json") {
		var indented strings.Builder
		encoder := json.NewEncoder(&indented)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		check(t, encoder.Encode(json.RawMessage(got)))
		got = indented.String()
	}
	got = loopback.ReplaceAllString(got, "127.0.0.1${1}PORT")
	got = anyUUID.ReplaceAllString(got, "UUID")
	got = anyBrief.ReplaceAllString(got, "/…BRIEF")
	got = anyHash.ReplaceAllString(got, ".HASH.")
	got = drawn.ReplaceAllString(got, "$1=DRAWN")
	path := filepath.Join("testdata", "golden", name)
	if *update {
		check(t, os.WriteFile(path, []byte(got), 0o600))
		return
	}
	want, err := os.ReadFile(path) //nolint:gosec // named by the tests of this package
	check(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestPublishedShapes(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, func(s *settings) { s.fixedTime = true })
	visitor := d.browser(t)
	golden(t, "me.json", b.json().get(t, "/me").body)
	golden(t, "forges.json", b.json().get(t, "/forges").body)
	golden(t, "home.json", b.json().get(t, "/").body)
	golden(t, "repositories.json", b.json().get(t, "/forge/repositories?limit=2").body)
	golden(t, "login.json", visitor.json().get(t, "/login?error=access_denied&return=/?a=b").body)
	golden(t, "healthz.json", visitor.json().get(t, "/healthz").body)
	golden(t, "problem_unauthenticated.json", visitor.json().get(t, "/me").body)
	golden(t, "switched.json", b.json().do(t, http.MethodDelete, "/forges/active", nil).body)
	golden(t, "problem_no_active_forge.json", b.json().get(t, "/me").body)
	golden(t, "home.html", b.get(t, "/").body)
	golden(t, "login.html", visitor.get(t, "/login?error=access_denied&return=/?a=b").body)
	golden(t, "confirm.html", visitor.get(t, "/oauth/gitea/init?return=/").body)
	golden(t, "leave.html", visitor.post(t, "/oauth/gitea/init", nil).body)
	golden(t, "error.html", b.get(t, "/nowhere").body)
	golden(t, "audit.html", b.get(t, "/audit").body)
	golden(t, "audit_switches.json", b.json().get(t, "/audit/switches?forge=gitea").body)
	golden(t, "audit_events.json", b.json().get(t, "/audit/events?type=ForgeActivated,ForgeDeactivated&limit=1").body)
	golden(t, "audit_tokens.json", b.json().get(t, "/audit/tokens/gitea").body)
	golden(t, "audit_sessions.json", b.json().get(t, "/audit/sessions").body)
	golden(t, "audit_denied.json", b.json().get(t, "/audit/denied").body)
	golden(t, "audit_replay.json", b.json().get(t, "/audit/replay?from=3&limit=1").body)
	golden(t, "audit_explain.json", b.json().get(t, "/audit/events/3").body)
	golden(t, "audit_state.json", b.json().get(t, "/audit/state?at=3").body)
	golden(t, "audit_diff.json", b.json().get(t, "/audit/diff?from=beginning&to=4").body)
	golden(t, "disconnected.json", b.json().do(t, http.MethodDelete, "/forges/gitea", nil).body)
}
