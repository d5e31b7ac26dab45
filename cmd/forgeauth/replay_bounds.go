package main

import (
	"context"
	"fmt"
	"time"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
)

// replayRequest finds the positions that the command line means.
func (p *program) replayRequest(ctx context.Context, log *events.Log, group string, o replayOptions) (commands.RequestReplay, error) {
	req := commands.RequestReplay{Caller: cli(), Group: group, Types: o.types}
	now := p.now()
	from, err := parseMoment("--from", o.from, now, "forgeauth replay-to")
	if err != nil {
		return req, err
	}
	if req.After, err = from.Before(ctx, log); err != nil {
		return req, err
	}
	if o.to == "" {
		return req, nil
	}
	to, err := parseMoment("--to", o.to, now, "forgeauth replay-to")
	if err != nil {
		return req, err
	}
	if req.Through, _, err = to.Through(ctx, log, now); err != nil {
		return req, err
	}
	if req.Through <= req.After {
		return req, commands.ErrNothingToReplay
	}
	return req, nil
}

// parseMoment reads a place on the log that a flag of a command names.
func parseMoment(flag, text string, now time.Time, command string) (events.Moment, error) {
	moment, err := events.ParseMoment(text, now)
	if err != nil {
		return moment, &usageError{err: fmt.Errorf("%s %q: %w", flag, text, err), command: command}
	}
	return moment, nil
}
