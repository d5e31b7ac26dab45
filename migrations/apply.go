package migrations

import (
	"context"
	"errors"
	"time"

	"github.com/pressly/goose/v3"
)

// Applied is a migration that was just applied and committed.
type Applied struct {
	Version int64
	Name    string // of its file
	Took    time.Duration
}

// Apply does what [Up] does and reports each migration when it has been committed.
func Apply(ctx context.Context, databaseURL string, report func(Applied)) error {
	return with(ctx, databaseURL, func(provider *goose.Provider) error {
		for {
			result, err := provider.UpByOne(ctx)
			if errors.Is(err, goose.ErrNoNextVersion) {
				return nil
			}
			if err != nil {
				return err //nolint:wrapcheck // with says what was being done
			}
			report(Applied{Version: result.Source.Version, Name: result.Source.Path, Took: result.Duration})
		}
	})
}
