package archive

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/proof"
)

// ImportOptions say how a file is checked.
type ImportOptions struct {
	// Policy, if not nil, accepts the file's checkpoint, without which nothing is imported: that the file is whole says otherwise only
	// the file itself.
	Policy *proof.Policy
	// Progress, if not nil, is called now and then with how many of the events have been read.
	Progress func(done, total int64)
}

// Imported says what an import brought.
type Imported struct {
	Events int64
	// Resumed is how many of them an import that was broken off had brought before.
	Resumed int64
	// Signed is how many of them the file's checkpoint covers.
	Signed int64
	// Keys is whether the file had the data keys.
	Keys bool
}

// piece is how many events are written in one transaction.
const piece = 2000

// Import reads a file into an empty database, or goes on with an import of the same file that was broken off. Until it has come to its
// end, the service does not start on that database. Then the tables are folded. It fails with [ErrNotEmpty], [ErrOtherFile], a
// *[DamagedError] or, for a file whose checkpoint is not accepted, a *[proof.BadCheckpointError]. The role must own the tables.
func Import(ctx context.Context, pool *pgxpool.Pool, r io.Reader, o ImportOptions) (Imported, error) {
	i := &importer{pool: pool, options: o, lines: bufio.NewReaderSize(r, 1<<20)}
	if err := i.run(ctx); err != nil {
		return Imported{}, fmt.Errorf("import: %w", err)
	}
	return i.result, nil
}

type importer struct {
	pool    *pgxpool.Pool
	options ImportOptions
	lines   *bufio.Reader
	at      int64 // the line
	result  Imported

	header     header
	checkpoint proof.TreeHead
	hashed     proof.Accumulator
	head       int64 // of what was there before
	batch      []events.Record
	keys       []dataKey
	canary     []byte
}

func (i *importer) run(ctx context.Context) error {
	first, err := i.next()
	if err != nil {
		return err
	}
	if first.Header == nil || first.Header.Format != Format {
		return i.damaged("it is no file of forgeauth export, or of a newer version")
	}
	i.header = *first.Header
	if err := i.check(); err != nil {
		return err
	}
	if err := i.begin(ctx); err != nil {
		return err
	}
	there, stop := iter.Pull2(events.NewLog(i.pool).Records(ctx, events.Query{}))
	defer stop()
	for {
		line, err := i.next()
		if err != nil {
			return err
		}
		switch {
		case line.Event != nil:
			err = i.add(ctx, line.Event.record(), there)
		case line.Key != nil:
			i.keys = append(i.keys, *line.Key)
		case line.Canary != nil:
			i.canary = *line.Canary
		case line.End != nil:
			stop()
			return i.finish(ctx, *line.End)
		default:
			err = i.damaged("it holds nothing that is known")
		}
		if err != nil {
			return err
		}
	}
}

// check reads the file's checkpoint.
func (i *importer) check() (err error) {
	text := i.header.Checkpoint
	switch policy := i.options.Policy; {
	case policy != nil:
		i.checkpoint, err = policy.ReadCheckpoint(text)
	case text != "":
		i.checkpoint, err = proof.ParseUnsigned(text)
	}
	if err == nil && i.checkpoint.N > i.header.Events {
		return i.damaged("its checkpoint covers more events than it has")
	}
	return err
}

// begin marks the database, or finds that it was marked before.
func (i *importer) begin(ctx context.Context) error {
	return pgx.BeginFunc(ctx, i.pool, func(tx pgx.Tx) error { //nolint:wrapcheck // Import does
		if err := events.Lock(ctx, tx); err != nil {
			return err
		}
		var begun, keys bool
		err := tx.QueryRow(ctx, `
			SELECT coalesce(max(position), 0), EXISTS (SELECT FROM unfinished_import), EXISTS (SELECT FROM data_keys) FROM events`).
			Scan(&i.head, &begun, &keys)
		if err != nil {
			return events.ReadError("look into the database", err)
		}
		if !begun && (i.head > 0 || keys) {
			return ErrNotEmpty
		}
		if _, err = tx.Exec(ctx, `INSERT INTO unfinished_import DEFAULT VALUES ON CONFLICT DO NOTHING`); err != nil {
			return fmt.Errorf("mark the database: %w", err)
		}
		return nil
	})
}

// add takes the next event: it is compared with the one that is there already, or written with those around it.
func (i *importer) add(ctx context.Context, r events.Record, there func() (events.Record, error, bool)) error {
	if err := i.hashed.Add(r); err != nil {
		return i.damaged(err.Error())
	}
	if head := i.hashed.Head; r.Position == i.checkpoint.N && head().Hash != i.checkpoint.Hash {
		return i.damaged("its events are not those of its checkpoint")
	}
	if i.options.Progress != nil && (r.Position%progressEvery == 0 || r.Position == i.header.Events) {
		i.options.Progress(r.Position, i.header.Events)
	}
	if r.Position <= i.head {
		have, err, ok := there()
		if err != nil {
			return err
		}
		if !ok || !bytes.Equal(proof.Leaf(have), proof.Leaf(r)) {
			return ErrOtherFile
		}
		i.result.Resumed++
		return nil
	}
	if i.batch = append(i.batch, r); len(i.batch) < piece {
		return nil
	}
	return i.flush(ctx)
}

func (i *importer) flush(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, i.pool, func(tx pgx.Tx) error { return events.Import(ctx, tx, i.batch) })
	i.batch = i.batch[:0]
	return err //nolint:wrapcheck // Import does
}

// finish folds the tables and takes the mark away.
func (i *importer) finish(ctx context.Context, end trailer) error {
	head := i.hashed.Head()
	if end.Events != head.N || i.header.Events != head.N || !bytes.Equal(end.Root, head.Hash[:]) {
		return i.damaged("its events are not those that were exported")
	}
	if i.checkpoint.N > head.N {
		return i.damaged("its checkpoint covers more events than it has")
	}
	if err := i.flush(ctx); err != nil {
		return err
	}
	if _, err := projections.Verify(ctx, i.pool, projections.VerifyOptions{Repair: true}); err != nil {
		return err
	}
	i.result.Events, i.result.Signed, i.result.Keys = head.N, i.checkpoint.N, i.header.Keys
	return pgx.BeginFunc(ctx, i.pool, func(tx pgx.Tx) error { //nolint:wrapcheck // Import does
		batch := &pgx.Batch{}
		batch.Queue(`UPDATE deployment SET id = $1`, [16]byte(i.header.Deployment))
		for _, key := range i.keys {
			batch.Queue(`INSERT INTO data_keys (id, wrapped, created_at) VALUES ($1, $2, $3)`, [16]byte(key.ID), key.Wrapped, key.CreatedAt)
		}
		if i.canary != nil {
			batch.Queue(`INSERT INTO vault_check (sealed) VALUES ($1) ON CONFLICT (singleton) DO UPDATE SET sealed = excluded.sealed`, i.canary)
		}
		if i.checkpoint.N > 0 {
			batch.Queue(`INSERT INTO log_checkpoints (size, note) VALUES ($1, $2) ON CONFLICT DO NOTHING`, i.checkpoint.N, i.header.Checkpoint)
		}
		batch.Queue(`DELETE FROM unfinished_import`)
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return fmt.Errorf("finish: %w", err)
		}
		return nil
	})
}

func (i *importer) damaged(problem string) error { return &DamagedError{i.at, problem} }

// next reads the next line.
func (i *importer) next() (line, error) {
	i.at++
	var text []byte
	for {
		part, err := i.lines.ReadSlice('\n')
		text = append(text, part...)
		switch {
		case err == nil:
			var read line
			decoder := json.NewDecoder(bytes.NewReader(text))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&read); err != nil {
				return line{}, i.damaged("it is no JSON of this format")
			}
			return read, nil
		case errors.Is(err, io.EOF):
			return line{}, i.damaged("it ends early")
		case !errors.Is(err, bufio.ErrBufferFull):
			return line{}, fmt.Errorf("read: %w", err)
		case len(text) > maxLine:
			return line{}, i.damaged("it is too long")
		}
	}
}
