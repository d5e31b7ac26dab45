package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
)

// bound is one end of a part of the log.
type bound struct {
	position int64 // 0 where it is a time
	at       time.Time
}

var errBound = errors.New("it is a position (1200), a time in RFC 3339 (2026-11-26T15:00:00Z), or how long ago (90s, 30m, 2h, 7d)")

var inDays = regexp.MustCompile(`^\d{1,5}d$`)

// parseBound reads what --from and --to can say.
func parseBound(text string, now time.Time) (bound, error) {
	if position, err := strconv.ParseInt(text, 10, 64); err == nil && position > 0 {
		return bound{position: position}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return bound{at: at}, nil
	}
	if inDays.MatchString(text) {
		days, _ := strconv.Atoi(text[:len(text)-1]) // digits
		return bound{at: now.AddDate(0, 0, -days)}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return bound{at: now.Add(-ago)}, nil
	}
	return bound{}, fmt.Errorf("%q: %w", text, errBound)
}

// replayRequest finds the positions that the command line means.
func (p *program) replayRequest(ctx context.Context, log *events.Log, group string, o replayOptions) (commands.RequestReplay, error) {
	req := commands.RequestReplay{Caller: cli(), Group: group, Types: o.types}
	now := p.now()
	from, err := parseBound(o.from, now)
	if err != nil {
		return req, &usageError{err: fmt.Errorf("--from %w", err), command: "forgeauth replay-to"}
	}
	req.After = from.position - 1
	if from.position == 0 {
		if req.After, err = log.PositionBefore(ctx, from.at); err != nil {
			return req, err
		}
	}
	if o.to == "" {
		return req, nil
	}
	to, err := parseBound(o.to, now)
	if err != nil {
		return req, &usageError{err: fmt.Errorf("--to %w", err), command: "forgeauth replay-to"}
	}
	req.Through = to.position
	if to.position == 0 {
		if req.Through, err = log.PositionBefore(ctx, to.at); err != nil {
			return req, err
		}
	}
	if req.Through <= req.After {
		return req, commands.ErrNothingToReplay
	}
	return req, nil
}
