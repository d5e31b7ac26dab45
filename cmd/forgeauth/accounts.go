package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/projections"
)

func (p *program) accountsCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "accounts",
		Short: "List and remove the accounts that may sign in",
		Long: `The accounts that may sign in are the one that claimed the deployment, those
linked from within a session, and those let in by a recovery code. Where
FORGEAUTH_OPERATORS is set, that list decides instead.

These need the database and no encryption key; serve may be running.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(p.accountsListCommand(), p.accountsRemoveCommand())
	return command
}

// accountList is the answer of accounts list as data.
type accountList struct {
	Claimed  bool          `json:"claimed"`
	Accounts []accountItem `json:"accounts"`
	// Operators is FORGEAUTH_OPERATORS, null where that is not set. When set, it alone decides.
	Operators []string `json:"operators"`
}

type accountItem struct {
	Account   string    `json:"account"` // forge:account_id
	ForgeType string    `json:"forge_type"`
	AccountID string    `json:"account_id"`
	Login     string    `json:"account_login"`
	BaseURL   string    `json:"base_url"`
	LinkedAt  time.Time `json:"linked_at"`
}

func newAccountItem(a projections.LinkedAccount) accountItem {
	return accountItem{
		Account: a.ForgeType + ":" + a.AccountID, ForgeType: a.ForgeType, AccountID: a.AccountID,
		Login: a.AccountLogin, BaseURL: a.BaseURL, LinkedAt: a.LinkedAt.UTC(),
	}
}

func (p *program) accountsListCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "list",
		Short: "List the accounts that may sign in",
		Long: `Lists the accounts that may sign in, with the name that their forge has for them
and since when. Where FORGEAUTH_OPERATORS is set, it alone decides.`,
		Example: "  forgeauth accounts list\n  forgeauth accounts list --json | jq -r '.accounts[].account'",
		Args:    cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error {
			return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, e forgeauth.Environment) error {
				return p.listAccounts(ctx, service.Commands(), e.Config.Operators, asJSON)
			})
		}),
	}
	jsonFlag(command, &asJSON)
	return command
}

func (p *program) listAccounts(ctx context.Context, c *commands.Commands, operators []commands.AllowedAccount, asJSON bool) error {
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	accounts, err := c.Accounts(ctx)
	if err != nil {
		return err
	}
	list := accountList{Claimed: status.Claimed, Accounts: make([]accountItem, 0, len(accounts))}
	rows := make([][]string, 0, len(accounts))
	for _, account := range accounts {
		item := newAccountItem(account)
		list.Accounts = append(list.Accounts, item)
		rows = append(rows, []string{item.Account, item.Login, item.BaseURL, moment(item.LinkedAt)})
	}
	for _, operator := range operators {
		list.Operators = append(list.Operators, operator.ForgeType+":"+operator.AccountID)
	}
	if asJSON {
		return printJSON(p, list)
	}
	switch {
	case !list.Claimed:
		p.printf("Nobody owns this deployment yet: sign in with the code that `forgeauth setup-code` prints, or with `forgeauth login`.\n")
	case len(rows) == 0:
		p.printf("No account may sign in: `forgeauth recover` lets one in.\n")
	default:
		p.printTable([]string{"account", "login", "forge", "since"}, rows)
	}
	if list.Operators != nil {
		p.note("FORGEAUTH_OPERATORS is set and decides alone who may sign in: %s", strings.Join(list.Operators, ", "))
	}
	return nil
}

func (p *program) accountsRemoveCommand() *cobra.Command {
	var yes, asJSON bool
	command := &cobra.Command{
		Use:   "remove FORGE:ACCOUNT_ID",
		Short: "Take an account out and end its sessions",
		Long: `Takes an account out of those that may sign in and ends its sessions, at once
and for every running serve. Its forge stays connected: disconnect that to drop
the token. An account that FORGEAUTH_OPERATORS names goes on signing in until it
is taken out there too.

Asks before it removes the last account, after which only ` + "`forgeauth recover`" + `
lets somebody in.`,
		Example: `  forgeauth accounts remove github:583231
  forgeauth accounts remove gitlab-work:42 --yes`,
		Args: oneArgument("FORGE:ACCOUNT_ID"),
		RunE: p.action(func(ctx context.Context, args []string) error {
			forgeType, accountID, ok := strings.Cut(args[0], ":")
			if !ok || forgeType == "" || accountID == "" {
				return &usageError{err: fmt.Errorf("%q is not FORGE:ACCOUNT_ID", args[0]), command: "forgeauth accounts remove"}
			}
			return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
				return p.removeAccount(ctx, service.Commands(), forgeType, accountID, yes, asJSON)
			})
		}),
	}
	confirmFlag(command, &yes)
	jsonFlag(command, &asJSON)
	return command
}

// change is what a command changed, as data.
type change struct {
	Events []appended `json:"events"`
}

func (p *program) removeAccount(ctx context.Context, c *commands.Commands, forgeType, accountID string, yes, asJSON bool) error {
	accounts, err := c.Accounts(ctx)
	if err != nil {
		return err
	}
	others := 0
	for _, a := range accounts {
		if a.ForgeType != forgeType || a.AccountID != accountID {
			others++
		}
	}
	if others == 0 && len(accounts) > 0 {
		const consequence = "This is the last account: nobody can sign in after that, until `forgeauth recover` lets somebody in"
		if err := p.confirm(ctx, yes, consequence, "forgeauth accounts remove"); err != nil {
			return err
		}
	}
	written, err := c.RemoveAccount(ctx, cli(), forgeType, accountID)
	if errors.Is(err, commands.ErrUnknownAccount) {
		return fmt.Errorf("%s:%s: %w", forgeType, accountID, err)
	}
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(p, change{appendedOf(written)})
	}
	p.printf("%s:%s may no longer sign in, and its sessions have ended (%s)\n", forgeType, accountID, positions(written))
	return nil
}
