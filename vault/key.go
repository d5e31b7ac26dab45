package vault

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/forgeauth/forgeauth/secret"
)

// KeyVariable is the environment variable that holds the operator's key; KeyVariable + "_FILE" names a file with it.
const KeyVariable = "OAUTH_ENCRYPTION_KEY"

// MinKeyLength is the least number of bytes of the operator's key, a trailing newline not counted.
const MinKeyLength = 32

const (
	minDistinctBytes = 10
	derivedLength    = 32 // bytes of each derived key, the size of a secretbox key
)

// Labels of the derived keys. They are part of the stored format: a changed label is a different key.
const (
	labelWrapping = "forgeauth v1 wrapping"
	labelSession  = "forgeauth v1 session"
	labelCookie   = "forgeauth v1 cookie"
	labelCode     = "forgeauth v1 code"
	labelToken    = "forgeauth v1 token"
)

// Secret is a value that cannot be printed; see [secret.Text].
type Secret = secret.Text

// MasterKey is the operator's key after [ParseKey]: the keys derived from it, one per purpose. It cannot be printed.
type MasterKey struct {
	wrapping, session, cookie, code, token secret.Text
}

// String implements [fmt.Stringer] without a byte of the key.
func (MasterKey) String() string { return secret.Redacted }

// KeyError says why a key was refused and how to make a good one. It never quotes the key.
type KeyError struct {
	// Problem completes the sentence "OAUTH_ENCRYPTION_KEY …".
	Problem string
}

// Error implements error with the remedy.
func (e *KeyError) Error() string {
	return fmt.Sprintf("%s %s; make a key with `openssl rand -base64 32`, set %s (or %s_FILE to a file that holds it) "+
		"and keep a copy: without it stored tokens cannot be opened", KeyVariable, e.Problem, KeyVariable, KeyVariable)
}

// ParseKey checks the operator's key and derives from it the keys that the vault uses. One trailing newline (\n or
// \r\n), as left by an editor or a shell in a key file, is not part of the key; every other byte is, in whatever
// encoding it came. A key that is missing, shorter than [MinKeyLength] bytes, made of fewer than 10 distinct bytes, a
// repeated or running sequence, or a known placeholder is a [*KeyError]. These checks find keys that nobody generated;
// they do not measure entropy.
func ParseKey(raw secret.Text) (MasterKey, error) {
	key := []byte(raw.Reveal())
	if trimmed, found := bytes.CutSuffix(key, []byte("\n")); found {
		key = bytes.TrimSuffix(trimmed, []byte("\r"))
	}
	if problem := keyProblem(key); problem != "" {
		return MasterKey{}, &KeyError{Problem: problem}
	}
	var master MasterKey
	for label, derived := range map[string]*secret.Text{
		labelWrapping: &master.wrapping,
		labelSession:  &master.session,
		labelCookie:   &master.cookie,
		labelCode:     &master.code,
		labelToken:    &master.token,
	} {
		material, err := hkdf.Key(sha256.New, key, nil, label, derivedLength)
		if err != nil {
			return MasterKey{}, fmt.Errorf("vault: derive the %s key: %w", label, err)
		}
		*derived = secret.New(string(material))
	}
	return master, nil
}

// keyProblem says what is wrong with the key, or nothing.
func keyProblem(key []byte) string {
	switch distinct := distinctBytes(key); {
	case len(key) == 0:
		return "is missing"
	case isPlaceholder(key):
		return "is a placeholder and not a key"
	case len(key) < MinKeyLength:
		return fmt.Sprintf("is %d bytes long, and at least %d are needed", len(key), MinKeyLength)
	case distinct < minDistinctBytes:
		return fmt.Sprintf("has %d distinct bytes, and a random key has at least %d", distinct, minDistinctBytes)
	case period(key) < MinKeyLength && period(key) <= len(key)/2:
		return fmt.Sprintf("repeats a pattern of %d bytes, and at least %d that do not repeat are needed", period(key), MinKeyLength)
	case isRun(key):
		return "is a running sequence and not random"
	default:
		return ""
	}
}

func distinctBytes(key []byte) int {
	var seen [256]bool
	n := 0
	for _, b := range key {
		if !seen[b] {
			seen[b] = true
			n++
		}
	}
	return n
}

// period returns the length of the shortest pattern whose repetition (the last one perhaps cut short) is the key.
func period(key []byte) int {
	border := make([]int, len(key)) // the failure function of Knuth, Morris and Pratt
	for i, k := 1, 0; i < len(key); i++ {
		for k > 0 && key[i] != key[k] {
			k = border[k-1]
		}
		if key[i] == key[k] {
			k++
		}
		border[i] = k
	}
	return len(key) - border[len(key)-1]
}

// isRun reports whether most bytes are the neighbour of the byte before, or the same: "abcdefgh…", "aaaabbbb…". In a
// random key, hexadecimal being the narrowest alphabet in use, about one in five is.
func isRun(key []byte) bool {
	steps := 0
	for i := 1; i < len(key); i++ {
		if d := int(key[i]) - int(key[i-1]); d >= -1 && d <= 1 {
			steps++
		}
	}
	return steps > (len(key)-1)/2
}

// placeholders are looked for in the letters and digits of a key, in lower case. None is shorter than seven letters,
// so that a random key contains one with a probability below one in a hundred million.
var placeholders = []string{
	"changeme", "changeit", "changethis", "replaceme", "replacethis", "replacewith", "placeholder", "yoursecret",
	"yourkey", "your32", "yourencryption", "youroauth", "encryptionkey", "secretkey", "supersecret", "topsecret",
	"example", "default", "insertkey", "insertyour", "puttherandom", "putyour", "generateme", "generatewith", "password",
	"passphrase", "notsecure", "insecure", "dummykey", "developmentonly", "thisisnot", "thisisasecret", "32bytekey",
	"32byteslong", "thirtytwobyte", "qwertyuiop", "opensslrand", "loremipsum", "correcthorse",
}

func isPlaceholder(key []byte) bool {
	for _, quotes := range [][2]string{{"<", ">"}, {"$(", ")"}, {"${", "}"}, {"{{", "}}"}, {"`", "`"}} {
		if bytes.HasPrefix(key, []byte(quotes[0])) && bytes.HasSuffix(key, []byte(quotes[1])) {
			return true // a template or a command that nothing has expanded
		}
	}
	var letters strings.Builder
	for _, b := range bytes.ToLower(key) {
		if 'a' <= b && b <= 'z' || '0' <= b && b <= '9' {
			letters.WriteByte(b)
		}
	}
	for _, word := range placeholders {
		if strings.Contains(letters.String(), word) {
			return true
		}
	}
	return false
}

// keyBytes copies a 32-byte key out of its Text, for the length of one operation.
func keyBytes(key secret.Text) (out [derivedLength]byte, err error) {
	if copy(out[:], key.Reveal()) != derivedLength {
		return out, errNoKey
	}
	return out, nil
}

// errNoKey is the answer of the zero MasterKey, Vault or DataKey, which would otherwise seal under a key of zeros.
var errNoKey = errors.New("vault: there is no key; make it with ParseKey, NewDataKey or Unwrap")
