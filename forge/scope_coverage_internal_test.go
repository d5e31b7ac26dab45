package forge

import (
	"maps"
	"slices"
	"testing"
)

// A misspelt name in what one scope includes would never cover anything.
func TestScopesIncludeOnlyScopesThatExist(t *testing.T) {
	t.Parallel()
	for kind, implied := range map[Kind]map[string][]string{GitHub: githubImplied, GitLab: gitlabImplied} {
		for broad := range maps.Keys(implied) {
			for _, scope := range append(slices.Clone(implied[broad]), broad) {
				if !slices.Contains(knownScopes(kind), scope) {
					t.Errorf("%s: %s includes %s: no such scope", kind, broad, scope)
				}
			}
		}
	}
}
