package commands

import (
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxReturnPath bounds the path as it was given and as it is kept, percent-encoded, in the attempt's cookie.
	maxReturnPath = 1024
	// mostDecodings is how often a path may be percent-encoded over itself before it is refused unread.
	mostDecodings = 3
)

// authRoutes are the first segments of pages to which nobody returns after a sign-in.
var authRoutes = []string{"oauth", "login", "logout"}

// returnPath checks where a browser wants to go after a sign-in and returns it in the form in which it is sent there:
// the path and query of a page of ours, "/" for nothing. What any browser or proxy could read as another place, in
// whatever encoding, is a [*ReturnPathError].
func returnPath(raw string) (string, error) {
	if raw == "" {
		return "/", nil
	}
	if problem := returnPathProblem(raw); problem != "" {
		return "", &ReturnPathError{Problem: problem}
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "" || u.Opaque != "" || u.User != nil || u.Host != "" {
		return "", &ReturnPathError{Problem: "it is not a path"} // err would quote it
	}
	normal := url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
	path := normal.RequestURI()
	if len(path) > maxReturnPath {
		return "", &ReturnPathError{Problem: "it is too long"}
	}
	return path, nil
}

func returnPathProblem(raw string) string {
	switch {
	case len(raw) > maxReturnPath:
		return "it is too long"
	case !strings.HasPrefix(raw, "/"):
		return "it does not start with a slash"
	}
	decoded := raw
	for range mostDecodings + 1 {
		if problem := readingProblem(decoded); problem != "" {
			return problem
		}
		next, err := url.PathUnescape(decoded)
		if err != nil {
			return "its percent-encoding is broken"
		}
		if next == decoded {
			return ""
		}
		decoded = next
	}
	return "it is encoded too often"
}

// readingProblem judges one reading of the path.
func readingProblem(reading string) string {
	if !utf8.ValidString(reading) || strings.Contains(reading, `\`) || strings.ContainsFunc(reading, isInvisible) {
		return "it has a character that no path of ours has"
	}
	path, _, _ := strings.Cut(reading, "?")
	path, _, _ = strings.Cut(path, "#")
	segments := strings.Split(path, "/")[1:]
	for i, segment := range segments {
		if segment == "." || segment == ".." || segment == "" && i < len(segments)-1 {
			return "it has an empty part or one that climbs"
		}
	}
	if slices.Contains(authRoutes, strings.ToLower(segments[0])) {
		return "it leads back to signing in or out"
	}
	return ""
}

func isInvisible(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}
