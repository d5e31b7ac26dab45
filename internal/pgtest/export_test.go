package pgtest

import (
	"context"

	"github.com/forgeauth/forgeauth/internal/localpg"
)

// FailToStart has the start of the cluster fail with what the function returns.
func FailToStart(fail func() error) {
	cluster.Lock()
	defer cluster.Unlock()
	cluster.start = func(context.Context, localpg.Config) (*localpg.Server, error) { return nil, fail() }
}
