package http

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestJSONUnlessABrowserAsksForHTML(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		accept []string
		html   bool
	}{
		{"no header", nil, false},
		{"an empty header", []string{""}, false},
		{"curl", []string{"*/*"}, false},
		{"Chrome", []string{"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}, true},
		{"Firefox", []string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, true},
		{"Safari", []string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, true},
		{"fetch of a script", []string{"application/json"}, false},
		{"HTML alone", []string{"text/html"}, true},
		{"any text", []string{"text/*"}, true},
		{"a tie", []string{"text/html, application/json"}, false},
		{"JSON rather", []string{"text/html;q=0.5, application/json"}, false},
		{"HTML rather", []string{"application/json;q=0.5, text/html"}, true},
		{"HTML refused", []string{"text/html;q=0, */*"}, false},
		{"JSON refused", []string{"application/json;q=0, */*"}, true},
		{"the specific range beats the general one", []string{"text/*;q=0.9, text/html;q=0.1, application/json;q=0.5"}, false},
		{"two headers are one list", []string{"application/json;q=0.1", "text/html"}, true},
		{"capital letters", []string{"TEXT/HTML;Q=1.0, */*;q=0.1"}, true},
		{"three digits", []string{"text/html;q=0.123, application/json;q=0.122"}, true},
		{"a weight above one is none", []string{"text/html;q=1.5"}, false},
		{"a weight with four digits is none", []string{"text/html;q=0.1234"}, false},
		{"a weight that is a word is none", []string{"text/html;q=high"}, false},
		{"a weight with a sign is none", []string{"text/html;q=-1"}, false},
		{"another parameter is another type", []string{"text/html;level=1"}, false},
		{"a fragment of a type", []string{"text"}, false},
		{"broken elements are skipped", []string{";;;,/,text/html"}, true},
		{"a flood of elements", []string{strings.Repeat("a/b,", 5000) + "text/html"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
			r.Header["Accept"] = c.accept
			if got := prefersHTML(r); got != c.html {
				t.Errorf("Accept %q: HTML %v, want %v", c.accept, got, c.html)
			}
		})
	}
}
