package forgeauth_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// hostile is what no answer may repeat as it is, in a page, a document or a header.
const hostile = `x"'><script>alert(7)</script>` + "\u202e${7*7}"

// routes are the patterns that are registered, read from where they are: a new one is swept from the day it is there.
func routes(t *testing.T) []string {
	t.Helper()
	source, err := os.ReadFile("http/router.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, match := range regexp.MustCompile(`r\.(?:Get|Post|Put|Delete|Patch|Handle)\("([^"]+)"`).FindAllStringSubmatch(string(source), -1) {
		found[match[1]] = true
	}
	list := slices.Sorted(maps.Keys(found))
	if len(list) < 12 {
		t.Fatalf("only the routes %q: the table is written in another way now", list)
	}
	return list
}

// attack changes a request.
type attack func(*http.Request)

func body(contentType, content string) attack {
	return func(r *http.Request) {
		r.Body, r.ContentLength = http.NoBody, 0
		if content != "" {
			r.Body, r.ContentLength = readCloser{strings.NewReader(content)}, int64(len(content))
		}
		r.Header.Set("Content-Type", contentType)
	}
}

type readCloser struct{ *strings.Reader }

// Close implements [io.Closer].
func (readCloser) Close() error { return nil }

func header(name string, values ...string) attack {
	return func(r *http.Request) { r.Header[name] = values }
}

func query(raw string) attack { return func(r *http.Request) { r.URL.RawQuery = raw } }

// attacks are the ways to send nonsense, by name.
func attacks(cookie string) map[string]attack {
	escaped := url.QueryEscape(hostile)
	return map[string]attack{
		"nothing special":         func(*http.Request) {},
		"hostile parameters":      query("return=/" + escaped + "&error=" + escaped + "&state=" + escaped + "&code=" + escaped + "&cursor=" + escaped + "&limit=" + escaped + "&iss=" + escaped),
		"a hostile error":         query("error=" + escaped),
		"the forge's hostile no":  query("state=x&error=" + escaped + "&error_description=" + escaped + "&error_uri=" + escaped),
		"a return elsewhere":      query("return=//" + escaped),
		"line breaks to smuggle":  query("return=/%0d%0aX-Injected:%201&error=%0d%0aX-Injected:1&state=%0d%0aSet-Cookie:a=b"),
		"bytes that are no text":  query("return=/%ff%fe%00&state=%00&code=%ff&cursor=%80"),
		"an escape that is none":  query("return=%zz&%zz"),
		"a parameter twice":       query("state=a&state=b&return=/&return=/&limit=1&limit=2&error=a&error=b"),
		"a semicolon":             query("a;b=c"),
		"numbers out of range":    query("limit=-1&cursor=99999999999999999999"),
		"another number":          query("limit=9223372036854775808"),
		"a long query":            query("state=" + strings.Repeat("a", 60_000)),
		"JSON":                    body("application/json", `{"forge_type":"`+`x\"'><script>alert(7)</script>`+`"}`),
		"JSON of other types":     body("application/json", `{"forge_type":["gitea"]}`),
		"JSON twice":              body("application/json", `{"forge_type":"gitea","forge_type":"gitea"}`),
		"JSON without an end":     body("application/json", `{"forge_type":"gitea`),
		"JSON too deep":           body("application/json", strings.Repeat(`[`, 50_000)),
		"JSON null":               body("application/json", `null`),
		"a hostile form":          body("application/x-www-form-urlencoded", "forge_type="+escaped+"&setup_code="+escaped),
		"a hostile setup code":    body("application/x-www-form-urlencoded", "setup_code="+escaped),
		"a form with NUL":         body("application/x-www-form-urlencoded", "forge_type=%00&setup_code=%00"),
		"a form that is none":     body("application/x-www-form-urlencoded", "%zz=%zz;&&="),
		"a multipart form":        body("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"setup_code\"\r\n\r\n1\r\n--x--"),
		"a type that is none":     body(`text/"><script>alert(7)</script>`, "x"),
		"a body too large":        body("application/json", strings.Repeat(" ", 70<<10)),
		"a body said compressed":  func(r *http.Request) { body("application/json", "{}")(r); r.Header.Set("Content-Encoding", "gzip") },
		"another site":            header("Origin", "https://evil.example"),
		"a hostile origin":        header("Origin", hostile[:20]),
		"another site's fetch":    header("Sec-Fetch-Site", "cross-site"),
		"hostile Accept":          header("Accept", "text/html;q=2,"+`"><script>alert(7)</script>`, "*/*;q=x"),
		"hostile method override": header("X-Http-Method-Override", "DELETE", "<script>alert(7)</script>"),
		"hostile forwarding":      header("X-Forwarded-For", "<script>alert(7)</script>, 999.1.1.1, ::1%25lo, "+strings.Repeat("1.1.1.1,", 500)),
		"forwarding twice":        header("X-Forwarded-For", "198.51.1.1", "198.51.1.2"),
		"hostile request id":      header("X-Request-Id", "<script>alert(7)</script>"),
		"hostile cookies":         header("Cookie", cookie+`=<script>alert(7)</script>; `+cookie+"_attempt_"+"0123456789abcdef=AAAA; =; a"),
		"the cookie twice":        header("Cookie", cookie+"=a; "+cookie+"=b"),
		"a cookie of its length":  header("Cookie", cookie+"="+strings.Repeat("A", 43)),
		"many attempts":           header("Cookie", strings.Repeat(cookie+"_attempt_a=A; "+cookie+"_attempt_b=B; ", 400)),
		"a hostile host":          func(r *http.Request) { r.Host = "evil.example" },
		"a host with a port":      func(r *http.Request) { r.Host = "evil.example:99999" },
		"a range":                 header("Range", "bytes=0-1,5-"),
		"conditions":              header("If-Match", "*", `"x"`),
		"an upgrade":              func(r *http.Request) { r.Header.Set("Connection", "Upgrade"); r.Header.Set("Upgrade", "websocket") },
	}
}

// Nonsense of every kind, by every method, on every route, with a session and without: it is refused or ignored. It is never
// the server's fault, never repeated, and never cause to leave out a header that protects the browser.
func TestNoRouteFallsOverOrRepeatsWhatItIsSent(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea", "gitlab")
	h.open(t)
	operator := h.claim(t, "gitea")
	at, err := url.Parse(h.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	cookie := "forgeauth_" + at.Port()
	var paths []string
	for _, route := range routes(t) {
		if !strings.Contains(route, "{forge}") {
			paths = append(paths, route)
			continue
		}
		for _, name := range []string{"gitea", "nobody", "%3Cscript%3Ealert(7)%3C%2Fscript%3E", "..", "%00", "%ff", strings.Repeat("a", 5000)} {
			paths = append(paths, strings.Replace(route, "{forge}", name, 1))
		}
	}
	paths = append(paths, "/%3Cscript%3Ealert(7)%3C/script%3E", "//evil.example/%2e%2e", "/login/", "/%0d%0aX-Injected:1")
	methods := []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
		http.MethodTrace, "BREW", "<SCRIPT>",
	}
	sent := 0
	for _, path := range paths {
		isStrange := strings.ContainsAny(path, "%.") || len(path) > 1000
		for name, attack := range attacks(cookie) {
			if isStrange && !strings.Contains(name, "hostile") && name != "nothing special" {
				continue
			}
			for i, method := range methods {
				if i > 5 && name != "nothing special" { // methods that no route takes
					continue
				}
				// Each from an address of its own, where no limit is reached; every other one with a session.
				b := h.browser()
				if sent++; sent%2 == 0 {
					b.client.Jar, b.jar = operator.jar, operator.jar
				}
				b.sweep(t, method, path, name, attack, sent%3 == 0)
			}
		}
		if a, err := operator.get(t.Context(), "/me"); err != nil || a.StatusCode == http.StatusUnauthorized {
			mustSignIn(t, operator, "gitea", "ada", nil) // one of them was a logout
		}
	}
	t.Logf("%d requests", sent)
	checkInvariants(t.Context(), t, h.service(), h.db.Pool(t))
}

func (b *browser) sweep(t *testing.T, method, path, name string, attack attack, asPage bool) {
	t.Helper()
	a, err := b.do(t.Context(), method, b.h.server.URL+path, nil, func(r *http.Request) {
		if asPage {
			r.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
		}
		attack(r)
	})
	where := method + " " + path[:min(len(path), 60)] + " with " + name
	if err != nil {
		if method == "<SCRIPT>" { // not sent: net/http takes it for what it is
			return
		}
		// A body that is not read to its end may end the connection before the answer is read.
		if !errors.Is(err, context.Canceled) && strings.Contains(name, "too large") {
			return
		}
		t.Errorf("%s: %v", where, err)
		return
	}
	if a.StatusCode >= http.StatusInternalServerError {
		t.Errorf("%s: status %d\n%s", where, a.StatusCode, a.body)
	}
	everything := a.body
	for name, values := range a.Header {
		everything += "\n" + name + ": " + strings.Join(values, "\n")
	}
	for _, trace := range []string{"<script", "<SCRIPT", "alert(7)", "${7*7}", "\u202e", "evil.example"} {
		if strings.Contains(everything, trace) {
			t.Errorf("%s: the answer repeats %q\n%s", where, trace, everything)
		}
	}
	if a.Header.Get("X-Injected") != "" || a.Header.Get("X-Content-Type-Options") != "nosniff" ||
		!strings.HasPrefix(a.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%s: headers %v", where, a.Header)
	}
}
