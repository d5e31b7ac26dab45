package forgeauth

import (
	"context"
	"errors"
	"fmt"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/proof"
)

// VerifyOptions say what [Service.Verify] does.
type VerifyOptions struct {
	// Policy accepts checkpoints; nil is that of the configured signing key, if there is one.
	Policy *proof.Policy
	// Kept is a checkpoint that was kept somewhere; empty is that of the configured file, if there is one.
	Kept string
	// Repair writes the rows that differ, unless the log itself does not verify. Force repairs even then, and the log says so.
	Repair, Force bool
	// Hashing and Folding, if not nil, are called now and then with how many of the events have been hashed and folded.
	Hashing, Folding func(done, total int64)
}

// Verification is what [Service.Verify] found.
type Verification struct {
	// Log compares the log with what was signed of it.
	Log proof.Report
	// Tables compares the tables with the fold of the log.
	Tables projections.Report
	// Fold is why a log that does not verify cannot even be folded; nil if it can.
	Fold error
	// Vault compares the vault with the tables.
	Vault commands.VaultReport
}

// Whole reports whether nothing was found, or only what has been repaired.
func (v Verification) Whole() bool {
	return len(v.Log.Findings) == 0 && v.Fold == nil && (len(v.Tables.Differences) == 0 || v.Tables.Repaired) && len(v.Vault.Findings) == 0
}

// UnverifiedLogError says that tables were not repaired because the log that they would be made equal to is not to be trusted.
type UnverifiedLogError struct {
	Verification Verification
}

func (e *UnverifiedLogError) Error() string {
	return fmt.Sprintf("nothing was repaired: the log does not verify (%s, and %d more), and the tables would be made equal to it; "+
		"restore the database from a backup that verifies, or repair with --force, which the log will say",
		e.Verification.Log.Findings[0], len(e.Verification.Log.Findings)-1)
}

// Verify checks all that is stored: the log against the tree, the signed checkpoints and the kept one ([proof.Verify]), the tables
// against the fold of the log ([projections.Verify]), and the vault against the tables ([commands.Commands.CheckVault]). Nobody waits
// meanwhile, except appends for as long as it takes to write rows that differ. With Repair it fails with an *[UnverifiedLogError]
// where the log does not verify. Boot repairs tables that an older fold has written without asking for a proof: what is served before
// and after is what the log says.
func (s *Service) Verify(ctx context.Context, o VerifyOptions) (v Verification, err error) {
	if v.Log, err = s.verifyLog(ctx, o); err != nil {
		return v, err
	}
	broken := len(v.Log.Findings) > 0
	if broken && o.Repair && !o.Force {
		return v, &UnverifiedLogError{v}
	}
	v.Tables, err = projections.Verify(ctx, s.pool, projections.VerifyOptions{Repair: o.Repair, Progress: o.Folding})
	switch {
	case err != nil && broken && ctx.Err() == nil:
		v.Fold = err
	case err != nil:
		return v, err
	}
	if v.Vault, err = s.commands.CheckVault(ctx, !s.config.EncryptionKey.IsZero()); err != nil {
		return v, err
	}
	if broken && v.Tables.Repaired && len(v.Tables.Differences) > 0 {
		_, err = s.commands.RecordForcedRepair(ctx, commands.Caller{Actor: "cli"}, len(v.Log.Findings), len(v.Tables.Differences))
	}
	return v, err
}

func (s *Service) verifyLog(ctx context.Context, o VerifyOptions) (proof.Report, error) {
	options := proof.VerifyOptions{Policy: o.Policy, Kept: o.Kept, Progress: o.Hashing}
	if options.Policy == nil && s.keys != nil {
		own := s.keys.Policy()
		options.Policy = &own
	}
	if file := s.config.Signing.CheckpointFile; file != "" && options.Kept == "" {
		kept, err := proof.Kept(file).Read()
		if err != nil {
			return proof.Report{}, err
		}
		options.Kept = kept
	}
	report, err := proof.Verify(ctx, s.pool, options)
	if err != nil && !errors.Is(err, context.Canceled) {
		return report, fmt.Errorf("the log: %w", err)
	}
	return report, err
}
