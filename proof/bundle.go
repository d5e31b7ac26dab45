package proof

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/forgeauth/forgeauth/events"
)

// MaxBundle is how many bytes a bundle has at most.
const MaxBundle = 256 << 10

// ErrBadBundle says that a text proves nothing.
var ErrBadBundle = errors.New("this proves nothing")

// GrownError says that a log is not an older one to which events were added.
type GrownError struct {
	Old, New int64 // sizes
	// Shrunk says that it has fewer events; otherwise the old ones are others.
	Shrunk bool
}

func (e *GrownError) Error() string {
	if e.Shrunk {
		return fmt.Sprintf("the log had %d events and has %d now: some were removed", e.Old, e.New)
	}
	return fmt.Sprintf("the first %d of the log's %d events are not those of the older checkpoint", e.Old, e.New)
}

// Prove returns a bundle that proves that an event is in the log: a text of C2SP tlog-proof, with the event's leaf as its extra
// data, the inclusion proof, and the newest checkpoint. Any checker of tlog-proof takes it. It has been checked against the
// database alone; what it says to others it says by the checkpoint's signature.
//
// [events.ErrNotFound] if there is no such event, [ErrNoCheckpoint] or [ErrNotSigned] if nothing signed covers it, and a
// *[RefusedError] if the event is not the one that was signed.
func (t *Tree) Prove(ctx context.Context, log *events.Log, position int64) (string, error) {
	event, err := log.At(ctx, position)
	if err != nil {
		return "", err
	}
	signed, err := t.Checkpoint(ctx)
	if err != nil {
		return "", err
	}
	checkpoint, err := ParseUnsigned(signed)
	if err != nil {
		return "", err
	}
	if position > checkpoint.N {
		return "", ErrNotSigned
	}
	included, err := tlog.ProveRecord(checkpoint.N, position-1, t.reader(ctx))
	if err != nil {
		return "", fmt.Errorf("prove position %d: %w", position, err)
	}
	leaf := Leaf(event.Record)
	if err := tlog.CheckRecord(included, checkpoint.N, checkpoint.Hash, position-1, tlog.RecordHash(leaf)); err != nil {
		return "", &RefusedError{fmt.Sprintf("event %d is not what was signed", position)}
	}
	return string(torchwood.FormatProofWithExtraData(position-1, leaf, included, []byte(signed))), nil
}

// Check returns the event that a bundle proves to be in the log of the policy, and how many events the log had. It needs nothing
// else. The error wraps [ErrBadBundle].
func (p Policy) Check(bundle string) (events.Record, tlog.Tree, error) {
	bad := func(err error) (events.Record, tlog.Tree, error) {
		return events.Record{}, tlog.Tree{}, fmt.Errorf("%w: %w", ErrBadBundle, err)
	}
	if len(bundle) > MaxBundle {
		return bad(errors.New("it is too long"))
	}
	leaf, err := torchwood.ProofExtraData([]byte(bundle))
	if err != nil {
		return bad(err)
	}
	entry, err := ParseLeaf(leaf)
	if err != nil {
		return bad(err)
	}
	if err := torchwood.VerifyProof(p.torchwood(), tlog.RecordHash(leaf), []byte(bundle)); err != nil {
		if _, ok := errors.AsType[*torchwood.VerifyRecordError](err); ok {
			err = errors.New("the log that was signed holds another event there")
		}
		return bad(err)
	}
	index, signed, err := splitBundle(bundle)
	if err != nil {
		return bad(err)
	}
	if entry.Position != index+1 {
		return bad(fmt.Errorf("the event says that its position is %d and is the log's %d", entry.Position, index+1))
	}
	tree, err := p.ReadCheckpoint(signed)
	if err != nil {
		return bad(err)
	}
	return entry, tree, nil
}

// Grown is [Grown] with the stored hashes.
func (t *Tree) Grown(ctx context.Context, older, newest tlog.Tree) error {
	return Grown(older, newest, t.reader(ctx))
}

// Grown checks that the newest tree is an older one to which events were added: a *[GrownError] if not. The hashes need not be
// trusted; wherever they come from, both trees have to follow from them.
func Grown(older, newest tlog.Tree, hashes tlog.HashReader) error {
	switch {
	case older.N > newest.N:
		return &GrownError{Old: older.N, New: newest.N, Shrunk: true}
	case older.N == newest.N && older.Hash != newest.Hash:
		return &GrownError{Old: older.N, New: newest.N}
	case older.N == newest.N, older.N == 0:
		return nil
	}
	consistent, err := tlog.ProveTree(newest.N, older.N, hashes)
	if err != nil {
		return fmt.Errorf("read the hashes between two checkpoints: %w", err)
	}
	if err := tlog.CheckTree(consistent, newest.N, newest.Hash, older.N, older.Hash); err != nil {
		return &GrownError{Old: older.N, New: newest.N}
	}
	return nil
}

// unsigned returns the text of a note without its signatures.
func unsigned(signed string) string {
	if end := strings.LastIndex(signed, "\n\n"); end >= 0 {
		return signed[:end+1]
	}
	return signed
}

// splitBundle returns what a bundle that was checked says of itself: the leaf's index, and the checkpoint.
func splitBundle(bundle string) (index int64, checkpoint string, err error) {
	head, checkpoint, ok := strings.Cut(bundle, "\n\n")
	if !ok {
		return 0, "", errors.New("it has no checkpoint")
	}
	for line := range strings.Lines(head) {
		if number, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "index "); ok {
			if index, err = strconv.ParseInt(number, 10, 64); err != nil {
				return 0, "", fmt.Errorf("its index: %w", err)
			}
			return index, checkpoint, nil
		}
	}
	return 0, "", errors.New("it has no index")
}
