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
)

func (p *program) subscriptionsCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "subscriptions",
		Short: "Who is given the log, how far they are, and what they hold back",
		Long: `Lists the consumer groups of the feed: relays to NATS, Kafka and webhooks, and
handlers of programs that embed forgeauth. Each has a cursor, up to which
everything of its types is handled; what follows it is its lag.

  live      a process runs it, and all is well
  waiting   no process runs it: it goes on when one does
  failing   the event that is next was not handled yet; it is tried again
  paused    it failed as often as it is tried: all of it waits for a person
  degraded  it does not hear of forge switches, because it holds back the stream
            active-forge
  disabled  it is given nothing until a person enables it

A group that parks holds back one stream, from the event that it could not
handle on, and goes on with the others. Notes on standard error say what needs
somebody, and which command helps.

These need the database and no encryption key; serve may be running. What they
ask for is done by the process that runs the group, at once or when there is
one.`,
		Example: "  forgeauth subscriptions\n  forgeauth subscriptions --json | jq -r '.[] | select(.lag > 100) | .group'",
		Args:    cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error {
			return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
				groups, err := service.Subscriptions().List(ctx)
				if err != nil {
					return err
				}
				return p.printSubscriptions(groups, asJSON)
			})
		}),
	}
	jsonFlag(command, &asJSON)
	command.AddCommand(p.subscriptionsShowCommand(), p.subscriptionsRetryCommand(), p.subscriptionsSkipCommand(),
		p.subscriptionsEnableCommand(), p.subscriptionsDisableCommand(), p.subscriptionsRemoveCommand())
	return command
}

// The states of a group, the worst that applies.
const (
	groupLive     = "live"
	groupWaiting  = "waiting"
	groupFailing  = "failing"
	groupPaused   = "paused"
	groupDegraded = "degraded"
	groupDisabled = "disabled"
)

func stateOf(s events.Subscription) string {
	switch {
	case !s.DisabledAt.IsZero():
		return groupDisabled
	case s.Paused:
		return groupPaused
	case s.Degraded():
		return groupDegraded
	case !s.Live:
		return groupWaiting
	case s.Attempts > 0:
		return groupFailing
	default:
		return groupLive
	}
}

func (p *program) printSubscriptions(groups []events.Subscription, asJSON bool) error {
	if asJSON {
		items := make([]subscriptionItem, 0, len(groups))
		for _, s := range groups {
			items = append(items, newSubscriptionItem(s))
		}
		return printJSON(p, items)
	}
	if len(groups) == 0 {
		p.printf("Nobody is given the log yet: `forgeauth help environment` says how to set up a relay.\n")
		return nil
	}
	header := []string{"group", "types", "cursor", "lag", "behind", "parked", "owner", "state"}
	rows := make([][]string, 0, len(groups))
	for _, s := range groups {
		behind := "-"
		if s.Lag > 0 {
			behind = age(s.Behind)
		}
		rows = append(rows, []string{
			s.Name, briefly(s.Types), strconv.FormatInt(s.Position, 10), strconv.FormatInt(s.Lag, 10), behind,
			strconv.Itoa(len(s.Parked)), orDash(s.Owner), stateOf(s),
		})
	}
	const types, owner, group = 1, 6, 0
	p.printTable(header, fitted(header, rows, p.columns, types, owner, group))
	for _, s := range groups {
		for _, note := range subscriptionNotes(s) {
			p.note("%s: %s", s.Name, note)
		}
	}
	return nil
}

// subscriptionNotes says what about a group needs somebody.
func subscriptionNotes(s events.Subscription) (notes []string) {
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	switch {
	case !s.DisabledAt.IsZero():
		note("disabled since %s (%s): `forgeauth subscriptions enable %s` has it go on", moment(s.DisabledAt), s.DisabledFor, s.Name)
	case s.Paused:
		note("paused at an event that failed %s: `forgeauth subscriptions show %s`", times(s.Attempts), s.Name)
	case s.Attempts > 0:
		note("failed %s since %s, tried again at %s: %s", times(s.Attempts), moment(s.FailingSince), moment(s.RetryAt), s.Error)
	}
	if n := len(s.Parked); n > 0 {
		note("holds back %s: `forgeauth subscriptions show %s`", counted(n, "stream"), s.Name)
	}
	if !s.Live && s.Lag > 0 {
		note("no process runs it, and it is %s behind", counted(s.Lag, "event"))
	}
	return notes
}

// standstill says why nothing that is asked of a group is done at the moment; empty if it is.
func standstill(s events.Subscription) string {
	switch {
	case !s.DisabledAt.IsZero():
		return fmt.Sprintf("%s is disabled: this is done when it is enabled: `forgeauth subscriptions enable %s`", s.Name, s.Name)
	case !s.Live:
		return fmt.Sprintf("no process runs %s at the moment: this is done when one does", s.Name)
	default:
		return ""
	}
}

// briefly names types in a cell of a table.
func briefly(types []string) string {
	switch len(types) {
	case 0:
		return "all"
	case 1:
		return types[0]
	default:
		return counted(len(types), "type")
	}
}

// listOfTypes names all of them.
func listOfTypes(types []string) string {
	if len(types) == 0 {
		return "all"
	}
	return strings.Join(types, ", ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// age prints a duration for people, in its largest unit.
func age(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < day:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/day)
	}
}

// counted is "1 event", "2 events".
func counted[N int | int64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// times is "once", "2 times".
func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
