package proof_test

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/proof"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// shapes are one event for each shape of a leaf.
func shapes() map[string]events.Record {
	plain := events.Record{
		Position: 42, ID: uuid.MustParse("0197a000-0000-7000-8000-000000000042"), Stream: "active-forge", StreamVersion: 7,
		Type: "ForgeActivated", Schema: 1, OccurredAt: time.Date(2026, 11, 27, 12, 30, 0, 123456000, time.UTC), Actor: "github.com/583231",
		CorrelationID: uuid.MustParse("0197a000-0000-7000-8000-0000000000c0"), Payload: []byte(`{"forge_type":"github","previous":null}`),
	}
	sealed := plain
	sealed.Sealed = []byte("ciphertext")
	emptied := plain
	emptied.Sealed = []byte{}
	strange := plain
	strange.Actor, strange.Payload = "<&>\u2028 é", []byte("{\"forge_type\":\"a\\u0000<&>\u2028\"}")
	ancient := plain
	ancient.OccurredAt, ancient.Schema, ancient.Position = time.Date(1969, 7, 20, 20, 17, 40, 1000, time.UTC), 32767, 1<<62
	return map[string]events.Record{"plain": plain, "sealed": sealed, "sealed-empty": emptied, "strange": strange, "extremes": ancient}
}

func TestLeavesNeverChange(t *testing.T) {
	t.Parallel()
	for name, record := range shapes() {
		path := filepath.Join("testdata", "leaves", name+".hex")
		got := hex.Dump(proof.Leaf(record))
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path) //nolint:gosec // in testdata
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("the leaf of %s changed, and with it every root (-want +got):\n%s", name, diff)
		}
	}
}

func TestALeafSaysTheWholeEvent(t *testing.T) {
	t.Parallel()
	for name, record := range shapes() {
		entry, err := proof.ParseLeaf(proof.Leaf(record))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if (record.Sealed != nil) != (entry.SealedHash != nil) {
			t.Errorf("%s: the hash of the sealed part is %x", name, entry.SealedHash)
		}
		if string(proof.Leaf(entry)) != string(proof.Leaf(record)) {
			t.Errorf("%s: the record that was read has another leaf", name)
		}
		record.Sealed, record.SealedHash = nil, entry.SealedHash
		if diff := cmp.Diff(record, entry); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// FuzzParseLeaf: whatever is accepted is the one form of what it says.
func FuzzParseLeaf(f *testing.F) {
	for _, record := range shapes() {
		f.Add(proof.Leaf(record))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		entry, err := proof.ParseLeaf(b)
		if err != nil {
			return
		}
		if got := proof.Leaf(entry); string(got) != string(b) {
			t.Errorf("%x is read as the entry of %x", b, got)
		}
	})
}
