package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/internal/localpg"
	"github.com/forgeauth/forgeauth/secret"
)

// exitCode is what the process ends with. The numbers are a contract; `forgeauth help exit-codes` explains them.
type exitCode int

const (
	exitOK          exitCode = 0   // what was asked for has been done
	exitFailure     exitCode = 1   // it could not be done; standard error says why and what to do next
	exitUsage       exitCode = 2   // the command line or the configuration is wrong; nothing was tried
	exitDifferences exitCode = 3   // a check found that something does not hold: tables, log, vault or a proof
	exitInterrupted exitCode = 130 // ended by a signal before it was done
)

// usageError says that the command line is wrong.
type usageError struct {
	err     error
	command string // the command whose help says how it is right
}

func (e *usageError) Error() string {
	return fmt.Sprintf("%v: see `%s --help`", e.err, e.command)
}

func (e *usageError) Unwrap() error { return e.err }

// oneArgument asks for one argument, by the name that the help text has for it.
func oneArgument(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("one %s is needed, and there are %d arguments", name, len(args))
		}
		return nil
	}
}

// errDifferences ends a check that found something with its exit code; what was found has been printed.
var errDifferences = errors.New("what is stored contradicts itself")

// codeOf returns what to exit with.
func codeOf(err error) exitCode {
	var (
		usage  *usageError
		config *forgeauth.ConfigError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errDifferences):
		return exitDifferences
	case errors.As(err, &usage), errors.As(err, &config):
		return exitUsage
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	default:
		return exitFailure
	}
}

// printError prints an error in one line that says what to do next. Only what is a list by nature has more lines.
func (p *program) printError(err error) {
	_, _ = fmt.Fprintln(p.err, "forgeauth: "+secret.Mask(explain(err)))
}

func explain(err error) string {
	var (
		config    *forgeauth.ConfigError
		rebound   *commands.ReboundError
		server    *localpg.ServerError
		connect   *pgconn.ConnectError
		statement *pgconn.PgError
	)
	switch {
	case errors.As(err, &config):
		return config.Error() + "\n`forgeauth help environment` explains every setting"
	case errors.As(err, &rebound):
		return rebound.Error()
	case errors.As(err, &server):
		return server.Error()
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.As(err, &connect):
		return "cannot connect to Postgres: " + oneLine(connect.Error()) + ": check DATABASE_URL, and that the server runs and lets this role in"
	case errors.As(err, &statement) && statement.Code == "42501":
		return oneLine(err.Error()) + ": run `forgeauth migrate --runtime-role` with the name of this role, as the owner of the tables"
	default:
		return oneLine(err.Error())
	}
}

// oneLine joins the lines of an error that wraps several.
func oneLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.ReplaceAll(strings.Join(lines, "; "), ":; ", ": ") // the first line may be a heading of the others
}
