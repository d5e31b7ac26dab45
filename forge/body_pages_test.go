package forge_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth/forge"
)

func TestPagesThatNameTheNextInTheirBody(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pages map[string]string // by query
		want  []int64
		err   error // nil: fine
	}{
		"one page": {pages: map[string]string{"": `{"values":[{"id":1},{"id":2}]}`}, want: []int64{1, 2}},
		"an empty page in between": {
			pages: map[string]string{"": `{"values":[{"id":1}],"next":"HOST/api/v1/l?b"}`, "b": `{"values":[],"next":"?c"}`, "c": `{"values":[{"id":3}]}`},
			want:  []int64{1, 3},
		},
		"a Link header is none of its business": {pages: map[string]string{"": `{"values":[{"id":1}]}` + linked}, want: []int64{1}},
		"a page without values":                 {pages: map[string]string{"": `{"id":1,"marker":"` + marker + `"}`}, err: forge.ErrUnavailable},
		"a later page without values": {
			pages: map[string]string{"": `{"values":[{"id":1}],"next":"?b"}`, "b": `{}`}, want: []int64{1}, err: forge.ErrUnavailable,
		},
		"a list":                       {pages: map[string]string{"": `[{"id":1}]`}, err: forge.ErrUnavailable},
		"null":                         {pages: map[string]string{"": `null`}, err: forge.ErrUnavailable},
		"a next that is no text":       {pages: map[string]string{"": `{"values":[{"id":1}],"next":7}`}, err: forge.ErrUnavailable},
		"a next that is no address":    {pages: map[string]string{"": `{"values":[{"id":1}],"next":"http://[` + marker + `"}`}, err: forge.ErrUnavailable},
		"a next that is far too long":  {pages: map[string]string{"": `{"values":[],"next":"?` + strings.Repeat("x", 9<<10) + `"}`}, err: forge.ErrUnavailable},
		"a next at another host":       {pages: map[string]string{"": `{"values":[{"id":1}],"next":"https://evil.example/` + marker + `"}`}, err: forge.ErrDestination},
		"a next that climbs":           {pages: map[string]string{"": `{"values":[],"next":"/api/v1/%2e%2e/` + marker + `"}`}, err: forge.ErrDestination},
		"a next with another scheme":   {pages: map[string]string{"": `{"values":[],"next":"ftp://HOST/"}`}, err: forge.ErrDestination},
		"a next that leads back":       {pages: map[string]string{"": `{"values":[{"id":1}],"next":"/api/v1/l"}`}, want: []int64{1}, err: forge.ErrEndlessPages},
		"a next page that is refused":  {pages: map[string]string{"": `{"values":[{"id":1}],"next":"?none"}`}, want: []int64{1}, err: forge.ErrNotFound},
		"two that lead to one another": {pages: map[string]string{"": `{"values":[],"next":"?b"}`, "b": `{"values":[],"next":"?"}`, "c": ``}, err: forge.ErrEndlessPages},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				page, ok := test.pages[r.URL.RawQuery]
				if !ok || r.URL.Path != "/api/v1/l" {
					w.WriteHeader(http.StatusNotFound)
				}
				if body, hasLink := strings.CutSuffix(page, linked); hasLink {
					page = body
					w.Header().Set("Link", `</api/v1/l?none>; rel="next"`)
				}
				_, _ = io.WriteString(w, strings.ReplaceAll(page, "HOST", "http://"+r.Host))
			})
			var got []int64
			var failed error
			for item, err := range forge.BodyPages[profile](t.Context(), s.caller(), "repositories", "/l") {
				if failed != nil {
					t.Error("the sequence goes on after an error")
				}
				if failed = err; err == nil {
					got = append(got, item.ID)
				}
			}
			if !errors.Is(failed, test.err) || !slices.Equal(got, test.want) {
				t.Fatalf("%v, %v; want %v, %v", got, failed, test.want, test.err)
			}
			if failed != nil {
				checkError(t, failed, "repositories")
			}
		})
	}
}

// linked marks a page that comes with a Link header.
const linked = "\nLink"
