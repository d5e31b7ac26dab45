package forge

import (
	"fmt"
	"slices"
	"strings"
)

// CheckScopes refuses, with a *[SettingError], scopes that would not do what they say at a forge of that kind:
//
//   - A name the kind does not know. Gitea and Forgejo answer one unknown name with a token for everything; GitLab
//     refuses the whole request in the browser; GitHub drops it; Bitbucket grants what its OAuth consumer is registered
//     for, whatever is asked, so that such a name could never be granted.
//   - None at all where that means everything: Gitea, Forgejo, and GitLab, whose default is api. On GitHub no scope
//     means public data only, and a GitHub App has permissions in the place of scopes. On Bitbucket, which does not look
//     at them, they are what the consumer is expected to be registered for.
//   - A set that cannot tell who signed in, so that no sign-in could ever succeed.
func CheckScopes(k Kind, scopes []string) error {
	if _, ok := Info(k); !ok {
		_, err := ParseKind(string(k))
		return err
	}
	known := knownScopes(k)
	for _, scope := range scopes {
		if !slices.Contains(known, scope) {
			return &SettingError{
				"SCOPES",
				fmt.Sprintf("%q is no scope that %s knows", shorten(scope), k),
				"use names out of: " + strings.Join(known, " "),
			}
		}
	}
	enough := identifyingScopes(k)
	if len(enough) > 0 && !slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(enough, s) }) {
		problem := "without one of " + strings.Join(enough, ", ") + " nobody could sign in"
		if len(scopes) == 0 && k != Bitbucket {
			problem = fmt.Sprintf("asking %s for no scope grants access to everything", k)
		}
		info, _ := Info(k)
		return &SettingError{"SCOPES", problem, "leave it unset for the default, " + strings.Join(info.Scopes, " ")}
	}
	return nil
}

// identifyingScopes are those of which one is needed to read the account a token belongs to.
func identifyingScopes(k Kind) []string {
	switch k {
	case GitLab:
		return []string{"api", "read_api", "read_user"}
	case Gitea, Forgejo:
		return []string{"read:user", "write:user"}
	case Bitbucket:
		return []string{"account", "account:write"}
	case GitHub:
	}
	return nil
}

// knownScopes are the names each kind documents. Gitea's and Forgejo's "all" is left out on purpose: it is what a
// mistake would grant.
func knownScopes(k Kind) []string {
	switch k {
	case GitHub: // docs.github.com: Scopes for OAuth apps
		return strings.Fields(`site_admin repo repo:status repo_deployment public_repo repo:invite security_events
			admin:repo_hook write:repo_hook read:repo_hook admin:org write:org read:org manage_runners:org
			admin:public_key write:public_key read:public_key admin:org_hook gist notifications
			user read:user user:email user:follow project read:project delete_repo
			write:packages read:packages delete:packages admin:gpg_key write:gpg_key read:gpg_key
			admin:ssh_signing_key write:ssh_signing_key read:ssh_signing_key
			codespace codespace:secrets workflow read:audit_log audit_log
			write:discussion read:discussion copilot manage_billing:copilot
			admin:enterprise manage_billing:enterprise manage_runners:enterprise read:enterprise scim:enterprise
			write:network_configurations read:network_configurations`)
	case GitLab: // docs.gitlab.com: Configure GitLab as an OAuth 2.0 provider, authorized applications
		return strings.Fields(`api read_api read_user read_repository write_repository read_registry write_registry
			read_virtual_registry write_virtual_registry read_package_registry write_package_registry
			create_runner manage_runner k8s_proxy ai_features ai_workflows mcp mcp_orbit self_rotate
			read_observability write_observability read_service_ping sudo admin_mode openid profile email`)
	case Gitea, Forgejo: // docs.gitea.com, forgejo.org: Access Token scope
		known := strings.Fields("openid profile email groups public-only")
		for part := range strings.FieldsSeq("activitypub admin issue misc notification organization package repository user") {
			known = append(known, "read:"+part, "write:"+part)
		}
		return known
	case Bitbucket: // developer.atlassian.com: Scopes for the Bitbucket Cloud REST API
		return strings.Fields(`account account:write email
			repository repository:write repository:admin repository:delete pullrequest pullrequest:write webhook
			issue issue:write wiki project project:admin team team:write snippet snippet:write
			pipeline pipeline:write pipeline:variable runner runner:write test test:write`)
	}
	return nil
}

const maxScopes = 100

// CleanScopes is [ParseScopes] for a list that is one already; nil stays nil.
func CleanScopes(scopes []string) []string {
	if scopes == nil {
		return nil
	}
	return ParseScopes(strings.Join(scopes, " "))
}

// ParseScopes reads a list of scopes as forges write it: separated by spaces (RFC 6749 §3.3) or commas. What is no
// scope-token is dropped, duplicates too; an empty list is not nil.
func ParseScopes(s string) []string {
	scopes := []string{}
	for field := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ' ' || r == ',' }) {
		if len(scopes) == maxScopes {
			break
		}
		isToken := isVisibleASCII(field) && len(field) <= MaxStringLength && !strings.ContainsAny(field, `"\\`)
		if isToken && !slices.Contains(scopes, field) {
			scopes = append(scopes, field)
		}
	}
	return scopes
}
