package forge

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// KindInfo is what holds for every forge of a kind: the defaults of a connection's settings.
type KindInfo struct {
	Kind Kind
	// Title is the kind's name as people write it.
	Title string
	// BaseURL is the web root of the kind's public instance.
	BaseURL string
	// Scopes are asked for where the configuration names none: enough to see who signed in and to work on the
	// repositories, issues and hooks of that account.
	Scopes []string
	// Revocable says whether the forge has an endpoint that revokes a token.
	Revocable bool
	// GrantsPath is the page, below the web root, where an account's owner sees which applications act for it and
	// withdraws what they were granted.
	GrantsPath string
}

// Kinds lists the kinds this module speaks to, each with its defaults. The caller owns the result.
func Kinds() []KindInfo {
	return []KindInfo{
		{GitHub, "GitHub", "https://github.com", []string{"repo", "read:org"}, true, "/settings/applications"},
		{GitLab, "GitLab", "https://gitlab.com", []string{"api"}, true, "/-/user_settings/applications"},
		{Gitea, "Gitea", "https://gitea.com", giteaScopes(), false, "/user/settings/applications"},
		{Forgejo, "Forgejo", "https://codeberg.org", giteaScopes(), false, "/user/settings/applications"},
		{Bitbucket, "Bitbucket Cloud", "https://bitbucket.org", bitbucketScopes(), false, "/account/settings/app-authorizations/"},
	}
}

// GrantsPage is the page of a forge where an account's owner withdraws what applications were granted; empty for a kind that
// this module does not know.
func GrantsPage(k Kind, baseURL string) string {
	info, ok := Info(k)
	if !ok {
		return ""
	}
	return baseURL + info.GrantsPath
}

// giteaScopes ask for issues beside repositories: looking one up and commenting on it, or on a pull request, is of the category
// issue at both forges, whatever may be done to the repository.
func giteaScopes() []string {
	return []string{"read:user", "write:repository", "write:issue", "read:organization"}
}

// bitbucketScopes are in the form in which Bitbucket reports them. pullrequest:write is for [Port.OpenChange] and implies
// repository:write, pullrequest and repository, which Bitbucket then leaves out.
func bitbucketScopes() []string { return []string{"account", "pullrequest:write", "webhook"} }

// Info returns the defaults of a kind; false for a kind this module does not know.
func Info(k Kind) (KindInfo, bool) {
	all := Kinds()
	i := slices.IndexFunc(all, func(info KindInfo) bool { return info.Kind == k })
	if i < 0 {
		return KindInfo{}, false
	}
	return all[i], true
}

// ParseKind reads a kind from configuration. Unknown ones are refused with a *[SettingError] that lists the known.
func ParseKind(s string) (Kind, error) {
	if _, ok := Info(Kind(s)); ok {
		return Kind(s), nil
	}
	var known []string
	for _, info := range Kinds() {
		known = append(known, string(info.Kind))
	}
	return "", &SettingError{
		Setting: "KIND",
		Problem: fmt.Sprintf("%q is no kind of forge", shorten(s)),
		Remedy:  "use one of " + strings.Join(known, ", "),
	}
}

// atlassianID is an account_id of Bitbucket: 557058:6b… (a number and a UUID) or 24 hexadecimal digits. Atlassian promises no
// more than letters, digits, colons and hyphens, 128 at most; that none is short tells it from a nickname.
var atlassianID = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z:-]{19,127}$`)

// IsAccountID reports whether s is an account's immutable id as forges of the kind write it: a positive number, and at
// Bitbucket an Atlassian account id.
func (k Kind) IsAccountID(s string) bool {
	if k == Bitbucket {
		return atlassianID.MatchString(s) && strings.ContainsAny(s, "0123456789")
	}
	id, err := strconv.ParseInt(s, 10, 64)
	return err == nil && Number(id) == s
}

// SettingError says what is wrong with one setting of a connection and what to write instead. Setting is the last part
// of the environment variable's name: NAME, KIND, BASE_URL, CLIENT_ID, CLIENT_SECRET or SCOPES.
type SettingError struct {
	Setting, Problem, Remedy string
}

func (e *SettingError) Error() string {
	return e.Setting + ": " + e.Problem + ": " + e.Remedy
}

const maxNameLength = 40

var nameShape = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// ValidName checks the name of a connection, which becomes the forge_type of tables and routes: lower case letters,
// digits and single inner dashes, at most 40 of them. The name active is taken by the route /forges/active.
func ValidName(name string) error {
	switch {
	case name == "active":
		return &SettingError{"NAME", `"active" stands for the active forge in routes`, "choose another name, such as github-work"}
	case len(name) > maxNameLength:
		return &SettingError{"NAME", fmt.Sprintf("%q has more than %d characters", shorten(name), maxNameLength), "choose a shorter name"}
	case !nameShape.MatchString(name):
		return &SettingError{
			"NAME",
			fmt.Sprintf("%q is no name for a connection", shorten(name)),
			"use lower case letters, digits and single dashes between them, such as gitlab-work",
		}
	}
	return nil
}

// shorten keeps a wrong setting quotable in an error.
func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
