package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/events"
)

// completeGroup offers the groups that there are as a command's argument. It asks a database that runs, and starts none.
func (p *program) completeGroup(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, s := range p.groupsThere(cmd.Context()) {
		names = append(names, cobra.CompletionWithDesc(s.Name, stateOf(s)))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeStream offers the streams that the group holds back for the flag --stream.
func (p *program) completeStream(command *cobra.Command) {
	_ = command.RegisterFlagCompletionFunc("stream", func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var streams []cobra.Completion
		for _, s := range p.groupsThere(cmd.Context()) {
			if len(args) == 0 || s.Name != args[0] {
				continue
			}
			for _, held := range s.Parked {
				streams = append(streams, string(held.Stream))
			}
		}
		return streams, cobra.ShellCompDirectiveNoFileComp
	}) // the flag is there
}

// groupsThere returns the groups, or none where they cannot be had: a completion has nothing to say about that.
func (p *program) groupsThere(ctx context.Context) (groups []events.Subscription) {
	e, err := p.environment(forgeauth.Maintaining)
	if err != nil || e.Config.DatabaseURL.IsZero() {
		return nil
	}
	_ = p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
		groups, err = service.Subscriptions().List(ctx)
		return err
	})
	return groups
}
