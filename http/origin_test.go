package http

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestThePublicURLIsWhereItListensUnlessSet(t *testing.T) {
	t.Parallel()
	handler := New(Config{Listen: "127.0.0.1:8080"})
	for host, want := range map[string]int{
		"127.0.0.1:8080": http.StatusNotFound, "127.0.0.1": http.StatusMisdirectedRequest, "localhost:8080": http.StatusMisdirectedRequest,
	} {
		r, w := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/nowhere", nil), httptest.NewRecorder()
		r.Host = host
		handler.ServeHTTP(w, r)
		if w.Code != want || w.Header().Get("Strict-Transport-Security") != "" {
			t.Errorf("host %s: status %d, want %d; %v", host, w.Code, want, w.Header())
		}
	}
}

func TestAHostIsTheSameWithAndWithoutItsUsualPort(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{
		{"auth.example.org", "https", "auth.example.org:443"},
		{"AUTH.example.org:443", "https", "auth.example.org:443"},
		{"auth.example.org:80", "https", "auth.example.org:80"},
		{"localhost", "http", "localhost:80"},
		{"[::1]", "http", "[::1]:80"},
		{"[::1]:8080", "http", "[::1]:8080"},
	} {
		if got := canonicalHost(c[0], c[1]); got != c[2] {
			t.Errorf("%s over %s is %s, want %s", c[0], c[1], got, c[2])
		}
	}
}

func TestFormsMayLeadToTheForgesOrigins(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"https://github.com":              "https://github.com",
		"https://git.example.org:8443":    "https://git.example.org:8443",
		"https://example.org/git":         "https://example.org",
		"http://127.0.0.1:3000":           "http://127.0.0.1:3000",
		"https://[2001:db8::1]:3000/path": "https:",
	} {
		if got := formTarget(base); got != want {
			t.Errorf("%s becomes %s, want %s", base, got, want)
		}
	}
}
