package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/proof"
	"github.com/forgeauth/forgeauth/vault"
)

func (p *program) keysCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "keys",
		Short: "The keys that seal tokens and sign the log",
		Long: `There are two keys, which have nothing to do with each other:

  OAUTH_ENCRYPTION_KEY   seals the tokens. Whoever has it and the database can
                         act as you on your forges.
  FORGEAUTH_SIGNING_KEY  signs the log. Whoever has it can sign another history,
                         and open nothing.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(p.keysStatusCommand(), p.keysGenerateCommand(), p.keysRotateCommand(), p.keysResetCommand())
	return command
}

func (p *program) keysGenerateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "generate NAME",
		Short: "Make a key that signs the log",
		Long: `Prints a new signing key on standard output, and its public key on standard
error. The name tells logs apart and is part of every checkpoint: a host name
and a path. It stays when the key is rotated.

Set FORGEAUTH_SIGNING_KEY (or FORGEAUTH_SIGNING_KEY_FILE) to the key, give the
public key to whoever is to check, and name in FORGEAUTH_CHECKPOINT_FILE a file
outside of the database. To rotate it, set FORGEAUTH_SIGNING_KEY to a new one
and FORGEAUTH_SIGNING_KEY_PREVIOUS to the old one: both sign, until whoever
checks has the new public key.`,
		Example: "  forgeauth keys generate auth.example.org/log > signing.key",
		Args:    oneArgument("name"),
		RunE: p.action(func(_ context.Context, args []string) error {
			private, public, err := proof.GenerateKey(args[0])
			if err != nil {
				return &usageError{err, "forgeauth keys generate"}
			}
			p.printf("%s\n", private.Reveal())
			p.note("the public key, for whoever is to check: %s", public)
			return nil
		}),
	}
}

// keyStatus is the answer of keys status as data.
type keyStatus struct {
	Encryption []encryptionKeyStatus `json:"encryption"`
	// Unreadable are the data keys that no encryption key opens.
	Unreadable []string `json:"unreadable"`
	Signing    []string `json:"signing"` // public keys, the present one first
	// Signed is up to which position the log is signed.
	Signed int64 `json:"signed"`
}

type encryptionKeyStatus struct {
	Variable string   `json:"variable"`
	KeyID    string   `json:"key_id"`
	DataKeys []string `json:"data_keys"`
	Canary   bool     `json:"canary"`
}

func (p *program) keysStatusCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "status",
		Short: "Say which key seals what",
		Long: `Lists the encryption keys of the environment by an id that says nothing about
them, with what each seals: data keys, of which every token has one, and the
canary by which a wrong key is noticed. A key in OAUTH_ENCRYPTION_KEY_PREVIOUS
that seals nothing any more can be unset. Then the public keys of the log.`,
		Example: "  forgeauth keys status\n  forgeauth keys status --json | jq -r '.signing[0]'",
		Args:    cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error {
			return p.maintain(ctx, forgeauth.Checking, func(service *forgeauth.Service, e forgeauth.Environment) error {
				status, err := statusOfKeys(ctx, service, e)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(p, status)
				}
				p.printKeyStatus(status)
				return nil
			})
		}),
	}
	jsonFlag(command, &asJSON)
	return command
}

func statusOfKeys(ctx context.Context, service *forgeauth.Service, e forgeauth.Environment) (keyStatus, error) {
	status := keyStatus{Encryption: []encryptionKeyStatus{}, Unreadable: []string{}, Signing: []string{}}
	if !e.Config.EncryptionKey.IsZero() {
		uses, unreadable, err := service.KeyUses(ctx)
		if err != nil {
			return status, err
		}
		for i, use := range uses {
			one := encryptionKeyStatus{Variable: vault.KeyVariable, KeyID: use.KeyID, DataKeys: []string{}, Canary: use.Canary}
			if i > 0 {
				one.Variable += "_PREVIOUS"
			}
			for _, id := range use.DataKeys {
				one.DataKeys = append(one.DataKeys, id.String())
			}
			status.Encryption = append(status.Encryption, one)
		}
		for _, id := range unreadable {
			status.Unreadable = append(status.Unreadable, id.String())
		}
	}
	if keys := service.SigningKeys(); keys != nil {
		status.Signing = keys.PublicKeys()
	}
	signed, err := service.Tree().Signed(ctx)
	status.Signed = signed
	return status, err
}

func (p *program) printKeyStatus(status keyStatus) {
	if len(status.Encryption) == 0 {
		p.printf("%s is not set, so what it seals cannot be told.\n", vault.KeyVariable)
	} else {
		var rows [][]string
		for _, key := range status.Encryption {
			seals := count(len(key.DataKeys), "data key")
			if key.Canary {
				seals += " and the canary"
			}
			rows = append(rows, []string{key.Variable, key.KeyID, seals})
		}
		p.printTable([]string{"key", "id", "seals"}, rows)
	}
	if n := len(status.Unreadable); n > 0 {
		p.note("%s opened by none of them: %s", count(n, "data key"), strings.Join(status.Unreadable, ", "))
	}
	p.printf("\n")
	switch {
	case len(status.Signing) > 0:
		p.printf("The log is signed up to position %d. Public keys:\n", status.Signed)
		for _, key := range status.Signing {
			p.printf("  %s\n", key)
		}
	case status.Signed > 0:
		p.printf("The log is signed up to position %d, with a key that is not in this environment.\n", status.Signed)
	default:
		p.printf("The log is not signed: see `forgeauth keys generate --help`.\n")
	}
}

func (p *program) keysRotateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rotate",
		Short: "Seal everything under the present encryption key",
		Long: `Wraps every data key anew under OAUTH_ENCRYPTION_KEY, in one transaction, while
serve goes on. No token is opened and no event touched; the log gains a
KeysRotated. Sessions stay.

  1. Set OAUTH_ENCRYPTION_KEY to a new key and OAUTH_ENCRYPTION_KEY_PREVIOUS to
     the old one, and restart every process with both.
  2. Run forgeauth keys rotate with the same environment.
  3. Check with forgeauth keys status, then unset OAUTH_ENCRYPTION_KEY_PREVIOUS.

Older backups, standbys that lag and archived WAL still hold the data keys as
the old key wrapped them: destroy the old key or them. See docs/security.md.`,
		Example: "  forgeauth keys rotate",
		Args:    cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error {
			return p.maintain(ctx, forgeauth.Serving, func(service *forgeauth.Service, _ forgeauth.Environment) error {
				appended, err := service.Commands().RotateKeys(ctx, cli())
				if err != nil {
					return fmt.Errorf("rotate: %w", err)
				}
				if len(appended) == 0 {
					p.printf("Nothing to do: everything is sealed under the present key already.\n")
					return nil
				}
				if fact, ok := appended[0].Fact.(events.KeysRotated); ok {
					p.printf("%s wrapped under the key %s (position %d).\n", count(fact.DataKeys, "data key"), fact.KeyID, appended[0].Position)
				}
				return nil
			})
		}),
	}
}

func (p *program) keysResetCommand() *cobra.Command {
	var yes bool
	command := &cobra.Command{
		Use:   "reset",
		Short: "Shred all data keys, for when the encryption key is lost",
		Long: `Deletes every data key and the canary, so that serve starts with another
OAUTH_ENCRYPTION_KEY. No token can be opened any more: every forge has to be
signed in to again, and every session. The log stays, says so for each token,
and every proof of it still checks. It needs no encryption key.

The tokens remain valid at the forges until they expire or are withdrawn there;
the pages for that are listed.`,
		Example: "  forgeauth keys reset",
		Args:    cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error {
			return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
				err := p.confirm(ctx, yes, "Every stored token becomes unreadable for good, and everybody is signed out", "forgeauth keys reset")
				if err != nil {
					return err
				}
				appended, err := service.Commands().ResetKeys(ctx, cli())
				if err != nil {
					return fmt.Errorf("reset: %w", err)
				}
				p.printShredded(appended)
				return nil
			})
		}),
	}
	confirmFlag(command, &yes)
	return command
}

// printShredded says what became of tokens.
func (p *program) printShredded(appended []events.Event) {
	shredded := 0
	for _, e := range appended {
		if fact, ok := e.Fact.(events.TokenRevoked); ok {
			shredded++
			if fact.Page != "" {
				p.note("a token of %s may still be valid there: withdraw it at %s", fact.ForgeType, fact.Page)
			}
		}
	}
	p.printf("%s shredded (positions %d to %d).\n", count(shredded, "token"), appended[0].Position, appended[len(appended)-1].Position)
}

func (p *program) forgetCommand() *cobra.Command {
	var yes, asJSON bool
	command := &cobra.Command{
		Use:   "forget FORGE",
		Short: "Make a forge's tokens unreadable for good",
		Long: `Shreds the data keys of all tokens of a connection, the living one and those
that still wait to be revoked: nobody can open them any more, with the
encryption key or without. The log keeps that they were there, and every proof
of it still checks.

The forge is not told. To have the token revoked there, disconnect the forge in
the console first; the page where the grant can be withdrawn is printed.
Backups from before still hold the data keys: see docs/security.md.`,
		Example: "  forgeauth forget gitlab-work",
		Args:    oneArgument("forge"),
		RunE: p.action(func(ctx context.Context, args []string) error {
			return p.maintain(ctx, forgeauth.Maintaining, func(service *forgeauth.Service, _ forgeauth.Environment) error {
				if err := p.confirm(ctx, yes, "The tokens of "+args[0]+" become unreadable for good", "forgeauth forget"); err != nil {
					return err
				}
				appended, err := service.Commands().ForgetForge(ctx, cli(), args[0])
				if err != nil {
					return fmt.Errorf("forget %s: %w", args[0], err)
				}
				if asJSON {
					return printJSON(p, struct {
						Revocation *commands.RevocationStatus `json:"revocation"`
					}{commands.RevocationIn(appended)})
				}
				p.printShredded(appended)
				return nil
			})
		}),
	}
	confirmFlag(command, &yes)
	jsonFlag(command, &asJSON)
	return command
}
