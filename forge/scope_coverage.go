package forge

import (
	"slices"
	"strings"
)

// ScopeAll is what a token of Gitea or Forgejo has that can do everything. It is what they grant to a request for no scope of
// their API, Gitea also to one with a name that it does not know, and to all who consented before they knew scopes. It cannot
// be asked for.
const ScopeAll = "all"

// MissingScopes returns what was asked for and not granted, in the order in which it was asked for. A scope that a granted one
// includes is not missing: GitHub leaves those out of what it reports. Where the forge does not say what it has granted, which
// is nil, nothing is known to be missing. The result is never nil.
func MissingScopes(k Kind, asked, granted []string) []string {
	if granted == nil {
		return []string{}
	}
	return uncovered(k, asked, granted)
}

// ExcessScopes returns what was granted beyond what was asked for, in the order of the forge: a consent that was given
// earlier, or more of it than anybody wanted. The result is never nil.
func ExcessScopes(k Kind, asked, granted []string) []string { return uncovered(k, granted, asked) }

// uncovered returns those of the scopes that none of the others is or includes.
func uncovered(k Kind, scopes, by []string) []string {
	left := []string{}
	for _, scope := range scopes {
		if !slices.ContainsFunc(by, func(broad string) bool { return includes(k, broad, scope) }) {
			left = append(left, scope)
		}
	}
	return left
}

// includes reports whether one scope of a kind allows whatever the other one does.
func includes(k Kind, broad, narrow string) bool {
	if broad == narrow {
		return true
	}
	switch k {
	case GitHub:
		return impliedBy(githubImplied, broad, narrow)
	case GitLab:
		return impliedBy(gitlabImplied, broad, narrow)
	case Bitbucket:
		return impliedBy(bitbucketImplied, broad, narrow)
	case Gitea, Forgejo:
		level, part, isAPI := strings.Cut(narrow, ":")
		return isAPI && (broad == ScopeAll || level == "read" && broad == "write:"+part)
	}
	return false
}

func impliedBy(implied map[string][]string, broad, narrow string) bool {
	return slices.ContainsFunc(implied[broad], func(scope string) bool {
		return scope == narrow || impliedBy(implied, scope, narrow)
	})
}

// githubImplied is docs.github.com, Scopes for OAuth apps: the indented names are part of the one above them, and the scope
// repo includes the repository's hooks.
var githubImplied = map[string][]string{
	"repo": {
		"repo:status", "repo_deployment", "public_repo", "repo:invite", "security_events", "admin:repo_hook",
	},
	"admin:repo_hook":              {"write:repo_hook"},
	"write:repo_hook":              {"read:repo_hook"},
	"admin:org":                    {"write:org", "manage_runners:org"},
	"write:org":                    {"read:org"},
	"admin:public_key":             {"write:public_key"},
	"write:public_key":             {"read:public_key"},
	"user":                         {"read:user", "user:email", "user:follow"},
	"project":                      {"read:project"},
	"write:packages":               {"read:packages"},
	"admin:gpg_key":                {"write:gpg_key"},
	"write:gpg_key":                {"read:gpg_key"},
	"admin:ssh_signing_key":        {"write:ssh_signing_key"},
	"write:ssh_signing_key":        {"read:ssh_signing_key"},
	"codespace":                    {"codespace:secrets"},
	"audit_log":                    {"read:audit_log"},
	"write:discussion":             {"read:discussion"},
	"copilot":                      {"manage_billing:copilot"},
	"admin:enterprise":             {"manage_runners:enterprise", "manage_billing:enterprise", "read:enterprise", "scim:enterprise"},
	"write:network_configurations": {"read:network_configurations"},
}

// gitlabImplied is docs.gitlab.com, Configure GitLab as an OAuth 2.0 provider: api is complete access to the API, container
// and package registry and, over HTTP, to repositories.
var gitlabImplied = map[string][]string{
	"api": {
		"read_api", "write_repository", "read_registry", "write_registry", "read_virtual_registry", "write_virtual_registry",
		"read_package_registry", "write_package_registry", "create_runner", "manage_runner",
	},
	"read_api":               {"read_user"},
	"write_repository":       {"read_repository"},
	"write_virtual_registry": {"read_virtual_registry"},
}

// bitbucketImplied is developer.atlassian.com, Scopes for the Bitbucket Cloud REST API. Administering a repository implies neither
// reading nor writing it.
var bitbucketImplied = map[string][]string{
	"repository:write":  {"repository"},
	"pullrequest":       {"repository"},
	"pullrequest:write": {"pullrequest", "repository:write"},
	"project":           {"repository"},
	"account":           {"email"},
	"account:write":     {"account"},
	"team:write":        {"team"},
	"issue:write":       {"issue"},
	"snippet:write":     {"snippet"},
	"pipeline:write":    {"pipeline"},
	"pipeline:variable": {"pipeline:write"},
	"runner:write":      {"runner"},
	"test:write":        {"test"},
}
