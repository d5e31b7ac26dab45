package forge_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
)

func TestMissingAndExcessScopes(t *testing.T) {
	t.Parallel()
	const unknown = "unknown"
	for name, test := range map[string]struct {
		kind                            forge.Kind
		asked, granted, missing, excess string
	}{
		"as asked":                                {forge.GitHub, "repo read:org", "read:org repo", "", ""},
		"the forge does not say":                  {forge.Gitea, "read:user", unknown, "", ""},
		"nothing was granted":                     {forge.GitHub, "repo read:org", "", "repo read:org", ""},
		"nothing was asked for":                   {forge.GitHub, "", "repo", "", "repo"},
		"github: left out of what it reports":     {forge.GitHub, "repo public_repo repo:status admin:repo_hook", "repo", "", ""},
		"github: two steps down":                  {forge.GitHub, "read:org read:repo_hook", "admin:org repo", "", "admin:org repo"},
		"github: a part of what was asked for":    {forge.GitHub, "repo", "public_repo", "repo", ""},
		"github: the user":                        {forge.GitHub, "user", "read:user user:email", "user", ""},
		"github: another subject":                 {forge.GitHub, "read:org", "write:packages", "read:org", "write:packages"},
		"gitlab: api is almost everything":        {forge.GitLab, "read_user write_repository read_repository read_registry", "api", "", "api"},
		"gitlab: but not this":                    {forge.GitLab, "api sudo openid", "api", "sudo openid", ""},
		"gitlab: reading":                         {forge.GitLab, "api read_user", "read_api", "api", ""},
		"gitea: write is read, too":               {forge.Gitea, "read:user write:repository", "write:user write:repository", "", "write:user"},
		"gitea: read is not write":                {forge.Gitea, "write:repository", "read:repository", "write:repository", ""},
		"gitea: write of another part is not":     {forge.Forgejo, "read:user", "write:repository", "read:user", "write:repository"},
		"gitea: everything":                       {forge.Forgejo, "read:user write:repository", "all", "", "all"},
		"gitea: everything is no sign-in by it":   {forge.Gitea, "read:user openid", "all", "openid", "all"},
		"gitea: the consent before a wider wish":  {forge.Gitea, "read:user write:repository", "read:user", "write:repository", ""},
		"bitbucket: left out of what it reports":  {forge.Bitbucket, "account email repository repository:write pullrequest pullrequest:write", "account pullrequest:write", "", ""},
		"bitbucket: administering is not reading": {forge.Bitbucket, "repository", "repository:admin", "repository", "repository:admin"},
		"bitbucket: reading is not proposing":     {forge.Bitbucket, "account pullrequest:write webhook", "account pullrequest webhook", "pullrequest:write", ""},
		"another kind":                            {"unheard-of", "a b", "b c", "a", "c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			granted := strings.Fields(test.granted)
			if test.granted == unknown {
				granted = nil
			} else if granted == nil {
				granted = []string{}
			}
			missing := forge.MissingScopes(test.kind, strings.Fields(test.asked), granted)
			excess := forge.ExcessScopes(test.kind, strings.Fields(test.asked), granted)
			if diff := cmp.Diff(append([]string{}, strings.Fields(test.missing)...), missing); diff != "" {
				t.Errorf("missing: %s", diff)
			}
			if diff := cmp.Diff(append([]string{}, strings.Fields(test.excess)...), excess); diff != "" {
				t.Errorf("excess: %s", diff)
			}
		})
	}
}
