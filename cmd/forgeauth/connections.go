package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/forge"
)

func (p *program) connectionsCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "connections",
		Short: "List the configured forges, and rebind one that has moved",
		Long: `A connection is a forge as the environment configures it: see
` + "`forgeauth help environment`" + `.

These need the database and no encryption key; serve may be running.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(p.connectionsListCommand(), p.connectionsRebindCommand())
	return command
}

// connectionItem is a connection as data.
type connectionItem struct {
	commands.ForgeStatus

	// CallbackURL is what to register at the forge, exactly.
	CallbackURL string `json:"callback_url"`
}

func (p *program) connectionsListCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "list",
		Short: "List the configured forges with their callback URLs",
		Long: `Lists every configured forge: its state, its account, and the callback URL to
register there. Notes on standard error say what needs somebody: a sign-in,
scopes that were not granted as asked, former tokens that are still to be
revoked, or that could not be.

--json has more for each, such as when its token expires and is refreshed next.`,
		Example: "  forgeauth connections list\n  forgeauth connections list --json | jq -r '.[].callback_url'",
		Args:    cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error {
			return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
				return p.listConnections(ctx, service, asJSON)
			})
		}),
	}
	jsonFlag(command, &asJSON)
	return command
}

func (p *program) listConnections(ctx context.Context, service *forgeauth.Service, asJSON bool) error {
	forges, err := service.Commands().Forges(ctx)
	if err != nil {
		return err
	}
	items := make([]connectionItem, 0, len(forges))
	rows := make([][]string, 0, len(forges))
	for _, status := range forges {
		item := connectionItem{ForgeStatus: status}
		if status.State != commands.StateNotConfigured {
			item.CallbackURL = service.CallbackURL(status.ForgeType)
		}
		items = append(items, item)
		rows = append(rows, []string{item.ForgeType, string(item.Kind), item.BaseURL, item.State, item.AccountLogin, item.CallbackURL})
	}
	if asJSON {
		return printJSON(p, items)
	}
	if len(rows) == 0 {
		p.printf("No forge is configured: `forgeauth help environment` says how.\n")
		return nil
	}
	p.printTable([]string{"forge", "kind", "base URL", "state", "account", "callback URL"}, rows)
	for _, item := range items {
		for _, note := range notesOf(item.ForgeStatus) {
			p.note("%s: %s", item.ForgeType, note)
		}
	}
	if err := service.Commands().CheckOrigins(ctx); err != nil {
		p.note("%v", err)
	}
	return nil
}

// notesOf says what about a connection needs somebody.
func notesOf(s commands.ForgeStatus) (notes []string) {
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if s.NeedsReauth != nil {
		note("only a sign-in helps since %s (%s): `forgeauth login %s`", moment(s.NeedsReauth.Since), s.NeedsReauth.Reason, s.ForgeType)
	}
	if len(s.MissingScopes) > 0 {
		note("asked for and not granted: %s; to get it, withdraw the grant at %s and sign in again",
			listed(s.MissingScopes), forge.GrantsPage(s.Kind, s.BaseURL))
	}
	if len(s.ExcessScopes) > 0 {
		note("granted beyond what is asked for: %s; to give it up, withdraw the grant at %s and sign in again",
			listed(s.ExcessScopes), forge.GrantsPage(s.Kind, s.BaseURL))
	}
	if s.NextRevocationAt != nil {
		note("former tokens still to be revoked: %d; the forge is told again at %s", s.PendingRevocations, moment(*s.NextRevocationAt))
	}
	if s.WithdrawAt != "" {
		note("the former token was not revoked at the forge: withdraw it at %s", s.WithdrawAt)
	}
	return notes
}

func (p *program) connectionsRebindCommand() *cobra.Command {
	var keepAccounts, yes, asJSON bool
	command := &cobra.Command{
		Use:   "rebind NAME",
		Short: "Accept that a connection's base URL has changed",
		Long: `A connection whose base URL differs from its history keeps serve from starting:
its accounts and its token belong to another forge, or to one that has moved.
Rebinding says which.

Without --keep-accounts it is another forge: the token is dropped without being
sent anywhere, and the accounts of the former base URL can no longer sign in.
With --keep-accounts it is the same forge at a new address, whose account ids
mean the same people: they stay, and sign in anew.

Asks before it does so. It changes nothing where the configuration agrees with
the history.`,
		Example: `  FORGEAUTH_FORGE_GITEA_BASE_URL=https://new.example.org \
    forgeauth connections rebind gitea --keep-accounts`,
		Args: oneArgument("NAME"),
		RunE: p.action(func(ctx context.Context, args []string) error {
			return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
				return p.rebind(ctx, service.Commands(), args[0], keepAccounts, yes, asJSON)
			})
		}),
	}
	command.Flags().BoolVar(&keepAccounts, "keep-accounts", false, "it is the same forge, moved: its accounts stay")
	confirmFlag(command, &yes)
	jsonFlag(command, &asJSON)
	return command
}

func (p *program) rebind(ctx context.Context, c *commands.Commands, name string, keepAccounts, yes, asJSON bool) error {
	moved, err := hasMoved(ctx, c, name)
	if err != nil {
		return err
	}
	consequence := "The token of " + name + " is dropped, and accounts of its former base URL can no longer sign in"
	if keepAccounts {
		consequence = "The token of " + name + " is dropped, its sessions end, and its accounts may sign in at the new base URL"
	}
	// Where nothing has moved, Rebind changes nothing and says why.
	if err := p.confirm(ctx, yes || !moved, consequence, "forgeauth connections rebind"); err != nil {
		return err
	}
	written, err := c.Rebind(ctx, cli(), name, keepAccounts)
	if err != nil {
		return fmt.Errorf("rebind %q: %w", name, err)
	}
	switch {
	case asJSON:
		return printJSON(p, change{appendedOf(written)})
	case len(written) == 0:
		p.printf("%s: the configuration agrees with the history, so there is nothing to change\n", name)
	default:
		p.printf("%s is bound to its new base URL (%s)\n", name, positions(written))
		if dropped := commands.RevocationIn(written); dropped != nil {
			p.printf("The token was not revoked at the former one: withdraw it at %s\n", dropped.Page)
		}
	}
	return nil
}

// hasMoved reports whether the connection's base URL differs from its history.
func hasMoved(ctx context.Context, c *commands.Commands, name string) (bool, error) {
	err := c.CheckOrigins(ctx)
	if rebound, ok := errors.AsType[*commands.ReboundError](err); ok {
		return slices.ContainsFunc(rebound.Connections, func(o commands.OriginError) bool { return o.ForgeType == name }), nil
	}
	return false, err
}
