package proof_test

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/proof"
	"github.com/forgeauth/forgeauth/secret"
)

const goldenPublic = "testdata/public-key"

// golden returns the bundle in testdata and what accepts it.
func golden(tb testing.TB) (bundle string, policy proof.Policy, public string) {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "bundle"))
	if err != nil {
		tb.Fatal(err)
	}
	key, err := os.ReadFile(goldenPublic)
	if err != nil {
		tb.Fatal(err)
	}
	public = strings.TrimSpace(string(key))
	if policy, err = proof.ParsePolicy(public); err != nil {
		tb.Fatal(err)
	}
	return string(text), policy, public
}

// TestBundlesOfTheFirstReleaseCheck: a bundle in an auditor's drawer must be good for ever.
func TestBundlesOfTheFirstReleaseCheck(t *testing.T) {
	t.Parallel()
	if *update {
		writeGolden(t)
	}
	bundle, policy, public := golden(t)
	entry, tree, err := policy.Check(bundle)
	if err != nil || entry.Position != 3 || tree.N != 5 || entry.Type != "ForgeActivated" {
		t.Errorf("the bundle proves position %d of %d, %s: %v", entry.Position, tree.N, entry.Type, err)
	}
	// And by others' code alone.
	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	others := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy("auth.example.org/log"), torchwood.SingleVerifierPolicy(verifier))
	leaf, err := torchwood.ProofExtraData([]byte(bundle))
	if err != nil {
		t.Fatal(err)
	}
	if err := torchwood.VerifyProof(others, tlog.RecordHash(leaf), []byte(bundle)); err != nil {
		t.Error(err)
	}
}

func writeGolden(t *testing.T) {
	t.Helper()
	b := newBench(t)
	b.append(t, 5)
	b.sign(t)
	bundle, err := b.tree.Prove(t.Context(), b.log, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile("testdata/bundle", []byte(bundle), 0o600),
		os.WriteFile(goldenPublic, []byte(b.keys.PublicKeys()[0]+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func TestABundleThatIsNotWholeProvesNothing(t *testing.T) {
	t.Parallel()
	bundle, policy, _ := golden(t)
	other := newKeys(t).Policy()
	lines := strings.SplitAfter(bundle, "\n")
	leaf, err := torchwood.ProofExtraData([]byte(bundle))
	if err != nil {
		t.Fatal(err)
	}
	changed := func(edit func(*events.Record)) string {
		entry, err := proof.ParseLeaf(slices.Clone(leaf))
		if err != nil {
			t.Fatal(err)
		}
		edit(&entry)
		return strings.Replace(bundle, base64.StdEncoding.EncodeToString(leaf), base64.StdEncoding.EncodeToString(proof.Leaf(entry)), 1)
	}
	for name, test := range map[string]struct {
		bundle string
		policy proof.Policy
	}{
		"nothing":         {"", policy},
		"another log":     {bundle, other},
		"no policy":       {bundle, proof.Policy{}},
		"another actor":   {changed(func(e *events.Record) { e.Actor = "nobody" }), policy},
		"another payload": {changed(func(e *events.Record) { e.Payload = []byte("{}") }), policy},
		"another sealed":  {changed(func(e *events.Record) { e.SealedHash[0] ^= 1 }), policy},
		"another place":   {strings.Replace(bundle, "index 2\n", "index 3\n", 1), policy},
		"no signature":    {strings.Join(lines[:len(lines)-2], ""), policy},
		"too long":        {bundle + strings.Repeat("\n", proof.MaxBundle), policy},
	} {
		if entry, _, err := test.policy.Check(test.bundle); !errors.Is(err, proof.ErrBadBundle) {
			t.Errorf("%s: proves %+v, %v", name, entry, err)
		}
	}
	for i := range lines[:len(lines)-1] { // no line can be left out
		if _, _, err := policy.Check(strings.Join(append(append([]string{}, lines[:i]...), lines[i+1:]...), "")); !errors.Is(err, proof.ErrBadBundle) {
			t.Errorf("without line %d it still proves something: %v", i+1, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	bundle, policy, _ := golden(f)
	f.Add(bundle)
	f.Add(strings.Replace(bundle, "index 2", "index 99999999999999999999", 1))
	f.Fuzz(func(t *testing.T, b string) {
		entry, tree, err := policy.Check(b)
		switch {
		case err != nil && !errors.Is(err, proof.ErrBadBundle):
			t.Errorf("an error of no type: %v", err)
		case err == nil && (tree.N != 5 || entry.Position < 1 || entry.Position > 5):
			t.Errorf("proves position %d of %d", entry.Position, tree.N)
		}
	})
}

func TestProveSaysWhyItCannot(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	prove := func(position int64) error { _, err := b.tree.Prove(t.Context(), b.log, position); return err }
	b.append(t, 3)
	if err := prove(1); !errors.Is(err, proof.ErrNoCheckpoint) {
		t.Errorf("before anything was signed: %v", err)
	}
	b.sign(t)
	b.append(t, 1)
	if err := prove(4); !errors.Is(err, proof.ErrNotSigned) {
		t.Errorf("an event that is not signed yet: %v", err)
	}
	if err := prove(5); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("no event: %v", err)
	}
	b.exec(t, `UPDATE events SET actor = 'other' WHERE position = 2`)
	if _, ok := errors.AsType[*proof.RefusedError](prove(2)); !ok {
		t.Errorf("an event that was changed: %v", prove(2))
	}
	if err := prove(1); err != nil {
		t.Errorf("its neighbour: %v", err)
	}
}

// TestTheSealedPartIsProvenByItsHash: a leaf has the hash of what is sealed, which stays where it is whatever becomes of its key.
func TestTheSealedPartIsProvenByItsHash(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.append(t, 2)
	b.sign(t)
	bundle, err := b.tree.Prove(t.Context(), b.log, 1)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(bundle, "sealed forge") {
		t.Error("the bundle holds the sealed part")
	}
	b.exec(t, `UPDATE events SET sealed = 'other' WHERE position = 1`)
	if report := b.verify(t); len(report.Findings) != 1 || report.Findings[0].From != 1 {
		t.Errorf("another sealed part: %+v", report)
	}
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	older, olderPublic, err := proof.GenerateKey("auth.example.org/log")
	if err != nil {
		t.Fatal(err)
	}
	newer, newerPublic, err := proof.GenerateKey("auth.example.org/log")
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	use := func(present secret.Text, previous ...secret.Text) {
		t.Helper()
		if b.keys, err = proof.ParseKeys(present, previous...); err != nil {
			t.Fatal(err)
		}
		b.exec(t, `UPDATE log_tree SET until = '-infinity'`)
		b.signer = b.newSigner(t)
		b.append(t, 1)
		b.sign(t)
	}
	use(older)
	use(newer, older)
	text, err := b.tree.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, public := range []string{olderPublic, newerPublic} {
		policy, err := proof.ParsePolicy(public)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := policy.ReadCheckpoint(text); err != nil {
			t.Errorf("while both sign: %v", err)
		}
	}
	// Where nothing is appended meanwhile, the log is signed once more by the key that is new, and by it alone in the end.
	quiet := func(present secret.Text, previous ...secret.Text) {
		t.Helper()
		if b.keys, err = proof.ParseKeys(present, previous...); err != nil {
			t.Fatal(err)
		}
		b.signer = b.newSigner(t)
		b.sign(t)
		if report := b.verify(t); len(report.Findings) > 0 || report.Signed != 2 {
			t.Errorf("after a quiet rotation: %+v", report)
		}
	}
	quiet(older, newer)
	quiet(older)
	quiet(newer, older)
	use(newer)
	if report := b.verify(t); len(report.Findings) > 0 || report.Signed != 3 {
		t.Errorf("after the older key has gone: %+v", report)
	}
	for _, bad := range []secret.Text{{}, secret.New("PRIVATE+KEY+x"), secret.New(newerPublic)} {
		if _, err := proof.ParseKeys(bad); !errors.Is(err, proof.ErrBadSigningKey) {
			t.Errorf("a bad key: %v", err)
		}
	}
	stranger, _, err := proof.GenerateKey("another.example.org/log")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := proof.ParseKeys(newer, stranger); err == nil || strings.Contains(err.Error(), "PRIVATE") {
		t.Errorf("a previous key of another name: %v", err)
	}
	if _, _, err := proof.GenerateKey("two words"); err == nil {
		t.Error("a name with a space is accepted")
	}
}
