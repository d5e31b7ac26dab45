package commands

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	expireEvery    = 10 * time.Minute
	summariseEvery = time.Hour
	landing        = 10 * time.Second // what Run waits for refreshes that are under way; Close waits for the rest
	farewell       = 5 * time.Second  // what is left to be written at shutdown
)

// Run does what nobody waits for, until ctx ends: it extends sessions in use, ends those whose time is over and those that
// an allow-list let in that is no longer set, refreshes tokens before they expire, tells forges of pending revocations (when one
// was requested, and when the next attempt at one is due), asks forges what they say about tokens (about one that has come, and
// once a day about all), and once an hour and at the end writes how many denials were not recorded singly. Any number of
// processes may run it on one database. What fails is logged and tried again; the error is always nil.
func (c *Commands) Run(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case id := <-c.extensions.queue:
				c.try(ctx, "extend a session", c.extendSession(ctx, id))
			case <-ctx.Done():
				return
			}
		}
	})
	group.Go(func() {
		c.keepFresh(ctx)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), landing)
		defer cancel()
		c.land(ctx)
	})
	group.Go(func() { c.settleDoubts(ctx) })
	group.Go(func() { c.keepSettling(ctx) })
	group.Go(func() { c.watchGrants(ctx) })
	group.Go(func() {
		every(ctx, expireEvery, func() {
			c.try(ctx, "expire sessions", c.expireSessions(ctx))
			c.try(ctx, "end sessions of unknown accounts", c.endStrangers(ctx))
		})
	})
	group.Go(func() {
		every(ctx, summariseEvery, func() { c.try(ctx, "summarise denials", c.summariseDenials(ctx)) })
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		c.try(ctx, "summarise denials", c.summariseDenials(ctx))
	})
	group.Wait()
	return nil
}

// every calls do now and in intervals, until ctx ends.
func every(ctx context.Context, interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		do()
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// try logs what failed in the background, unless that is because of the end.
func (c *Commands) try(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		c.logger.WarnContext(ctx, "background work failed; it will be tried again", slog.String("work", what), slog.Any("error", err))
	}
}
