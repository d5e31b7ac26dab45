package projections

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/forgeauth/forgeauth/events"
)

// VerifyOptions say what [Verify] does beyond comparing.
type VerifyOptions struct {
	// Repair writes the rows that differ, so that the tables equal the fold of the log afterwards.
	Repair bool
	// Progress, if not nil, is called now and then from the calling goroutine with how many of the events have been folded.
	Progress func(done, total int64)
}

// Report is what [Verify] found.
type Report struct {
	// Through is the position up to which the log was folded.
	Through int64 `json:"through"`
	// Rows is how many rows the fold has.
	Rows        int          `json:"rows"`
	Differences []Difference `json:"differences"`
	// Repaired says that the differences have been written away.
	Repaired bool `json:"repaired"`
}

// Difference is one column of one row in which a table does not say what the log says.
type Difference struct {
	Table string `json:"table"`
	Key   string `json:"key"`
	// Column is empty if the whole row is missing or too many.
	Column string `json:"column,omitempty"`
	// Have is what the table says, or "unreadable" for a value that no fold could have written (and the row's other columns are
	// not compared); Want is what the log says. Sealed columns are hexadecimal ciphertext, cut short.
	Have string `json:"have"`
	Want string `json:"want"`
}

// GapError says that positions of the log are missing or out of order: it is not whole.
type GapError struct {
	After, Next int64
}

func (e *GapError) Error() string {
	return fmt.Sprintf("the log is not whole: position %d is followed by %d", e.After, e.Next)
}

// Verify folds the whole log and compares the result with the tables, row by row and column by column. The long part runs
// without any lock; the rest of the log and the tables are then read in one transaction. With Repair that transaction holds
// the append lock, for as long as it takes to fold what was appended meanwhile and to write the rows that differ; readers
// never wait. Memory follows the live rows, not the length of the log.
//
// It returns [events.ErrOutdated] if the tables were written by a newer fold, [events.ErrUnknownEvent] or a *[GapError] if the
// log itself cannot be folded; nothing is written then.
func Verify(ctx context.Context, pool *pgxpool.Pool, o VerifyOptions) (Report, error) {
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	log := events.NewLog(pool)
	head, err := log.Head(ctx)
	if err != nil {
		return Report{}, err
	}
	fold := &folder{state: NewState(), total: head.Position, progress: o.Progress}
	for e, err := range log.Read(ctx, events.Query{Through: head.Position}) {
		if err := fold.add(e, err); err != nil {
			return Report{}, err
		}
	}
	mode := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	if o.Repair {
		mode = pgx.TxOptions{IsoLevel: pgx.ReadCommitted}
	}
	var report Report
	err = pgx.BeginTxFunc(ctx, pool, mode, func(tx pgx.Tx) error {
		report, err = fold.finish(ctx, tx, o.Repair)
		return err
	})
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	return report, nil
}

// folder folds a log that is read in two parts.
type folder struct {
	state    *State
	through  int64
	total    int64
	progress func(done, total int64)
}

const progressEvery = 4096

func (f *folder) add(e events.Event, err error) error {
	if err != nil {
		return err
	}
	if e.Position != f.through+1 {
		return &GapError{After: f.through, Next: e.Position}
	}
	if err := f.state.Apply(e); err != nil {
		return err
	}
	f.through = e.Position
	if f.through%progressEvery == 0 {
		f.state.Settle()
	}
	if f.through%progressEvery == 0 || f.through == f.total {
		f.progress(f.through, max(f.total, f.through))
	}
	return nil
}

// finish folds the rest of the log and compares, in one transaction.
func (f *folder) finish(ctx context.Context, tx pgx.Tx, repair bool) (Report, error) {
	if repair {
		// A process that stops in here must not keep the lock: every append would wait for it.
		if _, err := tx.Exec(ctx, `SET LOCAL idle_in_transaction_session_timeout = '30s'`); err != nil {
			return Report{}, fmt.Errorf("bound the repair: %w", err)
		}
		if err := events.Lock(ctx, tx); err != nil {
			return Report{}, err
		}
	}
	theirs, err := foldVersions(ctx, tx)
	if err != nil {
		return Report{}, err
	}
	ours := f.state.Versions()
	for name, version := range theirs {
		if version > ours[name] {
			return Report{}, events.CompareFolds(ours, theirs)
		}
	}
	for e, err := range events.ReadIn(ctx, tx, events.Query{After: f.through}) {
		if err := f.add(e, err); err != nil {
			return Report{}, err
		}
	}
	report := Report{Through: f.through, Rows: f.state.size(), Differences: []Difference{}}
	batch := &pgx.Batch{}
	if report.Differences, err = f.state.compare(ctx, tx); err != nil {
		return Report{}, err
	}
	if !repair || len(report.Differences) == 0 && maps.Equal(ours, theirs) {
		return report, nil
	}
	f.state.rewrite(batch) // compare has left just the rows that differ to be written
	for name, version := range ours {
		batch.Queue(`
			INSERT INTO projections (name, version, repairs) VALUES ($1, $2, 1)
			ON CONFLICT (name) DO UPDATE SET version = EXCLUDED.version, repairs = projections.repairs + 1`, name, version)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return Report{}, fmt.Errorf("repair: %w", err)
	}
	report.Repaired = true
	return report, nil
}

// CheckVersions returns [events.ErrOutdated] if the tables were written by a newer fold than this program's, and
// [events.ErrBehind] if by an older one, which [Verify] repairs.
func CheckVersions(ctx context.Context, pool *pgxpool.Pool) error {
	theirs, err := foldVersions(ctx, pool)
	if err != nil {
		return err
	}
	return events.CompareFolds(NewState().Versions(), theirs)
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func foldVersions(ctx context.Context, q querier) (map[string]int, error) {
	rows, err := q.Query(ctx, `SELECT name, version FROM projections`)
	if err != nil {
		return nil, fmt.Errorf("read the versions of the folds: %w", err)
	}
	versions := map[string]int{}
	var name string
	var version int
	_, err = pgx.ForEachRow(rows, []any{&name, &version}, func() error {
		versions[name] = version
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the versions of the folds: %w", err)
	}
	return versions, nil
}

func (s *State) size() int {
	return len(s.tokens.live) + len(s.revocations.live) + len(s.active.live) + len(s.operator.live) + len(s.sessions.live)
}

// compare returns where the tables differ from the state, and leaves exactly those rows marked as changed.
func (s *State) compare(ctx context.Context, tx pgx.Tx) ([]Difference, error) {
	found := []Difference{}
	for _, compare := range []func(context.Context, pgx.Tx) ([]Difference, error){
		s.tokens.compare, s.revocations.compare, s.active.compare, s.operator.compare, s.sessions.compare,
	} {
		differences, err := compare(ctx, tx)
		if err != nil {
			return nil, err
		}
		found = append(found, differences...)
	}
	return found, nil
}

// rewrite queues the writes of all rows marked as changed, whatever the tables hold in their place.
func (s *State) rewrite(batch *pgx.Batch) {
	s.tokens.rewrite(batch)
	s.revocations.rewrite(batch)
	s.active.rewrite(batch)
	s.operator.rewrite(batch)
	s.sessions.rewrite(batch)
}

func (r *rows[K, R]) compare(ctx context.Context, tx pgx.Tx) ([]Difference, error) {
	clear(r.changed)
	result, err := tx.Query(ctx, r.selectSQL())
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", r.name, err)
	}
	defer result.Close()
	var found []Difference
	seen := map[K]struct{}{}
	for result.Next() {
		var have R
		haveFields := r.fields(&have)
		// Not Scan: the first value that no row of ours could hold (infinity, a null in an array) would end it all.
		err := pgx.ScanRow(tx.Conn().TypeMap(), result.FieldDescriptions(), result.RawValues(), haveFields...)
		broken, unreadable := errors.AsType[pgx.ScanArgError](err)
		if err != nil && (!unreadable || broken.ColumnIndex == 0) {
			return nil, fmt.Errorf("read %s: %w", r.name, err)
		}
		key := r.keyOf(have) // of the first column, which has been read
		seen[key] = struct{}{}
		want, ok := r.get(key)
		if !ok {
			r.changed[key] = struct{}{}
			found = append(found, Difference{Table: r.name, Key: fmt.Sprint(key), Have: "a row", Want: "none"})
			continue
		}
		wantFields := r.fields(&want)
		if unreadable {
			r.changed[key] = struct{}{}
			found = append(found, Difference{
				Table: r.name, Key: fmt.Sprint(key), Column: r.columns[broken.ColumnIndex],
				Have: "unreadable", Want: brief(render(wantFields[broken.ColumnIndex])),
			})
			continue
		}
		for i, column := range r.columns {
			if a, b := render(haveFields[i]), render(wantFields[i]); a != b {
				r.changed[key] = struct{}{}
				found = append(found, Difference{Table: r.name, Key: fmt.Sprint(key), Column: column, Have: brief(a), Want: brief(b)})
			}
		}
	}
	if err := result.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", r.name, err)
	}
	for key := range r.live {
		if _, ok := seen[key]; !ok {
			r.changed[key] = struct{}{}
			found = append(found, Difference{Table: r.name, Key: fmt.Sprint(key), Have: "none", Want: "a row"})
		}
	}
	slices.SortStableFunc(found, func(a, b Difference) int { return strings.Compare(a.Key, b.Key) })
	return found, nil
}

const null = "null"

// render returns what a field points to as text that is equal for equal values.
func render(field any) string {
	switch v := field.(type) {
	case *[]byte:
		return hex.EncodeToString(*v)
	case *time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case *string:
		return *v
	case *[16]byte:
		return uuid.UUID(*v).String()
	}
	value := reflect.ValueOf(field).Elem()
	if value.Kind() == reflect.Pointer {
		if value.IsNil() {
			return null
		}
		return render(value.Interface())
	}
	text, err := json.Marshal(value.Interface(), json.FormatNilSliceAsNull(true))
	if err != nil {
		return fmt.Sprint(value.Interface())
	}
	return string(text)
}

func brief(text string) string {
	const most = 64
	if len(text) <= most {
		return text
	}
	return fmt.Sprintf("%s… (%d characters)", text[:most], len(text))
}
