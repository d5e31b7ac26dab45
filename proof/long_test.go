package proof_test

import (
	"context"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/plausible"
	"github.com/forgeauth/forgeauth/proof"
)

// TestALongLogIsSignedAndVerified goes through several transactions of the signer and two levels of tiles: 50,000 events, or as many
// as FORGEAUTH_EVENTS says.
func TestALongLogIsSignedAndVerified(t *testing.T) {
	t.Parallel()
	size := 50_000
	if text := os.Getenv("FORGEAUTH_EVENTS"); text != "" {
		var err error
		if size, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	b := newBench(t)
	var batch []events.Record
	flush := func() {
		if err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error { return events.Import(t.Context(), tx, batch) }); err != nil {
			t.Fatal(err)
		}
		batch = batch[:0]
	}
	for record := range plausible.History(size, 2) {
		if batch = append(batch, record); len(batch) == 5000 {
			flush()
		}
	}
	flush()
	b.sign(t)
	if report := b.verify(t); len(report.Findings) > 0 || report.Signed != int64(size) {
		t.Fatalf("verify: %+v", report)
	}
	middle := int64(size) / 2
	bundle, err := b.tree.Prove(t.Context(), b.log, middle)
	if err != nil {
		t.Fatal(err)
	}
	if entry, tree, err := b.keys.Policy().Check(bundle); err != nil || entry.Position != middle || tree.N != int64(size) {
		t.Errorf("position %d of %d: %v", entry.Position, tree.N, err)
	}
	b.exec(t, `UPDATE events SET actor = 'x' WHERE position IN (`+strconv.FormatInt(middle, 10)+`, 300)`)
	report := b.verify(t)
	if len(report.Findings) != 2 || report.Findings[0].From != 300 || report.Findings[1].From != middle {
		t.Errorf("two events were changed, and found was %+v", report.Findings)
	}
}

// TestRaceOfVerifyWithSignersAndAppends: whatever moment verify looks at, nothing is wrong.
func TestRaceOfVerifyWithSignersAndAppends(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	feed := events.NewFeed(events.FeedConfig{Pool: b.pool, Conn: b.pool.Config().ConnConfig})
	t.Cleanup(func() { _ = feed.Close() })
	ctx, stop := context.WithCancel(t.Context())
	var signing, working sync.WaitGroup
	for i := range 2 { // each has a file of its own, as on two machines
		kept := b.kept + proof.Kept(strconv.Itoa(i))
		signer := b.newSigner(t, func(c *proof.SignerConfig) { c.Feed, c.Kept = feed, kept })
		signing.Go(func() { signer.Run(ctx) })
		working.Go(func() {
			for range 10 {
				text, err := kept.Read()
				if err != nil {
					t.Error(err)
					return
				}
				policy := b.keys.Policy()
				report, err := proof.Verify(t.Context(), b.pool, proof.VerifyOptions{Policy: &policy, Kept: text})
				if err != nil || len(report.Findings) > 0 {
					t.Errorf("verify: %+v, %v", report, err)
				}
				if err := signer.Err(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	working.Go(func() {
		for range 50 {
			b.append(t, 13)
		}
	})
	working.Wait()
	stop()
	signing.Wait()
	if err := b.newSigner(t, func(c *proof.SignerConfig) { c.Kept = b.kept + "0" }).Advance(t.Context()); err != nil {
		t.Fatal(err)
	}
	if tree, err := b.tree.Signed(t.Context()); err != nil || tree != 650 {
		t.Errorf("signed up to %d: %v", tree, err)
	}
}
