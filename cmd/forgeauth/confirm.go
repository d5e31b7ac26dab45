package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// errDeclined says that the person answered the question with anything but yes.
var errDeclined = errors.New("not confirmed, so nothing was changed")

// confirmFlag adds --yes to a command that asks before it does something.
func confirmFlag(command *cobra.Command, yes *bool) {
	command.Flags().BoolVarP(yes, "yes", "y", false, "do not ask")
}

// confirm asks whether to go on, unless yes says so already. Where nobody can answer it asks nothing and refuses.
func (p *program) confirm(ctx context.Context, yes bool, consequence, command string) error {
	if yes {
		return nil
	}
	if !p.canAsk {
		return &usageError{err: fmt.Errorf("%s: nobody can be asked here, so say --yes", consequence), command: command}
	}
	_, _ = fmt.Fprintf(p.err, "%s.\nType yes to go on: ", consequence)
	select {
	case line := <-p.lines():
		// What the input broke off at was not confirmed.
		if strings.HasSuffix(line, "\n") && strings.EqualFold(strings.TrimSpace(line), "yes") {
			return nil
		}
		return errDeclined
	case <-ctx.Done():
		return fmt.Errorf("ask: %w", ctx.Err())
	}
}
