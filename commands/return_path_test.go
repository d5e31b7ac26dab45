package commands

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestReturnPath(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"":                      "/",
		"/":                     "/",
		"/me":                   "/me",
		"/?tab=events":          "/?tab=events",
		"/forge/repositories":   "/forge/repositories",
		"/a%20page":             "/a%20page",
		"/über":                 "/%C3%BCber",
		"/me#here":              "/me",
		"/oauthentic":           "/oauthentic",
		"/search?q=a%26b&q=//x": "/search?q=a%26b&q=//x",
		"/me/":                  "/me/",
	} {
		if got, err := returnPath(raw); err != nil || got != want {
			t.Errorf("%q becomes %q, %v; want %q", raw, got, err, want)
		}
	}
	for name, raw := range map[string]string{
		"another origin":                   "https://evil.example/",
		"another host by two slashes":      "//evil.example",
		"by three":                         "///evil.example",
		"another host by backslashes":      `\\evil.example`,
		"by a slash and a backslash":       `/\evil.example`,
		"by an encoded backslash":          "/%5cevil.example",
		"by a doubly encoded backslash":    "/%255cevil.example",
		"by encoded slashes":               "/%2f%2fevil.example",
		"by one encoded slash":             "/%2fevil.example",
		"by an encoded slash further on":   "/a%2f%2fevil.example",
		"two slashes further on":           "/a//evil.example",
		"a tab that browsers drop":         "/\t/evil.example",
		"an encoded tab":                   "/%09/evil.example",
		"a line break":                     "/me\r\nSet-Cookie: a=b",
		"an encoded line break":            "/me%0d%0aSet-Cookie:%20a=b",
		"an encoded line break in a query": "/me?a=%0a",
		"a doubly encoded line break":      "/me%250a",
		"a null":                           "/me%00",
		"a delete":                         "/me\x7f",
		"a bidirectional override":         "/me\u202e",
		"a line separator":                 "/me\u2028",
		"broken UTF-8":                     "/me\xff",
		"broken encoding":                  "/me%zz",
		"a relative path":                  "me",
		"a script":                         "javascript:alert(1)",
		"a query alone":                    "?a",
		"a fragment alone":                 "#a",
		"a climbing path":                  "/a/../b",
		"an encoded climbing path":         "/a/%2e%2e/b",
		"a dot":                            "/./a",
		"too many encodings":               "/%2525252541",
		"the callback":                     "/oauth/github/callback",
		"the start of a sign-in":           "/oauth/github/init",
		"the sign-in page":                 "/login",
		"the sign-in page with a query":    "/login?error=x",
		"the sign-in page, encoded":        "/%6cogin",
		"the sign-in page, shouted":        "/LOGIN",
		"signing out":                      "/logout",
		"signing out, with a slash":        "/logout/",
		"what is too long":                 "/" + strings.Repeat("a", maxReturnPath),
	} {
		got, err := returnPath(raw)
		if _, ok := errors.AsType[*ReturnPathError](err); !ok {
			t.Errorf("%s: %q becomes %q, %v", name, raw, got, err)
		}
	}
}

func FuzzReturnPath(f *testing.F) {
	for _, seed := range []string{"/", "/me?a=b", "//x", "/%2f%2fx", `/\x`, "/login", "/a/%2e%2e/login", "/%5c", "/\t/x", "/a;b/../c"} {
		f.Add(seed)
	}
	base, err := url.Parse("https://auth.example.org/oauth/github/callback?code=x")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := returnPath(raw)
		if err != nil {
			return
		}
		to, err := base.Parse(got)
		if err != nil || to.Scheme != base.Scheme || to.Host != base.Host || to.User != nil {
			t.Fatalf("%q becomes %q, which leads to %v, %v", raw, got, to, err)
		}
		// What browsers do before they parse: backslashes are slashes, tabs and line breaks are nothing.
		browser := strings.NewReplacer(`\`, "/", "\t", "", "\r", "", "\n", "").Replace(got)
		if strings.HasPrefix(browser, "//") || browser != got || !strings.HasPrefix(got, "/") {
			t.Fatalf("%q becomes %q", raw, got)
		}
		for _, route := range authRoutes {
			if to.Path == "/"+route || strings.HasPrefix(to.Path, "/"+route+"/") {
				t.Fatalf("%q becomes %q, an auth route", raw, got)
			}
		}
		if again, err := returnPath(got); err != nil || again != got {
			t.Fatalf("%q becomes %q, which becomes %q, %v", raw, got, again, err)
		}
	})
}
