package main

import (
	"context"
	"fmt"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/proof"
)

// proves has the log signed, and a switch proven to somebody who has the public key and nothing else.
func (s *story) proves(ctx context.Context) (string, error) {
	var position int64
	for event, err := range s.service.Log().Read(ctx, events.Query{Types: []string{"ForgeActivated"}}) {
		if err != nil {
			return "", err
		}
		position = event.Position
		break
	}
	if err := s.service.Sign(ctx); err != nil {
		return "", err
	}
	bundle, err := s.service.Tree().Prove(ctx, s.service.Log(), position)
	if err != nil {
		return "", err
	}
	stranger, err := proof.ParsePolicy(s.service.SigningKeys().PublicKeys()...)
	if err != nil {
		return "", err
	}
	entry, tree, err := stranger.Check(bundle)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s #%d is in the signed log of %d events", entry.Type, entry.Position, tree.N), expect("proven position", position, entry.Position)
}

func (s *story) verifies(ctx context.Context) (string, error) {
	report, err := s.service.Verify(ctx, forgeauth.VerifyOptions{})
	if err != nil {
		return "", err
	}
	if len(report.Tables.Differences) > 0 {
		d := report.Tables.Differences[0]
		return "", &unmetError{
			"no difference", fmt.Sprintf("%d, first %s %s %s", len(report.Tables.Differences), d.Table, d.Key, d.Column),
		}
	}
	if err := expect("verified up to position", s.seen, report.Tables.Through); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s the fold of events 1–%d", rowsEqual(report.Tables.Rows), report.Tables.Through), nil
}
