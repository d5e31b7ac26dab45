package vault

import (
	"bytes"
	"crypto/hmac"
	cryptorand "crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/secret"
)

const (
	purposeDataKey = "data key"
	purposeCanary  = "canary"
)

// Vault seals, opens and hashes under the operator's key. It keeps no data key that it has opened, so that a key that is
// shredded does not live on in it. It is safe for concurrent use.
type Vault struct {
	masters []MasterKey // the present key, and those before it, which only open
	hashes  atomic.Pointer[hashKeys]
	rand    io.Reader
}

// New returns a vault that seals under the key, and opens what was sealed under it or one of the previous ones. Nonces and data keys are read from rand; nil means [crypto/rand.Reader], and
// anything else belongs in a test and is read by one goroutine at a time.
func New(key MasterKey, rand io.Reader, previous ...MasterKey) *Vault {
	if rand == nil {
		rand = cryptorand.Reader
	} else {
		rand = &lockedReader{reader: rand}
	}
	v := &Vault{masters: append([]MasterKey{key}, previous...), rand: rand}
	v.hashes.Store(key.hashKeys())
	return v
}

// String implements [fmt.Stringer] without a byte of a key.
func (v *Vault) String() string { return "vault" }

// NewDataKey makes a random data key with the given id, for one token pair. Nothing is stored: the caller commits
// [StoreKey] together with the event that carries the first box under it.
func (v *Vault) NewDataKey(id uuid.UUID) (DataKey, WrappedKey, error) {
	var material [derivedLength]byte
	if _, err := io.ReadFull(v.rand, material[:]); err != nil {
		return DataKey{}, WrappedKey{}, fmt.Errorf("vault: read randomness for a data key: %w", err)
	}
	key := secret.New(string(material[:]))
	wrapped, err := v.wrap(id, material[:])
	clear(material[:])
	if err != nil {
		return DataKey{}, WrappedKey{}, err
	}
	return DataKey{id: id, key: key, rand: v.rand}, wrapped, nil
}

// wrap seals the material of a data key under the present key.
func (v *Vault) wrap(id uuid.UUID, material []byte) (WrappedKey, error) {
	plaintext := append(dataKeyContext(id), material...)
	wrapped, err := sealBox(v.rand, v.masters[0].wrapping, plaintext)
	clear(plaintext)
	if err != nil {
		return WrappedKey{}, err
	}
	return WrappedKey{ID: id, Wrapped: wrapped}, nil
}

// Unwrap opens a data key as read from its row. It fails with an [*OpenError]: [ErrCannotOpen] under other operators'
// keys or for altered bytes, [ErrWrongContext] when the bytes are those of another id.
func (v *Vault) Unwrap(w WrappedKey) (DataKey, error) {
	key, _, err := v.unwrap(w)
	return key, err
}

// unwrap also returns the number of the key that opened it.
func (v *Vault) unwrap(w WrappedKey) (key DataKey, number int, err error) {
	var buf [128]byte
	var plaintext []byte
	for number = range v.masters {
		plaintext, err = openBox(buf[:0], v.masters[number].wrapping, w.Wrapped)
		if !errors.Is(err, ErrCannotOpen) {
			break
		}
	}
	if err != nil {
		return DataKey{}, -1, &OpenError{KeyID: w.ID, Err: err}
	}
	defer clear(plaintext)
	material, found := bytes.CutPrefix(plaintext, dataKeyContext(w.ID))
	if !found || len(material) != derivedLength {
		return DataKey{}, -1, &OpenError{KeyID: w.ID, Err: ErrWrongContext}
	}
	return DataKey{id: w.ID, key: secret.New(string(material)), rand: v.rand}, number, nil
}

// SessionHash returns the HMAC-SHA-256 of a session's secret under a key of its own. It is what operator_sessions
// stores and looks up: whoever reads the table learns no cookie, and whoever writes it cannot forge one.
func (v *Vault) SessionHash(secretBytes []byte) [32]byte {
	return [32]byte(mac(v.hashes.Load().session, secretBytes))
}

// HashCode returns the HMAC-SHA-256 of a setup or recovery code under a key of its own: 32 bytes. The code is hashed
// as it is; whoever accepts codes in several spellings normalises them first. Compare with [crypto/hmac.Equal].
func (v *Vault) HashCode(code string) []byte {
	return mac(v.hashes.Load().code, []byte(code))
}

// Fingerprint returns the HMAC-SHA-256 of a token under a key of its own: 32 bytes. Two tokens with one fingerprint are the
// same token; without the operator's key a fingerprint says nothing.
func (v *Vault) Fingerprint(token secret.Text) []byte {
	return mac(v.hashes.Load().token, []byte(token.Reveal()))
}

func mac(key secret.Text, message []byte) []byte {
	k, err := keyBytes(key)
	if err != nil {
		panic(err) // a Vault that New did not make from a parsed key: a hash under no key would verify for anyone
	}
	h := hmac.New(sha256.New, k[:])
	h.Write(message)
	return h.Sum(nil)
}

// dataKeyContext is the beginning of the plaintext of a wrapped data key.
func dataKeyContext(id uuid.UUID) []byte {
	b := appendField(make([]byte, 1, 64), purposeDataKey)
	b[0] = layout
	return append(b, id[:]...)
}

// lockedReader serialises an injected source of randomness.
type lockedReader struct {
	mu     sync.Mutex
	reader io.Reader
}

// Read implements [io.Reader].
func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reader.Read(p) //nolint:wrapcheck // an io.Reader passes io.EOF on as it is
}
