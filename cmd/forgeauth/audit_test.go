package main

import (
	"regexp"
	"strings"
	"testing"
)

// passing is what differs from run to run and is not an id or a time.
var (
	passing = regexp.MustCompile(`\b[0-9a-f]{8}…|\d+(\.\d+)?(µs|ms|s)\b|"seconds": [0-9.e-]+`)
	ids     = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
	gaps    = regexp.MustCompile(`(\S)  +`) // as wide as the widest cell
)

func TestTheHistoryIsPrinted(t *testing.T) {
	t.Parallel()
	d := newSignedDeployment(t)
	for name, args := range map[string]string{
		"switches":      "audit switches --from 7 --limit 3",
		"switches_json": "audit switches --forge gitea --limit 1 --json",
		"events":        "audit events --type TokenIssued",
		"tokens":        "audit tokens gitea",
		"sessions":      "audit sessions",
		"denied":        "audit denied",
		"replay":        "audit replay --from 3 --to 5",
		"replay_json":   "audit replay --from 6 --to 6 --json",
		"explain":       "audit explain 6",
		"explain_json":  "audit explain 6 --json",
		"state":         "state --at 6",
		"state_json":    "state --at 6 --json",
		"diff":          "diff --from 2 --to 6",
		"verify":        "verify",
	} {
		shown := run(t, d.environ, strings.Fields(args)...)
		if shown.code != exitOK {
			t.Errorf("%s: %s", name, shown)
		}
		golden(t, "audit/"+name+".golden", gaps.ReplaceAllString(ids.ReplaceAllString(passing.ReplaceAllString(steady(shown.stdout), "…"), "ID"), "$1  ")+shown.stderr)
	}
	for args, want := range map[string]string{
		"audit events --from yesterday": `--from "yesterday": it is now, beginning, a position`,
		"audit events --type Nothing":   "there is no type of event",
		"audit switches --limit -1":     "are not negative",
		"audit explain zero":            "is no position",
		"audit tokens":                  "one forge is needed",
		"state --at never":              `--at "never"`,
		"diff":                          "--from is missing",
	} {
		run(t, d.environ, strings.Fields(args)...).expect(t, exitUsage, "", want)
	}
	run(t, d.environ, "state", "--at", "999").expect(t, exitFailure, "", "the log does not reach that position yet")
	run(t, d.environ, "audit", "explain", "999").expect(t, exitFailure, "", "no event at that position")
}
