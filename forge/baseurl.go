package forge

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

var (
	hostShape    = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$`)
	prefixShape  = regexp.MustCompile(`^[A-Za-z0-9._~-]+$`)
	numericShape = regexp.MustCompile(`^([0-9]+|0x[0-9a-f]*)$`)
)

// CanonicalBaseURL brings a forge's web root into the one form in which base URLs are stored, compared and pinned:
// scheme, host in lower case (punycode, RFC 5891; IP addresses in their shortest form), the port where it is not the
// scheme's own, the path prefix; no user, query, fragment or trailing slash. The scheme is https; http is taken for
// loopback hosts, and elsewhere only with allowHTTP. What cannot be brought into that form without guessing is refused
// with a *[SettingError]. The result is its own canonical form.
func CanonicalBaseURL(raw string, allowHTTP bool) (string, error) {
	raw = strings.TrimSpace(raw)
	refuse := func(problem, remedy string) (string, error) {
		return "", &SettingError{"BASE_URL", problem, remedy}
	}
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return refuse("empty", "write the forge's web root, such as https://git.example.com")
	case err != nil || u.Opaque != "" || u.Host == "" || strings.Contains(raw, `\`):
		// The raw text is not quoted: it may hold a password.
		return refuse("this is not the URL of a web page", "write the forge's web root, such as https://git.example.com")
	case u.User != nil:
		return refuse("it names a user", "leave out what stands before the @; the client secret has a setting of its own")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(raw, "#"):
		return refuse("it has a query or a fragment", "write the web root alone, without anything from ? or # on")
	case u.Scheme != "https" && u.Scheme != "http":
		return refuse(fmt.Sprintf("the scheme %q is not https", shorten(u.Scheme)), "write https://")
	}
	host, err := canonicalHost(u.Hostname())
	if err != nil {
		return "", err
	}
	if u.Scheme == "http" && !allowHTTP && !IsLoopback(host) {
		return refuse("over http the token could be read by anybody on the way",
			"write https:// (with CA_FILE for a private authority), or set ALLOW_HTTP=true for a network you trust")
	}
	port, err := canonicalPort(u)
	if err != nil {
		return "", err
	}
	prefix, err := canonicalPrefix(u.EscapedPath())
	if err != nil {
		return "", err
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return u.Scheme + "://" + host + port + prefix, nil
}

func canonicalHost(host string) (string, error) {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return "", &SettingError{"BASE_URL", "the address has a zone", "write an address without %"}
		}
		return addr.String(), nil
	}
	if !isASCII(host) {
		ascii, err := idna.Lookup.ToASCII(host)
		if err != nil {
			return "", &SettingError{"BASE_URL", "the host name is no valid international name", "write its punycode form (xn--…)"}
		}
		host = ascii
	}
	const most = 253 // RFC 1035 §2.3.4, without the root's dot
	if len(host) > most || !hostShape.MatchString(host) {
		return "", &SettingError{"BASE_URL", "the host is neither a name nor an address", "write it as in the browser's address line"}
	}
	if last := host[strings.LastIndex(host, ".")+1:]; numericShape.MatchString(last) {
		// Resolvers disagree about 127.1 and 0x7f000001.
		return "", &SettingError{"BASE_URL", "the host is a number but no complete address", "write all four parts of the IPv4 address"}
	}
	return host, nil
}

// canonicalPort returns ":port", or nothing for the scheme's own.
func canonicalPort(u *url.URL) (string, error) {
	text := u.Port()
	if text == "" {
		if strings.HasSuffix(u.Host, ":") {
			return "", &SettingError{"BASE_URL", "there is a colon but no port", "write the port or leave out the colon"}
		}
		return "", nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return "", &SettingError{"BASE_URL", "the port is not a number from 1 to 65535", "write the port or leave it out"}
	}
	if strconv.FormatUint(port, 10) == defaultPort(u.Scheme) {
		return "", nil
	}
	return ":" + strconv.FormatUint(port, 10), nil
}

func canonicalPrefix(path string) (string, error) {
	var b strings.Builder
	for segment := range strings.SplitSeq(path, "/") {
		switch {
		case segment == "":
		case segment == "." || segment == ".." || !prefixShape.MatchString(segment):
			return "", &SettingError{
				"BASE_URL",
				"the path has a part that is not a plain name",
				"use letters, digits and . _ ~ - only, without . or .. as a part",
			}
		default:
			b.WriteString("/" + segment)
		}
	}
	return b.String(), nil
}

// IsLoopback reports whether a host (without port and brackets) names this machine: localhost, 127.0.0.0/8, ::1. Names
// below localhost do not count: not every resolver keeps them to itself, as RFC 6761 §6.3 only recommends.
func IsLoopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}

// APIBaseURL returns where the connection's API lives, without a trailing slash: api.github.com for github.com,
// api.<name>.ghe.com for GitHub Enterprise Cloud with data residency, {base}/api/v3 for GitHub Enterprise Server,
// {base}/api/v4 for GitLab, {base}/api/v1 for Gitea and Forgejo, api.bitbucket.org/2.0 for bitbucket.org and {base}/2.0 for a
// stand-in of it. The base URL must be in canonical form.
func APIBaseURL(c Connection) string {
	switch c.Kind {
	case GitHub:
		if name, ok := strings.CutPrefix(c.BaseURL, "https://"); ok && isGitHubCloud(name) {
			return "https://api." + name
		}
		return c.BaseURL + "/api/v3"
	case GitLab:
		return c.BaseURL + "/api/v4"
	case Bitbucket:
		if c.BaseURL == bitbucketCloud {
			return "https://api.bitbucket.org/2.0"
		}
		return c.BaseURL + "/2.0"
	case Gitea, Forgejo:
	}
	return c.BaseURL + "/api/v1"
}

func isGitHubCloud(host string) bool {
	name, isDataResident := strings.CutSuffix(host, ".ghe.com")
	return host == "github.com" || isDataResident && !strings.ContainsAny(name, "./:")
}

func defaultPort(scheme string) string {
	if scheme == "http" {
		return "80"
	}
	return "443"
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
