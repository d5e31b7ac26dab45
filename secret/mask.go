package secret

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// Mask returns s with everything in it that looks like a credential replaced by "[redacted]":
//
//   - tokens with a forge's prefix (gho_, ghp_, ghr_, ghs_, ghu_, github_pat_, glpat- and GitLab's other gl…- prefixes,
//     gloas-, Gitea's and Forgejo's gta_ and gto_), of which the prefix stays readable;
//   - JSON Web Tokens, eyJ….eyJ….…;
//   - what follows the words Bearer and, when it decodes to name:password, Basic;
//   - the user and password of a URL, scheme://user:password@host, if what a URL cannot hold is percent-encoded in them;
//   - the value of access_token, refresh_token, id_token, client_secret, code, code_verifier, password and their like,
//     written as a query or form parameter (also percent-encoded), as JSON (also quoted within JSON), or as fmt prints a
//     struct, a map or [net/url.Values];
//   - the content of Cookie and Set-Cookie headers, and the value of a __Host- cookie wherever it stands.
//
// It knows shapes and not values: a token in an encoding of its own (base64, hexadecimal) or of an unknown shape with no
// name beside it passes. Where a shape is uncertain it masks. A string with nothing to mask is returned as it is,
// without an allocation.
func Mask(s string) string {
	var out strings.Builder
	kept := 0 // s[:kept] is in out already
	for i := 0; i+1 < len(s); {
		first := lower(s[i])
		if startsShape[first]&letterBit(s[i+1]) == 0 {
			i++
			continue
		}
		from, to := credentialAt(s, i, first)
		if from == to {
			i++
			continue
		}
		if strings.HasPrefix(s[from:], Redacted) { // masked before, or the print of a Text
			i = from + len(Redacted)
			continue
		}
		out.WriteString(s[kept:from])
		out.WriteString(Redacted)
		i, kept = to, to
	}
	if kept == 0 {
		return s
	}
	out.WriteString(s[kept:])
	return out.String()
}

// prefixes begin the tokens of forges; at least four characters of a token must follow.
var prefixes = []string{
	"gho_", "ghp_", "ghr_", "ghs_", "ghu_", "github_pat_", "gta_", "gto_",
	"gloas-", "glpat-", "glrt-", "gldt-", "glptt-", "glft-", "glcbt-", "glsoat-", "glimt-", "glagent-", "glffct-",
}

const (
	minTokenRest = 4
	minBasic     = 6
)

type credentialName struct {
	name     string // in lower case; "_" also stands for "-" and for nothing (AccessToken)
	distinct bool
}

// names are followed by a secret. A distinct one is a secret's name in whatever notation; the others are words that
// prose uses as well ("token: 400 Bad Request"), and count only with "=", in quotes, or as a key of url.Values.
var names = []credentialName{
	{"access_token", true},
	{"refresh_token", true},
	{"id_token", true},
	{"private_token", true},
	{"job_token", true},
	{"client_secret", true},
	{"client_assertion", true},
	{"encryption_key", true},
	{"device_code", true},
	{"user_code", true},
	{"setup_code", true},
	{"recovery_code", true},
	{"code_verifier", true},
	{"authorization", true},
	{"set_cookie", true},
	{"cookie", true},
	{"token", false},
	{"code", false},
	{"secret", false},
	{"password", false},
}

// namesOf holds the names that begin with a letter, longer ones before those that begin like them.
var namesOf = func() (byLetter [256][]credentialName) {
	for _, n := range names {
		byLetter[n.name[0]] = append(byLetter[n.name[0]], n)
	}
	return byLetter
}()

// startsShape holds, for each byte that something above begins with, the letters that may come second, as bits: most of
// a log line is passed over on these alone.
var startsShape = func() (second [256]uint32) {
	for _, prefix := range prefixes {
		second[prefix[0]] |= letterBit(prefix[1])
	}
	for _, n := range names {
		second[n.name[0]] |= letterBit(n.name[1])
	}
	second['e'] |= letterBit('y')                  // eyJ
	second['b'] |= letterBit('e') | letterBit('a') // Bearer, Basic
	second['_'] = letterBit('_')                   // __Host-
	second[':'] = letterBit('/')                   // ://user:password@
	return second
}()

// letterBit maps a letter of either case to a bit of its own; other bytes share bits with letters.
func letterBit(b byte) uint32 { return 1 << (b & 31) }

// credentialAt returns the bounds of the credential of which the mark begins at i, or two equal numbers.
func credentialAt(s string, i int, first byte) (from, to int) {
	switch first {
	case 'g':
		for _, prefix := range prefixes {
			if strings.HasPrefix(s[i:], prefix) {
				from = i + len(prefix)
				if to = endOf(s, from, isTokenByte); to-from >= minTokenRest {
					return from, to
				}
			}
		}
		return 0, 0
	case 'e':
		if from, to = webTokenAt(s, i); from < to {
			return from, to
		}
		return namedAt(s, i)
	case 'b':
		return authorizationAt(s, i)
	case '_':
		if rest, found := cutPrefixFold(s[i:], "__host_"); found && beginsWord(s, i) {
			name := len(s) - len(rest)
			if equals := endOf(s, name, isNameByte); equals < len(s) && s[equals] == '=' {
				return equals + 1, endOf(s, equals+1, isCookieByte)
			}
		}
		return 0, 0
	case ':':
		return userAt(s, i)
	default:
		return namedAt(s, i)
	}
}

// userAt finds the user information of a URL (RFC 3986 §3.2.1) if there is a password in it. All of it is taken: some write
// their token in the user's place.
func userAt(s string, i int) (from, to int) {
	if !strings.HasPrefix(s[i:], "://") {
		return 0, 0
	}
	from = i + len("://")
	authority := s[from:endOf(s, from, func(b byte) bool { return strings.IndexByte("/?# \t\r\n\"'<>\\", b) < 0 })]
	user := authority[:max(strings.LastIndexByte(authority, '@'), 0)]
	if strings.IndexByte(user, ':') < 0 {
		return 0, 0
	}
	return from, from + len(user)
}

// webTokenAt finds a JSON Web Token (RFC 7515, RFC 7516): base64url of an object, and at least one more part.
func webTokenAt(s string, i int) (from, to int) {
	if !strings.HasPrefix(s[i:], "eyJ") || !beginsWord(s, i) {
		return 0, 0
	}
	header := endOf(s, i, isTokenByte)
	if header-i < len("eyJ")+minTokenRest || header+1 >= len(s) || s[header] != '.' || s[header+1] != '.' && !isTokenByte(s[header+1]) {
		return 0, 0
	}
	return i, endOf(s, header, func(b byte) bool { return isTokenByte(b) || b == '.' })
}

// authorizationAt finds the credentials of RFC 6750 and RFC 7617.
func authorizationAt(s string, i int) (from, to int) {
	isCredential := func(b byte) bool { return isTokenByte(b) || strings.IndexByte(".~+/=", b) >= 0 }
	if rest, found := cutScheme(s[i:], "bearer"); found {
		from = len(s) - len(rest)
		if named, end := namedAt(s, from); named < end { // {TokenType:bearer RefreshToken:…}
			return 0, 0
		}
		return from, endOf(s, from, isCredential)
	}
	if rest, found := cutScheme(s[i:], "basic"); found {
		from = len(s) - len(rest)
		to = endOf(s, from, isCredential)
		whole := strings.TrimRight(s[from:to], "=")
		whole = whole[:len(whole)/4*4] // also when it was cut
		decoded, err := base64.RawStdEncoding.DecodeString(whole)
		if err == nil && to-from >= minBasic && bytes.IndexByte(decoded, ':') >= 0 {
			return from, to
		}
	}
	return 0, 0
}

// cutScheme removes the name of an authorization scheme and the space behind it, which may be percent-encoded.
func cutScheme(s, scheme string) (rest string, found bool) {
	if rest, found = cutPrefixFold(s, scheme); !found {
		return s, false
	}
	if encoded, found := strings.CutPrefix(rest, "%20"); found {
		return encoded, true
	}
	trimmed := strings.TrimLeft(rest, " \t")
	return trimmed, len(trimmed) < len(rest)
}

// namedAt finds the value of a name that begins at i.
func namedAt(s string, i int) (from, to int) {
	if i == len(s) {
		return 0, 0
	}
	for _, n := range namesOf[lower(s[i])] {
		rest, found := cutPrefixFold(s[i:], n.name)
		if !found || !n.distinct && !beginsWord(s, i) {
			continue
		}
		from, quoted, found := valueAfter(s, len(s)-len(rest), n.distinct)
		if !found {
			continue
		}
		switch {
		case quoted:
			return from, endOf(s, from, func(b byte) bool { return b != '"' && b != '\\' && b != '\'' })
		case n.name == "authorization" || n.name == "cookie" || n.name == "set_cookie":
			return from, endOf(s, from, func(b byte) bool { return b != '\n' && b != '\r' && b != '"' && b != ']' })
		default:
			return from, endOf(s, from, isValueByte)
		}
	}
	return 0, 0
}

// valueAfter steps from the end of a name over what separates it from its value: = or %3D, or : in the notations that
// [Mask] lists. quoted tells that the value ends with a quotation mark.
func valueAfter(s string, i int, distinct bool) (from int, quoted, found bool) {
	if strings.HasPrefix(s[i:], "%3D") || strings.HasPrefix(s[i:], "%3d") {
		return i + 3, false, true
	}
	afterKey := endOf(s, i, isQuote) // {"code": …}, {\"code\": …}
	separator := endOf(s, afterKey, isSpace)
	if separator == len(s) || s[separator] != '=' && s[separator] != ':' {
		return 0, false, false
	}
	value := endOf(s, separator+1, isSpace)
	isList := value < len(s) && s[value] == '[' // url.Values and http.Header print lists: map[code:[…]]
	if isList && !strings.HasPrefix(s[value:], Redacted) {
		value = endOf(s, value+1, isSpace)
	}
	if s[separator] == ':' && !distinct && afterKey == i && !isList {
		return 0, false, false
	}
	from = endOf(s, value, isQuote)
	return from, from > value, true
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}

// cutPrefixFold is strings.CutPrefix for a prefix in lower case, whatever the case of s. An underscore in the prefix
// also stands for a hyphen and for nothing.
func cutPrefixFold(s, prefix string) (rest string, found bool) {
	i := 0
	for _, want := range []byte(prefix) {
		switch {
		case i < len(s) && (lower(s[i]) == want || want == '_' && s[i] == '-'):
			i++
		case want == '_':
		default:
			return s, false
		}
	}
	return s[i:], true
}

// beginsWord reports that s[i] is not the continuation of a longer name (status_code), percent-encoding apart.
func beginsWord(s string, i int) bool {
	if i == 0 || !isNameByte(s[i-1]) {
		return true
	}
	return i >= 3 && s[i-3] == '%'
}

func endOf(s string, i int, belongs func(byte) bool) int {
	for i < len(s) && belongs(s[i]) {
		i++
	}
	return i
}

func isNameByte(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '_' || b == '-'
}

func isTokenByte(b byte) bool { return isNameByte(b) }

func isValueByte(b byte) bool { return strings.IndexByte("& \t\r\n\"'<>;,)}]\\", b) < 0 }

func isCookieByte(b byte) bool { return strings.IndexByte("; \t\r\n\",]\\", b) < 0 }

func isQuote(b byte) bool { return b == '"' || b == '\\' || b == '\'' }

func isSpace(b byte) bool { return b == ' ' || b == '\t' }
