package proof

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/forgeauth/forgeauth/events"
)

// VerifyOptions say what [Verify] compares the log with beside the stored tree.
type VerifyOptions struct {
	// Policy accepts checkpoints. If nil, no signature is checked: that the log is whole says only the database itself then.
	Policy *Policy
	// Kept is the checkpoint that was kept outside of the database, empty if there is none.
	Kept string
	// Progress, if not nil, is called now and then from the calling goroutine with how many of the events have been hashed.
	Progress func(done, total int64)
}

// Report is what [Verify] found.
type Report struct {
	// Head is the log's last position.
	Head int64 `json:"head"`
	// Signed is up to where the log is covered by a checkpoint, 0 if by none. What is appended is covered within a second, if a
	// signer runs.
	Signed int64 `json:"signed"`
	// Checked says that there was a public key to check signatures with.
	Checked bool `json:"checked"`
	// Findings are what does not hold, by position. No more than [MaxFindings].
	Findings []Finding `json:"findings"`
}

// MaxFindings bounds a report.
const MaxFindings = 1000

// Finding is something that contradicts what was signed.
type Finding struct {
	// From and Through are the positions that it is about; both 0 if it is about none in particular.
	From    int64 `json:"from,omitempty"`
	Through int64 `json:"through,omitempty"`
	// What it is, in a sentence without a full stop.
	What string `json:"what"`
}

func (f Finding) String() string {
	switch f.From {
	case 0:
		return f.What
	case f.Through:
		return fmt.Sprintf("position %d: %s", f.From, f.What)
	default:
		return fmt.Sprintf("positions %d to %d: %s", f.From, f.Through, f.What)
	}
}

// Verify hashes the whole log and compares it with the stored tree, with every checkpoint and with the kept one. Nobody waits
// meanwhile. Memory does not follow the length of the log.
//
// What it cannot find without a kept checkpoint is a log whose end was cut off together with tree and checkpoints, and what it can never
// find is an event that was made up and appended: only the database's roles can keep others from that. It fails with
// [events.ErrUnreadable] where the database cannot be asked; what is damaged in it is found and is no failure.
func Verify(ctx context.Context, pool *pgxpool.Pool, o VerifyOptions) (Report, error) {
	v := &verifier{tree: NewTree(pool), log: events.NewLog(pool), options: o, hashes: &frontier{}}
	if o.Progress == nil {
		v.options.Progress = func(int64, int64) {}
	}
	if err := v.begin(ctx); err != nil {
		return Report{}, err
	}
	for after, more := int64(0), true; more; {
		var err error
		if after, more, err = v.walk(ctx, after); err != nil {
			return Report{}, fmt.Errorf("verify the tree: %w", err)
		}
	}
	v.finish()
	return v.report, nil
}

type verifier struct {
	tree    *Tree
	log     *events.Log
	options VerifyOptions
	report  Report

	stored tlog.Tree // what the tree says of itself
	kept   tlog.Tree
	// hashes folds the stored hashes of leaves, where there are any: an event that is not what was signed is found once, by its
	// own leaf, and what follows can still be checked.
	hashes *frontier
	leaves []tlog.Hash // of the tile that is being filled, as stored

	checkpoints []tlog.Tree // the next ones, by size
	read        int64       // the size of the last one read
	good        int64       // the size of the last one that held
	broken      bool        // a root did not hold, and none after it can
	lost        bool        // positions beyond the tree are missing: what follows has no place in it
}

// walk goes over the log from a position on. A row that cannot be read ends the walk behind it, with more to come.
func (v *verifier) walk(ctx context.Context, after int64) (at int64, more bool, err error) {
	for record, err := range v.log.Records(ctx, events.Query{After: after, Through: v.report.Head}) {
		if errors.Is(err, events.ErrDamaged) {
			return v.skip(ctx, after)
		}
		if err == nil {
			err = v.add(ctx, record.Position, tlog.RecordHash(Leaf(record)))
		}
		if err != nil {
			return 0, false, err
		}
		after = record.Position
	}
	return after, false, nil
}

// skip takes the row after a position, which cannot be read, for one that nothing was signed of.
func (v *verifier) skip(ctx context.Context, after int64) (at int64, more bool, err error) {
	if err := v.tree.db.QueryRow(ctx, `SELECT min(position) FROM events WHERE position > $1`, after).Scan(&at); err != nil {
		return 0, false, events.ReadError("find a row that cannot be read", err)
	}
	return at, true, v.add(ctx, at, tlog.Hash{})
}

// begin reads how far tree and log go, in this order: the log is never behind.
func (v *verifier) begin(ctx context.Context) (err error) {
	o := &v.options
	v.report.Checked = o.Policy != nil
	if o.Kept != "" {
		v.kept = v.checkpoint(o.Kept, "the kept checkpoint")
	}
	var root []byte
	if err := v.tree.db.QueryRow(ctx, `SELECT size, root FROM log_tree`).Scan(&v.stored.N, &root); err != nil {
		return events.ReadError("read the tree", err)
	}
	copy(v.stored.Hash[:], root)
	newest, err := v.tree.Checkpoint(ctx)
	switch {
	case err == nil:
		v.report.Signed = v.checkpoint(newest, "the newest checkpoint").N
	case !errors.Is(err, ErrNoCheckpoint):
		return err
	}
	v.report.Signed = max(v.report.Signed, v.kept.N)
	if err := v.tree.db.QueryRow(ctx, `SELECT coalesce(max(position), 0) FROM events`).Scan(&v.report.Head); err != nil {
		return events.ReadError("read the head", err)
	}
	v.hashes.full = func(level int, n int64, hashes []tlog.Hash) error { return v.tile(ctx, level, n, hashes) }
	return nil
}

// checkpoint returns the tree of a checkpoint, that of no events if its signature does not hold.
func (v *verifier) checkpoint(text, name string) (tree tlog.Tree) {
	read, fault := ParseUnsigned, " is not one"
	if v.options.Policy != nil {
		read, fault = v.options.Policy.ReadCheckpoint, " is not signed by a key of this log"
	}
	tree, err := read(text)
	if err != nil {
		v.find(0, 0, name+fault)
	}
	return tree
}

// find reports something, joined with what was found right before it.
func (v *verifier) find(from, through int64, what string) {
	if n := len(v.report.Findings); n > 0 && from > 0 {
		if last := &v.report.Findings[n-1]; last.What == what && last.Through == from-1 {
			last.Through = through
			return
		}
	}
	if len(v.report.Findings) < MaxFindings {
		v.report.Findings = append(v.report.Findings, Finding{from, through, what})
	}
}

const (
	notSigned   = "not what was signed"
	missing     = "signed, and missing"
	wrongHashes = "another tree than the one that was signed: the stored hashes were changed with the events"
)

// add takes the hash of the leaf of the next event that there is. Positions that are missing before it are gone through only as far as the
// tree goes: beyond, their number says nothing, and could be anything.
func (v *verifier) add(ctx context.Context, position int64, hash tlog.Hash) error {
	for v.hashes.size+1 < position && !v.lost {
		if v.lost = v.hashes.size >= v.stored.N; v.lost {
			v.find(v.hashes.size+1, position-1, "missing")
		} else if err := v.leaf(ctx, nil); err != nil {
			return err
		}
	}
	if v.lost {
		return nil
	}
	return v.leaf(ctx, &hash)
}

// leaf takes the hash of the event at the next position, nil if there is no event.
func (v *verifier) leaf(ctx context.Context, have *tlog.Hash) error {
	index := v.hashes.size
	position := index + 1
	if index%tileWidth == 0 {
		if err := v.loadLeaves(ctx, index/tileWidth); err != nil {
			return err
		}
	}
	var want *tlog.Hash
	if at := int(index % tileWidth); at < len(v.leaves) && position <= v.stored.N {
		want = &v.leaves[at]
	}
	var hash tlog.Hash
	switch {
	case have == nil && want == nil:
		v.find(position, position, "missing, as is its stored hash")
	case have == nil:
		v.find(position, position, missing)
		hash = *want
	case want == nil:
		hash = *have
		if position <= v.stored.N {
			v.find(position, position, "its stored hash is missing")
		}
	default:
		hash = *want
		if *have != *want {
			v.find(position, position, notSigned)
		}
	}
	if err := v.hashes.push(hash); err != nil {
		return err
	}
	if position%4096 == 0 || position == v.report.Head {
		v.options.Progress(position, max(v.report.Head, position))
	}
	return v.roots(ctx)
}

func (v *verifier) loadLeaves(ctx context.Context, n int64) error {
	width := int(min(v.stored.N-n*tileWidth, tileWidth))
	v.leaves = v.leaves[:0]
	if width <= 0 {
		return nil
	}
	data, err := v.tree.Tile(ctx, tlog.Tile{H: tileHeight, L: 0, N: n, W: width})
	if err != nil && !errors.Is(err, ErrNoTile) {
		return err
	}
	v.leaves = unpack(data)
	return nil
}

// roots compares the tree so far with what was said of a tree of this size.
func (v *verifier) roots(ctx context.Context) error {
	size := v.hashes.size
	if size == v.stored.N {
		if err := v.edges(ctx); err != nil {
			return err
		}
	}
	for len(v.checkpoints) == 0 && v.read < v.stored.N {
		if err := v.moreCheckpoints(ctx); err != nil {
			return err
		}
	}
	var roots []tlog.Hash
	for len(v.checkpoints) > 0 && v.checkpoints[0].N <= size {
		roots = append(roots, v.checkpoints[0].Hash)
		v.checkpoints = v.checkpoints[1:]
	}
	for _, tree := range []tlog.Tree{v.stored, v.kept} {
		if tree.N == size {
			roots = append(roots, tree.Hash)
		}
	}
	if len(roots) == 0 || v.broken {
		return nil
	}
	root := v.hashes.root()
	if v.broken = slices.ContainsFunc(roots, func(want tlog.Hash) bool { return want != root }); v.broken {
		v.find(v.good+1, size, wrongHashes)
		return nil
	}
	v.good = size
	return nil
}

func (v *verifier) moreCheckpoints(ctx context.Context) error {
	const page = 1024
	rows, err := v.tree.db.Query(ctx, `SELECT size, note FROM log_checkpoints WHERE size > $1 AND size <= $2 ORDER BY size LIMIT $3`,
		v.read, v.stored.N, page)
	if err != nil {
		return events.ReadError("read the checkpoints", err)
	}
	defer rows.Close()
	count := 0
	for rows.Next() {
		var text string
		if err := rows.Scan(&v.read, &text); err != nil {
			return events.ReadError("read the checkpoints", err)
		}
		count++
		tree, err := ParseUnsigned(text)
		if err != nil || tree.N != v.read {
			v.find(0, 0, fmt.Sprintf("the checkpoint stored for %d events is not one", v.read))
			continue
		}
		v.checkpoints = append(v.checkpoints, tree)
	}
	if count < page {
		v.read = v.stored.N
	}
	if err := rows.Err(); err != nil {
		return events.ReadError("read the checkpoints", err)
	}
	return nil
}

// tile compares a tile above the leaves.
func (v *verifier) tile(ctx context.Context, level int, n int64, hashes []tlog.Hash) error {
	if level == 0 || (n*tileWidth+int64(len(hashes)))<<(tileHeight*level) > v.stored.N {
		return nil
	}
	data, err := v.tree.Tile(ctx, tlog.Tile{H: tileHeight, L: level, N: n, W: len(hashes)})
	if err != nil && !errors.Is(err, ErrNoTile) {
		return err
	}
	if !slices.Equal(unpack(data), hashes) {
		v.find(0, 0, fmt.Sprintf("tile %d of level %d of the tree is not the one over the events", n, level))
	}
	return nil
}

// edges compares the tiles that are not full, which are as of the tree's size.
func (v *verifier) edges(ctx context.Context) error {
	for level, hashes := range v.hashes.edges {
		if n, width := v.hashes.edge(level); width > 0 {
			if err := v.tile(ctx, level, n, hashes); err != nil {
				return err
			}
		}
	}
	return nil
}

// finish finds what is missing at the end.
func (v *verifier) finish() {
	signed := max(v.stored.N, v.kept.N, v.report.Signed)
	if v.report.Head < signed {
		v.find(v.report.Head+1, signed, "signed, and missing: the end of the log was cut off, or an older backup restored")
	}
}
