package http

import (
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

// FuzzCursor: what is taken for a cursor is one that was given out, in its one spelling.
func FuzzCursor(f *testing.F) {
	binding := forge.Binding{Connection: "gitea", Account: forge.Account{ID: "7"}}
	f.Add(newCursor(binding, 1))
	f.Add(newCursor(forge.Binding{Connection: "gitlab", Account: forge.Account{ID: "7"}}, 100))
	f.Add("")
	f.Fuzz(func(t *testing.T, cursor string) {
		seen, err := parseCursor(binding, cursor)
		if err == nil && cursor != "" && newCursor(binding, seen) != cursor {
			t.Errorf("%q is taken for the cursor after %d", cursor, seen)
		}
	})
}

// FuzzSpan: whatever the query of a list is, it is read within its bounds or refused by a code.
func FuzzSpan(f *testing.F) {
	for _, query := range []string{"from=7d&to=now&after=12&limit=1000", "from=beginning", "limit=0", "after=-1", "from=%00", "limit=1&limit=2", "to=2026-11-26"} {
		f.Add(query)
	}
	s := &server{config: Config{Now: func() time.Time { return time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC) }}}
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/audit/events", nil)
		r.URL.RawQuery = query
		span, _, err := s.spanOf(r)
		if _, refused := errors.AsType[*requestError](err); err != nil && !refused {
			t.Errorf("an error of no code: %v", err)
		}
		if err == nil && (span.Limit < 1 || span.Limit > mostAnswers || span.After < 0) {
			t.Errorf("%q is read as %+v", query, span)
		}
	})
}
