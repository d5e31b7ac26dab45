package commands

import (
	"context"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/google/uuid"
)

const (
	// firstBackoff is how long after the first attempt the second is due, and the least that lies between any two: more than
	// an attempt can take, so that the next one finds it ended.
	firstBackoff = time.Minute
	// maxBackoff ends the doubling.
	maxBackoff = 6 * time.Hour
	// revocationPatience is how long a forge is told before it is given up.
	revocationPatience = 7 * 24 * time.Hour
)

// backoff is how long after the n-th attempt the next one is due: a minute, then twice as long each time, up to six hours;
// and up to a quarter more, drawn by the token, so that what began together does not stay together.
func backoff(dataKey uuid.UUID, n int) time.Duration {
	wait := maxBackoff
	if doublings := n - 1; doublings < 9 {
		wait = min(maxBackoff, firstBackoff<<doublings)
	}
	hash := fnv.New32a()
	_, _ = hash.Write(dataKey[:])
	_, _ = hash.Write([]byte(strconv.Itoa(n)))
	return (wait + wait/4*time.Duration(hash.Sum32()>>16)/(1<<16)).Truncate(time.Millisecond)
}

// nextAttempt is when the one after the n-th is due. The last one falls on the day on which patience ends, and not up to six
// hours later.
//
// All of these times are the log's clock, which is what a decision is given: the writer's own, but never behind an event that is
// there. So all processes agree on whose turn it is, whatever their own clocks say. One that is ahead takes a turn early, once,
// and the log's clock is ahead from then on; one that is behind waits longer.
func nextAttempt(dataKey uuid.UUID, n int, requestedAt, now time.Time) time.Time {
	next, deadline := now.Add(backoff(dataKey, n)), requestedAt.Add(revocationPatience)
	if now.Before(deadline) && next.After(deadline) {
		next = deadline
		if soonest := now.Add(firstBackoff); next.Before(soonest) {
			next = soonest
		}
	}
	return stored(next)
}

const (
	// settleEvery is how often the table is read at least: another process may have left what nobody has told this one of.
	settleEvery = 5 * time.Minute
	// settleSoonest keeps a process whose clock disagrees with the log's from asking all the time.
	settleSoonest = 10 * time.Second
)

// untilNextRevocation is how long nothing is due, by what the table says now.
func (c *Commands) untilNextRevocation(ctx context.Context) time.Duration {
	pending, err := c.reader.Revocations(ctx)
	if err != nil || len(pending) == 0 {
		return settleEvery
	}
	return min(settleEvery, max(settleSoonest, pending[0].NextAttemptAt.Sub(c.now())))
}

// keepSettling tells forges of pending revocations when they are due, until ctx ends.
func (c *Commands) keepSettling(ctx context.Context) {
	for ctx.Err() == nil {
		c.try(ctx, "settle revocations", c.settleRevocations(ctx))
		timer := time.NewTimer(c.untilNextRevocation(ctx))
		select {
		case <-timer.C:
		case <-c.unsettled:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}
