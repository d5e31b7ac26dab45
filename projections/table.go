package projections

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// table describes one projection: where its rows are stored and how a row of Go maps to one of SQL. All SQL about rows is
// derived from it.
type table[K comparable, R any] struct {
	name string
	// version counts the changes of the fold; the table projections holds the version that wrote the rows.
	version int
	// key names the key column, which comes first in columns.
	columns []string
	// by is the column that rows are loaded by for a decision: the one that names their stream.
	by string
	// keyOf returns the key of a row, and fields a pointer to each of its columns in the order of columns.
	keyOf  func(R) K
	fields func(*R) []any
}

func (t table[K, R]) selectSQL() string {
	return "SELECT " + strings.Join(t.columns, ", ") + " FROM " + t.name
}

func (t table[K, R]) loadSQL() string { return t.selectSQL() + " WHERE " + t.by + " = ANY($1)" }

func (t table[K, R]) upsertSQL() string {
	params := make([]string, len(t.columns))
	for i := range params {
		params[i] = fmt.Sprintf("$%d", i+1)
	}
	return "INSERT INTO " + t.name + " (" + strings.Join(t.columns, ", ") + ") VALUES (" + strings.Join(params, ", ") + ")" + t.onConflict()
}

func (t table[K, R]) onConflict() string {
	var updates []string
	for _, column := range t.columns[1:] {
		updates = append(updates, column+" = EXCLUDED."+column)
	}
	return " ON CONFLICT (" + t.columns[0] + ") DO UPDATE SET " + strings.Join(updates, ", ")
}

func (t table[K, R]) deleteSQL() string {
	return "DELETE FROM " + t.name + " WHERE " + t.columns[0] + " = $1"
}

func (t table[K, R]) scan(row pgx.CollectableRow) (R, error) {
	var r R
	err := row.Scan(t.fields(&r)...)
	return r, err
}

// asUUID is id as pgx scans it without going through text.
func asUUID(id *uuid.UUID) *[16]byte { return (*[16]byte)(id) }

// micros returns t as the database would: in UTC and whole microseconds. A row must be the same whether it was folded in
// memory or read back.
func micros(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// rows is the working set of one table: the rows that a fold has built or a decision has loaded, and which of them have
// changed since they were last written.
type rows[K comparable, R any] struct {
	table[K, R]

	upsert, bulk, delete, load string // SQL

	live    map[K]*R
	changed map[K]struct{}
	was     map[K]*R // what changed rows were, nil for none; nil unless somebody watches
}

func newRows[K comparable, R any](t table[K, R]) rows[K, R] {
	return rows[K, R]{
		table:   t,
		upsert:  t.upsertSQL(),
		bulk:    t.bulkSQL(),
		delete:  t.deleteSQL(),
		load:    t.loadSQL(),
		live:    map[K]*R{},
		changed: map[K]struct{}{},
	}
}

// get returns a copy of a row.
func (r *rows[K, R]) get(key K) (row R, ok bool) {
	found, ok := r.live[key]
	if ok {
		row = *found
	}
	return row, ok
}

func (r *rows[K, R]) put(row R) {
	key := r.keyOf(row)
	r.touch(key)
	r.live[key] = &row
}

func (r *rows[K, R]) drop(key K) {
	if _, ok := r.live[key]; !ok {
		return
	}
	r.touch(key)
	delete(r.live, key)
}

// change has edit change the row of a key, if there is one.
func (r *rows[K, R]) change(key K, edit func(*R)) {
	row, ok := r.live[key]
	if !ok {
		return
	}
	r.touch(key)
	edit(row)
}

// touch marks a row that is about to change, and keeps what it is if somebody watches.
func (r *rows[K, R]) touch(key K) {
	if _, ok := r.changed[key]; !ok {
		r.changed[key] = struct{}{}
	}
	if r.was == nil {
		return
	}
	if _, ok := r.was[key]; ok {
		return
	}
	r.was[key] = nil
	if row, ok := r.get(key); ok {
		r.was[key] = &row
	}
}

func (r *rows[K, R]) queueLoad(batch *pgx.Batch, by any) {
	batch.Queue(r.load, by).Query(func(found pgx.Rows) error {
		loaded, err := pgx.CollectRows(found, r.scan)
		for _, row := range loaded {
			r.live[r.keyOf(row)] = &row
		}
		return err
	})
}

func (r *rows[K, R]) flush(batch *pgx.Batch) {
	written := make([]R, 0, len(r.changed))
	for key := range r.changed {
		if row, ok := r.get(key); ok {
			written = append(written, row)
		} else {
			batch.Queue(r.delete, key)
		}
	}
	clear(r.changed)
	if len(written) > 1 && r.bulk != "" {
		batch.Queue(r.bulk, r.bulkArgs(written)...)
		return
	}
	for i := range written {
		batch.Queue(r.upsert, r.fields(&written[i])...)
	}
}

// rewrite is flush for rows that are wrong: all of them go before any is written, because a wrong row may hold what is
// unique to another.
func (r *rows[K, R]) rewrite(batch *pgx.Batch) {
	for key := range r.changed {
		batch.Queue(r.delete, key)
	}
	r.flush(batch)
}

func (r *rows[K, R]) reset() {
	clear(r.live)
	clear(r.changed)
}
