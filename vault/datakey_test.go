package vault_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

const token = "gho_16C7e42F292c6912E7710c838347Ae178B4a"

var keyID = uuid.MustParse("01920000-0000-7000-8000-000000000001")

func goodContext(key vault.DataKey) vault.Context {
	return vault.Context{
		Connection: "github",
		Origin:     "https://github.com",
		AccountID:  "583231",
		Field:      vault.FieldAccessToken,
		KeyID:      key.ID(),
	}
}

func newDataKey(tb testing.TB, v *vault.Vault) (vault.DataKey, vault.WrappedKey) {
	tb.Helper()
	key, wrapped, err := v.NewDataKey(uuid.New())
	if err != nil {
		tb.Fatalf("NewDataKey: %v", err)
	}
	return key, wrapped
}

func seal(tb testing.TB, key vault.DataKey, c vault.Context, value string) []byte {
	tb.Helper()
	box, err := key.Seal(c, secret.New(value))
	if err != nil {
		tb.Fatalf("Seal: %v", err)
	}
	return box
}

func TestATokenOfAnyLengthOpensInItsContext(t *testing.T) {
	t.Parallel()
	v := vault.New(parse(t, goodKey), nil)
	key, wrapped := newDataKey(t, v)
	unwrapped, err := vault.New(parse(t, goodKey), nil).Unwrap(wrapped) // another process
	if err != nil {
		t.Fatal(err)
	}
	for _, length := range []int{0, 1, 40, 800, 1400, 1536, 1537, 2600, 100_000} {
		want := strings.Repeat("t", length)
		box := seal(t, key, goodContext(key), want)
		got, err := unwrapped.Open(goodContext(key), box)
		if err != nil {
			t.Fatalf("%d bytes: %v", length, err)
		}
		if got.Reveal() != want {
			t.Errorf("%d bytes: got another value", length)
		}
		if length > 8 && bytes.Contains(box, []byte(want[:8])) {
			t.Errorf("%d bytes: the box holds the token in clear", length)
		}
	}
}

func TestSealingTwiceGivesTwoBoxes(t *testing.T) {
	t.Parallel()
	key, _ := newDataKey(t, vault.New(parse(t, goodKey), nil))
	if bytes.Equal(seal(t, key, goodContext(key), token), seal(t, key, goodContext(key), token)) {
		t.Error("two boxes of one token are equal: the nonce was used twice")
	}
}

func TestEveryAlteredByteOfABoxIsRefused(t *testing.T) {
	t.Parallel()
	v := vault.New(parse(t, goodKey), nil)
	key, wrapped := newDataKey(t, v)
	box := seal(t, key, goodContext(key), token)
	for i := range box {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			altered := bytes.Clone(box)
			altered[i] ^= flip
			if _, err := key.Open(goodContext(key), altered); !errors.Is(err, vault.ErrCannotOpen) {
				t.Errorf("byte %d ^ %#x: err = %v", i, flip, err)
			}
		}
	}
	for i := range wrapped.Wrapped {
		altered := vault.WrappedKey{ID: wrapped.ID, Wrapped: bytes.Clone(wrapped.Wrapped)}
		altered.Wrapped[i] ^= 0x01
		if _, err := v.Unwrap(altered); !errors.Is(err, vault.ErrCannotOpen) {
			t.Errorf("byte %d of the wrapped key: err = %v", i, err)
		}
	}
	for length := range box {
		if _, err := key.Open(goodContext(key), box[:length]); !errors.Is(err, vault.ErrCannotOpen) {
			t.Errorf("cut to %d bytes: err = %v", length, err)
		}
	}
	if _, err := key.Open(goodContext(key), append(bytes.Clone(box), 0)); !errors.Is(err, vault.ErrCannotOpen) {
		t.Errorf("one byte more: err = %v", err)
	}
}

func TestABoxDoesNotOpenInAnyOtherContext(t *testing.T) {
	t.Parallel()
	v := vault.New(parse(t, goodKey), nil)
	key, _ := newDataKey(t, v)
	other, _ := newDataKey(t, v)
	box := seal(t, key, goodContext(key), token)
	for name, test := range map[string]struct {
		key  vault.DataKey
		edit func(*vault.Context)
		want error
	}{
		"another connection":            {key, func(c *vault.Context) { c.Connection = "gitlab" }, vault.ErrWrongContext},
		"another origin":                {key, func(c *vault.Context) { c.Origin = "https://github.com.evil.example" }, vault.ErrWrongContext},
		"another account":               {key, func(c *vault.Context) { c.AccountID = "583232" }, vault.ErrWrongContext},
		"the other field":               {key, func(c *vault.Context) { c.Field = vault.FieldRefreshToken }, vault.ErrWrongContext},
		"another key id":                {key, func(c *vault.Context) { c.KeyID = other.ID() }, vault.ErrWrongContext},
		"a letter moved to the origin":  {key, func(c *vault.Context) { c.Connection, c.Origin = "githu", "bhttps://github.com" }, vault.ErrWrongContext},
		"a digit moved to the field":    {key, func(c *vault.Context) { c.AccountID, c.Field = "58323", "1access_token" }, vault.ErrWrongContext},
		"another data key":              {other, func(c *vault.Context) { c.KeyID = other.ID() }, vault.ErrCannotOpen},
		"another data key with this id": {other, func(*vault.Context) {}, vault.ErrWrongContext},
		"no connection":                 {key, func(c *vault.Context) { c.Connection = "" }, vault.ErrIncompleteContext},
		"no origin":                     {key, func(c *vault.Context) { c.Origin = "" }, vault.ErrIncompleteContext},
		"no account":                    {key, func(c *vault.Context) { c.AccountID = "" }, vault.ErrIncompleteContext},
		"no field":                      {key, func(c *vault.Context) { c.Field = "" }, vault.ErrIncompleteContext},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := goodContext(key)
			test.edit(&c)
			opened, err := test.key.Open(c, box)
			if !errors.Is(err, test.want) {
				t.Fatalf("err = %v, want %v", err, test.want)
			}
			openErr, ok := errors.AsType[*vault.OpenError](err)
			if !ok || openErr.Connection != c.Connection || openErr.Field != c.Field {
				t.Errorf("err = %#v does not name the connection and the field", err)
			}
			if !opened.IsZero() {
				t.Error("a token came with the error")
			}
			if errors.Is(test.want, vault.ErrIncompleteContext) || c.KeyID != test.key.ID() {
				if _, err := test.key.Seal(c, secret.New(token)); !errors.Is(err, test.want) {
					t.Errorf("Seal: err = %v, want %v", err, test.want)
				}
			}
		})
	}
}

// TestContextsAreNeverConfused seals under one context and opens under another, both drawn from an alphabet that
// contains the bytes of the encoding itself: opening succeeds exactly when they are equal.
func TestContextsAreNeverConfused(t *testing.T) {
	t.Parallel()
	v := vault.New(parse(t, goodKey), nil)
	key, _ := newDataKey(t, v)
	part := rapid.StringOfN(rapid.RuneFrom([]rune{'a', 0, 1, 2, 3, '\x80', 12, 13}), 1, 4, -1)
	context := rapid.Custom(func(t *rapid.T) vault.Context {
		return vault.Context{
			Connection: part.Draw(t, "connection"),
			Origin:     part.Draw(t, "origin"),
			AccountID:  part.Draw(t, "account"),
			Field:      vault.Field(part.Draw(t, "field")),
			KeyID:      key.ID(),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		sealed, opened := context.Draw(t, "sealed"), context.Draw(t, "opened")
		if rapid.Bool().Draw(t, "shift a boundary") {
			opened = shiftBoundary(sealed, rapid.IntRange(0, 2).Draw(t, "boundary"))
		}
		value := part.Draw(t, "token")
		box, err := key.Seal(sealed, secret.New(value))
		if err != nil {
			t.Fatal(err)
		}
		got, err := key.Open(opened, box)
		switch {
		case sealed == opened && (err != nil || got.Reveal() != value):
			t.Errorf("the same context: %v", err)
		case sealed != opened && !errors.Is(err, vault.ErrWrongContext) && !errors.Is(err, vault.ErrIncompleteContext):
			t.Errorf("another context: err = %v", err)
		}
	})
}

// shiftBoundary moves the last byte of one part to the front of the next.
func shiftBoundary(c vault.Context, boundary int) vault.Context {
	field := string(c.Field)
	parts := []*string{&c.Connection, &c.Origin, &c.AccountID, &field}
	from, to := parts[boundary], parts[boundary+1]
	*to = (*from)[len(*from)-1:] + *to
	*from = (*from)[:len(*from)-1]
	c.Field = vault.Field(field)
	return c
}

func TestAWrappedKeyIsBoundToItsIDAndItsVault(t *testing.T) {
	t.Parallel()
	v := vault.New(parse(t, goodKey), nil)
	_, first := newDataKey(t, v)
	_, second := newDataKey(t, v)
	stranger := vault.New(parse(t, "Zk1YhN5uEaRj8mGfD2oViK6tBxHq4pX3vQ0bT9cLw7s="), nil)
	for name, test := range map[string]struct {
		vault   *vault.Vault
		wrapped vault.WrappedKey
		want    error
	}{
		"its own":                {v, first, nil},
		"the bytes of another":   {v, vault.WrappedKey{ID: first.ID, Wrapped: second.Wrapped}, vault.ErrWrongContext},
		"no bytes":               {v, vault.WrappedKey{ID: first.ID}, vault.ErrCannotOpen},
		"another operator's key": {stranger, first, vault.ErrCannotOpen},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, err := test.vault.Unwrap(test.wrapped)
			if !errors.Is(err, test.want) {
				t.Fatalf("err = %v, want %v", err, test.want)
			}
			if err == nil && key.ID() != test.wrapped.ID {
				t.Errorf("id = %s", key.ID())
			}
		})
	}
}

func TestWithoutRandomnessNothingIsSealed(t *testing.T) {
	t.Parallel()
	v := vault.New(parse(t, goodKey), bytes.NewReader(make([]byte, 32+24+10)))
	key, _, err := v.NewDataKey(keyID)
	if err != nil {
		t.Fatal(err)
	}
	if box, err := key.Seal(goodContext(key), secret.New(token)); !errors.Is(err, io.ErrUnexpectedEOF) || box != nil {
		t.Errorf("Seal = %x, %v with 10 of 24 bytes of randomness", box, err)
	}
	if _, _, err := v.NewDataKey(keyID); !errors.Is(err, io.EOF) {
		t.Errorf("NewDataKey: err = %v", err)
	}
}

func TestTheZeroKeySealsNothing(t *testing.T) {
	t.Parallel()
	var key vault.DataKey
	if _, err := key.Seal(goodContext(key), secret.New(token)); err == nil {
		t.Error("the zero DataKey seals")
	}
	if _, _, err := vault.New(vault.MasterKey{}, nil).NewDataKey(keyID); err == nil {
		t.Error("the zero MasterKey wraps")
	}
	defer func() {
		if recover() == nil {
			t.Error("the zero MasterKey hashes")
		}
	}()
	vault.New(vault.MasterKey{}, nil).SessionHash([]byte("x"))
}

func FuzzOpen(f *testing.F) {
	v := vault.New(parse(f, goodKey), nil)
	key, wrapped := newDataKey(f, v)
	f.Add(seal(f, key, goodContext(key), token), "github")
	f.Add([]byte{}, "")
	f.Add(wrapped.Wrapped, "github")
	f.Fuzz(func(t *testing.T, box []byte, connection string) {
		c := goodContext(key)
		c.Connection = connection
		if opened, err := key.Open(c, box); err == nil && opened.Reveal() != token {
			t.Error("a box that nobody sealed opens")
		}
		if _, err := v.Unwrap(vault.WrappedKey{ID: key.ID(), Wrapped: box}); err == nil && !bytes.Equal(box, wrapped.Wrapped) {
			t.Error("a data key that nobody wrapped opens")
		}
		if _, err := v.OpenCookie(connection, string(box), now); err == nil {
			t.Error("a cookie that nobody sealed opens")
		}
	})
}
