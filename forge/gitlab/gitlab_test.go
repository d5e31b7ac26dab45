package gitlab_test

import (
	"testing"

	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/forge/gitlab"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	forgetest.Exercise(t, forgetest.Config{Dialect: forgetest.GitLab}, gitlab.New)
}
