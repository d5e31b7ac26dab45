package forge_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/forgeauth/forgeauth/forge"
)

// TestOnlySuccessIsAPage answers with what would be a page, under statuses that say it is none.
func TestOnlySuccessIsAPage(t *testing.T) {
	t.Parallel()
	for _, status := range []int{300, 301, 302, 303, 304, 305, 306, 307, 308, 400, 418, 500} {
		for _, location := range []string{"", "/api/v1/again"} {
			var requests atomic.Int32
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				if r.URL.Path != "/api/v1/l" {
					_, _ = io.WriteString(w, `[{"id":7}]`)
					return
				}
				if location != "" {
					w.Header().Set("Location", location)
				}
				w.WriteHeader(status)
				_, _ = io.WriteString(w, `[{"id":1}]`)
			})
			var ids []int64
			var failed error
			for item, err := range forge.Pages[profile](t.Context(), s.caller(), "repositories", "/l") {
				if failed = err; err == nil {
					ids = append(ids, item.ID)
				}
			}
			if location != "" && slices.Contains([]int{301, 302, 303, 307, 308}, status) {
				if failed != nil || !slices.Equal(ids, []int64{7}) {
					t.Errorf("status %d to %s: %v, %v", status, location, ids, failed)
				}
				continue
			}
			if len(ids) != 0 || !errors.Is(failed, forge.ErrUnavailable) || requests.Load() != 1 {
				t.Errorf("status %d to %q: %v in %d requests, %v", status, location, ids, requests.Load(), failed)
			}
		}
	}
}

func TestPagesWithoutEndEnd(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("asks for ten thousand pages")
	}
	var requests atomic.Int32
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", fmt.Sprintf(`</api/v1/l?page=%d>; rel="next"`, requests.Add(1)+1))
		_, _ = io.WriteString(w, "[]")
	})
	var failed error
	for _, failed = range forge.Pages[profile](t.Context(), s.caller(), "repositories", "/l") {
		break
	}
	if !errors.Is(failed, forge.ErrEndlessPages) || requests.Load() != forge.MaxPages {
		t.Errorf("%d requests, %v", requests.Load(), failed)
	}
}

// TestAPageIsBoundedInValues answers with pages that are short enough and hold far more than a page. A client library
// makes a struct of a kilobyte of each two bytes, whatever they say.
func TestAPageIsBoundedInValues(t *testing.T) {
	t.Parallel()
	page := func(value string, n int) string { return "[" + strings.Repeat(value+",", n-1) + value + "]" }
	for name, test := range map[string]struct {
		body string
		fine bool
	}{
		"a page of the usual size":           {page(`{"id":7,"x":{"y":[1,2]}}`, 1000), true},
		"commas and braces in strings":       {`[{"id":7,"x":"` + strings.Repeat(`{[,\"`, 200_000) + `"}]`, true},
		"a string that ends in a backslash":  {`[{"id":7,"x":"\\\\"},` + page("{}", 200_000)[1:], false},
		"empty objects":                      {page("{}", 200_000), false},
		"empty lists":                        {page("[]", 200_000), false},
		"numbers":                            {page("1", 200_000), false},
		"empty strings":                      {page(`""`, 200_000), false},
		"a long list below the first object": {`[{"id":7,"x":` + page("1", 200_000) + `}]`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, test.body) })
			items := 0
			var failed error
			for _, err := range forge.Pages[profile](t.Context(), s.caller(), "repositories", "/l") {
				if failed = err; err == nil {
					items++
				}
			}
			if test.fine {
				if failed != nil || items == 0 {
					t.Fatalf("%d items, %v", items, failed)
				}
				return
			}
			if items != 0 || !errors.Is(failed, forge.ErrUnavailable) || !strings.Contains(failed.Error(), "too many values") {
				t.Fatalf("%d items, %v", items, failed)
			}
			checkError(t, failed, "repositories")
		})
	}
}

// TestBoundsHoldAfterDecompression answers with little that unpacks to a lot.
func TestBoundsHoldAfterDecompression(t *testing.T) {
	t.Parallel()
	bomb := func(opening string, size int) []byte {
		var packed bytes.Buffer
		w, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed) // a level that exists
		_, _ = io.WriteString(w, opening+strings.Repeat(" ", size))
		_ = w.Close()
		return packed.Bytes()
	}
	answers := map[string][]byte{
		"/token":       bomb(`{"access_token":"t","token_type":"bearer"}`, forge.MaxTokenBody),
		"/api/v1/user": bomb(`{"id":7}`, forge.MaxTokenBody),
		"/api/v1/l":    bomb(`[]`, forge.MaxAPIBody),
		"/revoke":      bomb(`{}`, forge.MaxTokenBody),
	}
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answers[r.URL.Path])
	})
	_, exchangeErr := s.exchange(t.Context())
	_, profileErr := forge.Profile[profile](t.Context(), s.caller(), "account", "/user")
	var pagesErr error
	for _, pagesErr = range forge.Pages[profile](t.Context(), s.caller(), "repositories", "/l") {
		break
	}
	revokeErr := s.caller().Revoke(t.Context(), func(token forge.Token) forge.RevokeRequest {
		return forge.RevokeRequest{Method: http.MethodPost, URL: s.URL + "/revoke", Body: token.Access.Reveal(), Done: []int{http.StatusOK}}
	})
	for op, err := range map[string]error{"exchange": exchangeErr, "account": profileErr, "repositories": pagesErr, "revoke": revokeErr} {
		if !errors.Is(err, forge.ErrUnavailable) || !strings.Contains(err.Error(), "too long") {
			t.Errorf("%s: %v", op, err)
		}
	}
}
