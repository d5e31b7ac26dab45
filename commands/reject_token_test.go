package commands

import (
	"testing"
	"time"
)

// A token that has expired by the time that a doubt about it is settled is refused because of that, which is no verdict on it.
func TestADoubtAboutAnExpiredTokenIsNoVerdict(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	d.clock.advance(2 * time.Hour)
	port, err := d.OperatorAdapter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	works(t, port) // with a pair that came by a refresh, which is not refreshed again to find out
	doubted := d.row("gitlab")
	d.clock.advance(3 * time.Hour)
	settled := make(chan error, 1)
	go func() { settled <- d.settleDoubt(t.Context(), doubted) }()
	d.untilAsleep()
	d.clock.advance(confirmAfter)
	if err := <-settled; err != nil {
		t.Error(err)
	}
	if row := d.row("gitlab"); row.NeedsReauthSince != nil {
		t.Errorf("it is taken for refused: %s", row.NeedsReauthReason)
	}
	works(t, port)
}
