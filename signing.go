package forgeauth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/forgeauth/forgeauth/history"
	"github.com/forgeauth/forgeauth/proof"
	"github.com/forgeauth/forgeauth/relay"
	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

// SigningConfig says how the log is signed. Without a key it is not.
type SigningConfig struct {
	// Key signs checkpoints; see [proof.ParseKeys]. It has nothing to do with the encryption key, and whoever has it cannot open
	// a token.
	Key secret.Text
	// Previous keys sign too, while those who check are given the new public key.
	Previous []secret.Text
	// CheckpointFile keeps the newest checkpoint outside of the database; required with a key. No two processes may share one.
	CheckpointFile string
	// Public serves the checkpoints and the hashes of the tree to anybody. What was hashed is for a session in any case.
	Public bool
}

// ErrNoCheckpointFile says that there is a signing key and nowhere to keep what it signs.
var ErrNoCheckpointFile = errors.New("a signing key needs a file outside of the database to keep the newest checkpoint in")

// Keys parses the keys; nil if there is none.
func (c SigningConfig) Keys() (*proof.Keys, error) {
	if c.Key.IsZero() {
		return nil, nil //nolint:nilnil // no keys is no error
	}
	return proof.ParseKeys(c.Key, c.Previous...)
}

// openSigner makes the signer, which works while [Service.Run] runs.
func (s *Service) openSigner(ctx context.Context) (err error) {
	signing := s.config.Signing
	if s.keys, err = signing.Keys(); err != nil {
		return fmt.Errorf("the signing key: %w", err)
	}
	s.tree = proof.NewTree(s.pool)
	if s.config.Maintenance {
		return nil
	}
	if s.keys == nil {
		s.config.Logger.WarnContext(ctx, "the log is not signed: whoever can write to the database can change it unnoticed; see `forgeauth keys generate`")
		return nil
	}
	if signing.CheckpointFile == "" {
		return ErrNoCheckpointFile
	}
	s.signer = proof.NewSigner(proof.SignerConfig{
		Pool: s.pool, Feed: s.feed, Keys: s.keys, Kept: proof.Kept(signing.CheckpointFile), Signed: func(checkpoint string) { s.couriers.offer(checkpoint) }, Logger: s.config.Logger, NewID: s.config.NewID,
	})
	s.metrics.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "forgeauth_log_signed_position",
			Help: "Position up to which this process knows the log to be covered by a signed checkpoint.",
		}, func() float64 { return float64(s.signer.Size()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "forgeauth_log_signing_refused",
			Help: "1 while the log contradicts what was signed, so that nothing is signed any more; else 0.",
		}, func() float64 {
			if s.signer.Err() != nil {
				return 1
			}
			return 0
		}),
	)
	return nil
}

// Sign has everything that was appended signed before it returns; while [Service.Run] runs, that happens by itself within a second.
// It fails with [proof.ErrNoCheckpoint] where there is no signing key, with
// [proof.ErrLeased] where another process signs, and with a *[proof.RefusedError] if the log contradicts what was signed.
func (s *Service) Sign(ctx context.Context) error {
	if s.signer == nil {
		return proof.ErrNoCheckpoint
	}
	return s.signer.Advance(ctx)
}

// signingDetail says on GET /readyz how far the log is signed. A log that is not is served all the same: to take the operator's
// service away would be a gift to whoever broke it.
func (s *Service) signingDetail(head int64) string {
	switch {
	case s.signer == nil:
		return "not signed: there is no signing key"
	case s.signer.Err() != nil:
		return s.signer.Err().Error()
	default:
		return fmt.Sprintf("this process knows %d of %d events to be signed", min(s.signer.Size(), head), head)
	}
}

// KeyUses says what each of the encryption keys seals, the present one first, and which data keys none of them opens.
func (s *Service) KeyUses(ctx context.Context) ([]vault.KeyUse, []uuid.UUID, error) {
	return s.vault.Uses(ctx, s.pool)
}

// History answers what happened, and what was so at a time.
func (s *Service) History() *history.Reader { return history.New(s.log, s.commands, s.config.Now) }

// Tree reads the Merkle tree over the log, and proves what is in it.
func (s *Service) Tree() *proof.Tree { return s.tree }

// SigningKeys are those that the service was opened with, nil if there are none.
func (s *Service) SigningKeys() *proof.Keys { return s.keys }

// couriers take the newest checkpoint to the relays that carry checkpoints.
type couriers []chan string

// offer replaces what a courier has not taken yet. Only one goroutine may call it.
func (c couriers) offer(checkpoint string) {
	for _, newest := range c {
		select {
		case <-newest:
		default:
		}
		newest <- checkpoint
	}
}

// runCourier publishes checkpoints to a relay's destination until ctx ends. Only the newest one counts: one that could not be
// delivered is given up for the next.
func (s *Service) runCourier(ctx context.Context, to relay.Destination, name string, source string, newest <-chan string) {
	logger := s.config.Logger.With("relay", name)
	defer func() {
		if err := to.Publisher.Close(); err != nil {
			logger.WarnContext(ctx, "could not close a relay's publisher", "error", err)
		}
	}()
	const first, longest = time.Second, time.Minute
	wait := first
	var checkpoint string
	retry := time.NewTimer(longest)
	retry.Stop()
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case checkpoint = <-newest:
		case <-retry.C:
		}
		if err := relay.PublishCheckpoint(ctx, to, source, s.config.NewID(), s.config.Now(), checkpoint); err != nil && ctx.Err() == nil {
			logger.WarnContext(ctx, "could not deliver a checkpoint; it is tried again", "in", wait, "error", err)
			retry.Reset(wait)
			wait = min(2*wait, longest)
			continue
		}
		wait = first
		retry.Stop()
	}
}

// startCourier connects to a destination of checkpoints, which begins with the newest that there is.
func (s *Service) startCourier(ctx context.Context, c RelayConfig, background *sync.WaitGroup) error {
	source, err := s.feed.Source(ctx)
	if err != nil {
		return err
	}
	newest := make(chan string, 1)
	switch checkpoint, err := s.tree.Checkpoint(ctx); {
	case err == nil:
		newest <- checkpoint
	case !errors.Is(err, proof.ErrNoCheckpoint):
		return err
	}
	to, _, err := s.destination(c)
	if err != nil {
		return err
	}
	s.couriers = append(s.couriers, newest)
	background.Go(func() { s.runCourier(ctx, to, c.Name, source, newest) })
	return nil
}
