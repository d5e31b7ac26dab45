package forge

import (
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// destinations are the places a token may be sent to: the connection's API base and its web root. They come from
// configuration alone.
type destinations []destination

type destination struct {
	scheme, host, port string
	prefix             string // of the path, without trailing slash; empty for the whole host
}

func newDestinations(bases ...string) (destinations, error) {
	var all destinations
	for _, base := range bases {
		u, err := url.Parse(base)
		if err != nil {
			return nil, ErrDestination
		}
		all = append(all, destination{u.Scheme, u.Hostname(), portOf(u), u.EscapedPath()})
	}
	return all, nil
}

// admits reports whether u lies within one of the destinations, by a reading that no server on the way can read
// otherwise: the prefix is compared as it is sent, and paths that climb (/../, also percent-encoded once or more, also
// by backslashes) are refused, wherever they would lead.
func (d destinations) admits(u *url.URL) bool {
	if u == nil || u.Opaque != "" || u.User != nil || climbs(u.EscapedPath()) {
		return false
	}
	host, ok := comparableHost(u.Hostname())
	if !ok {
		return false
	}
	path := u.EscapedPath()
	for _, to := range d {
		if u.Scheme == to.scheme && host == to.host && portOf(u) == to.port &&
			(to.prefix == "" || path == to.prefix || strings.HasPrefix(path, to.prefix+"/")) {
			return true
		}
	}
	return false
}

// admitsRequest is admits for a whole request, whose Host header could name another virtual host at the same address.
func (d destinations) admitsRequest(req *http.Request) bool {
	if !d.admits(req.URL) {
		return false
	}
	if req.Host == "" || req.Host == req.URL.Host {
		return true
	}
	as := *req.URL
	as.Host = req.Host
	return d.admits(&as)
}

var escapes = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// unescape decodes one escape. What is none stays in the path, as servers leave it that decode more than once: refusing to
// decode the whole path would pass a climb for the sake of a percent sign beside it.
func unescape(escape string) string {
	decoded, _ := url.PathUnescape(escape) // the pattern lets nothing else through
	return decoded
}

// climbs reports whether a path has a . or .. segment under any number of decodings that servers are known to apply.
func climbs(escaped string) bool {
	const mostDecodings = 4
	for range mostDecodings {
		for segment := range strings.FieldsFuncSeq(escaped, func(r rune) bool { return r == '/' || r == '\\' }) {
			// A path parameter (RFC 3986 §3.3) is cut off by some servers before they resolve dots.
			name, _, _ := strings.Cut(segment, ";")
			if name == "." || name == ".." {
				return true
			}
		}
		decoded := escapes.ReplaceAllStringFunc(escaped, unescape)
		if decoded == escaped {
			return false
		}
		escaped = decoded
	}
	return true
}

// comparableHost brings a host to the form that canonical base URLs have. A trailing dot, a zone and non-ASCII names
// are refused and not repaired: requests are built from the base URL and have none of those.
func comparableHost(host string) (string, bool) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.String(), addr.Zone() == ""
	}
	return strings.ToLower(host), host != "" && isASCII(host)
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	return defaultPort(u.Scheme)
}
