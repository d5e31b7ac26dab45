package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/proof"
)

func (p *program) exportCommand() *cobra.Command {
	var withKeys bool
	var out string
	command := &cobra.Command{
		Use:   "export",
		Short: "Write the deployment to a file",
		Long: `Writes the whole log, as it is at one moment, as a file with one JSON document
on each line, for forgeauth import. serve may be running. It ends with the root
of the tree over the events, and holds the newest signed checkpoint.

What is sealed is in it as ciphertext. The keys that open it, wrapped under
OAUTH_ENCRYPTION_KEY, are in it only with --with-keys: keep that file as you
keep the database. Without them, each connection has to be signed in to again.

Where consumer groups have got to is not in it: pg_dump keeps that.`,
		Example: "  forgeauth export --out deployment.ndjson\n  forgeauth export --with-keys | gpg -e -r backup > deployment.ndjson.gpg",
		Args:    cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error {
			return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) (err error) {
				w := p.out
				if out != "" {
					file, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // what the user named
					if err != nil {
						return fmt.Errorf("export: %w", err)
					}
					defer func() {
						if closeErr := errors.Join(file.Sync(), file.Close()); err == nil {
							err = closeErr
						}
					}()
					w = file
				}
				progress, finish := p.progress("exporting")
				head, err := service.Export(ctx, w, withKeys, progress)
				finish()
				if err != nil {
					return err
				}
				p.note("%s exported", count(int(head.N), "event"))
				return nil
			})
		}),
	}
	command.Flags().BoolVar(&withKeys, "with-keys", false, "add the wrapped data keys")
	command.Flags().StringVar(&out, "out", "", "new `FILE` to write; standard output if not given")
	return command
}

func (p *program) importCommand() *cobra.Command {
	var keys []string
	command := &cobra.Command{
		Use:   "import FILE",
		Short: "Read a deployment from a file into an empty database",
		Long: `Reads a file of forgeauth export (- is standard input) into a database that was
migrated and has no history, byte for byte, as the owner of the tables. Every
event is hashed on the way, and the result must be the tree that was exported;
with --key or FORGEAUTH_SIGNING_KEY the file's checkpoint must be signed by that
log's key, too. Then the tables are folded.

If it is broken off, run it again with the same file: it goes on where it was.
serve does not start on the database before the end.`,
		Example: "  forgeauth migrate && forgeauth import deployment.ndjson",
		Args:    oneArgument("file"),
		RunE: p.action(func(ctx context.Context, args []string) error {
			var policy *proof.Policy
			if len(keys) > 0 {
				parsed, err := proof.ParsePolicy(keys...)
				if err != nil {
					return &usageError{err, "forgeauth import"}
				}
				policy = &parsed
			}
			in := p.in
			if args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("import: %w", err)
				}
				defer func() { _ = file.Close() }()
				in = file
			}
			return p.maintain(ctx, forgeauth.Importing, func(service *forgeauth.Service, _ forgeauth.Environment) error {
				progress, finish := p.progress("importing")
				imported, err := service.Import(ctx, in, policy, progress)
				finish()
				if err != nil {
					return err
				}
				p.printf("%s imported", count(int(imported.Events), "event"))
				if imported.Resumed > 0 {
					p.printf(", %d of them before", imported.Resumed)
				}
				if imported.Signed > 0 {
					p.printf("; the first %d are those of the file's checkpoint", imported.Signed)
				}
				p.printf(".\n")
				if !imported.Keys {
					p.note("the file had no keys: every connection has to be signed in to again")
				}
				return nil
			})
		}),
	}
	command.Flags().StringSliceVar(&keys, "key", nil, "public `KEY` of the log")
	return command
}
