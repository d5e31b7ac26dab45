package commands

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCodesSurvivePeople(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var bits [codeBytes]byte
		copy(bits[:], rapid.SliceOfN(rapid.Byte(), codeBytes, codeBytes).Draw(t, "bits"))
		shown := spellCode(bits)
		if len(shown) != codeLength+4 {
			t.Fatalf("%d characters", len(shown))
		}
		want, ok := normaliseCode(shown)
		if !ok {
			t.Fatalf("%s is not taken back", shown)
		}
		confused := strings.NewReplacer("0", "o", "1", "l", "-", " ").Replace(shown)
		for _, typed := range []string{strings.ToLower(shown), strings.ReplaceAll(shown, "-", ""), "  " + confused + "\n"} {
			if got, ok := normaliseCode(typed); !ok || got != want {
				t.Fatalf("%q is taken as %q, want %q", typed, got, want)
			}
		}
		var other [codeBytes]byte
		copy(other[:], bits[:])
		other[rapid.IntRange(0, codeBytes-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if spellCode(other) == shown {
			t.Fatal("two codes are spelt alike")
		}
	})
}

func TestWhatIsNoCode(t *testing.T) {
	t.Parallel()
	for _, typed := range []string{
		"", "-", "00000-00000-00000-00000-00000", "00000-00000-00000-00000-0000000", strings.Repeat("U", codeLength),
		strings.Repeat("é", codeLength), strings.Repeat("0", 1000), strings.Repeat("-", 1<<20), "00000\x00",
	} {
		if got, ok := normaliseCode(typed); ok {
			t.Errorf("%.40q is taken as %q", typed, got)
		}
	}
}

// The log's time never goes back, so a clock that once ran ahead must not make every later code look too old.
func TestACodeIsGoodAfterAClockRanAhead(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.claim()
	d.clock.advance(20 * 24 * time.Hour)
	if _, err := d.DeactivateForge(t.Context(), Caller{Actor: "cli"}); err != nil {
		t.Fatal(err)
	}
	d.clock.advance(-20 * 24 * time.Hour)
	code, _, err := d.Recover(t.Context(), Caller{Actor: "cli"})
	if err != nil {
		t.Fatal(err)
	}
	d.mine = append(d.mine, code)
	completed, err := d.CompleteLogin(t.Context(), d.login("github", "bob", nil, code.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	d.mine = append(d.mine, completed.SessionSecret)
}

func TestDenialsAreCountedByTheHourOfAClockThatWasPutBack(t *testing.T) {
	t.Parallel()
	var d denials
	for range denialsPerHour + 1 {
		d.admit(noon)
	}
	if d.admit(noon) {
		t.Error("the cap does not hold")
	}
	if !d.admit(noon.Add(-24 * time.Hour)) {
		t.Error("a clock that was put back keeps the cap closed")
	}
}
