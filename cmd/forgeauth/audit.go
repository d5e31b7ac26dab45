package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/history"
	"github.com/forgeauth/forgeauth/proof"
)

func (p *program) auditCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "audit",
		Short: "What happened, and proof of it",
		Long: `Reads the log for people, and proves what is in it to whoever trusts neither
the database nor this program. See docs/auditing.md.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(
		p.auditSwitchesCommand(), p.auditEventsCommand(), p.auditTokensCommand(), p.auditSessionsCommand(), p.auditDeniedCommand(),
		p.auditReplayCommand(), p.auditExplainCommand(), p.auditProveCommand(), p.auditCheckCommand(),
	)
	return command
}

func (p *program) auditProveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "prove POSITION",
		Short: "Write a proof that an event is in the signed log",
		Long: `Prints a bundle that proves an event by itself: the event, its path to the root
of the tree, and the signed checkpoint with that root (C2SP tlog-proof). What is
sealed is in it as a hash only. Whoever has the log's public key can check it
with forgeauth audit check, or with any other checker of the format.`,
		Example: "  forgeauth audit prove 42 > switch-42.proof",
		Args:    oneArgument("position"),
		RunE: p.action(func(ctx context.Context, args []string) error {
			position, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || position < 1 {
				return &usageError{fmt.Errorf("%q is no position", args[0]), "forgeauth audit prove"}
			}
			return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
				bundle, err := service.Tree().Prove(ctx, service.Log(), position)
				if refused, ok := errors.AsType[*proof.RefusedError](err); ok {
					p.note("%v", refused)
					return errDifferences
				}
				if err != nil {
					return fmt.Errorf("prove position %d: %w", position, err)
				}
				p.printf("%s", bundle)
				return nil
			})
		}),
	}
}

// checkFlags are those of audit check.
type checkFlags struct {
	keys         []string
	against, log string
	json         bool
}

func (p *program) auditCheckCommand() *cobra.Command {
	var o checkFlags
	command := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a proof, or that the log only grew",
		Long: `With FILE (- is standard input), checks a bundle of forgeauth audit prove. It
needs the public key of the log and nothing else: no database, no network.

With --against, proves that the log of today is the one of an older checkpoint
to which events were added: nothing of what it covered was changed, removed or
reordered. The log is that of DATABASE_URL, or with --log that of a deployment
which shows its hashes (FORGEAUTH_PUBLIC_LOG=true).

Keep the public key, and old checkpoints, where who runs forgeauth cannot write.

Exits with 0 if it holds and with 3 if it does not.`,
		Example: `  forgeauth audit check switch-42.proof --key "$(cat log.pub)"
  forgeauth audit check --against checkpoint-of-may --key "$(cat log.pub)"
  forgeauth audit check --against checkpoint-of-may --key "$(cat log.pub)" \
    --log https://auth.example.org/log`,
		Args: cobra.MaximumNArgs(1),
		RunE: p.action(func(ctx context.Context, args []string) error { return p.auditCheck(ctx, args, o) }),
	}
	command.Flags().StringSliceVar(&o.keys, "key", nil, "public `KEY` of the log; else of FORGEAUTH_SIGNING_KEY")
	command.Flags().StringVar(&o.against, "against", "", "`FILE` with an older checkpoint")
	command.Flags().StringVar(&o.log, "log", "", "`URL` of a log that shows its hashes, with --against")
	jsonFlag(command, &o.json)
	return command
}

func (p *program) auditCheck(ctx context.Context, args []string, o checkFlags) error {
	const command = "forgeauth audit check"
	switch {
	case len(args) == 0 && o.against == "":
		return &usageError{errors.New("name the file of a proof, or an older checkpoint with --against"), command}
	case len(args) > 0 && o.against != "":
		return &usageError{errors.New("check a proof or --against a checkpoint, not both at once"), command}
	case o.log != "" && o.against == "":
		return &usageError{errors.New("--log says where to look with --against"), command}
	}
	policy, err := p.checkPolicy(o.keys, command)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		return p.checkBundle(args[0], policy, o.json)
	}
	text, err := p.readBounded(o.against, proof.MaxBundle)
	if err != nil {
		return err
	}
	older, err := policy.ReadCheckpoint(text)
	if err != nil {
		return fmt.Errorf("%s: %w", o.against, err)
	}
	if o.log != "" {
		newest, err := proof.NewRemote(o.log, "forgeauth/"+forgeauth.Version()).Grown(ctx, policy, older)
		return p.printGrown(older, newest, err, o.json)
	}
	return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
		newest, err := service.Tree().GrownSince(ctx, policy, older)
		return p.printGrown(older, newest, err, o.json)
	})
}

// checkPolicy accepts what the given public keys have signed, or the signing key of the environment.
func (p *program) checkPolicy(public []string, command string) (proof.Policy, error) {
	if len(public) > 0 {
		policy, err := proof.ParsePolicy(public...)
		if err != nil {
			return policy, &usageError{err, command}
		}
		return policy, nil
	}
	signing, err := forgeauth.SigningFromEnvironment(p.environ)
	if err != nil {
		return proof.Policy{}, err
	}
	keys, err := signing.Keys()
	if err != nil {
		return proof.Policy{}, err
	}
	if keys == nil {
		return proof.Policy{}, &usageError{errors.New("whose signature to accept is not said: give the log's public key with --key"), command}
	}
	return keys.Policy(), nil
}

// readBounded reads a file of bounded length; - is standard input.
func (p *program) readBounded(name string, limit int64) (string, error) {
	in := p.in
	if name != "-" {
		file, err := os.Open(name) //nolint:gosec // what the user named
		if err != nil {
			return "", fmt.Errorf("read: %w", err)
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return string(text), nil
}

// provenEntry is what a proof proves, as data.
type provenEntry struct {
	Log  string `json:"log"`
	Size int64  `json:"size"` // how many events the signed log had
	history.Event
	SealedHash string `json:"sealed_sha256,omitempty"`
}

func (p *program) checkBundle(name string, policy proof.Policy, asJSON bool) error {
	text, err := p.readBounded(name, proof.MaxBundle)
	if err != nil {
		return err
	}
	entry, tree, err := policy.Check(text)
	if err != nil {
		p.note("%s: %v", name, err)
		return errDifferences
	}
	proven := provenEntry{Log: policy.Origin(), Size: tree.N, Event: history.EventOf(entry)}
	if entry.SealedHash != nil {
		proven.SealedHash = fmt.Sprintf("%x", entry.SealedHash)
	}
	if asJSON {
		return printJSON(p, proven)
	}
	p.printf("Proven: the log %s, signed when it had %s, holds this one.\n\n", proven.Log, count(int(tree.N), "event"))
	rows := [][]string{
		{"position", strconv.FormatInt(entry.Position, 10)},
		{"type", entry.Type},
		{"time", moment(entry.OccurredAt)},
		{"stream", fmt.Sprintf("%s, version %d", entry.Stream, entry.StreamVersion)},
		{"actor", entry.Actor},
		{"command", entry.CorrelationID.String()},
		{"payload", string(entry.Payload)},
	}
	if proven.SealedHash != "" {
		rows = append(rows, []string{"sealed part", "SHA-256 " + proven.SealedHash})
	}
	p.printTable([]string{"field", "value"}, rows)
	return nil
}

// grown is the answer of audit check --against as data.
type grown struct {
	Holds bool   `json:"holds"`
	Old   int64  `json:"old_size"`
	New   int64  `json:"new_size"`
	Why   string `json:"why,omitempty"`
}

func (p *program) printGrown(older, newest proof.TreeHead, err error, asJSON bool) error {
	_, bad := errors.AsType[*proof.GrownError](err)
	if _, unsigned := errors.AsType[*proof.BadCheckpointError](err); unsigned {
		bad = true
	}
	if err != nil && !bad {
		return fmt.Errorf("check: %w", err)
	}
	if asJSON {
		answer := grown{Holds: err == nil, Old: older.N, New: newest.N}
		if bad {
			answer.Why = err.Error()
		}
		if err := printJSON(p, answer); err != nil {
			return err
		}
	} else if !bad {
		p.printf("The log only grew: the %s of the older checkpoint are the first of %s today.\n", count(int(older.N), "event"), count(int(newest.N), "event"))
	} else {
		p.note("%v", err)
	}
	if bad {
		return errDifferences
	}
	return nil
}
