package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
)

// loginOptions are the flags of login.
type loginOptions struct{ browser, yes, json bool }

func (p *program) loginCommand() *cobra.Command {
	var o loginOptions
	command := &cobra.Command{
		Use:   "login FORGE",
		Short: "Sign in to a forge without a browser on this machine",
		Long: `Signs in to a configured forge from the command line. The browser may be
anywhere: on a laptop, on a phone.

GitHub and GitLab show where to enter a code (the device flow; at GitHub it has
to be enabled in the OAuth application's settings). For every other kind, and
with --browser, it prints an address to open. Where FORGEAUTH_PUBLIC_URL is
loopback and its port is free, a browser on this machine comes back by itself;
from any other, paste the address that it ended on.

Whoever can run this has the database and the encryption key, and so decides as
the operator. An account that is known gets a fresh token. The first account
makes the deployment its own, and needs no setup code. An account that is not
known is let in only after a question, or with --yes. FORGEAUTH_OPERATORS, where
it is set, decides alone. The forge is the active one afterwards, and no session
is begun.

It needs the database and OAUTH_ENCRYPTION_KEY, the same as serve's; serve may
be running.`,
		Example: `  forgeauth login github
  forgeauth login gitlab-work --yes
  docker compose exec forgeauth forgeauth login gitea`,
		Args: oneArgument("FORGE"),
		RunE: p.action(func(ctx context.Context, args []string) error {
			return p.maintain(ctx, forgeauth.Serving, func(service *forgeauth.Service, e forgeauth.Environment) error {
				return p.login(ctx, service, e, args[0], o)
			})
		}),
	}
	command.Flags().BoolVar(&o.browser, "browser", false, "print an address to open, also where there is a device flow")
	confirmFlag(command, &o.yes)
	jsonFlag(command, &o.json)
	return command
}

func (p *program) login(ctx context.Context, service *forgeauth.Service, e forgeauth.Environment, name string, o loginOptions) error {
	s := &signIn{program: p, commands: service.Commands(), forgeType: name, yes: o.yes}
	completed, err := s.run(ctx, o.browser)
	if err != nil {
		return s.explain(err, e.Config.Operators != nil)
	}
	if o.json {
		return printJSON(p, newSignedIn(completed))
	}
	p.printSignedIn(completed)
	if slices.ContainsFunc(e.Config.Connections, func(c forge.Connection) bool { return c.Name == name && !c.Login }) {
		p.printf("It is configured as no way in (_LOGIN=false): that account cannot sign in here.\n")
	}
	return nil
}

// signIn is one run of login.
type signIn struct {
	*program

	commands  *commands.Commands
	forgeType string
	yes       bool
	// settle, where not nil, ends what is drawn while it waits; it may be called more than once.
	settle func()
}

func (s *signIn) run(ctx context.Context, browser bool) (commands.HostLoginCompleted, error) {
	if browser {
		return s.byBrowser(ctx)
	}
	completed, err := s.byDevice(ctx)
	if errors.Is(err, forge.ErrUnsupported) {
		return s.byBrowser(ctx)
	}
	return completed, err
}

// byDevice signs in by the device flow.
func (s *signIn) byDevice(ctx context.Context) (commands.HostLoginCompleted, error) {
	started, err := s.commands.StartDeviceLogin(ctx, s.forgeType)
	if err != nil {
		return commands.HostLoginCompleted{}, err
	}
	s.say("Open %s in any browser\nand enter the code  %s\n", started.VerificationURI, started.UserCode)
	if started.VerificationURIComplete != "" {
		s.say("or open %s\nand see that it shows that code.\n", started.VerificationURIComplete)
	}
	s.await(started.VerificationURI, started.ExpiresAt)
	s.settle = sync.OnceFunc(s.waiting("waiting"))
	defer s.settle()
	return s.commands.CompleteDeviceLogin(ctx, started, s.request())
}

// say prints what a person has to do next. It goes to standard error, so that standard output holds the result alone.
func (s *signIn) say(format string, args ...any) { _, _ = fmt.Fprintf(s.err, format, args...) }

// await says what is being waited for.
func (s *signIn) await(address string, until time.Time) {
	s.say("\nWaiting until %s for your consent at %s. Ctrl-C gives up.\n", moment(until), hostOf(address))
}

// request is on whose behalf the sign-in is, and how it asks about an account that is not known.
func (s *signIn) request() commands.HostLogin {
	return commands.HostLogin{Caller: cli(), Vouch: func(ctx context.Context, account events.Account) error {
		if s.settle != nil {
			s.settle()
		}
		if !s.yes && !s.canAsk {
			return commands.ErrNotVouched
		}
		stranger := fmt.Sprintf("%s:%s, which is %s at %s, is not known here. Going on lets it sign in from now on",
			account.ForgeType, account.AccountID, account.AccountLogin, hostOf(account.BaseURL))
		return s.confirm(ctx, s.yes, stranger, "forgeauth login")
	}}
}

// hostOf is an address as people say it.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return address
	}
	return u.Host
}

// signedIn is what login did, as data.
type signedIn struct {
	Account   string     `json:"account"` // forge:account_id
	ForgeType string     `json:"forge_type"`
	Kind      forge.Kind `json:"kind"`
	BaseURL   string     `json:"base_url"`
	AccountID string     `json:"account_id"`
	Login     string     `json:"account_login"`
	Scopes    []string   `json:"scopes"`     // null where the forge does not say
	ExpiresAt *time.Time `json:"expires_at"` // null for a token that does not expire
	// Claimed says that the deployment now belongs to the account, Linked that it may sign in from now on.
	Claimed bool       `json:"claimed"`
	Linked  bool       `json:"linked"`
	Events  []appended `json:"events"`
}

func newSignedIn(c commands.HostLoginCompleted) signedIn {
	return signedIn{
		Account: c.Account.ForgeType + ":" + c.Account.AccountID, ForgeType: c.Account.ForgeType, Kind: c.Kind,
		BaseURL: c.Account.BaseURL, AccountID: c.Account.AccountID, Login: c.Account.AccountLogin, Scopes: c.Scopes,
		ExpiresAt: c.ExpiresAt, Claimed: c.Claimed, Linked: c.Linked, Events: appendedOf(c.Events),
	}
}

func (p *program) printSignedIn(c commands.HostLoginCompleted) {
	name := c.Account.ForgeType
	p.printf("%s is connected as %s (%s:%s) and active (%s)\n",
		name, c.Account.AccountLogin, name, c.Account.AccountID, positions(c.Events))
	switch {
	case c.Claimed:
		p.printf("This deployment now belongs to that account.\n")
	case c.Linked:
		p.printf("That account may sign in here from now on.\n")
	}
	if c.ExpiresAt != nil {
		p.printf("The token expires at %s.\n", moment(*c.ExpiresAt))
	}
}

// explain turns what a sign-in failed with into a sentence that says what to do.
func (s *signIn) explain(err error, allowList bool) error {
	again := "run `forgeauth login " + s.forgeType + "` again"
	var failed *commands.LoginError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, commands.ErrUnknownConnection):
		return fmt.Errorf("%q: %w: `forgeauth connections list` names those that are", s.forgeType, err)
	case errors.Is(err, forge.ErrDeviceFlowOff):
		return fmt.Errorf("%w; or sign in with `forgeauth login %s --browser`", err, s.forgeType)
	case !errors.As(err, &failed):
		return err
	}
	name := s.forgeType
	switch failed.Code {
	case commands.CodeNotAllowed:
		return s.explainRefusal(failed, allowList)
	case commands.CodeAccessDenied:
		return s.failure(err, "%s: you did not consent there, so nothing was changed: %s to be asked once more", name, again)
	case commands.CodeExpiredAttempt:
		return s.failure(err, "%s: nobody consented in time: %s", name, again)
	case commands.CodeStateMismatch:
		return s.failure(err, "%s: no address was given that this sign-in ended on: %s", name, again)
	case commands.CodeWrongIssuer:
		return s.failure(err, "%s: another server answered than the one you were sent to: %s, and tell whoever runs that forge if it stays", name, again)
	case commands.CodeExchangeFailed:
		return s.failure(err, "%s: the forge refused to complete the sign-in%s: %s; if it stays, check the connection's client id, client secret and "+
			"callback URL", name, cause(failed), again)
	case commands.CodeProfileFailed:
		return s.failure(err, "%s: the forge did not say whose token it is%s: check the connection's scopes", name, cause(failed))
	case commands.CodeForgeUnavailable:
		return s.failure(err, "%s: the forge does not answer%s: %s later", name, cause(failed), again)
	}
	if failed.Err != nil {
		return failed.Err
	}
	return err
}

// explainRefusal is for an account that may not sign in.
func (s *signIn) explainRefusal(failed *commands.LoginError, allowList bool) error {
	switch {
	case allowList:
		return s.failure(failed, "%s may not sign in: FORGEAUTH_OPERATORS decides alone, so add it there. Its token was not kept", failed.Account)
	case errors.Is(failed, commands.ErrNotVouched):
		return s.failure(failed, "%s is not known here, and nobody can be asked about it: say --yes to let it in. Its token was not kept", failed.Account)
	case errors.Is(failed, errDeclined):
		return s.failure(failed, "%s was not let in. Its token was not kept", failed.Account)
	}
	return s.failure(failed, "%s may not sign in any more; what decides has changed meanwhile: run `forgeauth login %s` again", failed.Account, s.forgeType)
}

func cause(failed *commands.LoginError) string {
	if failed.Err == nil {
		return ""
	}
	return " (" + failed.Err.Error() + ")"
}

// failedError is a sentence for people, and the error that it is about.
type failedError struct {
	sentence string
	err      error
}

func (e *failedError) Error() string { return e.sentence }
func (e *failedError) Unwrap() error { return e.err }

func (*signIn) failure(err error, format string, args ...any) error {
	return &failedError{strings.TrimSpace(fmt.Sprintf(format, args...)), err}
}
