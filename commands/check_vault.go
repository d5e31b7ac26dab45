package commands

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/vault"
)

// VaultReport is what [Commands.CheckVault] found.
type VaultReport struct {
	// Keys is how many data keys there are, Opened how many of the tokens were opened.
	Keys     int            `json:"keys"`
	Opened   int            `json:"opened"`
	Findings []VaultFinding `json:"findings"`
}

// VaultFinding is something that the vault does not hold as the tables say.
type VaultFinding struct {
	// DataKey is the key that it is about, ForgeType the connection, if any.
	DataKey   uuid.UUID `json:"data_key"`
	ForgeType string    `json:"forge_type,omitempty"`
	What      string    `json:"what"`
}

// CheckVault compares the data keys with the tokens, living or waiting to be revoked, that the tables say there are: each token has its
// key, and each key its token. If the vault has the operator's key, every token is opened too. A row whose key is replaced meanwhile is
// looked at again.
func (c *Commands) CheckVault(ctx context.Context, open bool) (VaultReport, error) {
	var report VaultReport
	for range 3 { // what is being changed looks like a fault for a moment, and a fault stays
		var err error
		if report, err = c.checkVault(ctx, open); err != nil || len(report.Findings) == 0 {
			return report, err
		}
	}
	return report, nil
}

func (c *Commands) checkVault(ctx context.Context, open bool) (report VaultReport, err error) {
	find := func(key uuid.UUID, forgeType, what string) {
		report.Findings = append(report.Findings, VaultFinding{key, forgeType, what})
	}
	stored, err := vault.StoredKeys(ctx, c.pool)
	if err != nil {
		return report, err
	}
	report.Keys = len(stored)
	tokens, err := c.reader.Tokens(ctx)
	if err != nil {
		return report, err
	}
	pending, err := c.reader.Revocations(ctx)
	if err != nil {
		return report, err
	}
	used := map[uuid.UUID]bool{}
	for _, token := range tokens {
		used[token.DataKey] = true
		if token.NeedsReauthReason == projections.ReasonKeyMissing && !stored[token.DataKey] {
			continue // which is what the log says
		}
		if !stored[token.DataKey] {
			find(token.DataKey, token.ForgeType, "the living token's data key is missing")
			continue
		}
		if !open {
			continue
		}
		if err := c.openLiving(ctx, token); err != nil {
			if !isVaultError(err) {
				return report, err
			}
			find(token.DataKey, token.ForgeType, "the living token does not open: "+reasonOf(err))
			continue
		}
		report.Opened++
	}
	for _, row := range pending {
		used[row.DataKey] = true
		if !stored[row.DataKey] {
			find(row.DataKey, row.ForgeType, "the data key of a token that waits to be revoked is missing")
		}
	}
	for key := range stored {
		if !used[key] {
			find(key, "", "the data key belongs to no token: it should have been shredded")
		}
	}
	return report, nil
}

// openLiving opens what a row holds, as what the row says.
func (c *Commands) openLiving(ctx context.Context, token projections.Token) error {
	key, err := c.vault.Load(ctx, c.pool, token.DataKey)
	if err != nil {
		return err
	}
	if _, err := key.Open(accessContext(token.Account, token.DataKey), token.AccessToken); err != nil {
		return err
	}
	if len(token.RefreshToken) > 0 {
		_, err = key.Open(refreshContext(token.Account, token.DataKey), token.RefreshToken)
	}
	return err
}

func isVaultError(err error) bool {
	_, ok := errors.AsType[*vault.OpenError](err)
	return ok || errors.Is(err, vault.ErrShredded)
}

// reasonOf says why something does not open.
func reasonOf(err error) string {
	if failed, ok := errors.AsType[*vault.OpenError](err); ok {
		if failed.Connection == "" {
			return fmt.Sprintf("its data key: %v", failed.Err)
		}
		return strings.ReplaceAll(string(failed.Field), "_", " ") + ": " + failed.Err.Error()
	}
	return err.Error()
}
