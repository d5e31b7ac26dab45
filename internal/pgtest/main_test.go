package pgtest_test

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/forgeauth/forgeauth/internal/localpg"
	"github.com/forgeauth/forgeauth/internal/pgtest"
)

// childMode makes this binary one of the children below, on a machine where no cluster can be started.
const childMode = "PGTEST_TEST_CHILD"

const (
	withoutBinaries = "without binaries"
	brokenServer    = "with a server that fails"
	withoutMain     = "without pgtest.Main"
)

func TestMain(m *testing.M) {
	mode := os.Getenv(childMode)
	if mode == withoutMain {
		os.Exit(m.Run())
	}
	if mode != "" {
		pgtest.FailToStart(func() error {
			fmt.Fprintln(os.Stderr, "a start was tried")
			if mode == brokenServer {
				return errors.New("the disk is full")
			}
			return fmt.Errorf("%w, and none could be fetched", localpg.ErrNoBinaries)
		})
	}
	os.Exit(pgtest.Main(m))
}
