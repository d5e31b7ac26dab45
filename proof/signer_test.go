package proof_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/proof"
)

func TestTheSignerCoversWhatIsAppended(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.sign(t)
	if _, err := b.tree.Checkpoint(t.Context()); !errors.Is(err, proof.ErrNoCheckpoint) {
		t.Fatalf("an empty log has a checkpoint: %v", err)
	}
	var older []tlog.Tree
	for _, n := range []int{1, 254, 1, 1, 255, 500} { // around the ends of tiles
		b.append(t, n)
		b.sign(t)
		text, err := b.tree.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if kept, err := b.kept.Read(); err != nil || kept != text {
			t.Errorf("the kept checkpoint is %q, want %q: %v", kept, text, err)
		}
		tree, err := b.keys.Policy().ReadCheckpoint(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, old := range older {
			if err := b.tree.Grown(t.Context(), old, tree); err != nil {
				t.Errorf("from %d to %d: %v", old.N, tree.N, err)
			}
			other := tlog.Tree{N: old.N, Hash: tlog.RecordHash([]byte("another"))}
			if _, ok := errors.AsType[*proof.GrownError](b.tree.Grown(t.Context(), other, tree)); !ok {
				t.Errorf("another log of %d events is accepted as the older one", old.N)
			}
		}
		older = append(older, tree)
		if report := b.verify(t); len(report.Findings) > 0 || report.Signed != tree.N || report.Head != tree.N || !report.Checked {
			t.Fatalf("verify: %+v", report)
		}
	}
	for position := range older[len(older)-1].N {
		bundle, err := b.tree.Prove(t.Context(), b.log, position+1)
		if err != nil {
			t.Fatal(err)
		}
		if entry, _, err := b.keys.Policy().Check(bundle); err != nil || entry.Position != position+1 {
			t.Fatalf("position %d: %+v, %v", position+1, entry, err)
		}
	}
}

func TestTheRunningSignerFollowsTheLog(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	conn := b.pool.Config().ConnConfig
	feed := events.NewFeed(events.FeedConfig{Pool: b.pool, Conn: conn})
	t.Cleanup(func() { _ = feed.Close() })
	signed := make(chan string, 100)
	signer := b.newSigner(t, func(c *proof.SignerConfig) { c.Feed, c.Signed = feed, func(text string) { signed <- text } })
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { signer.Run(ctx) })
	for want := int64(1); want <= 3; want++ {
		b.append(t, 1)
		if tree, err := b.keys.Policy().ReadCheckpoint(<-signed); err != nil || tree.N != want {
			t.Fatalf("signed %d, want %d: %v", tree.N, want, err)
		}
	}
	// Another waits while this one has the lease, and may go on once it has stopped.
	b.append(t, 1)
	<-signed
	if err := b.newSigner(t).Advance(t.Context()); !errors.Is(err, proof.ErrLeased) {
		t.Fatalf("a second signer signs: %v", err)
	}
	stop()
	running.Wait()
	if err := b.newSigner(t).Advance(t.Context()); err != nil {
		t.Fatalf("the next signer does not sign: %v", err)
	}
}

func TestTheSignerRefusesWhatContradictsTheKeptCheckpoint(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		do   func(t *testing.T, b *bench)
		want string
	}{
		"an older backup": {func(t *testing.T, b *bench) {
			t.Helper()
			b.exec(t, `DELETE FROM events WHERE position > 200`, `DELETE FROM log_tiles`, `DELETE FROM log_checkpoints`,
				`UPDATE log_tree SET size = 0, root = sha256('')`)
		}, "300 events were signed and it has 200"},
		"another history": {func(t *testing.T, b *bench) {
			t.Helper()
			b.exec(t, `UPDATE events SET actor = 'other' WHERE position = 7`, `DELETE FROM log_tiles`, `DELETE FROM log_checkpoints`,
				`UPDATE log_tree SET size = 0, root = sha256('')`)
		}, "its first 300 events hash to another root"},
		"an event far ahead": {func(t *testing.T, b *bench) {
			t.Helper()
			b.exec(t, `INSERT INTO events SELECT 4611686018427387904, gen_random_uuid(), 'x', 1, type, schema, occurred_at, actor, correlation_id, payload
				FROM events WHERE position = 3`)
		}, "position 301 is missing"},
		"a row that cannot be read": {func(t *testing.T, b *bench) {
			t.Helper()
			b.append(t, 1)
			b.exec(t, `UPDATE events SET occurred_at = 'infinity' WHERE position = 301`)
		}, "what follows position 300 cannot be read"},
		"missing hashes": {func(t *testing.T, b *bench) {
			t.Helper()
			b.exec(t, `DELETE FROM log_tiles WHERE level = 0 AND n = 1`)
		}, "hashes of the tree of 300 events are missing"},
		"other hashes": {func(t *testing.T, b *bench) {
			t.Helper()
			b.exec(t, `UPDATE log_tiles SET hashes = set_byte(hashes, 0, 255 - get_byte(hashes, 0)) WHERE level = 1`)
		}, "the hashes of the tree of 300 events are not those that were stored"},
		"another history, signed by another process": {func(t *testing.T, b *bench) {
			t.Helper()
			b.exec(t, `UPDATE events SET actor = 'other' WHERE position = 7`, `DELETE FROM log_tiles`, `DELETE FROM log_checkpoints`,
				`UPDATE log_tree SET size = 0, root = sha256('')`)
			text, err := b.kept.Read()
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(string(b.kept)); err != nil {
				t.Fatal(err)
			}
			b.sign(t)
			if err := os.WriteFile(string(b.kept), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "the first 300 of the log's 300 events are not those of the older checkpoint"},
		"a kept checkpoint of another key": {func(t *testing.T, b *bench) {
			t.Helper()
			b.keys = newKeys(t)
			b.signer = b.newSigner(t)
			b.exec(t, `UPDATE log_tree SET until = '-infinity'`)
		}, "the kept checkpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.append(t, 300)
			b.sign(t)
			test.do(t, b)
			err := b.signer.Advance(t.Context())
			if refused, ok := errors.AsType[*proof.RefusedError](err); !ok || !strings.Contains(refused.Error(), test.want) {
				t.Errorf("the signer says %v, want %q", err, test.want)
			}
		})
	}
}

// TestASignerThatDiesBetweenFileAndCommitGoesOn is the crash between the two places that a checkpoint is written to.
func TestASignerThatDiesBetweenFileAndCommitGoesOn(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.append(t, 300)
	b.sign(t)
	b.append(t, 300)
	b.sign(t)
	b.exec(t, `DELETE FROM log_tiles`, `DELETE FROM log_checkpoints WHERE size > 300`, `UPDATE log_tree SET size = 0, root = sha256('')`)
	b.append(t, 1)
	b.sign(t)
	if report := b.verify(t); len(report.Findings) > 0 || report.Signed != 601 {
		t.Fatalf("verify: %+v", report)
	}
}
