package forge_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
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
