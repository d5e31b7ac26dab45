package vault_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

// goodKey is what `openssl rand -base64 32` prints.
const goodKey = "pX3vQ0bT9cLw7sZk1YhN5uEaRj8mGfD2oViK6tBxHq4="

func parse(tb testing.TB, key string) vault.MasterKey {
	tb.Helper()
	master, err := vault.ParseKey(secret.New(key))
	if err != nil {
		tb.Fatalf("ParseKey: %v", err)
	}
	return master
}

func TestParseKeyRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ key, problem string }{
		"no key":                           {"", "is missing"},
		"a newline alone":                  {"\n", "is missing"},
		"31 bytes":                         {goodKey[:31], "is 31 bytes long, and at least 32 are needed"},
		"31 bytes and a newline":           {goodKey[:31] + "\n", "is 31 bytes long"},
		"31 bytes and a DOS newline":       {goodKey[:31] + "\r\n", "is 31 bytes long"},
		"nine distinct bytes":              {"131542698713245968713254697813245", "has 9 distinct bytes"},
		"one byte over and over":           {strings.Repeat("x", 64), "has 1 distinct bytes"},
		"a pattern twice":                  {goodKey[:16] + goodKey[:16], "repeats a pattern of 16 bytes"},
		"a pattern and a half more":        {goodKey[:20] + goodKey[:20] + goodKey[:10], "repeats a pattern of 20 bytes"},
		"the hexadecimal digits":           {"0123456789abcdef0123456789abcdef", "repeats a pattern of 16 bytes"},
		"the alphabet":                     {"abcdefghijklmnopqrstuvwxyz012345", "is a running sequence"},
		"the alphabet backwards":           {"zyxwvutsrqponmlkjihgfedcba987654", "is a running sequence"},
		"letters doubled":                  {"aabbccddeeffgghhiijjkkllmmnnoopp", "is a running sequence"},
		"changeme":                         {"changeme", "is a placeholder"},
		"a long change-me":                 {"CHANGE-ME-to-something-random-0123", "is a placeholder"},
		"your-32-byte":                     {"your-32-byte-encryption-key-here!!", "is a placeholder"},
		"your_encryption_key":              {"your_encryption_key_goes_in_here_ok", "is a placeholder"},
		"a password":                       {"P@ssw0rd-my-password-is-very-long-1", "is a placeholder"},
		"an example":                       {"this-is-an-Example-of-a-key-5739201", "is a placeholder"},
		"a command that did not run":       {"$(openssl rand -base64 32)", "is a placeholder"},
		"a variable that was not expanded": {"${FORGEAUTH_ENCRYPTION_MATERIAL_V1}", "is a placeholder"},
		"a template":                       {"{{ .Values.forgeauth.material.v1 }}", "is a placeholder"},
		"angle brackets":                   {"<paste 32 random bytes in base64 here>", "is a placeholder"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := vault.ParseKey(secret.New(test.key))
			keyErr, ok := errors.AsType[*vault.KeyError](err)
			if !ok {
				t.Fatalf("err = %v, want a *KeyError", err)
			}
			if !strings.HasPrefix(keyErr.Problem, test.problem) {
				t.Errorf("problem = %q, want %q", keyErr.Problem, test.problem)
			}
			for _, part := range []string{"OAUTH_ENCRYPTION_KEY " + test.problem, "`openssl rand -base64 32`", "OAUTH_ENCRYPTION_KEY_FILE"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			if key := strings.TrimSpace(test.key); len(key) >= 8 && strings.Contains(strings.ReplaceAll(err.Error(), "openssl rand -base64 32", ""), key) {
				t.Errorf("%q quotes the key", err)
			}
		})
	}
}

func TestParseKeyAcceptsWhatAGeneratorMakes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		material := rapid.SliceOfNDistinct(rapid.Byte(), 32, 64, rapid.ID).Draw(t, "material")
		for encoding, key := range map[string]string{
			"base64": base64.StdEncoding.EncodeToString(shuffle(material)),
			"hex":    hex.EncodeToString(shuffle(material)),
		} {
			if _, err := vault.ParseKey(secret.New(key)); err != nil {
				t.Errorf("%s %q: %v", encoding, key, err)
			}
		}
	})
}

// shuffle spreads the small values that rapid prefers, as a generator of randomness would.
func shuffle(material []byte) []byte {
	out := make([]byte, len(material))
	for i, b := range material {
		out[i] = (b*167 + 13) ^ byte(i*i*59) //nolint:gosec // wrapping around is the point
	}
	return out
}

func TestOneTrailingNewlineIsNotPartOfTheKey(t *testing.T) {
	t.Parallel()
	hash := func(key string) [32]byte { return vault.New(parse(t, key), nil).SessionHash([]byte("x")) }
	want := hash(goodKey)
	for name, test := range map[string]struct {
		key  string
		same bool
	}{
		"a newline":            {goodKey + "\n", true},
		"a DOS newline":        {goodKey + "\r\n", true},
		"two newlines":         {goodKey + "\n\n", false},
		"a carriage return":    {goodKey + "\r", false},
		"a space":              {goodKey + " ", false},
		"a leading space":      {" " + goodKey, false},
		"one byte less":        {goodKey[:len(goodKey)-1], false},
		"a change in the last": {goodKey[:len(goodKey)-1] + "!", false},
		"a change after 32":    {goodKey[:40] + "!" + goodKey[41:], false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if same := hash(test.key) == want; same != test.same {
				t.Errorf("the same key: %t, want %t", same, test.same)
			}
		})
	}
}

func TestKeysCannotBePrinted(t *testing.T) {
	t.Parallel()
	master := parse(t, goodKey)
	material := strings.Repeat("K", 32) // what NewDataKey reads first
	v := vault.New(master, strings.NewReader(material+strings.Repeat("N", 24)))
	key, wrapped, err := v.NewDataKey(keyID)
	if err != nil {
		t.Fatal(err)
	}
	unwrapped, err := v.Unwrap(wrapped)
	if err != nil {
		t.Fatal(err)
	}
	type holder struct {
		Exported any
		master   vault.MasterKey
		key      vault.DataKey
		vault    *vault.Vault
		pointers []*vault.DataKey
	}
	values := []any{
		master, &master, key, &key, v,
		[]vault.DataKey{key},
		map[string]vault.DataKey{"a": unwrapped},
		unwrapped,
		holder{Exported: key, master: master, key: key, vault: v, pointers: []*vault.DataKey{&key}},
		&holder{Exported: &master, master: master, key: key, vault: v},
		fmt.Errorf("wrapped: %w", &vault.OpenError{KeyID: keyID, Err: vault.ErrCannotOpen}),
	}
	for _, value := range values {
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%c", "%p", "%t", "%08b", "% x"} {
			printed := fmt.Sprintf(format, value)
			for _, leak := range []string{material, goodKey, "KKKK", "4b4b", "4B4B", "4b 4b", "75 75", "75, 75", "0x4b, 0x4b", "pX3v", "113 113"} {
				if strings.Contains(printed, leak) {
					t.Errorf("%s of %T shows %q: %s", format, value, leak, printed)
				}
			}
		}
	}
}
