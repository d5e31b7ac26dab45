package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/forgeauth/forgeauth/secret"
)

// hashKeys are what sessions, codes and tokens are told by. What they hashed is stored and cannot be hashed again, so they stay when
// the operator's key is rotated: the canary carries them from then on.
type hashKeys struct {
	session, code, token secret.Text
}

func (k MasterKey) hashKeys() *hashKeys { return &hashKeys{k.session, k.code, k.token} }

// canaryPlaintext is what the canary says: that it opens, and the hash keys.
func (h *hashKeys) canaryPlaintext() []byte {
	b := canaryContext()
	for _, key := range []secret.Text{h.session, h.code, h.token} {
		b = append(b, key.Reveal()...)
	}
	return b
}

// openCanary returns the number of the key that opens the canary (0 is the present one), and the hash keys; -1 if none does.
func (v *Vault) openCanary(sealed []byte) (key int, hashes *hashKeys) {
	for i, master := range v.masters {
		plaintext, err := openBox(nil, master.wrapping, sealed)
		if err != nil {
			continue
		}
		carried, found := bytes.CutPrefix(plaintext, canaryContext())
		if !found {
			continue
		}
		switch len(carried) {
		case 0: // of before the first rotation
			return i, master.hashKeys()
		case 3 * derivedLength:
			part := func(n int) secret.Text { return secret.New(string(carried[n*derivedLength : (n+1)*derivedLength])) }
			return i, &hashKeys{part(0), part(1), part(2)}
		}
	}
	return -1, nil
}

// KeyID names the operator's key in reports: 8 bytes of an HMAC under it, in hexadecimal. It says nothing about the key.
func (k MasterKey) KeyID() string {
	return fmt.Sprintf("%x", mac(k.wrapping, []byte("forgeauth v1 key id"))[:8])
}

// KeyID names the present key; see [MasterKey.KeyID].
func (v *Vault) KeyID() string { return v.masters[0].KeyID() }

// KeyUse says what one of the operator's keys seals.
type KeyUse struct {
	KeyID string
	// DataKeys are those that it wraps.
	DataKeys []uuid.UUID
	// Canary says that it seals the canary.
	Canary bool
}

// Uses says what each of the vault's keys seals, the present one first, and which data keys none of them opens.
func (v *Vault) Uses(ctx context.Context, q Querier) (uses []KeyUse, unreadable []uuid.UUID, err error) {
	for _, master := range v.masters {
		uses = append(uses, KeyUse{KeyID: master.KeyID()})
	}
	sealed, err := readCanary(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	if key, _ := v.openCanary(sealed); key >= 0 {
		uses[key].Canary = true
	}
	err = v.eachKey(ctx, q, func(wrapped WrappedKey) error {
		_, key, err := v.unwrap(wrapped)
		switch {
		case errors.Is(err, ErrCannotOpen), errors.Is(err, ErrWrongContext):
			unreadable = append(unreadable, wrapped.ID)
		case err != nil:
			return err
		default:
			uses[key].DataKeys = append(uses[key].DataKeys, wrapped.ID)
		}
		return nil
	})
	return uses, unreadable, err
}

// eachKey calls do with each stored data key, whose bytes are valid during the call.
func (v *Vault) eachKey(ctx context.Context, q Querier, do func(WrappedKey) error) error {
	rows, err := q.Query(ctx, `SELECT id, wrapped FROM data_keys`)
	if err != nil {
		return fmt.Errorf("vault: read the data keys: %w", err)
	}
	var id uuid.UUID
	var wrapped pgtype.DriverBytes // not copied
	_, err = pgx.ForEachRow(rows, []any{&id, &wrapped}, func() error { return do(WrappedKey{ID: id, Wrapped: wrapped}) })
	if err != nil {
		return fmt.Errorf("vault: check the data keys: %w", err)
	}
	return nil
}

// Rotation wraps anew, under the present key, what is stored under the previous ones. Read and what [Rotation.Rewrap] returns belong
// into one transaction that keeps others from storing keys.
type Rotation struct {
	vault  *Vault
	stored []WrappedKey
	canary []byte
}

// Rotate begins a rotation.
func (v *Vault) Rotate() *Rotation { return &Rotation{vault: v} }

// Read queues the reads.
func (r *Rotation) Read(batch *pgx.Batch) {
	batch.Queue(`SELECT id, wrapped FROM data_keys ORDER BY id`).Query(func(rows pgx.Rows) (err error) {
		r.stored, err = pgx.CollectRows(rows, pgx.RowToStructByPos[WrappedKey])
		return err
	})
	batch.Queue(`SELECT sealed FROM vault_check`).Query(func(rows pgx.Rows) error {
		r.canary = nil
		_, err := pgx.ForEachRow(rows, []any{&r.canary}, func() error { return nil })
		return err
	})
}

// Rewrapped is the statements that store what was wrapped anew.
type Rewrapped struct {
	// Keys are the data keys that another key had wrapped; Stored is how many there are in all.
	Keys   []WrappedKey
	Stored int
	// Canary is nil if the present key sealed it already.
	Canary []byte
}

// Queue adds the statements to a batch.
func (r Rewrapped) Queue(batch *pgx.Batch) {
	for _, key := range r.Keys {
		batch.Queue(`UPDATE data_keys SET wrapped = $2 WHERE id = $1`, key.ID, key.Wrapped)
	}
	if r.Canary != nil {
		batch.Queue(`INSERT INTO vault_check (sealed) VALUES ($1) ON CONFLICT (singleton) DO UPDATE SET sealed = excluded.sealed`, r.Canary)
	}
}

// Rewrap wraps what was read. Nothing is, and the error a *[WrongKeyError], if something opens under none of the vault's keys.
func (r *Rotation) Rewrap() (Rewrapped, error) {
	v := r.vault
	result := Rewrapped{Stored: len(r.stored)}
	wrong := &WrongKeyError{Stored: len(r.stored)}
	for _, stored := range r.stored {
		key, number, err := v.unwrap(stored)
		switch {
		case errors.Is(err, ErrCannotOpen), errors.Is(err, ErrWrongContext):
			wrong.Unreadable++
			continue
		case err != nil:
			return Rewrapped{}, err
		case number == 0:
			continue
		}
		again, err := v.wrap(key.id, []byte(key.key.Reveal()))
		if err != nil {
			return Rewrapped{}, err
		}
		result.Keys = append(result.Keys, again)
	}
	number, hashes := -1, v.hashes.Load()
	if r.canary != nil {
		number, hashes = v.openCanary(r.canary)
		wrong.CanaryFailed = number < 0
	}
	if wrong.Unreadable > 0 || wrong.CanaryFailed {
		return Rewrapped{}, wrong
	}
	if number != 0 {
		var err error
		if result.Canary, err = sealBox(v.rand, v.masters[0].wrapping, hashes.canaryPlaintext()); err != nil {
			return Rewrapped{}, err
		}
	}
	return result, nil
}

// ForgetCanary is the statement that has the next process take its own key for the right one. It belongs to the transaction that
// shreds every data key.
type ForgetCanary struct{}

// Queue adds the statement to a batch.
func (ForgetCanary) Queue(batch *pgx.Batch) { batch.Queue(`DELETE FROM vault_check`) }

// ShredAll is the statement that deletes every data key.
type ShredAll struct{}

// Queue adds the statement to a batch.
func (ShredAll) Queue(batch *pgx.Batch) { batch.Queue(`DELETE FROM data_keys`) }

// StoredKeys returns the ids of the data keys that there are.
func StoredKeys(ctx context.Context, q Querier) (map[uuid.UUID]bool, error) {
	rows, err := q.Query(ctx, `SELECT id FROM data_keys`)
	if err != nil {
		return nil, fmt.Errorf("vault: read the data keys: %w", err)
	}
	stored := map[uuid.UUID]bool{}
	var id uuid.UUID
	if _, err := pgx.ForEachRow(rows, []any{&id}, func() error { stored[id] = true; return nil }); err != nil {
		return nil, fmt.Errorf("vault: read the data keys: %w", err)
	}
	return stored, nil
}
