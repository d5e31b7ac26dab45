package bitbucket

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
)

func TestRefusal(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		body   string
		want   error
	}{
		"a missing scope": {
			403, `{"type":"error","error":{"message":"Your credentials lack one or more required privilege scopes.","detail":{"required":["account"],"granted":["team"]}}}`,
			&forge.ScopeMissingError{Have: []string{"team"}, Want: []string{"account"}},
		},
		"a token without any scope": {
			403, `{"error":{"detail":{"required":["webhook","pullrequest"],"granted":[]}}}`,
			&forge.ScopeMissingError{Have: []string{}, Want: []string{"webhook", "pullrequest"}},
		},
		"scopes that are none":             {403, `{"error":{"detail":{"required":["a b\"","x\u0000"],"granted":["é"]}}}`, &forge.ScopeMissingError{Have: []string{}, Want: []string{"a"}}},
		"a plain no":                       {403, `{"type":"error","error":{"message":"You do not have access."}}`, nil},
		"a plain no with a reason":         {403, `{"type":"error","error":{"message":"No.","detail":"required: a paid plan"}}`, nil},
		"a detail of another shape":        {403, `{"error":{"detail":["required"]}}`, nil},
		"no scope is required":             {403, `{"error":{"detail":{"required":[],"granted":["team"]}}}`, nil},
		"a page":                           {403, `<html>required`, nil},
		"an empty body":                    {403, ``, nil},
		"a rate limit says nothing of one": {429, `{"error":{"detail":{"required":["account"],"granted":["team"]}}}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, refusal(test.status, http.Header{}, []byte(test.body), time.Time{})); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestTheOlderHookIsTheOneThatWasMadeBefore(t *testing.T) {
	t.Parallel()
	before, after := time.Unix(1, 0), time.Unix(2, 0)
	for _, test := range []struct {
		a, b webhook
		want int
	}{
		{webhook{UUID: "{b}", CreatedAt: before}, webhook{UUID: "{a}", CreatedAt: after}, -1},
		{webhook{UUID: "{a}", CreatedAt: after}, webhook{UUID: "{b}", CreatedAt: before}, 1},
		{webhook{UUID: "{a}", CreatedAt: after}, webhook{UUID: "{b}", CreatedAt: after}, -1},
		{webhook{UUID: "{a}"}, webhook{UUID: "{a}"}, 0},
	} {
		if got := compareAge(test.a, test.b); got != test.want {
			t.Errorf("%+v and %+v: %d", test.a, test.b, got)
		}
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]forge.ChangeState{
		"OPEN": forge.ChangeOpen, "MERGED": forge.ChangeMerged, "DECLINED": forge.ChangeClosed, "SUPERSEDED": forge.ChangeClosed, "open": "", "": "",
	} {
		if got, known := state(name); got != want || known != (want != "") {
			t.Errorf("%s is %s, %t", name, got, known)
		}
	}
}

func TestUUIDs(t *testing.T) {
	t.Parallel()
	const good = "{7e905170-0c1d-4e5f-8a9b-0123456789aB}"
	for id, want := range map[string]string{
		good: good, strings.Trim(good, "{}"): "", "{}": "", "": "", good + "/": "", "{../..}": "", "{7e9051700c1d4e5f8a9b0123456789ab}": "", good + "\n": "",
	} {
		if got := uuid(id); got != want {
			t.Errorf("uuid(%q) = %q", id, got)
		}
	}
}

func TestStatusKeysFitAndStayApart(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, name := range []string{
		"ci", strings.Repeat("ü", 40), strings.Repeat("ü", 41), strings.Repeat("c", 41), strings.Repeat("c", 42), strings.Repeat("c", 255),
	} {
		key := statusKey(name)
		if n := len([]rune(key)); n > 40 || n < len([]rune(name)) && n != 40 || len([]rune(name)) <= 40 && key != name {
			t.Errorf("the key of %d characters is %q", len([]rune(name)), key)
		}
		if other, taken := seen[key]; taken {
			t.Errorf("%q and %q have one key", other, name)
		}
		seen[key] = name
	}
}

func TestWordsOfTheQueryLanguageAreQuoted(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"main": `"main"`, `a"b`: `"a\"b"`, `a\b`: `"a\\b"`, `x" OR name!="`: `"x\" OR name!=\""`, "feature/漢字+1": `"feature/漢字+1"`,
	} {
		if got := quoted(name); got != want {
			t.Errorf("quoted(%q) = %s, want %s", name, got, want)
		}
	}
}
