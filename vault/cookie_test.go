package vault_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

var now = time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)

func TestACookieOpensForItsPurposeUntilItExpires(t *testing.T) {
	t.Parallel()
	v := vault.New(parse(t, goodKey), nil)
	stranger := vault.New(parse(t, "Zk1YhN5uEaRj8mGfD2oViK6tBxHq4pX3vQ0bT9cLw7s="), nil)
	content := []byte("state, forge, verifier")
	value, err := v.SealCookie("attempt", content, now.Add(10*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Trim(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		t.Errorf("%q has characters that a cookie value should not have", value)
	}
	for name, test := range map[string]struct {
		vault   *vault.Vault
		purpose string
		value   string
		now     time.Time
		want    error
	}{
		"at once":                         {v, "attempt", value, now, nil},
		"a millisecond before its expiry": {v, "attempt", value, now.Add(10*time.Minute - time.Millisecond), nil},
		"at its expiry":                   {v, "attempt", value, now.Add(10 * time.Minute), vault.ErrExpired},
		"a year later":                    {v, "attempt", value, now.AddDate(1, 0, 0), vault.ErrExpired},
		"for another purpose":             {v, "setup", value, now, vault.ErrCannotOpen},
		"for a shorter purpose":           {v, "att", value, now, vault.ErrCannotOpen},
		"for a longer purpose":            {v, "attempts", value, now, vault.ErrCannotOpen},
		"for no purpose":                  {v, "", value, now, vault.ErrCannotOpen},
		"expired and altered":             {v, "attempt", "A" + value, now.AddDate(1, 0, 0), vault.ErrCannotOpen},
		"under another operator's key":    {stranger, "attempt", value, now, vault.ErrCannotOpen},
		"empty":                           {v, "attempt", "", now, vault.ErrCannotOpen},
		"with padding":                    {v, "attempt", value + "=", now, vault.ErrCannotOpen},
		"with a line break":               {v, "attempt", value[:10] + "\n" + value[10:], now, vault.ErrCannotOpen},
		"with a space":                    {v, "attempt", value + " ", now, vault.ErrCannotOpen},
		"cut":                             {v, "attempt", value[:len(value)-4], now, vault.ErrCannotOpen},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opened, err := test.vault.OpenCookie(test.purpose, test.value, test.now)
			if !errors.Is(err, test.want) {
				t.Fatalf("err = %v, want %v", err, test.want)
			}
			if err == nil && !bytes.Equal(opened, content) {
				t.Errorf("opened = %q", opened)
			}
			if err != nil && test.value != "" && strings.Contains(err.Error(), test.value) {
				t.Errorf("%v quotes the cookie", err)
			}
		})
	}
}

func TestEveryAlteredCharacterOfACookieIsRefused(t *testing.T) {
	t.Parallel()
	v := vault.New(parse(t, goodKey), nil)
	for length := range 3 { // every number of unused bits in the last character
		value, err := v.SealCookie("attempt", make([]byte, length), now.Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		for i := range value {
			for _, c := range "ABCDQRgw_-=\n" {
				altered := value[:i] + string(c) + value[i+1:]
				if altered == value {
					continue
				}
				if _, err := v.OpenCookie("attempt", altered, now); !errors.Is(err, vault.ErrCannotOpen) {
					t.Errorf("%q at %d: err = %v", c, i, err)
				}
			}
		}
	}
}

func TestHashesOfOnePurposeAreNotThoseOfAnother(t *testing.T) {
	t.Parallel()
	v := vault.New(parse(t, goodKey), nil)
	again := vault.New(parse(t, goodKey), nil)
	stranger := vault.New(parse(t, "Zk1YhN5uEaRj8mGfD2oViK6tBxHq4pX3vQ0bT9cLw7s="), nil)
	session := v.SessionHash([]byte("the same"))
	if session != again.SessionHash([]byte("the same")) {
		t.Error("the session hash differs after a restart")
	}
	if bytes.Equal(session[:], v.HashCode("the same")) {
		t.Error("a session and a code share a key")
	}
	fingerprint := v.Fingerprint(secret.New("the same"))
	if bytes.Equal(fingerprint, session[:]) || bytes.Equal(fingerprint, v.HashCode("the same")) {
		t.Error("a token's fingerprint shares a key")
	}
	if !bytes.Equal(fingerprint, again.Fingerprint(secret.New("the same"))) || bytes.Equal(fingerprint, v.Fingerprint(secret.New("another"))) {
		t.Error("the fingerprint is not that of the token")
	}
	if session == stranger.SessionHash([]byte("the same")) || bytes.Equal(v.HashCode("c"), stranger.HashCode("c")) {
		t.Error("the hash does not depend on the operator's key")
	}
	if !bytes.Equal(v.HashCode("c"), again.HashCode("c")) || bytes.Equal(v.HashCode("c"), v.HashCode("d")) {
		t.Error("the code's hash is not that of the code")
	}
}
