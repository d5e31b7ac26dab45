package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrImporting says that a log is being imported, or that an import was broken off.
var ErrImporting = errors.New("the import into this database has not come to its end: run `forgeauth import` again with the same file")

// CheckImported returns [ErrImporting] while a log is being imported.
func CheckImported(ctx context.Context, pool *pgxpool.Pool) error {
	var unfinished bool
	if err := pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM unfinished_import)`).Scan(&unfinished); err != nil {
		return ReadError("look for an unfinished import", err)
	}
	if unfinished {
		return ErrImporting
	}
	return nil
}

// Import writes records, as they are, behind the end of the log. It is for restoring a log into a database in which nothing else writes;
// the transaction holds the append lock. Nothing is folded.
func Import(ctx context.Context, tx pgx.Tx, records []Record) error {
	if len(records) == 0 {
		return nil
	}
	if err := Lock(ctx, tx); err != nil {
		return err
	}
	var head int64
	if err := tx.QueryRow(ctx, `SELECT coalesce(max(position), 0) FROM events`).Scan(&head); err != nil {
		return ReadError("read the head", err)
	}
	if records[0].Position != head+1 {
		return fmt.Errorf("the log ends at position %d and %d is to follow", head, records[0].Position)
	}
	columns := []string{
		"position", "event_id", "stream", "stream_version", "type", "schema", "occurred_at", "actor", "correlation_id", "payload", "sealed",
	}
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"events"}, columns, pgx.CopyFromSlice(len(records), func(i int) ([]any, error) {
		r := records[i]
		var sealed any
		if r.Sealed != nil {
			sealed = r.Sealed
		}
		return []any{
			r.Position, [16]byte(r.ID), string(r.Stream), r.StreamVersion, r.Type, r.Schema, r.OccurredAt.Truncate(time.Microsecond), r.Actor,
			[16]byte(r.CorrelationID), []byte(r.Payload), sealed,
		}, nil
	}))
	if err != nil {
		return fmt.Errorf("import positions %d to %d: %w", records[0].Position, records[len(records)-1].Position, err)
	}
	return nil
}
