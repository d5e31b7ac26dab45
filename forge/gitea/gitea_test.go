package gitea_test

import (
	"testing"

	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/forge/gitea"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	on, off := true, false
	for name, config := range map[string]forgetest.Config{
		"Gitea without rotation":   {Dialect: forgetest.Gitea, Rotation: &off},
		"Gitea with rotation":      {Dialect: forgetest.Gitea, Rotation: &on},
		"Forgejo with rotation":    {Dialect: forgetest.Forgejo, Rotation: &on},
		"Forgejo without rotation": {Dialect: forgetest.Forgejo, Rotation: &off},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forgetest.Exercise(t, config, gitea.New)
		})
	}
}
