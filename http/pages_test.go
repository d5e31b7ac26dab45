package http

import (
	"bytes"
	"testing"

	"github.com/forgeauth/forgeauth/forge"
)

func TestEveryKindHasAMark(t *testing.T) {
	t.Parallel()
	for _, info := range forge.Kinds() {
		if !bytes.Contains(styleSheet, []byte(".glyph."+string(info.Kind)+"::before")) {
			t.Errorf("%s is shown with a question mark", info.Title)
		}
	}
}

func TestWhatMakesAConnectionUnusableIsSaidInWords(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]string{
		"unauthorized":    "the forge refuses the token",
		"account_changed": "the token acts for another account",
		"outcome_unknown": "the answer to a refresh was lost",
		"invalid_grant":   "the forge refused to refresh the token (invalid_grant)",
	} {
		if got := whyUnusable(reason); got != want {
			t.Errorf("%s is said as %q, want %q", reason, got, want)
		}
	}
}

func TestIDsOfSessionsAreShownByTheirEnd(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"session/01a214c6-2cab-729d-aa31-3dbb0e6063a5": "session/…0e6063a5",
		"token/gitea":    "token/gitea",
		"active-forge":   "active-forge",
		"cli":            "cli",
		"session/":       "session/",
		"actor/x/y":      "actor/x/y",
		"a long name/of": "a long name/of",
	} {
		if got := brief(name); got != want {
			t.Errorf("%s is shown as %s, want %s", name, got, want)
		}
	}
}
