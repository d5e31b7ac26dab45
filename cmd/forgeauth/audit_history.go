package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/history"
)

// spanFlags say which part of the log to show.
type spanFlags struct {
	from, to string
	after    int64
	limit    int
	json     bool
}

const spanHelp = `

--from and --to take a position (1200), a time (2026-11-26T15:00:00Z), a day in
UTC (2026-11-26) or how long ago (90s, 2h, 7d); both ends are in it. Long
answers come in pages, oldest first: --after continues one.`

func (f *spanFlags) add(command *cobra.Command) {
	command.Long += spanHelp
	command.Flags().StringVar(&f.from, "from", "", "begin at this `MOMENT`")
	command.Flags().StringVar(&f.to, "to", "", "end with this `MOMENT`")
	command.Flags().Int64Var(&f.after, "after", 0, "continue after this `POSITION`")
	command.Flags().IntVar(&f.limit, "limit", 100, "show no more than this `MANY`; 0 is all")
	jsonFlag(command, &f.json)
}

// span parses the flags.
func (p *program) span(f spanFlags, command string) (history.Span, error) {
	span := history.Span{After: f.after, Limit: f.limit}
	if f.limit < 0 || f.after < 0 {
		return span, &usageError{fmt.Errorf("--limit and --after are not negative"), command}
	}
	for flag, to := range map[string]**events.Moment{"from": &span.From, "to": &span.To} {
		text := map[string]string{"from": f.from, "to": f.to}[flag]
		if text == "" {
			continue
		}
		moment, err := parseMoment("--"+flag, text, p.now(), command)
		if err != nil {
			return span, err
		}
		*to = &moment
	}
	return span, nil
}

// lister is a subcommand of audit that shows pages of one kind of answer.
type lister[T any] struct {
	use, short, long, example string
	args                      cobra.PositionalArgs
	flags                     func(*cobra.Command)
	read                      func(ctx context.Context, h *history.Reader, span history.Span, args []string) (history.Page[T], error)
	header                    []string
	row                       func(T) []string
	none                      string // what is said of an empty answer
}

func listCommand[T any](p *program, l lister[T]) *cobra.Command {
	var f spanFlags
	name, _, _ := strings.Cut(l.use, " ")
	if l.args == nil {
		l.args = cobra.NoArgs
	}
	command := &cobra.Command{
		Use: l.use, Short: l.short, Long: l.long, Example: l.example, Args: l.args,
		RunE: p.action(func(ctx context.Context, args []string) error {
			span, err := p.span(f, "forgeauth audit "+name)
			if err != nil {
				return err
			}
			return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
				page, err := l.read(ctx, service.History(), span, args)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				if f.json {
					return printJSON(p, page)
				}
				if len(page.Items) == 0 {
					p.printf("%s\n", l.none)
					return nil
				}
				rows := make([][]string, 0, len(page.Items))
				for _, item := range page.Items {
					rows = append(rows, l.row(item))
				}
				p.printTable(l.header, rows)
				if page.Next != nil {
					p.note("there is more: --after %d continues", *page.Next)
				}
				return nil
			})
		}),
	}
	f.add(command)
	if l.flags != nil {
		l.flags(command)
	}
	return command
}

func (p *program) auditSwitchesCommand() *cobra.Command {
	var forge string
	return listCommand(p, lister[history.Switch]{
		use: "switches", short: "Every change of the active forge",
		long: `Lists every change of the active forge: from where to where, when and for how
long, who asked for it and by which command, and with which generation of the
connection's token and as which account forgeauth acted from then on.`,
		example: "  forgeauth audit switches --from 7d\n  forgeauth audit switches --forge gitlab-work --json | jq '.items[].at'",
		flags: func(command *cobra.Command) {
			command.Flags().StringVar(&forge, "forge", "", "only switches from or to this `FORGE`")
		},
		read: func(ctx context.Context, h *history.Reader, span history.Span, _ []string) (history.Page[history.Switch], error) {
			return h.Switches(ctx, span, forge)
		},
		header: []string{"position", "at", "from", "to", "for", "by", "command", "token", "acts as"},
		row: func(s history.Switch) []string {
			return []string{
				position(s.Position), moment(s.At), orDash(s.From), orDash(s.To), lasted(s), actorOf(s), s.Command, generation(s.Generation), accountName(s.ActsAs),
			}
		},
		none: "The active forge did not change.",
	})
}

func (p *program) auditEventsCommand() *cobra.Command {
	var types []string
	var stream string
	return listCommand(p, lister[history.Event]{
		use: "events", short: "The log as it is",
		long: `Lists the events of the log with their payloads. What is sealed is not shown.`,
		example: `  forgeauth audit events --from 2026-11-26 --type TokenIssued,TokenRevoked
  forgeauth audit events --stream token/gitlab-work --limit 0 --json`,
		flags: func(command *cobra.Command) {
			command.Flags().StringSliceVar(&types, "type", nil, "only events of these `TYPES`")
			command.Flags().StringVar(&stream, "stream", "", "only events of this `STREAM`")
		},
		read: func(ctx context.Context, h *history.Reader, span history.Span, _ []string) (history.Page[history.Event], error) {
			if err := knownTypes(types, "forgeauth audit events"); err != nil {
				return history.Page[history.Event]{}, err
			}
			return h.Events(ctx, history.EventQuery{Span: span, Types: types, Stream: events.Stream(stream)})
		},
		header: []string{"position", "at", "type", "stream", "by", "payload"},
		row: func(e history.Event) []string {
			return []string{position(e.Position), moment(e.OccurredAt), e.Type, string(e.Stream), e.Actor, string(e.Payload)}
		},
		none: "No such event happened.",
	})
}

func (p *program) auditTokensCommand() *cobra.Command {
	return listCommand(p, lister[history.TokenStep]{
		use: "tokens FORGE", short: "The lineage of a connection's token", args: oneArgument("forge"),
		long: `Lists what happened to the token of a connection: linked, refreshed, rejected,
revoked, linked again. The generation counts the connection's tokens: it is the
version of the stream at which one was granted.`,
		example: "  forgeauth audit tokens gitlab-work",
		read: func(ctx context.Context, h *history.Reader, span history.Span, args []string) (history.Page[history.TokenStep], error) {
			return h.Tokens(ctx, args[0], span)
		},
		header: []string{"position", "at", "what", "detail", "generation", "account", "data key", "by"},
		row: func(s history.TokenStep) []string {
			key := "-"
			if s.DataKey != nil {
				key = s.DataKey.String()
			}
			return []string{position(s.Position), moment(s.At), s.What, orDash(s.Detail), generation(s.Generation), accountName(s.Account), key, s.Actor}
		},
		none: "Nothing happened to a token of that connection.",
	})
}

func (p *program) auditSessionsCommand() *cobra.Command {
	return listCommand(p, lister[history.SessionSpan]{
		use: "sessions", short: "Who was signed in, and how it ended",
		long:    `Lists the sessions that began in a part of the log, with what became of them.`,
		example: "  forgeauth audit sessions --from 30d",
		read: func(ctx context.Context, h *history.Reader, span history.Span, _ []string) (history.Page[history.SessionSpan], error) {
			return h.Sessions(ctx, span)
		},
		header: []string{"position", "session", "account", "started", "ended", "why"},
		row: func(s history.SessionSpan) []string {
			ended := "-"
			if s.EndedAt != nil {
				ended = moment(*s.EndedAt)
			}
			return []string{position(s.Position), s.ID.String(), accountName(&s.Account), moment(s.StartedAt), ended, orDash(s.Reason)}
		},
		none: "Nobody signed in.",
	})
}

func (p *program) auditDeniedCommand() *cobra.Command {
	return listCommand(p, lister[history.Denial]{
		use: "denied", short: "Who was turned away",
		long: `Lists sign-ins that were refused. Beyond a cap they are not written down one by
one but counted.`,
		example: "  forgeauth audit denied --from 24h",
		read: func(ctx context.Context, h *history.Reader, span history.Span, _ []string) (history.Page[history.Denial], error) {
			return h.Denied(ctx, span)
		},
		header: []string{"position", "at", "account", "account id", "why", "count"},
		row: func(d history.Denial) []string {
			if d.Account == nil {
				return []string{position(d.Position), moment(d.At), "-", "-", "beyond the cap since " + moment(*d.From), strconv.FormatInt(d.Count, 10)}
			}
			return []string{position(d.Position), moment(d.At), accountName(d.Account), d.Account.AccountID, d.Reason, "1"}
		},
		none: "Nobody was turned away.",
	})
}

func position(n int64) string { return strconv.FormatInt(n, 10) }

func generation(n int64) string {
	if n == 0 {
		return "-"
	}
	return "generation " + strconv.FormatInt(n, 10)
}

func accountName(account *events.Account) string {
	if account == nil {
		return "-"
	}
	return account.ForgeType + ":" + account.AccountLogin
}

// lasted says for how long a switch held.
func lasted(s history.Switch) string {
	text := time.Duration(s.Seconds * float64(time.Second)).Round(time.Millisecond).String()
	if s.Until == nil {
		return text + " so far"
	}
	return text
}

func actorOf(s history.Switch) string {
	if s.SignedInAs != nil {
		return accountName(s.SignedInAs) + " in " + s.Actor
	}
	return s.Actor
}
