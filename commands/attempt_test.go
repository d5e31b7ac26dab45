package commands

import (
	"strings"
	"testing"
)

// Browsers drop a cookie of more than 4,096 bytes with its name and attributes without a word, and the sign-in with it.
func TestAnAttemptFitsInACookieWhereverItReturnsTo(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	code, _, err := d.IssueSetupCode(t.Context(), Caller{})
	if err != nil {
		t.Fatal(err)
	}
	started := 0
	for _, filling := range []string{"a", "&", "<", "%41", "ü", `"`, "\u00ad", "語"} {
		for _, prefix := range []string{"/", "/?"} {
			for n := maxReturnPath - len(prefix); n > 0; n /= 2 {
				path := prefix + strings.Repeat(filling, n/len(filling))
				attempt, err := d.StartLogin(t.Context(), StartLogin{ForgeType: "github", SetupCode: code.Reveal(), ReturnTo: path})
				if err != nil {
					continue // such a path is refused, in this length or at all
				}
				if started++; len(attempt.Attempt.Value) > 3500 {
					t.Errorf("%d × %q: the cookie has %d characters", n, filling, len(attempt.Attempt.Value))
				}
			}
		}
	}
	if started < 50 {
		t.Errorf("only %d sign-ins were started", started)
	}
}
