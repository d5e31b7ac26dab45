package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
)

const (
	// lookEvery is how often --wait looks how far a replay is.
	lookEvery = 200 * time.Millisecond
	// lineEvery is how many percent pass between two lines where there is no terminal.
	lineEvery = 10
)

// awaitReplay shows how far a replay is until it has ended, and returns when that was. The bar, or the lines where no terminal sees
// a bar, count positions of the log.
func (p *program) awaitReplay(ctx context.Context, subscriptions *events.Subscriptions, id uuid.UUID) (*time.Time, error) {
	report, finish := p.progress("replaying")
	finish = sync.OnceFunc(finish)
	defer finish()
	if report == nil {
		report = p.progressLines()
	}
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		replay, err := subscriptions.Replay(ctx, id)
		switch {
		case err != nil:
			return nil, err
		case replay.Error != "":
			return nil, fmt.Errorf("the replay ended early, behind position %d: %s", replay.Position, replay.Error)
		case !replay.EndedAt.IsZero():
			report(replay.Through-replay.After, replay.Through-replay.After)
			return &replay.EndedAt, nil
		}
		report(replay.Position-replay.After, replay.Through-replay.After)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			finish()
			p.note("the replay goes on: `forgeauth subscriptions` shows how far it is")
			return nil, fmt.Errorf("wait for the replay: %w", ctx.Err())
		}
	}
}

// progressLines prints a line each time that another tenth is done.
func (p *program) progressLines() func(done, total int64) {
	var last int64
	return func(done, total int64) {
		if percent := 100 * done / total; percent/lineEvery > last/lineEvery {
			last = percent
			p.note("replayed %d %%, %d of %d positions", percent, done, total)
		}
	}
}
