package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/secret"
)

// Field names the column of operator_oauth_tokens that a box belongs to.
type Field string

// The fields that are sealed.
const (
	FieldAccessToken  Field = "access_token"
	FieldRefreshToken Field = "refresh_token"
)

// Context is what a sealed token is for. It is bound inside the box: only the same context opens it. No part of it may
// be empty, and KeyID is that of the data key that seals.
type Context struct {
	Connection string    // the configured connection (forge_type): "github", "gitlab-work"
	Origin     string    // the forge's base URL, the only destination of the token
	AccountID  string    // the forge's immutable account id, never the login name
	Field      Field     // which of the two tokens
	KeyID      uuid.UUID // the data key of the pair
}

// ErrIncompleteContext is returned by [DataKey.Seal] and [DataKey.Open] for a context with an empty part, which would
// bind the token to less than its row says.
var ErrIncompleteContext = errors.New("the context lacks its connection, origin, account id or field")

// OpenError says which stored value could not be sealed or opened. It holds no part of the value. It wraps
// [ErrCannotOpen], [ErrWrongContext] or [ErrIncompleteContext].
type OpenError struct {
	Connection string    // empty when a data key itself does not open
	Field      Field     // empty when a data key itself does not open
	KeyID      uuid.UUID // the data key concerned
	Err        error
}

// Error implements error.
func (e *OpenError) Error() string {
	if e.Field == "" && e.Connection == "" {
		return fmt.Sprintf("vault: data key %s: %v", e.KeyID, e.Err)
	}
	return fmt.Sprintf("vault: %s of connection %q under data key %s: %v", e.Field, e.Connection, e.KeyID, e.Err)
}

// Unwrap returns the reason.
func (e *OpenError) Unwrap() error { return e.Err }

// WrappedKey is a data key as it is stored, sealed under the operator's key with its id bound inside: one row of
// data_keys.
type WrappedKey struct {
	ID      uuid.UUID
	Wrapped []byte
}

// DataKey is an unwrapped data key. It cannot be printed and is safe for concurrent use. The zero value seals nothing.
type DataKey struct {
	id   uuid.UUID
	key  secret.Text
	rand io.Reader
}

// ID returns the key's id, which is no secret.
func (k DataKey) ID() uuid.UUID { return k.id }

// String implements [fmt.Stringer] with the id alone.
func (k DataKey) String() string { return "data key " + k.id.String() }

// Seal seals a token for the context. The result is randomised: sealing twice gives two different boxes. It fails with
// an [*OpenError] when the context is incomplete or names another key, and when there is no randomness.
func (k DataKey) Seal(c Context, token secret.Text) ([]byte, error) {
	if err := k.accepts(c); err != nil {
		return nil, err
	}
	var buf [plaintextScratch]byte
	plaintext := append(c.appendTo(buf[:0]), token.Reveal()...)
	box, err := sealBox(k.rand, k.key, plaintext)
	clear(plaintext)
	return box, err
}

// Open opens a box that was sealed for exactly this context. Failing is an [*OpenError]: [ErrCannotOpen] when the box
// is not one of this key's or was altered, [ErrWrongContext] when it is genuine and belongs elsewhere.
func (k DataKey) Open(c Context, box []byte) (secret.Text, error) {
	if err := k.accepts(c); err != nil {
		return secret.Text{}, err
	}
	var buf [plaintextScratch]byte
	plaintext, err := openBox(buf[:0], k.key, box)
	if err != nil {
		return secret.Text{}, c.fail(err)
	}
	var expected [contextScratch]byte
	token, found := bytes.CutPrefix(plaintext, c.appendTo(expected[:0]))
	if !found {
		clear(plaintext)
		return secret.Text{}, c.fail(ErrWrongContext)
	}
	opened := secret.New(string(token))
	clear(plaintext)
	return opened, nil
}

// accepts checks a context before it is used with the key.
func (k DataKey) accepts(c Context) error {
	switch {
	case k.key.IsZero():
		return errNoKey
	case c.Connection == "" || c.Origin == "" || c.AccountID == "" || c.Field == "":
		return c.fail(ErrIncompleteContext)
	case c.KeyID != k.id:
		return c.fail(ErrWrongContext)
	default:
		return nil
	}
}

func (c Context) fail(reason error) error {
	return &OpenError{Connection: c.Connection, Field: c.Field, KeyID: c.KeyID, Err: reason}
}

// appendTo appends the beginning that every token sealed for c has; see the package documentation for the layout.
func (c Context) appendTo(b []byte) []byte {
	b = append(b, layout)
	b = appendField(b, c.Connection)
	b = appendField(b, c.Origin)
	b = appendField(b, c.AccountID)
	b = appendField(b, c.Field)
	return append(b, c.KeyID[:]...)
}
