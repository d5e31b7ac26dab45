package archive

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/proof"
)

// ExportOptions say what goes into a file.
type ExportOptions struct {
	// Keys adds the wrapped data keys.
	Keys bool
	Now  time.Time
	// Progress, if not nil, is called now and then with how many of the events have been written.
	Progress func(done, total int64)
}

// progressEvery is after how many events progress is told.
const progressEvery = 4096

// Export writes a deployment as it is at one moment, while it serves. It returns the tree over the events that were written.
func Export(ctx context.Context, pool *pgxpool.Pool, w io.Writer, o ExportOptions) (head proof.TreeHead, err error) {
	buffered := bufio.NewWriterSize(w, 1<<20)
	encoder := json.NewEncoder(buffered)
	encoder.SetEscapeHTML(false)
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, pool, snapshot, func(tx pgx.Tx) error {
		head, err = export(ctx, tx, encoder, o)
		return err
	})
	if err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		return head, fmt.Errorf("export: %w", err)
	}
	return head, nil
}

func export(ctx context.Context, tx pgx.Tx, encoder *json.Encoder, o ExportOptions) (proof.TreeHead, error) {
	h := header{Format: Format, ExportedAt: o.Now.UTC(), Keys: o.Keys}
	err := tx.QueryRow(ctx, `
		SELECT (SELECT id FROM deployment), (SELECT coalesce(max(position), 0) FROM events),
		       coalesce((SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT 1), '')`).
		Scan((*[16]byte)(&h.Deployment), &h.Events, &h.Checkpoint)
	if err != nil {
		return proof.TreeHead{}, events.ReadError("read the head", err)
	}
	if err := encoder.Encode(line{Header: &h}); err != nil {
		return proof.TreeHead{}, fmt.Errorf("write: %w", err)
	}
	var hashed proof.Accumulator
	for record, err := range events.RecordsIn(ctx, tx, events.Query{}) {
		if err == nil {
			err = hashed.Add(record)
		}
		if err != nil {
			return proof.TreeHead{}, err
		}
		if err := encoder.Encode(line{Event: eventOf(record)}); err != nil {
			return proof.TreeHead{}, fmt.Errorf("write: %w", err)
		}
		if o.Progress != nil && (record.Position%progressEvery == 0 || record.Position == h.Events) {
			o.Progress(record.Position, h.Events)
		}
	}
	if o.Keys {
		if err := exportKeys(ctx, tx, encoder); err != nil {
			return proof.TreeHead{}, err
		}
	}
	head := hashed.Head()
	if err := encoder.Encode(line{End: &trailer{head.N, head.Hash[:]}}); err != nil {
		return head, fmt.Errorf("write: %w", err)
	}
	return head, nil
}

func exportKeys(ctx context.Context, tx pgx.Tx, encoder *json.Encoder) error {
	rows, err := tx.Query(ctx, `SELECT id, wrapped, created_at FROM data_keys ORDER BY id`)
	if err != nil {
		return events.ReadError("read the data keys", err)
	}
	var key dataKey
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&key.ID), &key.Wrapped, &key.CreatedAt}, func() error {
		return encoder.Encode(line{Key: &key})
	})
	if err != nil {
		return fmt.Errorf("write the data keys: %w", err)
	}
	var canary []byte
	err = tx.QueryRow(ctx, `SELECT sealed FROM vault_check`).Scan(&canary)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return events.ReadError("read the canary", err)
	}
	return encoder.Encode(line{Canary: &canary}) //nolint:wrapcheck // by the caller
}
