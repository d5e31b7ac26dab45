package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/projections"
)

func (p *program) verifyCommand() *cobra.Command {
	var repair, asJSON bool
	command := &cobra.Command{
		Use:   "verify",
		Short: "Check that the tables say what the log says",
		Long: `Folds the whole log and compares the result with the tables, row by row and
column by column. Nobody has to wait meanwhile, and serve may be running.
Differences are named by table, key and column; sealed columns stay sealed.

Exits with 0 if there is no difference or --repair has written it away, with 3
if there are differences, and with 1 if the log itself cannot be read. It needs
no encryption key.`,
		Example: `  forgeauth verify
  forgeauth verify --json | jq '.differences[].table'
  forgeauth verify --repair`,
		Args: cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error { return p.verify(ctx, repair, asJSON) }),
	}
	command.Flags().BoolVar(&repair, "repair", false, "write the rows that differ, so that the tables equal the log")
	jsonFlag(command, &asJSON)
	return command
}

func (p *program) verify(ctx context.Context, repair, asJSON bool) error {
	return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
		options := projections.VerifyOptions{Repair: repair}
		var finish func()
		options.Progress, finish = p.progress("folding the log")
		report, err := service.Verify(ctx, options)
		finish()
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		if err := p.printReport(report, asJSON); err != nil {
			return err
		}
		if len(report.Differences) > 0 && !report.Repaired {
			return errDifferences
		}
		return nil
	})
}

func (p *program) printReport(report projections.Report, asJSON bool) error {
	if asJSON {
		if report.Differences == nil {
			report.Differences = []projections.Difference{}
		}
		return printJSON(p, report)
	}
	if len(report.Differences) == 0 {
		p.printf("%s the fold of the log up to position %d\n", rowsEqual(report.Rows), report.Through)
		return nil
	}
	rows := make([][]string, 0, len(report.Differences))
	for _, d := range report.Differences {
		column := d.Column
		if column == "" {
			column = "(row)"
		}
		rows = append(rows, []string{d.Table, d.Key, column, d.Have, d.Want})
	}
	p.printTable([]string{"table", "key", "column", "table says", "log says"}, rows)
	if report.Repaired {
		p.printf("\n%d differences to the log up to position %d, repaired\n", len(report.Differences), report.Through)
	} else {
		p.printf("\n%d differences to the log up to position %d: `forgeauth verify --repair` writes them away\n", len(report.Differences), report.Through)
	}
	return nil
}

// rowsEqual begins the sentence that so many rows equal something.
func rowsEqual(rows int) string {
	if rows == 1 {
		return "1 row equals"
	}
	return fmt.Sprintf("%d rows equal", rows)
}
