package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what a secret looks like wherever it is printed.
const Redacted = "[redacted]"

// ErrRedacted is returned when something tries to read a secret back from text, JSON, gob or a database column, or to
// write one to a column or a binary encoding, where "[redacted]" would be kept as if it were the value. Secrets enter
// the program through [New] only: from the environment, from a forge's token endpoint, or out of the vault.
var ErrRedacted = errors.New("secret: a secret is neither encoded nor decoded; construct it with secret.New, take it out with Reveal")

// Text is a secret string: a token, a key, a client secret. The zero value is the empty secret. A Text is immutable
// and safe for concurrent use.
//
// The value is held inside a closure. Where the methods below cannot be called, as in an unexported field, printers
// fall back to reflection, and reflection cannot look into a closure: fmt, and printers that follow pointers (go-cmp,
// spew), show a code address at most. It also makes == a compile error; compare with [Text.Equal].
type Text struct {
	reveal func() string
}

// New returns s as a secret.
func New(s string) Text {
	if s == "" {
		return Text{}
	}
	return Text{reveal: func() string { return s }}
}

// Reveal returns the secret itself. It is the only way out.
func (t Text) Reveal() string {
	if t.reveal == nil {
		return ""
	}
	return t.reveal()
}

// IsZero reports whether the secret is empty.
func (t Text) IsZero() bool { return t.reveal == nil }

// Equal reports whether both secrets have the same value. How long it takes depends on their lengths and not on where
// they differ.
func (t Text) Equal(other Text) bool {
	a, b := sha256.Sum256([]byte(t.Reveal())), sha256.Sum256([]byte(other.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// Format implements [fmt.Formatter] for every verb, flag and width. (%T and %p fmt answers itself: with the type, and with
// a code address.)
func (t Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// String implements [fmt.Stringer].
func (t Text) String() string { return Redacted }

// GoString implements [fmt.GoStringer].
func (t Text) GoString() string { return Redacted }

// LogValue implements [slog.LogValuer].
func (t Text) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText implements [encoding.TextMarshaler], and with it XML and other text encodings.
func (t Text) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// UnmarshalText refuses with [ErrRedacted].
func (t *Text) UnmarshalText([]byte) error { return ErrRedacted }

// MarshalJSON implements [encoding/json.Marshaler].
func (t Text) MarshalJSON() ([]byte, error) { return []byte(`"` + Redacted + `"`), nil }

// UnmarshalJSON refuses with [ErrRedacted].
func (t *Text) UnmarshalJSON([]byte) error { return ErrRedacted }

// GobEncode refuses with [ErrRedacted].
func (t Text) GobEncode() ([]byte, error) { return nil, ErrRedacted }

// GobDecode refuses with [ErrRedacted].
func (t *Text) GobDecode([]byte) error { return ErrRedacted }

// Value implements [driver.Valuer] and refuses with [ErrRedacted]: only what the vault has sealed goes into a table.
func (t Text) Value() (driver.Value, error) { return nil, ErrRedacted }

// Scan implements [database/sql.Scanner] and refuses with [ErrRedacted]: a token column holds a sealed box, which only
// the vault can open.
func (t *Text) Scan(any) error { return ErrRedacted }
