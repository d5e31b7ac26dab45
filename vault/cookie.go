package vault

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// SealCookie seals plaintext for a cookie: base64url without padding, so every character is allowed in a cookie value.
// The purpose and the expiry, in whole milliseconds, are inside. A value is about 4/3 × (len(plaintext) + len(purpose)
// + 50) characters long; browsers keep cookies of up to 4,096.
func (v *Vault) SealCookie(purpose string, plaintext []byte, expires time.Time) (string, error) {
	sealed := cookieContext(purpose)
	sealed = binary.BigEndian.AppendUint64(sealed, uint64(expires.UnixMilli()))
	sealed = append(sealed, plaintext...)
	box, err := sealBox(v.rand, v.masters[0].cookie, sealed)
	clear(sealed)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(box), nil
}

// OpenCookie returns what SealCookie sealed for the same purpose. It fails with [ErrCannotOpen] for a value that is
// malformed, altered or sealed for another purpose, and with [ErrExpired] for a genuine one from its expiry on.
func (v *Vault) OpenCookie(purpose, value string, now time.Time) ([]byte, error) {
	// The decoder skips line breaks; a value has one spelling only.
	if strings.ContainsAny(value, "\r\n") {
		return nil, fmt.Errorf("vault: open cookie: %w", ErrCannotOpen)
	}
	box, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil {
		return nil, fmt.Errorf("vault: open cookie: %w", ErrCannotOpen) // err would quote the value
	}
	var plaintext []byte
	for _, master := range v.masters {
		if plaintext, err = openBox(nil, master.cookie, box); !errors.Is(err, ErrCannotOpen) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("vault: open cookie: %w", err)
	}
	content, found := bytes.CutPrefix(plaintext, cookieContext(purpose))
	if !found || len(content) < 8 {
		return nil, fmt.Errorf("vault: open cookie: %w", ErrCannotOpen)
	}
	expires := time.UnixMilli(int64(binary.BigEndian.Uint64(content))) //nolint:gosec // two's complement, as sealed
	if !now.Before(expires) {
		return nil, ErrExpired
	}
	return content[8:], nil
}

// cookieContext is the beginning of the plaintext of a cookie sealed for the purpose.
func cookieContext(purpose string) []byte {
	return appendField([]byte{layout}, purpose)
}
