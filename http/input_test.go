package http_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

//nolint:tparallel // the log is compared when all have run
func TestBadInputOnEveryRoute(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	before := d.facts(t)
	const (
		asJSON = "application/json"
		asForm = "application/x-www-form-urlencoded"
	)
	type row struct {
		name, method, path, contentType, body string
		status                                int
		code                                  string
	}
	rows := []row{
		{"not JSON", "PUT", "/forges/active", asJSON, "{", 400, "bad_json"},
		{"no body", "PUT", "/forges/active", asJSON, "", 400, "bad_json"},
		{"an array", "PUT", "/forges/active", asJSON, "[]", 400, "bad_json"},
		{"null", "PUT", "/forges/active", asJSON, "null", 400, "bad_json"},
		{"no member", "PUT", "/forges/active", asJSON, "{}", 400, "bad_json"},
		{"an unknown member", "PUT", "/forges/active", asJSON, `{"forge_type":"gitea","x":1}`, 400, "bad_json"},
		{"a member in other letters", "PUT", "/forges/active", asJSON, `{"Forge_Type":"gitea"}`, 400, "bad_json"},
		{"a duplicate member", "PUT", "/forges/active", asJSON, `{"forge_type":"gitea","forge_type":"github"}`, 400, "bad_json"},
		{"trailing data", "PUT", "/forges/active", asJSON, `{"forge_type":"gitea"}{}`, 400, "bad_json"},
		{"a wrong type", "PUT", "/forges/active", asJSON, `{"forge_type":1}`, 400, "bad_json"},
		{"invalid UTF-8", "PUT", "/forges/active", asJSON, "{\"forge_type\":\"\xff\"}", 400, "bad_json"},
		{"a name that can be none", "PUT", "/forges/active", asJSON, `{"forge_type":"../etc"}`, 400, "bad_json"},
		{"a forge that is not configured", "PUT", "/forges/active", asJSON, `{"forge_type":"gitlab"}`, 404, "unknown_forge"},
		{"a forge that is not connected", "PUT", "/forges/active", asJSON, `{"forge_type":"github"}`, 409, "not_connected"},
		{"a form where JSON is due", "PUT", "/forges/active", asForm, `forge_type=gitea`, 415, "unsupported_media_type"},
		{"no content type", "PUT", "/forges/active", "", `{"forge_type":"gitea"}`, 415, "unsupported_media_type"},
		{"a content type with parameters", "PUT", "/forges/active", asJSON + "; boundary=x", `{}`, 415, "unsupported_media_type"},
		{"too large", "PUT", "/forges/active", asJSON, `{"forge_type":"` + strings.Repeat("x", 70_000) + `"}`, 413, "body_too_large"},

		{"JSON where a form is due", "POST", "/forges/active", asJSON, `{"forge_type":"gitea"}`, 415, "unsupported_media_type"},
		{"multipart", "POST", "/forges/active", "multipart/form-data; boundary=x", "--x--", 415, "unsupported_media_type"},
		{"no field", "POST", "/forges/active", asForm, "", 400, "bad_form"},
		{"a field twice", "POST", "/forges/active", asForm, "forge_type=gitea&forge_type=github", 400, "bad_form"},
		{"an unknown field", "POST", "/forges/active", asForm, "forge_type=gitea&x=1", 400, "bad_form"},
		{"a broken escape", "POST", "/forges/active", asForm, "forge_type=%zz", 400, "bad_form"},
		{"a semicolon", "POST", "/forges/active", asForm, "forge_type=gitea;x=1", 400, "bad_form"},
		{"a field where none is due", "POST", "/forges/active/clear", asForm, "x=1", 400, "bad_form"},
		{"a body where none is due", "DELETE", "/forges/active", asJSON, "{}", 415, "unsupported_media_type"},
		{"a large body where none is due", "DELETE", "/forges/active", asJSON, strings.Repeat("x", 70_000), 413, "body_too_large"},
		{"a field at logging out", "POST", "/logout", asForm, "x=1", 400, "bad_form"},
		{"a field at disconnecting", "POST", "/forges/gitea/disconnect", asForm, "x=1", 400, "bad_form"},
		{"a field at starting", "POST", "/oauth/gitea/init", asForm, "code=1", 400, "bad_form"},
		{"JSON at starting", "POST", "/oauth/gitea/init", asJSON, `{}`, 415, "unsupported_media_type"},

		{"disconnecting what is not configured", "DELETE", "/forges/gitlab", "", "", 404, "unknown_forge"},
		{"disconnecting what is not connected", "DELETE", "/forges/github", "", "", 409, "not_connected"},
		{"capital letters", "DELETE", "/forges/GITEA", "", "", 404, "unknown_forge"},
		{"an escaped slash", "DELETE", "/forges/gitea%2f..", "", "", 404, "unknown_forge"},
		{"an escaped NUL", "DELETE", "/forges/%00", "", "", 404, "unknown_forge"},
		{"a climbing path", "DELETE", "/forges/../me", "", "", 404, "not_found"},
		{"a very long name", "DELETE", "/forges/" + strings.Repeat("a", 5000), "", "", 404, "unknown_forge"},
		{"an empty name", "DELETE", "/forges/", "", "", 404, "not_found"},
		{"a slash behind", "GET", "/me/", "", "", 404, "not_found"},
		{"two slashes before", "GET", "//me", "", "", 404, "not_found"},
		{"a name with CRLF", "POST", "/oauth/gitea%0d%0a/init", "", "", 404, "unknown_forge"},

		{"limit zero", "GET", "/forge/repositories?limit=0", "", "", 400, "bad_query"},
		{"limit above", "GET", "/forge/repositories?limit=1001", "", "", 400, "bad_query"},
		{"limit below", "GET", "/forge/repositories?limit=-1", "", "", 400, "bad_query"},
		{"limit empty", "GET", "/forge/repositories?limit=", "", "", 400, "bad_query"},
		{"limit twice", "GET", "/forge/repositories?limit=1&limit=2", "", "", 400, "bad_query"},
		{"a limit that overflows", "GET", "/forge/repositories?limit=99999999999999999999", "", "", 400, "bad_query"},
		{"a cursor of ours altered", "GET", "/forge/repositories?cursor=Z2l0ZWEgNyAxx", "", "", 400, "bad_cursor"},
		{"a cursor of another account", "GET", "/forge/repositories?cursor=Z2l0ZWEgOCAx", "", "", 400, "bad_cursor"},
		{"a cursor without base64", "GET", "/forge/repositories?cursor=!!", "", "", 400, "bad_cursor"},
		{"a query that is none", "GET", "/forge/repositories?%zz", "", "", 400, "bad_query"},
		{"an error twice", "GET", "/login?error=a&error=b", "", "", 400, "bad_query"},
		{"a return path twice", "POST", "/oauth/gitea/init?return=/&return=/me", "", "", 400, "bad_query"},
	}
	for name, path := range map[string]string{
		"another origin":                "https://evil.example/",
		"two slashes":                   "//evil.example",
		"a backslash":                   `/\evil.example`,
		"two backslashes":               `\\evil.example`,
		"an escaped slash":              "/%2fevil.example",
		"an escaped slash twice over":   "/%252fevil.example",
		"escaped slashes alone":         "%2f%2fevil.example",
		"an escaped backslash":          "/%5cevil.example",
		"a tab":                         "/\tevil",
		"CRLF":                          "/\r\nSet-Cookie: a=b",
		"CRLF escaped":                  "/%0d%0aSet-Cookie:%20a=b",
		"a NUL":                         "/\x00",
		"a path that climbs":            "/../oauth/gitea/init",
		"a sign-in route":               "/oauth/gitea/init",
		"the sign-in page":              "/login",
		"signing out":                   "/logout",
		"a script":                      "javascript:alert(1)",
		"a path without a slash before": "me",
		"a very long path":              "/" + strings.Repeat("a", 3000),
		"a bidi override":               "/\u202e",
		"a page that there is not":      "/nowhere",
		"a path that takes no GET":      "/forges/active",
	} {
		rows = append(rows, row{"return: " + name, "POST", "/oauth/gitea/init?return=" + escape(path), "", "", 400, "bad_return"})
	}
	for _, r := range rows { //nolint:paralleltest // likewise
		t.Run(r.method+" "+strings.SplitN(r.path, "?", 2)[0]+": "+r.name, func(t *testing.T) {
			var body io.Reader
			if r.body != "" {
				body = io.MultiReader(strings.NewReader(r.body)) // of unknown length: sent in chunks
			}
			header := []string{"Content-Type", r.contentType}
			if r.contentType == "" {
				header = nil
			}
			a := b.json().do(t, r.method, r.path, body, header...)
			wantProblem(t, a, r.status, r.code)
			if len(a.Header.Values("Set-Cookie")) != 0 || a.Header.Get("Location") != "" {
				t.Errorf("a refusal sets %v, goes to %q", a.Header.Values("Set-Cookie"), a.Header.Get("Location"))
			}
			page := b.do(t, r.method, r.path, strings.NewReader(r.body), header...)
			wantStatus(t, page, r.status)
			if !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") || !strings.Contains(page.body, "<h1>") {
				t.Errorf("a browser gets %s", page.Header.Get("Content-Type"))
			}
		})
	}
	if diff := cmp.Diff(before, d.facts(t)); diff != "" {
		t.Errorf("bad input wrote to the log:\n%s", diff)
	}
	wantStatus(t, b.json().get(t, "/me"), http.StatusOK)
}

// escape percent-encodes every byte, so that the value arrives exactly as given.
func escape(s string) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

func TestMethodsThatAPathDoesNotTake(t *testing.T) {
	t.Parallel()
	b := deploy(t).browser(t).json()
	for path, allow := range map[string]string{
		"/login":                   "GET, HEAD",
		"/oauth/gitea/init":        "GET, HEAD, POST",
		"/oauth/gitea/callback":    "GET",
		"/logout":                  "POST",
		"/":                        "GET, HEAD",
		"/me":                      "GET, HEAD",
		"/forges":                  "GET, HEAD",
		"/forges/active":           "POST, PUT, DELETE",
		"/forges/active/clear":     "POST",
		"/forges/gitea":            "DELETE",
		"/forges/gitea/disconnect": "POST",
		"/forge/repositories":      "GET, HEAD",
		"/healthz":                 "GET, HEAD",
		"/readyz":                  "GET, HEAD",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "SMUGGLE"} {
			if strings.Contains(allow, method) {
				continue
			}
			t.Run(method+" "+path, func(t *testing.T) {
				t.Parallel()
				a := b.do(t, method, path, nil)
				wantProblem(t, a, http.StatusMethodNotAllowed, "method_not_allowed")
				wantHeader(t, a, "Allow", allow)
			})
		}
	}
}

func TestWithoutASession(t *testing.T) {
	t.Parallel()
	d, _ := claimed(t)
	b := d.browser(t)
	for _, route := range [][2]string{
		{"GET", "/me"},
		{"GET", "/forges"},
		{"PUT", "/forges/active"},
		{"POST", "/forges/active"},
		{"DELETE", "/forges/active"},
		{"POST", "/forges/active/clear"},
		{"DELETE", "/forges/gitea"},
		{"POST", "/forges/gitea/disconnect"},
		{"GET", "/forge/repositories"},
	} {
		a := b.json().do(t, route[0], route[1], nil)
		wantProblem(t, a, http.StatusUnauthorized, "unauthenticated")
		wantHeader(t, a, "WWW-Authenticate", `Cookie realm="forgeauth"`)
		page := b.do(t, route[0], route[1], nil)
		wantStatus(t, page, http.StatusUnauthorized)
		if !strings.Contains(page.body, `href="/login"`) {
			t.Errorf("%v: the page does not lead to signing in", route)
		}
	}
	wantProblem(t, b.json().get(t, "/"), http.StatusUnauthorized, "unauthenticated")
	wantHeader(t, b.get(t, "/"), "Location", "/login")
}

func TestHeadIsGetWithoutABody(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	a := b.json().do(t, "HEAD", "/me", nil)
	wantStatus(t, a, http.StatusOK)
	if a.body != "" || a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%q as %s", a.body, a.Header.Get("Content-Type"))
	}
	callback := b.consent(t, "gitea", b.start(t, "/oauth/gitea/init", nil), "ada")
	before := d.facts(t)
	wantStatus(t, b.do(t, "HEAD", callback, nil), http.StatusMethodNotAllowed)
	if diff := cmp.Diff(before, d.facts(t)); diff != "" {
		t.Errorf("looking at a callback completed it:\n%s", diff)
	}
	wantHeader(t, b.get(t, callback), "Location", "/") // the code is still good
}
