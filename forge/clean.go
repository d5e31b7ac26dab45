package forge

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxStringLength is the most characters that a string from a forge keeps.
const MaxStringLength = 255

// CleanString makes a string from a forge fit to be stored and shown: valid UTF-8, at most [MaxStringLength] characters,
// and without control, bidirectional and other invisible formatting characters (Unicode categories Cc, Cf, Zl, Zp, Cs,
// Co), which could forge a log line or show one name for another. The zero-width joiner goes too.
func CleanString(s string) string { return clean(s, MaxStringLength) }

func clean(s string, limit int) string {
	var b strings.Builder
	kept := 0
	for _, r := range s {
		if kept == limit {
			break
		}
		if r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Cs, unicode.Co) {
			continue
		}
		b.WriteRune(r)
		kept++
	}
	return strings.TrimSpace(b.String())
}

// IsClean reports whether [CleanString] would leave s as it is.
func IsClean(s string) bool { return CleanString(s) == s }
