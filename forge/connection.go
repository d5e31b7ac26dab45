package forge

import (
	"errors"
	"strings"
)

// Validate checks a connection as a whole and returns all that is wrong with it, joined; each part is a
// *[SettingError]. Whether http is allowed was decided when the base URL was made canonical.
func (c Connection) Validate() error {
	var faults []error
	add := func(err error) {
		if err != nil {
			faults = append(faults, err)
		}
	}
	add(ValidName(c.Name))
	_, err := ParseKind(string(c.Kind))
	add(err)
	if err == nil {
		add(CheckScopes(c.Kind, c.Scopes))
	}
	canonical, err := CanonicalBaseURL(c.BaseURL, true)
	add(err)
	if err == nil && canonical != c.BaseURL {
		add(&SettingError{"BASE_URL", "it is not in canonical form", "write " + canonical})
	}
	if c.Kind == GitHub {
		add(checkGitHubBase(c.BaseURL))
	}
	if !isVisibleASCII(c.ClientID) {
		add(&SettingError{"CLIENT_ID", "empty or with characters that no client id has", "copy it from the OAuth application's page at the forge"})
	}
	if !isVisibleASCII(c.ClientSecret.Reveal()) {
		add(&SettingError{"CLIENT_SECRET", "empty or with characters that no client secret has", "generate one on the OAuth application's page at the forge"})
	}
	return errors.Join(faults...)
}

// checkGitHubBase catches what people write for github.com that would be taken for an Enterprise Server.
func checkGitHubBase(base string) error {
	scheme, rest, _ := strings.Cut(base, "://")
	host, path, hasPath := strings.Cut(rest, "/")
	name, _, _ := strings.Cut(host, ":")
	isCloud := name == "github.com" || strings.HasSuffix(name, ".github.com")
	switch {
	case isCloud && (base != "https://github.com"):
		return &SettingError{"BASE_URL", "that is not GitHub's web root", "write https://github.com, or leave it unset"}
	case strings.HasSuffix(name, ".ghe.com") && (scheme != "https" || hasPath || !isGitHubCloud(host)):
		return &SettingError{"BASE_URL", "that is not the web root of a data-resident enterprise", "write https://<name>.ghe.com"}
	case hasPath && strings.HasPrefix(path+"/", "api/v3/"):
		return &SettingError{"BASE_URL", "that is the API, not the web root", "leave out /api/v3"}
	}
	return nil
}

// isVisibleASCII reports whether s is a non-empty run of VSCHAR without space (RFC 6749 appendix A), which can neither
// break a header nor a form.
func isVisibleASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
