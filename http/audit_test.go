package http_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/forgeauth/forgeauth/history"
)

// TestAuditPagesAreWhole: the pages of an answer are together the answer, whatever their size.
func TestAuditPagesAreWhole(t *testing.T) {
	t.Parallel()
	_, b := claimed(t)
	for range 5 {
		b.json().do(t, http.MethodDelete, "/forges/active", nil)
		b.signIn(t, "gitea", "ada", nil)
	}
	for _, path := range []string{"/audit/events?", "/audit/switches?", "/audit/sessions?", "/audit/tokens/gitea?", "/audit/replay?", "/audit/events?type=ForgeActivated&"} {
		whole := decode[history.Page[json.RawMessage]](t, b.json().get(t, path+"limit=1000").body)
		if whole.Next != nil || len(whole.Items) < 3 {
			t.Fatalf("%s: %d items, next %v", path, len(whole.Items), whole.Next)
		}
		for _, limit := range []int{1, 2, len(whole.Items) - 1, len(whole.Items)} {
			var items []json.RawMessage
			for after := int64(0); ; {
				page := decode[history.Page[json.RawMessage]](t, b.json().get(t, fmt.Sprintf("%slimit=%d&after=%d", path, limit, after)).body)
				items = append(items, page.Items...)
				if page.Next == nil {
					break
				}
				if len(page.Items) != limit || *page.Next <= after {
					t.Fatalf("%s: a page of %d items, next %d after %d", path, len(page.Items), *page.Next, after)
				}
				after = *page.Next
			}
			if len(items) != len(whole.Items) {
				t.Fatalf("%s: %d items in pages of %d, %d in all", path, len(items), limit, len(whole.Items))
			}
			if path == "/audit/switches?" {
				continue // how long the last one held has grown meanwhile
			}
			for i := range items {
				if string(items[i]) != string(whole.Items[i]) {
					t.Errorf("%s: item %d is %s in pages of %d, and %s", path, i, items[i], limit, whole.Items[i])
				}
			}
		}
	}
}

type refused struct {
	Error string `json:"error"`
}

func TestAuditRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	for path, want := range map[string]string{
		"/audit/events?from=yesterday":        "bad_moment",
		"/audit/events?limit=0":               "bad_query",
		"/audit/events?limit=1001":            "bad_query",
		"/audit/events?limit=1&limit=2":       "bad_query",
		"/audit/events?after=-1":              "bad_cursor",
		"/audit/events?type=Nothing":          "unknown_type",
		"/audit/events?to=99999":              "position_ahead",
		"/audit/events/99999":                 "no_event",
		"/audit/events/0":                     "no_event",
		"/audit/events/x":                     "no_event",
		"/audit/events/1/proof":               "no_checkpoint",
		"/audit/switches?forge=%2F":           "unknown_forge",
		"/audit/tokens/%2F":                   "unknown_forge",
		"/audit/state?at=99999":               "position_ahead",
		"/audit/state?at=":                    "bad_moment",
		"/audit/diff":                         "bad_moment",
		"/audit/diff?from=1&to=9999999999999": "position_ahead",
		"/log/checkpoint":                     "no_checkpoint",
		"/log/tile/0/000":                     "no_tile",
	} {
		if a := b.json().get(t, path); decode[refused](t, a.body).Error != want {
			t.Errorf("%s: %d %s, want %q", path, a.StatusCode, a.body, want)
		}
		if a := d.browser(t).json().get(t, path); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a session: %d", path, a.StatusCode)
		}
	}
}
