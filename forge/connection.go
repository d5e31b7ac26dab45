package forge

import (
	"errors"
	"net/url"
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
	switch c.Kind {
	case GitHub:
		add(checkGitHubBase(c.BaseURL))
	case Bitbucket:
		add(checkBitbucketBase(c.BaseURL))
	case GitLab, Gitea, Forgejo:
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

const bitbucketCloud = "https://bitbucket.org"

// checkBitbucketBase refuses what is not Bitbucket Cloud, of which there is one: a Data Center of one's own has another API
// and another way to sign in. Loopback is for stand-ins.
func checkBitbucketBase(base string) error {
	var host string
	if u, err := url.Parse(base); err == nil {
		host = u.Hostname()
	}
	switch {
	case base == bitbucketCloud, IsLoopback(host):
		return nil
	case host == "bitbucket.org", strings.HasSuffix(host, ".bitbucket.org"):
		return &SettingError{"BASE_URL", "that is not Bitbucket's web root", "write https://bitbucket.org, or leave it unset"}
	}
	return &SettingError{
		"BASE_URL", "only Bitbucket Cloud is supported, not a Bitbucket Data Center of one's own",
		"leave it unset for https://bitbucket.org",
	}
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
