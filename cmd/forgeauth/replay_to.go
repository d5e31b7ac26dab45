package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
)

// replayOptions is what the command line of replay-to says.
type replayOptions struct {
	from, to     string
	types        []string
	dryRun, wait bool
	json         bool
}

func (p *program) replayToCommand() *cobra.Command {
	var o replayOptions
	command := &cobra.Command{
		Use:   "replay-to GROUP --from POSITION|TIME",
		Short: "Give a group a part of the log once more",
		Long: `Has a group given a part of the log once more: of its types, or of some of them.
What happens now goes on being delivered beside it. Each message is marked as
replay, with the replay's id (ce_replayid), so that consumers can tell it from
the first time and deduplicate among the replay itself.

--from is the first position, or a time: in RFC 3339 (2026-11-26T15:00:00Z), or
how long ago (90s, 30m, 2h, 7d). --to is the last position, or the time before
which; without it, it is the group's cursor, which it never passes: what follows
the cursor is yet to be given out for the first time.

Events that the group holds back are among them. An event that fails as often as
it is tried ends the replay; nothing is parked for it. One replay of a group
goes on at a time. The process that runs the group carries it out, at once or
when there is one; it goes on after restarts.

--dry-run says which events those are, and does nothing. --wait shows how far it
is until it has ended, and fails if that was early; interrupting the wait does
not end the replay. Leaves a fact on the log: ReplayRequested.`,
		Example: `  forgeauth replay-to chat --from 2h --type ForgeActivated --dry-run
  forgeauth replay-to chat --from 1200 --to 1300 --wait
  forgeauth replay-to chat --from 2026-11-26T15:00:00Z --json | jq -r .replay`,
		Args:              oneArgument("GROUP"),
		ValidArgsFunction: p.completeGroup,
		RunE: p.action(func(ctx context.Context, args []string) error {
			return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
				return p.replayTo(ctx, service, args[0], o)
			})
		}),
	}
	flags := command.Flags()
	flags.StringVar(&o.from, "from", "", "the first position, a time, or how long ago")
	flags.StringVar(&o.to, "to", "", "the last position, the time before which, or how long ago")
	flags.StringSliceVar(&o.types, "type", nil, "events of this type alone; may be repeated")
	flags.BoolVar(&o.dryRun, "dry-run", false, "say what would be replayed, and do nothing")
	flags.BoolVar(&o.wait, "wait", false, "show how far it is, until it has ended")
	_ = command.MarkFlagRequired("from") // it is there
	command.MarkFlagsMutuallyExclusive("dry-run", "wait")
	_ = command.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(events.Types(), cobra.ShellCompDirectiveNoFileComp))
	jsonFlag(command, &o.json)
	return command
}

// replayDocument is what replay-to did or would do, as data.
type replayDocument struct {
	Group  string     `json:"group"`
	DryRun bool       `json:"dry_run"`
	Replay *uuid.UUID `json:"replay"` // null for a dry run
	// After and Through bound the positions: after < position ≤ through.
	After   int64           `json:"after"`
	Through int64           `json:"through"`
	Count   int64           `json:"count"`
	Types   []typeCountItem `json:"types"`
	EndedAt *time.Time      `json:"ended_at"` // null where it was not waited for
	Events  []appended      `json:"events"`   // that the command wrote
}

// typeCountItem says how many events of a type there are, and where.
type typeCountItem struct {
	Type  string    `json:"type"`
	Count int64     `json:"count"`
	First int64     `json:"first"` // position
	Last  int64     `json:"last"`
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
}

func (p *program) replayTo(ctx context.Context, service *forgeauth.Service, name string, o replayOptions) error {
	group, err := service.Subscriptions().Get(ctx, name)
	if err != nil {
		return err
	}
	req, err := p.replayRequest(ctx, service.Log(), name, o)
	if err != nil {
		return err
	}
	plan, err := service.Commands().PlanReplay(ctx, req)
	if err != nil {
		return misspelt(err)
	}
	types := plan.Types
	if len(types) == 0 {
		types = group.Types
	}
	counts, err := service.Log().Count(ctx, events.Query{After: plan.After, Through: plan.Through, Types: types})
	if err != nil {
		return err
	}
	document := newReplayDocument(plan, counts)
	if document.Count == 0 {
		return commands.ErrNothingToReplay
	}
	if o.dryRun {
		document.DryRun = true
		return p.printReplay(document, o.json)
	}
	req.Through = plan.Through // what was counted
	written, err := service.Commands().RequestReplay(ctx, req)
	if err != nil {
		return misspelt(err)
	}
	id := written[0].Fact.(events.ReplayRequested).Replay //nolint:forcetypeassert // what it writes
	document.Replay, document.Events = &id, appendedOf(written)
	if !o.json {
		if err := p.printReplay(document, false); err != nil {
			return err
		}
	}
	p.noteStandstill(group)
	if group.Paused {
		p.note("%s is paused: the replay begins when it goes on: `forgeauth subscriptions show %s`", group.Name, group.Name)
	}
	if o.wait {
		if document.EndedAt, err = p.awaitReplay(ctx, service.Subscriptions(), id); err != nil {
			return err
		}
		if !o.json {
			p.printf("Replayed\n")
		}
	}
	if o.json {
		return printJSON(p, document)
	}
	return nil
}

// misspelt has an error about the command line end as one.
func misspelt(err error) error {
	if _, ok := errors.AsType[*commands.UnknownTypeError](err); ok {
		return &usageError{err: err, command: "forgeauth replay-to"}
	}
	return err
}

func newReplayDocument(plan events.ReplayRequested, counts []events.TypeCount) replayDocument {
	d := replayDocument{
		Group: plan.Group, After: plan.After, Through: plan.Through, Types: make([]typeCountItem, 0, len(counts)), Events: []appended{},
	}
	for _, c := range counts {
		d.Count += c.Count
		d.Types = append(d.Types, typeCountItem(c))
	}
	return d
}

func (p *program) printReplay(d replayDocument, asJSON bool) error {
	if asJSON {
		return printJSON(p, d)
	}
	rows := make([][]string, 0, len(d.Types))
	for _, c := range d.Types {
		rows = append(rows, []string{c.Type, strconv.FormatInt(c.Count, 10), fmt.Sprintf("%d–%d", c.First, c.Last), moment(c.From), moment(c.Until)})
	}
	p.printTable([]string{"type", "events", "positions", "from", "until"}, rows)
	if d.DryRun {
		p.printf("\n%s would be given to %s once more. Nothing was done: leave out --dry-run to do it\n", counted(d.Count, "event"), d.Group)
		return nil
	}
	p.printf("\n%s to be given to %s once more, as replay %s (event %d)\n", counted(d.Count, "event"), d.Group, d.Replay, d.Events[0].Position)
	return nil
}
