package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/migrations"
)

func (p *program) migrateCommand() *cobra.Command {
	var role string
	command := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema up to date",
		Long: `Applies the migrations that the database lacks, one transaction each, and prints
the schema version before and after. Several at once wait for each other. Run it
as the role that is to own the tables; it needs DATABASE_URL and no other
setting. With the embedded Postgres serve migrates by itself.

--runtime-role gives another role exactly what serve needs on these tables, and
takes from it whatever more it had there, from PUBLIC too: it reads and appends
the log and can neither change nor remove what is in it. The role must exist,
with LOGIN. Repeat it with each migration.`,
		Example: `  DATABASE_URL=postgres://forgeauth_owner@db/forgeauth forgeauth migrate
  DATABASE_URL_FILE=/run/secrets/owner_url \
    forgeauth migrate --runtime-role forgeauth_run`,
		Args: cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error { return p.migrate(ctx, role) }),
	}
	command.Flags().StringVar(&role, "runtime-role", "", "role to grant what serve needs, and no more")
	return command
}

func (p *program) migrate(ctx context.Context, role string) error {
	e, err := p.environment(forgeauth.Maintaining)
	if err != nil {
		return err
	}
	url, release, err := p.reach(ctx, e, p.logger(e), true)
	if err != nil {
		return err
	}
	defer release()
	have, want, err := migrations.Version(ctx, url)
	switch {
	case err != nil:
		return fmt.Errorf("migrate: %w", err)
	case have > want:
		return fmt.Errorf("migrate: %w", &migrations.VersionError{Have: have, Want: want})
	}
	err = migrations.Apply(ctx, url, func(a migrations.Applied) {
		p.printf("applied %s (%s)\n", a.Name, a.Took.Round(time.Millisecond))
	})
	if err != nil {
		now, _, versionErr := migrations.Version(ctx, url)
		if versionErr == nil && now != have {
			err = fmt.Errorf("the schema is at version %d of %d now: %w", now, want, err)
		}
		return err
	}
	if have == want {
		p.printf("schema version %d: nothing to do\n", want)
	} else {
		p.printf("schema version %d → %d\n", have, want)
	}
	if role == "" {
		return nil
	}
	if err := migrations.Grant(ctx, url, role); err != nil {
		if errors.Is(err, migrations.ErrNoRole) {
			return fmt.Errorf("%w; as in: CREATE ROLE %q LOGIN PASSWORD '…'", err, role)
		}
		return err
	}
	p.printf("role %s may do what serve needs, and no more\n", role)
	return nil
}
