package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/events"
)

func (p *program) subscriptionsShowCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "show GROUP",
		Short: "What one group holds back, and how far its replays are",
		Long: `Shows one consumer group: its cursor and owner, the event that fails, each
stream that it holds back, with the error and the commands that help, and its
replays.

Of a stream that is held back, the event at the named position could not be
handled; it and what follows it in that stream wait.`,
		Example: "  forgeauth subscriptions show chat\n  forgeauth subscriptions show chat --json | jq '.parked[].error'",
		Args:    oneArgument("GROUP"),
		RunE: p.action(func(ctx context.Context, args []string) error {
			return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
				s, err := service.Subscriptions().Get(ctx, args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(p, newSubscriptionItem(s))
				}
				p.showSubscription(s)
				return nil
			})
		}),
	}
	command.ValidArgsFunction = p.completeGroup
	jsonFlag(command, &asJSON)
	return command
}

// showSubscription prints a group for people.
func (p *program) showSubscription(s events.Subscription) {
	p.printf("%s is %s\n\n", s.Name, stateOf(s))
	p.field("types", listOfTypes(s.Types))
	cursor := fmt.Sprintf("%d, nothing behind", s.Position)
	if s.Lag > 0 {
		cursor = fmt.Sprintf("%d, %s and %s behind", s.Position, counted(s.Lag, "event"), age(s.Behind))
	}
	p.field("cursor", cursor+", moved last at "+moment(s.MovedAt))
	switch {
	case s.Owner == "":
		p.field("owner", "none: no process runs it")
	case s.Live:
		p.field("owner", s.Owner)
	default:
		p.field("owner", fmt.Sprintf("%s, not heard of since %s", s.Owner, moment(s.SeenAt)))
	}
	if !s.DisabledAt.IsZero() {
		p.field("disabled", fmt.Sprintf("since %s, %s", moment(s.DisabledAt), s.DisabledFor))
		p.field("", fmt.Sprintf("`forgeauth subscriptions enable %s` has it go on", s.Name))
	}
	if s.Attempts > 0 {
		p.showFailing(s)
	}
	for _, held := range s.Parked {
		p.showParked(s.Name, held)
	}
	for _, r := range s.Replays {
		p.showReplay(r)
	}
}

func (p *program) showFailing(s events.Subscription) {
	next := "tried again at " + moment(s.RetryAt)
	if s.Paused {
		next = "paused"
	}
	p.printf("\nStands at position %d of %s:\n\n", s.FailingAt.Position, s.FailingAt.Stream)
	p.field("event", s.FailingAt.Type)
	p.field("failed", fmt.Sprintf("%s since %s, %s", times(s.Attempts), moment(s.FailingSince), next))
	p.field("error", s.Error)
	p.field("try now", fmt.Sprintf("`forgeauth subscriptions retry %s`", s.Name))
	p.field("leave out", fmt.Sprintf("`forgeauth subscriptions skip %s --stream %s --position %d`", s.Name, s.FailingAt.Stream, s.FailingAt.Position))
}

func (p *program) showReplay(r events.Replay) {
	p.printf("\nReplay of positions %d–%d:\n\n", r.After+1, r.Through)
	p.field("id", r.ID.String())
	p.field("types", listOfTypes(r.Types))
	p.field("asked for", fmt.Sprintf("at %s by %s", moment(r.RequestedAt), r.RequestedBy))
	switch {
	case r.Error != "":
		p.field("ended", fmt.Sprintf("early, at %s, behind position %d", moment(r.EndedAt), r.Position))
		p.field("error", r.Error)
	case !r.EndedAt.IsZero():
		p.field("done", "at "+moment(r.EndedAt))
	default:
		p.field("done", fmt.Sprintf("%d %%, through position %d", percent(r), r.Position))
	}
}

func (p *program) showParked(group string, held events.ParkedStream) {
	p.printf("\nHolds back %s from position %d on, %s:\n\n", held.Stream, held.Position, counted(held.Waiting, "event"))
	p.field("event", held.Type)
	p.field("failed", fmt.Sprintf("%s, parked at %s", times(held.Attempts), moment(held.ParkedAt)))
	p.field("error", held.Error)
	if held.Request != "" {
		p.field("asked for", held.Request+", which is yet to be carried out")
		return
	}
	p.field("try again", fmt.Sprintf("`forgeauth subscriptions retry %s --stream %s`", group, held.Stream))
	p.field("leave out", fmt.Sprintf("`forgeauth subscriptions skip %s --stream %s --position %d`", group, held.Stream, held.Position))
}

// field prints what something is called and what it is, folded to the terminal; a command, in backquotes, stays whole.
func (p *program) field(name, value string) {
	const label = 13
	width := max(cmp.Or(p.columns, 100), helpWidth) - label
	lines := []string{value}
	if !strings.HasPrefix(value, "`") {
		lines = fold(value, width)
	}
	for i, line := range lines {
		if i > 0 {
			name = ""
		}
		p.printf("  %-*s%s\n", label-2, name, line)
	}
}

// percent is how much of the log a replay has been through.
func percent(r events.Replay) int64 {
	if r.Through <= r.After {
		return 100
	}
	return 100 * (r.Position - r.After) / (r.Through - r.After)
}
