package http

import (
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/secret"
)

// cookies names, sets and reads the cookies of one origin. With https they are __Host- cookies, which only this very
// host can set. Browsers refuse those over http, so that on loopback the port is part of the name: cookies are shared by
// all ports of a host.
type cookies struct {
	session string
	attempt string // what the name of an attempt's cookie begins with
	refused string
	secure  bool
}

// The sign-ins one browser can have under way in its tabs, by number and by the size of their cookies: proxies commonly
// allow 8 KiB for all headers.
const (
	mostAttempts     = 5
	mostAttemptBytes = 6 << 10
)

// attemptID is what may follow the prefix in a cookie's name. It keeps names within the token of RFC 6265 §4.1.1.
var attemptID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func cookiesOf(origin *url.URL) cookies {
	if origin.Scheme == "https" {
		return cookies{
			session: "__Host-forgeauth", attempt: "__Host-forgeauth_attempt_", refused: "__Host-forgeauth_refused", secure: true,
		}
	}
	port := origin.Port()
	if port == "" {
		port = "80"
	}
	name := "forgeauth_" + port
	return cookies{session: name, attempt: name + "_attempt_", refused: name + "_refused"}
}

// readSession returns the value of the session cookie, empty if there is none. Two of that name can only be there because
// somebody who may write cookies for this host added one; which is whose cannot be told, and neither is believed.
func (c cookies) readSession(r *http.Request) (string, error) {
	found := r.CookiesNamed(c.session)
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0].Value, nil
	default:
		return "", refuse(codeDuplicateCookie)
	}
}

// readAttempts returns the attempts' cookies in the order the browser sent them, which is the order in which they were
// set (RFC 6265 §5.4). A name that is there twice is left out.
func (c cookies) readAttempts(r *http.Request) (ids, values []string) {
	times := map[string]int{}
	all := r.Cookies()
	for _, cookie := range all {
		times[cookie.Name]++
	}
	for _, cookie := range all {
		id, ok := strings.CutPrefix(cookie.Name, c.attempt)
		if ok && attemptID.MatchString(id) && times[cookie.Name] == 1 {
			ids, values = append(ids, id), append(values, cookie.Value)
		}
	}
	return ids, values
}

func (c cookies) setSession(w http.ResponseWriter, value secret.Text, lives time.Duration) {
	http.SetCookie(w, c.cookie(c.session, value.Reveal(), lives))
}

func (c cookies) clearSession(w http.ResponseWriter) {
	http.SetCookie(w, c.cookie(c.session, "", 0))
}

// setAttempt sets an attempt's cookie and clears the oldest ones for which there is no room beside it.
func (c cookies) setAttempt(w http.ResponseWriter, r *http.Request, attempt commands.Attempt, now time.Time) {
	c.keepAttempt(w, attempt, now)
	ids, values := c.readAttempts(r)
	size := len(attempt.Value)
	for i, id := range slices.Backward(ids) {
		size += len(c.attempt) + len(id) + len(values[i])
		if len(ids)-i >= mostAttempts || size > mostAttemptBytes {
			for _, old := range ids[:i+1] {
				c.clearAttempt(w, old)
			}
			return
		}
	}
}

// keepAttempt sets an attempt's cookie, be it in the place of the one that it has.
func (c cookies) keepAttempt(w http.ResponseWriter, attempt commands.Attempt, now time.Time) {
	http.SetCookie(w, c.cookie(c.attempt+attempt.ID, attempt.Value, attempt.Expires.Sub(now)))
}

func (c cookies) clearAttempt(w http.ResponseWriter, id string) {
	if attemptID.MatchString(id) {
		http.SetCookie(w, c.cookie(c.attempt+id, "", 0))
	}
}

func (c cookies) setRefused(w http.ResponseWriter, refusal commands.Refusal, now time.Time) {
	http.SetCookie(w, c.cookie(c.refused, refusal.Value, refusal.Expires.Sub(now)))
}

// readRefused returns the value of the refusal's cookie, empty if there is none or more than one.
func (c cookies) readRefused(r *http.Request) string {
	if found := r.CookiesNamed(c.refused); len(found) == 1 {
		return found[0].Value
	}
	return ""
}

func (c cookies) clearRefused(w http.ResponseWriter) {
	http.SetCookie(w, c.cookie(c.refused, "", 0))
}

// cookie returns a cookie that lives for so long, or with no time left one that makes the browser drop it.
func (c cookies) cookie(name, value string, lives time.Duration) *http.Cookie {
	age := int(math.Ceil(lives.Seconds()))
	if age <= 0 {
		age, value = -1, "" // Max-Age=0 on the wire
	}
	return &http.Cookie{ //nolint:gosec // Secure is off on http loopback only, where browsers would refuse the cookie
		Name:     name,
		Value:    value,
		Path:     "/",
		MaxAge:   age,
		Secure:   c.secure,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	}
}
