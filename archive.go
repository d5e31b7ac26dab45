package forgeauth

import (
	"context"
	"io"

	"github.com/forgeauth/forgeauth/archive"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/proof"
)

// Export writes the deployment to a file, as it is at one moment; see [archive.Export].
func (s *Service) Export(ctx context.Context, w io.Writer, keys bool, progress func(done, total int64)) (proof.TreeHead, error) {
	return archive.Export(ctx, s.pool, w, archive.ExportOptions{Keys: keys, Now: s.config.Now(), Progress: progress})
}

// Import reads a file into the empty database that the service was opened on, with Config.Maintenance and Config.Importing; see [archive.Import]. Connections whose
// tokens came without their keys need a sign-in afterwards, and the log says so.
func (s *Service) Import(ctx context.Context, r io.Reader, policy *proof.Policy, progress func(done, total int64)) (archive.Imported, error) {
	if policy == nil && s.keys != nil {
		own := s.keys.Policy()
		policy = &own
	}
	imported, err := archive.Import(ctx, s.pool, r, archive.ImportOptions{Policy: policy, Progress: progress})
	if err != nil {
		return imported, err
	}
	_, err = s.commands.NoteLostTokens(ctx, commands.Caller{Actor: "cli"})
	return imported, err
}
