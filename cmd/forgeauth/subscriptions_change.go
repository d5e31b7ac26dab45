package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
)

// groupCommand makes a command about one group. do returns what it wrote and says what follows from it.
func (p *program) groupCommand(
	command *cobra.Command, do func(context.Context, *forgeauth.Service, events.Subscription) (written []events.Event, said string, err error),
) *cobra.Command {
	var asJSON bool
	command.Args = oneArgument("GROUP")
	command.ValidArgsFunction = p.completeGroup
	jsonFlag(command, &asJSON)
	command.RunE = p.action(func(ctx context.Context, args []string) error {
		return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
			group, err := service.Subscriptions().Get(ctx, args[0])
			if err != nil {
				return err
			}
			written, said, err := do(ctx, service, group)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p, change{appendedOf(written)})
			}
			if len(written) > 0 {
				said += " (" + positions(written) + ")"
			}
			p.printf("%s\n", said)
			return nil
		})
	})
	return command
}

func (p *program) subscriptionsRetryCommand() *cobra.Command {
	var stream string
	command := p.groupCommand(&cobra.Command{
		Use:   "retry GROUP",
		Short: "Have a group try again what it holds back",
		Long: `Has a group try again what it holds back: one stream, or all of them and the
event at which it is paused or waits for its next try. What succeeds goes on
with the events behind it; what fails again is left to people again.`,
		Example: "  forgeauth subscriptions retry chat\n  forgeauth subscriptions retry chat --stream active-forge",
	}, func(ctx context.Context, service *forgeauth.Service, group events.Subscription) ([]events.Event, string, error) {
		if err := service.Subscriptions().Retry(ctx, group.Name, events.Stream(stream)); err != nil {
			return nil, "", err
		}
		p.noteStandstill(group)
		what := "what it holds back"
		if stream != "" {
			what = "stream " + stream
		}
		return nil, fmt.Sprintf("%s tries %s again: `forgeauth subscriptions show %s`", group.Name, what, group.Name), nil
	})
	streamFlag(command, &stream, "this stream alone")
	p.completeStream(command)
	return command
}

func (p *program) subscriptionsSkipCommand() *cobra.Command {
	var (
		stream   string
		position int64
		yes      bool
	)
	command := p.groupCommand(&cobra.Command{
		Use:   "skip GROUP --stream STREAM --position POSITION",
		Short: "Have a group leave out an event that it cannot handle",
		Long: `Has a group go on behind an event that it could not handle: one that it has
parked, or at which it is paused. The group never handles that event, unless it
is replayed. The position is named so that no other event is left out than the
one that was looked at: ` + "`forgeauth subscriptions show`" + ` says it.

Asks before it does so, and leaves a fact on the log: DeliverySkipped.`,
		Example: "  forgeauth subscriptions skip chat --stream active-forge --position 12",
	}, func(ctx context.Context, service *forgeauth.Service, group events.Subscription) ([]events.Event, string, error) {
		what := fmt.Sprintf("event %d of stream %s", position, stream)
		if err := p.confirm(ctx, yes, fmt.Sprintf("%s never handles %s%s", group.Name, what, typeOf(group, position)), "forgeauth subscriptions skip"); err != nil {
			return nil, "", err
		}
		written, err := service.Commands().SkipDelivery(ctx, commands.SkipDelivery{
			Caller: cli(), Group: group.Name, Stream: events.Stream(stream), Position: position,
		})
		if err != nil {
			return nil, "", err
		}
		p.noteStandstill(group)
		if len(written) == 0 {
			return nil, fmt.Sprintf("%s was told before to skip %s", group.Name, what), nil
		}
		return written, fmt.Sprintf("%s skips %s", group.Name, what), nil
	})
	streamFlag(command, &stream, "the stream that is held back")
	p.completeStream(command)
	command.Flags().Int64Var(&position, "position", 0, "the position of the event in the log")
	for _, name := range []string{"stream", "position"} {
		_ = command.MarkFlagRequired(name) // it is there
	}
	confirmFlag(command, &yes)
	return command
}

// typeOf names the type of a parked event, to be put behind it; empty if it is not parked.
func typeOf(group events.Subscription, position int64) string {
	for _, held := range group.Parked {
		if held.Position == position {
			return ", " + held.Type
		}
	}
	return ""
}

func (p *program) subscriptionsEnableCommand() *cobra.Command {
	return p.groupCommand(&cobra.Command{
		Use:   "enable GROUP",
		Short: "Have a disabled group go on where it was",
		Long: `Has a group go on where it was when it was disabled: by ` + "`disable`" + `, or by
forgeauth itself because the endpoint of a webhook was dead for long or said
that it wants nothing more. What it is behind is delivered, in order.

Leaves a fact on the log: RelayEnabled. A group that is not disabled is left as
it is.`,
		Example: "  forgeauth subscriptions enable chat",
	}, func(ctx context.Context, service *forgeauth.Service, group events.Subscription) ([]events.Event, string, error) {
		written, err := service.Commands().EnableRelay(ctx, commands.EnableRelay{Caller: cli(), Group: group.Name})
		switch {
		case err != nil:
			return nil, "", err
		case len(written) == 0:
			return nil, group.Name + " is not disabled", nil
		default:
			return written, fmt.Sprintf("%s goes on behind position %d", group.Name, group.Position), nil
		}
	})
}

func (p *program) subscriptionsDisableCommand() *cobra.Command {
	return p.groupCommand(&cobra.Command{
		Use:   "disable GROUP",
		Short: "Give a group nothing until it is enabled",
		Long: `Gives a group nothing more, neither what happens now nor replays, until it is
enabled. Its cursor and what it holds back stay, and nothing is lost.

Leaves a fact on the log: RelayDisabled. A group that is disabled is left as it
is.`,
		Example: "  forgeauth subscriptions disable chat",
	}, func(ctx context.Context, service *forgeauth.Service, group events.Subscription) ([]events.Event, string, error) {
		written, err := service.Commands().DisableRelay(ctx, commands.DisableRelay{Caller: cli(), Group: group.Name})
		switch {
		case err != nil:
			return nil, "", err
		case len(written) == 0:
			return nil, group.Name + " is disabled already", nil
		default:
			return written, fmt.Sprintf("%s is given nothing until `forgeauth subscriptions enable %s`", group.Name, group.Name), nil
		}
	})
}

func (p *program) subscriptionsRemoveCommand() *cobra.Command {
	var yes bool
	command := p.groupCommand(&cobra.Command{
		Use:   "remove GROUP",
		Short: "Forget a group that nobody runs any more",
		Long: `Forgets a group: its cursor, what it holds back, and its replays. One that comes
back under the same name begins anew, where its configuration says.

It is refused while a process runs the group: take the relay or the handler out
of its configuration first. Asks before it does so, and leaves a fact on the
log: RelayRemoved.`,
		Example: "  forgeauth subscriptions remove chat",
	}, func(ctx context.Context, service *forgeauth.Service, group events.Subscription) ([]events.Event, string, error) {
		if group.Live {
			return nil, "", fmt.Errorf("%q: %w", group.Name, commands.ErrGroupLive)
		}
		losing := []string{fmt.Sprintf("%s, its cursor at %d", group.Name, group.Position)}
		if n := len(group.Parked); n > 0 {
			losing = append(losing, counted(n, "stream")+" that it holds back")
		}
		if group.Lag > 0 {
			losing = append(losing, counted(group.Lag, "event")+" that it was not given")
		}
		if err := p.confirm(ctx, yes, "This forgets "+strings.Join(losing, ", and "), "forgeauth subscriptions remove"); err != nil {
			return nil, "", err
		}
		written, err := service.Commands().RemoveSubscription(ctx, commands.RemoveSubscription{Caller: cli(), Group: group.Name})
		if err != nil {
			return nil, "", err
		}
		return written, group.Name + " is forgotten", nil
	})
	confirmFlag(command, &yes)
	return command
}

// noteStandstill says why nothing happens at once.
func (p *program) noteStandstill(group events.Subscription) {
	if why := standstill(group); why != "" {
		p.note("%s", why)
	}
}

func streamFlag(command *cobra.Command, stream *string, usage string) {
	command.Flags().StringVar(stream, "stream", "", usage)
}
