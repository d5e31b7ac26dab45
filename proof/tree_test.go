package proof_test

import (
	"encoding/binary"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/forgeauth/forgeauth/proof"
)

// TestTheTreeIsThatOfTheReference compares every root up to past the second level with those of golang.org/x/mod.
func TestTheTreeIsThatOfTheReference(t *testing.T) {
	t.Parallel()
	const size = 66_000
	var leaves, stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			hashes[i] = stored[index]
		}
		return hashes, nil
	})
	for i := range int64(size) {
		leaf := tlog.RecordHash(binary.BigEndian.AppendUint64(nil, uint64(i)))
		leaves = append(leaves, leaf)
		more, err := tlog.StoredHashesForRecordHash(i, leaf, reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
	}
	roots, full, err := proof.Roots(leaves)
	if err != nil {
		t.Fatal(err)
	}
	for n := int64(0); n <= size; n++ {
		if n > 1000 && n%251 != 0 && n < 65_530 { // all sizes would take a minute
			continue
		}
		want, err := tlog.TreeHash(n, reader)
		if err != nil {
			t.Fatal(err)
		}
		if roots[n] != want {
			t.Fatalf("the root of %d leaves is %v, want %v", n, roots[n], want)
		}
	}
	if want := size/256 + size/65536; full != want {
		t.Errorf("%d tiles became full, want %d", full, want)
	}
}
