package github_test

import (
	"testing"

	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/forge/github"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, dialect := range map[string]forgetest.Dialect{
		"an OAuth App on github.com": forgetest.GitHub,
		"a GitHub App":               forgetest.GitHubApp,
		"an Enterprise Server":       forgetest.GitHubEnterprise,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forgetest.Exercise(t, forgetest.Config{Dialect: dialect}, github.New)
		})
	}
}
