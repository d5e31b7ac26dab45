package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ErrShredded is returned when a data key is gone, and with it every token that was sealed under it. The connection
// has to be signed in to again.
var ErrShredded = errors.New("vault: the data key was shredded")

// Querier is what reading needs of a pgx pool, connection or transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// StoreKey is the statement that stores a new data key. It is queued in the transaction of the event whose token the
// key seals. A second key with the same id fails that transaction.
type StoreKey struct {
	Key WrappedKey
}

// Queue adds the statement to a batch.
func (s StoreKey) Queue(batch *pgx.Batch) {
	batch.Queue(`INSERT INTO data_keys (id, wrapped) VALUES ($1, $2)`, s.Key.ID, s.Key.Wrapped)
}

// ShredKey is the statement that deletes a data key, and with it the readability of everything sealed under it. It is
// queued in the transaction of the event that ends the token. Shredding a key that is gone changes nothing.
type ShredKey struct {
	ID uuid.UUID
}

// Queue adds the statement to a batch.
func (s ShredKey) Queue(batch *pgx.Batch) {
	batch.Queue(`DELETE FROM data_keys WHERE id = $1`, s.ID)
}

// Load reads and unwraps a data key. It fails with [ErrShredded] when there is no such row, and as [Vault.Unwrap] does.
func (v *Vault) Load(ctx context.Context, q Querier, id uuid.UUID) (DataKey, error) {
	wrapped := WrappedKey{ID: id}
	err := q.QueryRow(ctx, `SELECT wrapped FROM data_keys WHERE id = $1`, id).Scan(&wrapped.Wrapped)
	if errors.Is(err, pgx.ErrNoRows) {
		return DataKey{}, fmt.Errorf("%w: %s", ErrShredded, id)
	}
	if err != nil {
		return DataKey{}, fmt.Errorf("vault: read data key %s: %w", id, err)
	}
	return v.Unwrap(wrapped)
}

// WrongKeyError says that the operator's key does not open all that is stored. Nothing was changed.
type WrongKeyError struct {
	CanaryFailed bool // there is a canary in vault_check, and it does not open
	Unreadable   int  // data keys that do not open
	Stored       int  // data keys in all
}

// Error implements error with the remedies, which differ: a key that opens nothing is another key; one that opens some
// is the right key over rows that were altered.
func (e *WrongKeyError) Error() string {
	const lastResort = "run `forgeauth keys reset`: the log stays, and each forge must be signed in to again"
	found := fmt.Sprintf("%d of %d stored data keys do not open", e.Unreadable, e.Stored)
	if e.CanaryFailed {
		found += ", nor does the canary in vault_check"
	}
	if e.Unreadable < e.Stored {
		return fmt.Sprintf("%s, although %s opens others: those rows were altered or come from another database; "+
			"restore them from a backup, or, if there is none, %s", found, KeyVariable, lastResort)
	}
	return fmt.Sprintf("%s is not the key that this database was sealed under (%s): start with the former key, from a "+
		"backup of the environment or the key file, or name it in %s_PREVIOUS, or, if it is lost, %s", KeyVariable, found, KeyVariable, lastResort)
}

// Check is run at boot, before anything is sealed or hashed. Every stored data key and the canary must open under the operator's
// key or a previous one, or it fails with a [*WrongKeyError]. The canary is one sealed row in vault_check, so that another key is found
// even while no token is stored; where there is none yet and every data key opens, Check inserts it. Data keys are
// streamed: memory does not grow with their number. Several processes may check at once; q must see what others have
// committed meanwhile, so a transaction must be READ COMMITTED.
func (v *Vault) Check(ctx context.Context, q Querier) error {
	sealed, err := readCanary(ctx, q)
	if err != nil {
		return err
	}
	stored, unreadable, err := v.countUnreadable(ctx, q)
	if err != nil {
		return err
	}
	if sealed == nil && unreadable == 0 {
		if sealed, err = v.insertCanary(ctx, q); err != nil {
			return err
		}
	}
	opens := sealed == nil
	if !opens {
		var hashes *hashKeys
		if _, hashes = v.openCanary(sealed); hashes != nil {
			opens = true
			v.hashes.Store(hashes)
		}
	}
	if !opens || unreadable > 0 {
		return &WrongKeyError{CanaryFailed: !opens, Unreadable: unreadable, Stored: stored}
	}
	return nil
}

// CheckCanary is the cheap part of [Vault.Check], for a process that has been running for a while: it fails with a
// [*WrongKeyError] if the database's canary does not open under the operator's key.
func (v *Vault) CheckCanary(ctx context.Context, q Querier) error {
	sealed, err := readCanary(ctx, q)
	if err != nil {
		return err
	}
	if key, _ := v.openCanary(sealed); sealed != nil && key < 0 {
		return &WrongKeyError{CanaryFailed: true}
	}
	return nil
}

// countUnreadable tries every stored data key.
func (v *Vault) countUnreadable(ctx context.Context, q Querier) (stored, unreadable int, err error) {
	err = v.eachKey(ctx, q, func(wrapped WrappedKey) error {
		stored++
		_, err := v.Unwrap(wrapped)
		if errors.Is(err, ErrCannotOpen) || errors.Is(err, ErrWrongContext) {
			unreadable++
			return nil
		}
		return err
	})
	return stored, unreadable, err
}

// readCanary returns the canary, or nil while there is none.
func readCanary(ctx context.Context, q Querier) ([]byte, error) {
	var sealed []byte
	err := q.QueryRow(ctx, `SELECT sealed FROM vault_check`).Scan(&sealed)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("vault: read the canary: %w", err)
	}
	return sealed, nil
}

// insertCanary inserts the canary and returns the one that is stored, which may be that of a process that was faster
// and had another key.
func (v *Vault) insertCanary(ctx context.Context, q Querier) ([]byte, error) {
	sealed, err := sealBox(v.rand, v.masters[0].wrapping, canaryContext())
	if err != nil {
		return nil, err
	}
	var inserted bool
	err = q.QueryRow(ctx, `INSERT INTO vault_check (sealed) VALUES ($1) ON CONFLICT DO NOTHING RETURNING true`, sealed).Scan(&inserted)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		if sealed, err = readCanary(ctx, q); err == nil && sealed == nil {
			err = errors.New("vault: another process stores the canary, and this transaction cannot see it; check outside of it")
		}
		return sealed, err
	case err != nil:
		return nil, fmt.Errorf("vault: store the canary: %w", err)
	default:
		return sealed, nil
	}
}

func canaryContext() []byte {
	return appendField([]byte{layout}, purposeCanary)
}
