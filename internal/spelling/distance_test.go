package spelling_test

import (
	"testing"

	"github.com/forgeauth/forgeauth/internal/spelling"
)

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"forge", "forge", 0}, {"forge", "forges", 1}, {"forge", "gorge", 1}, {"kitten", "sitting", 3},
	} {
		if got, back := spelling.Distance(test.a, test.b), spelling.Distance(test.b, test.a); got != test.want || back != test.want {
			t.Errorf("%q and %q are %d and %d apart, want %d", test.a, test.b, got, back, test.want)
		}
	}
}
