package vault_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/vault"
)

const otherKey = "Zk1YhN5uEaRj8mGfD2oViK6tBxHq4pX3vQ0bT9cLw7s="

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func database(tb testing.TB) *pgxpool.Pool {
	tb.Helper()
	return pgtest.Migrated(tb, migrations.Up).Pool(tb)
}

type statement interface{ Queue(batch *pgx.Batch) }

// run executes statements as the log does: in one batch, one transaction.
func run(tb testing.TB, pool *pgxpool.Pool, statements ...statement) error {
	tb.Helper()
	var batch pgx.Batch
	for _, s := range statements {
		s.Queue(&batch)
	}
	return pgx.BeginFunc(tb.Context(), pool, func(tx pgx.Tx) error { return tx.SendBatch(tb.Context(), &batch).Close() })
}

func mustRun(tb testing.TB, pool *pgxpool.Pool, statements ...statement) {
	tb.Helper()
	if err := run(tb, pool, statements...); err != nil {
		tb.Fatal(err)
	}
}

func TestAStoredKeyIsLoadedUntilItIsShredded(t *testing.T) {
	t.Parallel()
	pool := database(t)
	v := vault.New(parse(t, goodKey), nil)
	key, wrapped := newDataKey(t, v)
	other, otherWrapped := newDataKey(t, v)
	box := seal(t, key, goodContext(key), token)
	mustRun(t, pool, vault.StoreKey{Key: wrapped}, vault.StoreKey{Key: otherWrapped})

	if err := run(t, pool, vault.StoreKey{Key: wrapped}); err == nil {
		t.Error("a key is stored over another of the same id")
	}
	for name, process := range map[string]*vault.Vault{"the same process": v, "another": vault.New(parse(t, goodKey), nil)} {
		loaded, err := process.Load(t.Context(), pool, key.ID())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if opened, err := loaded.Open(goodContext(key), box); err != nil || opened.Reveal() != token {
			t.Errorf("%s: err = %v", name, err)
		}
	}

	mustRun(t, pool, vault.ShredKey{ID: key.ID()})
	if _, err := v.Load(t.Context(), pool, key.ID()); !errors.Is(err, vault.ErrShredded) {
		t.Errorf("after shredding, in a process that has opened it before: err = %v, want ErrShredded", err)
	}
	if _, err := v.Load(t.Context(), pool, other.ID()); err != nil {
		t.Errorf("the other key: %v", err)
	}
	mustRun(t, pool, vault.ShredKey{ID: key.ID()}) // again: no matter
}

func TestAKeyInARefusedTransactionIsNeitherStoredNorShredded(t *testing.T) {
	t.Parallel()
	pool := database(t)
	v := vault.New(parse(t, goodKey), nil)
	_, stored := newDataKey(t, v)
	_, fresh := newDataKey(t, v)
	mustRun(t, pool, vault.StoreKey{Key: stored})
	if err := run(t, pool, vault.ShredKey{ID: stored.ID}, vault.StoreKey{Key: fresh}, vault.StoreKey{Key: fresh}); err == nil {
		t.Fatal("the transaction is not refused")
	}
	if _, err := v.Load(t.Context(), pool, stored.ID); err != nil {
		t.Errorf("the key that was to be shredded: %v", err)
	}
	if _, err := v.Load(t.Context(), pool, fresh.ID); !errors.Is(err, vault.ErrShredded) {
		t.Errorf("the key that was to be stored: %v", err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	swap := func(ctx context.Context, pool *pgxpool.Pool) error {
		_, err := pool.Exec(ctx, `UPDATE data_keys SET wrapped = (SELECT d.wrapped FROM data_keys d WHERE d.id <> data_keys.id LIMIT 1)
			WHERE id = (SELECT id FROM data_keys ORDER BY id LIMIT 1)`)
		return err
	}
	exec := func(sql string) func(context.Context, *pgxpool.Pool) error {
		return func(ctx context.Context, pool *pgxpool.Pool) error {
			_, err := pool.Exec(ctx, sql)
			return err
		}
	}
	for name, test := range map[string]struct {
		keys  int // data keys stored at first
		then  func(context.Context, *pgxpool.Pool) error
		key   string
		want  *vault.WrongKeyError
		words string
	}{
		"the same key, nothing stored":     {key: goodKey},
		"the same key and a newline":       {key: goodKey + "\n"},
		"the same key, three data keys":    {keys: 3, key: goodKey},
		"another key, nothing stored":      {key: otherKey, want: &vault.WrongKeyError{CanaryFailed: true}, words: "start with the former key"},
		"another key, three data keys":     {keys: 3, key: otherKey, want: &vault.WrongKeyError{CanaryFailed: true, Unreadable: 3, Stored: 3}, words: "3 of 3 stored data keys do not open, nor does the canary"},
		"another key and no canary":        {keys: 3, then: exec(`DELETE FROM vault_check`), key: otherKey, want: &vault.WrongKeyError{Unreadable: 3, Stored: 3}, words: "is not the key that this database was sealed under"},
		"the same key and no canary":       {keys: 3, then: exec(`DELETE FROM vault_check`), key: goodKey},
		"a data key under another's id":    {keys: 3, then: swap, key: goodKey, want: &vault.WrongKeyError{Unreadable: 1, Stored: 3}, words: "rows were altered"},
		"a data key cut short":             {keys: 2, then: exec(`UPDATE data_keys SET wrapped = 'x' WHERE id = (SELECT id FROM data_keys LIMIT 1)`), key: goodKey, want: &vault.WrongKeyError{Unreadable: 1, Stored: 2}, words: "restore them from a backup"},
		"an altered canary":                {keys: 2, then: exec(`UPDATE vault_check SET sealed = 'x'`), key: goodKey, want: &vault.WrongKeyError{CanaryFailed: true, Stored: 2}, words: "opens others"},
		"a data key in the canary's place": {keys: 1, then: exec(`UPDATE vault_check SET sealed = (SELECT wrapped FROM data_keys)`), key: goodKey, want: &vault.WrongKeyError{CanaryFailed: true, Stored: 1}, words: "canary"},
		"thousands of data keys, one altered": {
			keys: 2000, then: swap, key: goodKey,
			want: &vault.WrongKeyError{Unreadable: 1, Stored: 2000}, words: "1 of 2000 stored data keys do not open",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := database(t)
			v := vault.New(parse(t, goodKey), nil)
			if err := v.Check(t.Context(), pool); err != nil {
				t.Fatalf("first boot: %v", err)
			}
			var statements []statement
			for range test.keys {
				_, wrapped := newDataKey(t, v)
				statements = append(statements, vault.StoreKey{Key: wrapped})
			}
			mustRun(t, pool, statements...)
			if test.then != nil {
				if err := test.then(t.Context(), pool); err != nil {
					t.Fatal(err)
				}
			}

			for range 2 { // a refusal changes nothing, so that it repeats
				err := vault.New(parse(t, test.key), nil).Check(t.Context(), pool)
				if test.want == nil {
					if err != nil {
						t.Fatalf("err = %v", err)
					}
					continue
				}
				wrong, ok := errors.AsType[*vault.WrongKeyError](err)
				if !ok || *wrong != *test.want {
					t.Fatalf("err = %#v, want %#v", err, test.want)
				}
				for _, words := range []string{test.words, "OAUTH_ENCRYPTION_KEY", "forgeauth keys reset"} {
					if !strings.Contains(err.Error(), words) {
						t.Errorf("%q does not say %q", err, words)
					}
				}
			}
		})
	}
}

func TestReplicasThatBootTogetherAgreeOnOneKey(t *testing.T) {
	t.Parallel()
	pool := database(t)
	keys := []string{goodKey, otherKey, goodKey, otherKey, goodKey, otherKey}
	results := make([]chan error, len(keys))
	for i, key := range keys {
		v := vault.New(parse(t, key), nil)
		results[i] = make(chan error, 1)
		go func() { results[i] <- v.Check(t.Context(), pool) }()
	}
	accepted := map[string]int{}
	for i, result := range results {
		err := <-result
		if _, wrong := errors.AsType[*vault.WrongKeyError](err); err != nil && !wrong {
			t.Fatal(err)
		}
		if err == nil {
			accepted[keys[i]]++
		}
	}
	if len(accepted) != 1 || accepted[goodKey]+accepted[otherKey] != 3 {
		t.Errorf("accepted = %d under one key and %d under the other; all of one and none of the other should be",
			accepted[goodKey], accepted[otherKey])
	}
}

func TestADatabaseThatFailsIsNotAWrongKey(t *testing.T) {
	t.Parallel()
	pool := database(t)
	v := vault.New(parse(t, goodKey), nil)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, err := range map[string]error{
		"Check": v.Check(ended, pool),
		"Load":  func() error { _, err := v.Load(ended, pool, uuid.New()); return err }(),
	} {
		if _, wrong := errors.AsType[*vault.WrongKeyError](err); wrong || errors.Is(err, vault.ErrShredded) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: err = %v", name, err)
		}
	}
	if err := vault.New(vault.MasterKey{}, nil).Check(t.Context(), pool); err == nil {
		t.Error("Check passes without a key")
	}
}
