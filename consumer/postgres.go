package consumer

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// postgres keeps marks in a table of the program's own database.
type postgres struct {
	pool *pgxpool.Pool
	name string
}

const (
	createMarksSQL = `
CREATE TABLE IF NOT EXISTS forgeauth_consumer (
    name     text   NOT NULL, -- of the consumer
    key      text   NOT NULL,
    position bigint NOT NULL,
    id       uuid   NOT NULL,
    PRIMARY KEY (name, key)
)`
	// lockMarkSQL makes a mark that is there to be locked.
	lockMarkSQL = `
INSERT INTO forgeauth_consumer (name, key, position, id) VALUES ($1, $2, 0, '00000000-0000-0000-0000-000000000000')
ON CONFLICT (name, key) DO UPDATE SET position = forgeauth_consumer.position
RETURNING position, id`
	saveMarkSQL = `UPDATE forgeauth_consumer SET position = $3, id = $4 WHERE name = $1 AND key = $2`
)

// NewPostgres returns a store in the program's own Postgres, in a table forgeauth_consumer that it makes if it is not there. Each event is
// handled in the transaction that remembers it: what a handler writes through [TxFrom] is there exactly once. Any number of
// processes may share it; name tells consumers apart.
func NewPostgres(ctx context.Context, pool *pgxpool.Pool, name string) (Store, error) {
	if _, err := pool.Exec(ctx, createMarksSQL); err != nil {
		return nil, fmt.Errorf("make the store: %w", err)
	}
	return &postgres{pool, name}, nil
}

type txKey struct{}

// TxFrom returns the transaction in which the event of this context is remembered, where the store is [NewPostgres]. The handler must
// not end it.
func TxFrom(ctx context.Context) (pgx.Tx, bool) {
	tx, ok := ctx.Value(txKey{}).(pgx.Tx)
	return tx, ok
}

// Do implements [Store].
func (s *postgres) Do(ctx context.Context, key string, next Mark, handle func(context.Context) error) error {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	var kept Mark
	if err := tx.QueryRow(ctx, lockMarkSQL, s.name, key).Scan(&kept.Position, (*[16]byte)(&kept.ID)); err != nil {
		return fmt.Errorf("read the mark: %w", err)
	}
	if passes, err := kept.passes(next); err != nil || !passes {
		return err
	}
	if err := handle(context.WithValue(ctx, txKey{}, tx)); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, saveMarkSQL, s.name, key, next.Position, [16]byte(next.ID)); err != nil {
		return fmt.Errorf("save the mark: %w", err)
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// Position implements [Store].
func (s *postgres) Position(ctx context.Context) (int64, error) {
	var greatest int64
	err := s.pool.QueryRow(ctx, `SELECT coalesce(max(position), 0) FROM forgeauth_consumer WHERE name = $1`, s.name).Scan(&greatest)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("read the marks: %w", err)
	}
	return greatest, nil
}
