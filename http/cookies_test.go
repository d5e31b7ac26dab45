package http

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/secret"
)

func TestCookiesOfAnOrigin(t *testing.T) {
	t.Parallel()
	for origin, want := range map[string][]string{
		"https://auth.example.org": {
			"__Host-forgeauth=s; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax",
			"__Host-forgeauth_attempt_a1=v; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax",
			"__Host-forgeauth=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
			"__Host-forgeauth_attempt_a1=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
		},
		"http://127.0.0.1:8080": {
			"forgeauth_8080=s; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax",
			"forgeauth_8080_attempt_a1=v; Path=/; Max-Age=600; HttpOnly; SameSite=Lax",
			"forgeauth_8080=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax",
			"forgeauth_8080_attempt_a1=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax",
		},
	} {
		t.Run(origin, func(t *testing.T) {
			t.Parallel()
			at, _ := url.Parse(origin)
			c, w, r := cookiesOf(at), httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
			now := time.Unix(1_000_000, 0)
			c.setSession(w, secret.New("s"), time.Hour)
			c.setAttempt(w, r, commands.Attempt{ID: "a1", Value: "v", Expires: now.Add(10*time.Minute - time.Millisecond)}, now)
			c.clearSession(w)
			c.clearAttempt(w, "a1")
			c.clearAttempt(w, "") // nothing was recognised: nothing to clear
			c.clearAttempt(w, "x; Domain=evil.example")
			if diff := cmp.Diff(want, w.Header().Values("Set-Cookie")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadingCookies(t *testing.T) {
	t.Parallel()
	at, _ := url.Parse("https://auth.example.org")
	c := cookiesOf(at)
	for _, test := range []struct {
		name, header, session string
		refused               bool
		attempts              []string
	}{
		{"none", "", "", false, nil},
		{"a session", "__Host-forgeauth=abc", "abc", false, nil},
		{"two sessions are hostile", "__Host-forgeauth=abc; __Host-forgeauth=def", "", true, nil},
		{"two equal sessions are hostile too", "__Host-forgeauth=abc; a=b; __Host-forgeauth=abc", "", true, nil},
		{"a name without the prefix is another cookie", "forgeauth=abc", "", false, nil},
		{"attempts, oldest first", "__Host-forgeauth_attempt_b=2; x=y; __Host-forgeauth_attempt_a=1", "", false, []string{"2", "1"}},
		{"an attempt that is there twice counts for nothing", "__Host-forgeauth_attempt_b=2; __Host-forgeauth_attempt_a=1; __Host-forgeauth_attempt_b=3", "", false, []string{"1"}},
		{"an attempt without an id is none", "__Host-forgeauth_attempt_=2", "", false, nil},
		{"an attempt with a strange id is none", "__Host-forgeauth_attempt_a.b=2; __Host-forgeauth_attempt_" + strings.Repeat("a", 65) + "=3", "", false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
			r.Header.Set("Cookie", test.header)
			session, err := c.readSession(r)
			if session != test.session || (err != nil) != test.refused {
				t.Errorf("session %q, %v", session, err)
			}
			_, attempts := c.readAttempts(r)
			if diff := cmp.Diff(test.attempts, attempts); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAttemptsAreBoundedInNumberAndSize(t *testing.T) {
	t.Parallel()
	at, _ := url.Parse("https://auth.example.org")
	c := cookiesOf(at)
	for _, test := range []struct {
		name    string
		held    []int // sizes, oldest first
		cleared []string
	}{
		{"room for all", []int{500, 500, 500, 500}, nil},
		{"one too many", []int{500, 500, 500, 500, 500}, []string{"0"}},
		{"many too many", []int{9, 9, 9, 9, 9, 9, 9}, []string{"0", "1", "2"}},
		{"too large together", []int{100, 3500, 3500, 100}, []string{"0", "1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r, w := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), httptest.NewRecorder()
			for i, size := range test.held {
				r.Header.Add("Cookie", c.attempt+string(rune('0'+i))+"="+strings.Repeat("x", size))
			}
			c.setAttempt(w, r, commands.Attempt{ID: "new", Value: strings.Repeat("x", 1000), Expires: time.Unix(600, 0)}, time.Unix(0, 0))
			var cleared []string
			for _, cookie := range w.Result().Cookies()[1:] {
				if cookie.MaxAge >= 0 {
					t.Errorf("%s is set, not cleared", cookie.Name)
				}
				cleared = append(cleared, strings.TrimPrefix(cookie.Name, c.attempt))
			}
			if diff := cmp.Diff(test.cleared, cleared); diff != "" {
				t.Error(diff)
			}
		})
	}
}
