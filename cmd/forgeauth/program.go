package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/secret"
)

// program is what the commands share: where they read and print, and what the environment says.
type program struct {
	environ  []string
	in       io.Reader
	typed    typed // of in
	out, err io.Writer

	canAsk      bool // standard input and error are terminals: somebody can answer a question
	canAnimate  bool // standard error is a terminal that can: a progress bar is seen
	interactive bool // standard output is a terminal
	columns     int  // of that terminal, 0 where it is none

	now func() time.Time

	// started says that a command was found and its flags and arguments were good: errors are failures from then on, and
	// wrong usage before.
	started bool
}

// run runs the command that the arguments name, prints its error and returns what to exit with.
func (p *program) run(ctx context.Context, args []string) exitCode {
	root := p.root() //nolint:contextcheck // commands get ctx when they are run
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err != nil && !p.started {
		err = &usageError{err: err, command: command.CommandPath()}
	}
	code := codeOf(err)
	if err != nil && !errors.Is(err, errDifferences) {
		p.printError(err)
	}
	return code
}

// root returns the tree of commands.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "forgeauth",
		Short:         "Keep one operator's sign-ins to code forges as an append-only log",
		Long:          rootHelp,
		Example:       rootExamples,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.err)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run:"},
		&cobra.Group{ID: groupDatabase, Title: "Database:"},
		&cobra.Group{ID: groupCustody, Title: "Who may sign in:"},
		&cobra.Group{ID: groupAudit, Title: "What happened:"},
		&cobra.Group{ID: groupKeys, Title: "Keys:"},
		&cobra.Group{ID: groupFeed, Title: "Who is given the log:"},
	)
	for _, add := range []struct {
		group    string
		commands []*cobra.Command
	}{
		{groupRun, []*cobra.Command{p.serveCommand(), p.demoCommand(), p.healthcheckCommand(), p.versionCommand()}},
		{groupDatabase, []*cobra.Command{p.migrateCommand(), p.verifyCommand(), p.exportCommand(), p.importCommand()}},
		{groupCustody, []*cobra.Command{
			p.loginCommand(), p.setupCodeCommand(), p.recoverCommand(), p.accountsCommand(), p.connectionsCommand(),
		}},
		{groupAudit, []*cobra.Command{p.auditCommand(), p.stateCommand(), p.diffCommand()}},
		{groupKeys, []*cobra.Command{p.keysCommand(), p.forgetCommand()}},
		{groupFeed, []*cobra.Command{p.subscriptionsCommand(), p.replayToCommand()}},
		{"", helpTopics()},
	} {
		for _, command := range add.commands {
			command.GroupID = add.group
			root.AddCommand(command)
		}
	}
	return root
}

const (
	groupRun      = "run"
	groupDatabase = "database"
	groupCustody  = "custody"
	groupAudit    = "audit"
	groupKeys     = "keys"
	groupFeed     = "feed"
)

// action makes a command's RunE of a function that needs no more than a context and arguments.
func (p *program) action(do func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		p.started = true
		return do(cmd.Context(), args)
	}
}

// printf prints what the command was asked for.
func (p *program) printf(format string, args ...any) {
	_, _ = io.WriteString(p.out, harmless(fmt.Sprintf(format, args...)))
}

// note prints a line beside the output.
func (p *program) note(format string, args ...any) {
	_, _ = io.WriteString(p.err, harmless(fmt.Sprintf("forgeauth: "+format+"\n", args...)))
}

// logger returns the logger that the environment asks for, on standard error. What looks like a credential is masked.
func (p *program) logger(e forgeauth.Environment) *slog.Logger {
	options := &slog.HandlerOptions{Level: e.LogLevel}
	var handler slog.Handler = slog.NewTextHandler(p.err, options)
	if e.LogFormat == forgeauth.LogJSON {
		handler = slog.NewJSONHandler(p.err, options)
	}
	return slog.New(secret.NewLogHandler(handler))
}
