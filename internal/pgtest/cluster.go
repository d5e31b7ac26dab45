package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/internal/localpg"
)

// serverURL is the environment variable that names a server to use instead of a cluster of our own.
const serverURL = "FORGEAUTH_TEST_DATABASE_URL"

// startTimeout bounds the start of the cluster, a download of Postgres included.
const startTimeout = 5 * time.Minute

// cluster is the server that the tests of one binary share. It is the one piece of global state here, as there is one
// TestMain to a binary.
var cluster struct {
	sync.Mutex
	inMain bool
	tried  bool
	server *localpg.Server
	url    string
	err    error

	// start stands in for localpg.Start in tests of this package.
	start func(context.Context, localpg.Config) (*localpg.Server, error)
}

// Main runs the tests of a package and then stops the cluster, if they started one. It returns the exit code for
// TestMain to pass to [os.Exit].
func Main(m *testing.M) int {
	cluster.Lock()
	cluster.inMain = true
	cluster.Unlock()
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

func stop() error {
	cluster.Lock()
	defer cluster.Unlock()
	if cluster.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := cluster.server.Stop(ctx); err != nil {
		return fmt.Errorf("pgtest: stop the test cluster: %w", err)
	}
	return nil
}

// server returns the URL of the shared server's database, starting the cluster if this is the first call.
func server(tb testing.TB) string {
	tb.Helper()
	if given := os.Getenv(serverURL); given != "" {
		if u, err := url.Parse(given); err != nil || u.Scheme == "" {
			tb.Fatalf("pgtest: %s must be a URL such as postgres://user@host/database", serverURL)
		}
		return given
	}
	cluster.Lock()
	defer cluster.Unlock()
	if !cluster.inMain {
		tb.Fatal("pgtest: this package needs func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }, which stops the cluster")
	}
	if !cluster.tried {
		cluster.tried = true
		// Not the context of the test: the cluster outlives it.
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		start := cluster.start
		if start == nil {
			start = localpg.Start
		}
		cluster.server, cluster.err = start(ctx, localpg.Config{
			Ephemeral: true,
			Settings: map[string]string{
				"max_connections":    "300",
				"shared_buffers":     "32MB",
				"synchronous_commit": "on",
				"max_wal_size":       "1GB",
				"autovacuum_naptime": "10min",
			},
		})
		if cluster.err == nil {
			cluster.url = cluster.server.URL()
		}
	}
	switch {
	case cluster.err == nil:
	case errors.Is(cluster.err, localpg.ErrNoBinaries) && os.Getenv("CI") != "true":
		tb.Skipf("pgtest: no Postgres to test against, and %s is not set: %v", serverURL, cluster.err)
	default:
		tb.Fatalf("pgtest: start the test cluster: %v", cluster.err)
	}
	return cluster.url
}
