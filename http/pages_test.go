package http

import "testing"

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
