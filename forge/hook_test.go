package forge_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

func TestOneHeaderIsThereOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		header http.Header
		want   string
	}{
		"once":                   {http.Header{"X-Hub-Signature-256": {"a"}}, "a"},
		"in another case":        {http.Header{"x-hub-signature-256": {"a"}}, "a"},
		"twice":                  {http.Header{"X-Hub-Signature-256": {"a", "a"}}, ""},
		"twice in two cases":     {http.Header{"X-Hub-Signature-256": {"a"}, "x-hub-signature-256": {"a"}}, ""},
		"not at all":             {http.Header{"X-Hub-Signature": {"a"}}, ""},
		"without a value":        {http.Header{"X-Hub-Signature-256": nil}, ""},
		"in no header":           {nil, ""},
		"with an empty neighbor": {http.Header{"X-Hub-Signature-256": {"a", ""}}, ""},
	} {
		if got := forge.OneHeader(test.header, "X-Hub-Signature-256"); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestIsSignedTakesAnyOfTheSecretsAndNoOther(t *testing.T) {
	t.Parallel()
	body := []byte(`{"zen":"ü"}`)
	digits := func(key string) string {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write(body)
		return hex.EncodeToString(mac.Sum(nil))
	}
	old, next := secret.New("0123456789abcdef"), secret.New("fedcba9876543210")
	for name, test := range map[string]struct {
		digits  string
		secrets []secret.Text
		want    bool
	}{
		"the secret":               {digits("0123456789abcdef"), []secret.Text{old}, true},
		"the first of two":         {digits("0123456789abcdef"), []secret.Text{old, next}, true},
		"the second of two":        {digits("fedcba9876543210"), []secret.Text{old, next}, true},
		"capital digits":           {strings.ToUpper(digits("0123456789abcdef")), []secret.Text{old}, true},
		"another secret":           {digits("fedcba9876543210"), []secret.Text{old}, false},
		"no secret":                {digits("0123456789abcdef"), nil, false},
		"an empty secret":          {digits(""), []secret.Text{{}}, false},
		"an empty one beside":      {digits(""), []secret.Text{old, secret.New("")}, false},
		"no digits":                {"", []secret.Text{old}, false},
		"digits cut short":         {digits("0123456789abcdef")[:62], []secret.Text{old}, false},
		"digits and more":          {digits("0123456789abcdef") + "00", []secret.Text{old}, false},
		"digits and something":     {digits("0123456789abcdef") + "x", []secret.Text{old}, false},
		"what are no digits":       {strings.Repeat("z", 64), []secret.Text{old}, false},
		"digits of another length": {"00", []secret.Text{old}, false},
	} {
		if got := forge.IsSigned(body, test.digits, test.secrets...); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if forge.IsSigned([]byte(`{"zen":"u"}`), digits("0123456789abcdef"), old) {
		t.Error("another body is taken")
	}
}
