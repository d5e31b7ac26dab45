package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/history"
	"github.com/forgeauth/forgeauth/projections"
)

// knownTypes refuses types of events that there are not.
func knownTypes(types []string, command string) error {
	for _, name := range types {
		if !slices.Contains(events.Types(), name) {
			return &usageError{fmt.Errorf("there is no type of event %q: one of %s", name, strings.Join(events.Types(), ", ")), command}
		}
	}
	return nil
}

func (p *program) auditReplayCommand() *cobra.Command {
	const name = "forgeauth audit replay"
	var f spanFlags
	var types []string
	command := &cobra.Command{
		Use:   "replay",
		Short: "Play the log, event by event",
		Long: `Plays a part of the log forward: for each event what happened, what it changed
in the tables (before → after), and what GET /me would have said right after.
Sealed columns are told by their length and the beginning of their hash. With
--json each event is a line.`,
		Example: "  forgeauth audit replay --from 2h\n  forgeauth audit replay --type ForgeActivated --json | jq .me.forge_type",
		Args:    cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error {
			span, err := p.span(f, name)
			if err != nil {
				return err
			}
			if err := knownTypes(types, name); err != nil {
				return err
			}
			return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
				progress, finish := p.progress("folding what came before")
				defer finish()
				shown := 0
				for step, err := range service.History().Replay(ctx, history.ReplayQuery{Span: span, Types: types, Progress: progress}) {
					if err != nil {
						return fmt.Errorf("replay: %w", err)
					}
					if shown == 0 {
						finish()
					}
					shown++
					if f.json {
						err = printLine(p, step)
					} else {
						p.printStep(step)
					}
					if err != nil {
						return err
					}
					if shown == span.Limit {
						p.note("there may be more: --after %d continues", step.Event.Position)
					}
				}
				if shown == 0 && !f.json {
					p.printf("Nothing of that happened.\n")
				}
				return nil
			})
		}),
	}
	f.add(command)
	command.Flags().StringSliceVar(&types, "type", nil, "show only events of these `TYPES`")
	return command
}

func (p *program) printStep(step history.Step) {
	e := step.Event
	p.printf("#%d  %s  %s on %s by %s\n", e.Position, moment(e.OccurredAt), e.Type, e.Stream, e.Actor)
	p.printf("    %s\n", e.Payload)
	for i, change := range step.Changes {
		gone := change.After == nil
		if gone && i > 0 && step.Changes[i-1].After == nil && step.Changes[i-1].Table == change.Table && step.Changes[i-1].Key == change.Key {
			continue // a row that is gone is one line
		}
		if change.Before == nil && slices.Contains(unset, *change.After) {
			continue
		}
		p.printf("    %s\n", changeLine(change))
	}
	if step.Committed {
		p.printf("    /me: %s\n\n", meLine(step.Me))
	} else {
		p.printf("    committed together with the next\n\n")
	}
}

// unset are values of columns of a new row that say nothing.
var unset = []string{"", "null", "none", "0", "false", uuid.Nil.String()}

func changeLine(c projections.Change) string {
	at := c.Table
	if c.Key != "true" { // of tables with one row
		at += " " + c.Key
	}
	quoted := func(text string) string {
		if text == "" {
			return `""`
		}
		return text
	}
	switch {
	case c.After == nil:
		return "- " + at
	case c.Before == nil:
		return "+ " + at + " " + c.Column + ": " + quoted(*c.After)
	default:
		return "  " + at + " " + c.Column + ": " + quoted(*c.Before) + " → " + quoted(*c.After)
	}
}

func meLine(me *commands.Me) string {
	if me == nil {
		return "412, no active forge"
	}
	return me.AccountLogin + " on " + me.ForgeType + " (" + me.BaseURL + ")"
}

func (p *program) auditExplainCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "explain POSITION",
		Short: "One event, with all of its command",
		Long: `Says of one event what happened, what it changed in the tables, what GET /me
would have said before and after, and which other events the same command wrote.`,
		Example: "  forgeauth audit explain 42",
		Args:    oneArgument("position"),
		RunE: p.action(func(ctx context.Context, args []string) error {
			at, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || at < 1 {
				return &usageError{fmt.Errorf("%q is no position", args[0]), "forgeauth audit explain"}
			}
			return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
				x, err := service.History().Explain(ctx, at)
				if err != nil {
					return fmt.Errorf("explain position %d: %w", at, err)
				}
				if asJSON {
					return printJSON(p, x)
				}
				p.printStep(x.Step)
				p.printf("/me before: %s\n/me after:  %s\n\n", meLine(x.Before), meLine(x.Me))
				p.printf("The command %s wrote:\n", x.Event.CorrelationID)
				for _, e := range x.Command {
					p.printf("  #%d  %s on %s by %s\n", e.Position, e.Type, e.Stream, e.Actor)
				}
				return nil
			})
		}),
	}
	jsonFlag(command, &asJSON)
	return command
}

func (p *program) stateCommand() *cobra.Command {
	var at string
	var asJSON bool
	command := &cobra.Command{
		Use:   "state",
		Short: "What was so at a time",
		Long: `Folds the log up to a moment, as the live tables are, and says what GET /me, GET
/forges and the sessions would have answered then. Expiry is judged at that
time; which forges are configured is what it is today. Never a token.

--at takes a position (1200), a time (2026-11-26T15:00:00Z), a day in UTC or how
long ago (2h, 7d).`,
		Example: "  forgeauth state --at 2026-11-26T15:00:00Z\n  forgeauth state --at 42 --json | jq .me",
		Args:    cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error {
			m, err := parseMoment("--at", at, p.now(), "forgeauth state")
			if err != nil {
				return err
			}
			return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
				s, err := service.History().At(ctx, m)
				if err != nil {
					return fmt.Errorf("state: %w", err)
				}
				if asJSON {
					return printJSON(p, s)
				}
				p.printSnapshot(s)
				return nil
			})
		}),
	}
	command.Flags().StringVar(&at, "at", "now", "the `MOMENT`")
	jsonFlag(command, &asJSON)
	return command
}

func (p *program) printSnapshot(s history.Snapshot) {
	p.printf("After position %d, at %s\n\n/me: %s\n\n", s.Position, moment(s.At), meLine(s.Me))
	var rows [][]string
	for _, f := range s.Forges {
		expires := "-"
		if f.ExpiresAt != nil {
			expires = moment(*f.ExpiresAt)
		}
		rows = append(rows, []string{f.ForgeType, f.State, orDash(f.AccountLogin), orDash(strings.Join(f.Scopes, " ")), expires, f.BaseURL})
	}
	if len(rows) > 0 {
		p.printTable([]string{"forge", "state", "account", "scopes", "expires", "base URL"}, rows)
		p.printf("\n")
	}
	rows = nil
	for _, session := range s.Sessions {
		state := "live"
		if !session.Live {
			state = "lapsed"
		}
		rows = append(rows, []string{session.ID.String(), accountName(&session.Account), moment(session.StartedAt), state})
	}
	if len(rows) == 0 {
		p.printf("Nobody was signed in.\n")
		return
	}
	p.printTable([]string{"session", "account", "started", "state"}, rows)
}

func (p *program) diffCommand() *cobra.Command {
	var from, to string
	var asJSON bool
	command := &cobra.Command{
		Use:   "diff",
		Short: "What changed between two times",
		Long: `Compares what forgeauth state says of two moments: of the active forge, each
connection, each session and the accounts that may sign in.`,
		Example: "  forgeauth diff --from 24h\n  forgeauth diff --from 40 --to 44 --json",
		Args:    cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error {
			const name = "forgeauth diff"
			if from == "" {
				return &usageError{fmt.Errorf("--from is missing"), name}
			}
			first, err := parseMoment("--from", from, p.now(), name)
			if err != nil {
				return err
			}
			second, err := parseMoment("--to", to, p.now(), name)
			if err != nil {
				return err
			}
			return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
				d, err := service.History().Diff(ctx, first, second)
				if err != nil {
					return fmt.Errorf("diff: %w", err)
				}
				if asJSON {
					return printJSON(p, d)
				}
				p.printDiff(d)
				return nil
			})
		}),
	}
	command.Flags().StringVar(&from, "from", "", "the earlier `MOMENT`")
	command.Flags().StringVar(&to, "to", "now", "the later `MOMENT`")
	jsonFlag(command, &asJSON)
	return command
}

func (p *program) printDiff(d history.Difference) {
	if len(d.Deltas) == 0 {
		p.printf("Nothing changed between position %d and %d.\n", d.From, d.To)
		return
	}
	rows := make([][]string, 0, len(d.Deltas))
	for _, delta := range d.Deltas {
		rows = append(rows, []string{delta.What, orDash(delta.Field), orDash(delta.Before), orDash(delta.After)})
	}
	p.printTable([]string{"what", "field", fmt.Sprintf("after #%d", d.From), fmt.Sprintf("after #%d", d.To)}, rows)
}
