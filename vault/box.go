package vault

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/nacl/secretbox"

	"github.com/forgeauth/forgeauth/secret"
)

const (
	nonceLength = 24
	// boxOverhead is how much longer a box is than its plaintext: the nonce and the Poly1305 tag.
	boxOverhead = nonceLength + secretbox.Overhead
	// layout is the version of every sealed plaintext, its first byte.
	layout = 1
	// A plaintext or context up to this size is assembled on the stack: most forges' tokens are below 1,000 bytes.
	plaintextScratch, contextScratch = 1024, 192
)

var (
	// ErrCannotOpen is returned for a box that was cut, altered, or sealed under another key.
	ErrCannotOpen = errors.New("the box does not open under this key")
	// ErrWrongContext is returned for a box that opens but was sealed for something else: another connection, origin,
	// account, field or key id. Its row was copied or edited; it is not used.
	ErrWrongContext = errors.New("the box was sealed for something else")
	// ErrExpired is returned by [Vault.OpenCookie] for a genuine cookie whose time is over.
	ErrExpired = errors.New("vault: the cookie has expired")
)

// sealBox seals plaintext under the key and a fresh random nonce: nonce ‖ box. rand is read once, for 24 bytes.
func sealBox(rand io.Reader, key secret.Text, plaintext []byte) ([]byte, error) {
	k, err := keyBytes(key)
	if err != nil {
		return nil, err
	}
	box := make([]byte, nonceLength, len(plaintext)+boxOverhead)
	if _, err := io.ReadFull(rand, box); err != nil {
		return nil, fmt.Errorf("vault: read randomness for a nonce: %w", err)
	}
	nonce := [nonceLength]byte(box)
	box = secretbox.Seal(box, plaintext, &nonce, &k)
	clear(k[:])
	return box, nil
}

// openBox appends the plaintext of nonce ‖ box to out, or fails with ErrCannotOpen.
func openBox(out []byte, key secret.Text, box []byte) ([]byte, error) {
	k, err := keyBytes(key)
	if err != nil {
		return nil, err
	}
	if len(box) < boxOverhead {
		return nil, ErrCannotOpen
	}
	nonce := [nonceLength]byte(box)
	plaintext, ok := secretbox.Open(out, box[nonceLength:], &nonce, &k)
	clear(k[:])
	if !ok {
		return nil, ErrCannotOpen
	}
	return plaintext, nil
}

// appendField appends a length-prefixed field.
func appendField[T string | Field](b []byte, field T) []byte {
	b = binary.AppendUvarint(b, uint64(len(field)))
	return append(b, field...)
}
