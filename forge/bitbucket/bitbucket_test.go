package bitbucket_test

import (
	"testing"

	"github.com/forgeauth/forgeauth/forge/bitbucket"
	"github.com/forgeauth/forgeauth/forge/forgetest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	forgetest.Exercise(t, forgetest.Config{Dialect: forgetest.Bitbucket}, bitbucket.New)
}
