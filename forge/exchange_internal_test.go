package forge

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadLifetime(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		raw  any
		want time.Duration
		bad  bool
	}{
		"absent does not expire":          {raw: nil},
		"zero does not expire":            {raw: 0.0},
		"an empty string does not expire": {raw: ""},
		"a number of seconds":             {raw: 3600.0, want: time.Hour},
		"an integer of a form":            {raw: int64(3600), want: time.Hour},
		"a string of digits":              {raw: "3600", want: time.Hour},
		"parts of a second count":         {raw: 1.5, want: 1500 * time.Millisecond},
		"less than a second expires":      {raw: 0.5, want: 500 * time.Millisecond},
		"next to nothing expires":         {raw: "1e-300", want: 1},
		"ten years to the second":         {raw: maxTokenLifetime.Seconds(), want: maxTokenLifetime},
		"a huge number is ten years":      {raw: 1e300, want: maxTokenLifetime},
		"infinity is ten years":           {raw: "Inf", want: maxTokenLifetime},
		"a negative number":               {raw: -1.0, bad: true},
		"a negative string":               {raw: "-5", bad: true},
		"words":                           {raw: "soon", bad: true},
		"not a number":                    {raw: math.NaN(), bad: true},
		"a list":                          {raw: []any{1.0}, bad: true},
		"a truth value":                   {raw: true, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := readLifetime(test.raw)
			if got != test.want || (err != nil) != test.bad || err != nil && !errors.Is(err, ErrUnavailable) {
				t.Fatalf("readLifetime(%v) = %v, %v", test.raw, got, err)
			}
		})
	}
}

func TestReduceCode(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"invalid_grant":                        "invalid_grant",
		"Bad Verification-Code \n<b>":          "badverificationcodeb",
		"123":                                  "unrecognised",
		strings.Repeat("é", 400):               "unrecognised",
		strings.Repeat("a", 400):               strings.Repeat("a", 64),
		"gto_2f9x":                             "gto_fx",
		"unauthorized_client\u202e;DROP TABLE": "unauthorized_clientdroptable",
	} {
		if got := reduceCode(raw); got != want {
			t.Errorf("reduceCode(%q) = %q, want %q", raw, got, want)
		}
	}
}

func TestParseScopes(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string][]string{
		"":                              {},
		"repo,read:org":                 {"repo", "read:org"},
		"repo, read:org":                {"repo", "read:org"},
		"api  read_user api":            {"api", "read_user"},
		"a\"b c\\d e\u202e ok":          {"ok"},
		strings.Repeat("x", 300) + " y": {"y"},
	} {
		if diff := cmp.Diff(want, ParseScopes(raw)); diff != "" {
			t.Errorf("ParseScopes(%q): %s", raw, diff)
		}
	}
	if got := len(ParseScopes(strings.Join(strings.Split(strings.Repeat("abcdefghij", 100), ""), " "))); got != 10 {
		t.Errorf("duplicates are kept: %d", got)
	}
}
