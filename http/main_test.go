package http_test

import (
	"os"
	"testing"

	"github.com/forgeauth/forgeauth/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
