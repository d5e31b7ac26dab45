package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/secret"
)

func (p *program) setupCodeCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "setup-code",
		Short: "Print a new code that claims this deployment",
		Long: `While nobody owns this deployment, the first account to sign in needs a setup
code. This prints a new one, good for an hour, in the place of the one before.
Only a keyed hash of it is stored, so it cannot be shown again.

It needs the database and OAUTH_ENCRYPTION_KEY, the same as serve's; serve may
be running.`,
		Example: `  forgeauth setup-code
  docker compose exec forgeauth forgeauth setup-code`,
		Args: cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error {
			return p.maintain(ctx, forgeauth.Serving, func(service *forgeauth.Service, e forgeauth.Environment) error {
				code, expires, err := service.Commands().IssueSetupCode(ctx, cli())
				if err != nil {
					return err
				}
				return p.printCode("Setup code", code, expires, e.Config.PublicURL, asJSON)
			})
		}),
	}
	jsonFlag(command, &asJSON)
	return command
}

func (p *program) recoverCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "recover",
		Short: "Print a one-time code that lets one more account in",
		Long: `For whoever has the database but no account that can sign in any more. Prints a
code, good once and for an hour, that is entered at /login and lets one account
in that was unknown before. The log keeps the fact that this was done.

It needs the database and OAUTH_ENCRYPTION_KEY, the same as serve's; serve may
be running.`,
		Example: `  forgeauth recover`,
		Args:    cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error {
			return p.maintain(ctx, forgeauth.Serving, func(service *forgeauth.Service, e forgeauth.Environment) error {
				code, expires, err := service.Commands().Recover(ctx, cli())
				if err != nil {
					return err
				}
				return p.printCode("Recovery code", code, expires, e.Config.PublicURL, asJSON)
			})
		}),
	}
	jsonFlag(command, &asJSON)
	return command
}

// printedCode is a one-time code as data.
type printedCode struct {
	Code      string    `json:"code"`
	ExpiresAt time.Time `json:"expires_at"`
	LoginURL  string    `json:"login_url"`
}

// printCode prints a one-time code. That is what the command is for, so it is revealed here.
func (p *program) printCode(title string, code secret.Text, expires time.Time, publicURL string, asJSON bool) error {
	login := publicURL + "/login"
	if asJSON {
		return printJSON(p, printedCode{Code: code.Reveal(), ExpiresAt: expires.UTC(), LoginURL: login})
	}
	p.printf("%s: %s\n", title, code.Reveal())
	p.printf("Enter it at %s before %s.\n", login, moment(expires))
	return nil
}
