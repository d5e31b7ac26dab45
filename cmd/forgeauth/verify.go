package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/proof"
)

// verifyFlags are those of verify.
type verifyFlags struct {
	repair, force, json bool
	keys                []string // public keys of the log
	kept                string   // a file
}

func (p *program) verifyCommand() *cobra.Command {
	var o verifyFlags
	command := &cobra.Command{
		Use:   "verify",
		Short: "Check the log, the tables and the vault",
		Long: `Checks all that is stored, while serve may be running and nobody has to wait:

  the log     Hashes every event and compares it with the tree, with each signed
              checkpoint, and with the checkpoint that was kept outside of the
              database. That finds events that were changed, removed, moved or
              slipped in, a log whose end was cut off, and an old backup.
  the tables  Folds the whole log and compares the result row by row and column
              by column. Sealed columns stay sealed.
  the vault   Each token has its data key and each data key its token; with
              OAUTH_ENCRYPTION_KEY set, every living token is opened.

Signatures are checked with FORGEAUTH_SIGNING_KEY or the public key of --key.
FORGEAUTH_CHECKPOINT_FILE or --kept names the kept checkpoint.

--repair makes the tables equal to the log, unless the log itself does not
verify; --force does it even then, and the log will say so.

Exits with 0 if all of it holds or --repair has written the differences away,
and with 3 if something does not hold.`,
		Example: `  forgeauth verify
  forgeauth verify --json | jq '.differences[].table'
  forgeauth verify --kept /mnt/elsewhere/checkpoint
  forgeauth verify --repair`,
		Args: cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error { return p.verify(ctx, o) }),
	}
	command.Flags().BoolVar(&o.repair, "repair", false, "write the rows that differ, so that the tables equal the log")
	command.Flags().BoolVar(&o.force, "force", false, "with --repair: even if the log does not verify")
	command.Flags().StringSliceVar(&o.keys, "key", nil, "public `KEY` of the log; `forgeauth keys status` prints it")
	command.Flags().StringVar(&o.kept, "kept", "", "`FILE` with a checkpoint that was kept")
	jsonFlag(command, &o.json)
	return command
}

func (p *program) verify(ctx context.Context, o verifyFlags) error {
	options := forgeauth.VerifyOptions{Repair: o.repair, Force: o.force}
	if o.force && !o.repair {
		return &usageError{errors.New("--force says how to --repair"), "forgeauth verify"}
	}
	if len(o.keys) > 0 {
		policy, err := proof.ParsePolicy(o.keys...)
		if err != nil {
			return &usageError{err, "forgeauth verify"}
		}
		options.Policy = &policy
	}
	if o.kept != "" {
		text, err := os.ReadFile(o.kept)
		if err != nil {
			return fmt.Errorf("the kept checkpoint: %w", err)
		}
		options.Kept = string(text)
	}
	return p.maintain(ctx, forgeauth.Checking, func(service *forgeauth.Service, _ forgeauth.Environment) error {
		reports, finish := p.stages("hashing the log", "folding the log")
		options.Hashing, options.Folding = reports[0], reports[1]
		found, err := service.Verify(ctx, options)
		finish()
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		if err := p.printVerification(found, o.json); err != nil {
			return err
		}
		if !found.Whole() {
			return errDifferences
		}
		return nil
	})
}

// verification is the answer of verify as data. The tables' part came first and stands at the top.
type verification struct {
	projections.Report
	// Fold says why the log cannot be folded; empty if it can.
	Fold  string               `json:"fold,omitempty"`
	Log   proof.Report         `json:"log"`
	Vault commands.VaultReport `json:"vault"`
}

func (p *program) printVerification(v forgeauth.Verification, asJSON bool) error {
	if asJSON {
		return printJSON(p, verificationOf(v))
	}
	p.printLog(v.Log)
	if v.Fold != nil {
		p.printf("\nThe tables were not compared: %s\n", oneLine(v.Fold.Error()))
	} else {
		p.printTables(v.Tables)
	}
	p.printVault(v.Vault)
	return nil
}

func verificationOf(v forgeauth.Verification) verification {
	data := verification{Report: v.Tables, Log: v.Log, Vault: v.Vault}
	if v.Fold != nil {
		data.Fold = v.Fold.Error()
	}
	data.Differences = append([]projections.Difference{}, v.Tables.Differences...)
	data.Log.Findings = append([]proof.Finding{}, v.Log.Findings...)
	data.Vault.Findings = append([]commands.VaultFinding{}, v.Vault.Findings...)
	return data
}

func (p *program) printLog(log proof.Report) {
	for _, finding := range log.Findings {
		p.printf("log: %s\n", finding)
	}
	switch {
	case len(log.Findings) > 0:
		p.printf("\n%s against what was signed\n", count(len(log.Findings), "finding"))
	case log.Signed == 0:
		p.printf("%s hashed; the log is not signed: see `forgeauth keys generate --help`\n", count(int(log.Head), "event"))
	default:
		p.printf("%s signed and as they were signed", count(int(log.Signed), "event"))
		if rest := log.Head - log.Signed; rest > 0 {
			p.printf("; not signed yet: positions %d to %d", log.Signed+1, log.Head)
		}
		if !log.Checked {
			p.printf("; signatures were not checked, for want of a key: see --key")
		}
		p.printf("\n")
	}
}

func (p *program) printTables(report projections.Report) {
	if len(report.Differences) == 0 {
		p.printf("%s the fold of the log up to position %d\n", rowsEqual(report.Rows), report.Through)
		return
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
		p.printf("\n%s to the log up to position %d, repaired\n", count(len(report.Differences), "difference"), report.Through)
	} else {
		p.printf("\n%s to the log up to position %d: `forgeauth verify --repair` repairs\n", count(len(report.Differences), "difference"), report.Through)
	}
}

func (p *program) printVault(report commands.VaultReport) {
	for _, f := range report.Findings {
		p.printf("vault: %s (data key %s) %s\n", f.ForgeType, f.DataKey, f.What)
	}
	if len(report.Findings) == 0 {
		p.printf("%s, each of a token; %s opened\n", count(report.Keys, "data key"), count(report.Opened, "token"))
	}
}

// rowsEqual begins the sentence that so many rows equal something.
func rowsEqual(rows int) string {
	if rows == 1 {
		return "1 row equals"
	}
	return fmt.Sprintf("%d rows equal", rows)
}

// count puts a noun into the singular or the plural.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
