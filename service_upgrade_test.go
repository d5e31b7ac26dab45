package forgeauth_test

import (
	"os"
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth"
)

// A deployment of a schema before refreshes were known is migrated and opened: its rows are folded anew, and its tokens work.
func TestRowsFromBeforeRefreshesAreFoldedAnew(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea", "gitlab")
	s := h.open(t)
	h.claim(t, "gitea")
	if err := s.UpsertOperatorOAuth(t.Context(), robotToken("gitlab")); err != nil {
		t.Fatal(err)
	}
	closeService(t, s)
	migration, err := os.ReadFile("migrations/0004_refresh.sql")
	if err != nil {
		t.Fatal(err)
	}
	up, down, _ := strings.Cut(string(migration), "-- +goose Down")
	conn := h.db.Conn(t)
	for _, sql := range []string{down, up} {
		if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	h.services = nil
	s = h.open(t)
	report, err := s.Verify(t.Context(), forgeauth.VerifyOptions{})
	if err != nil || len(report.Tables.Differences) > 0 {
		t.Errorf("%+v, %v", report.Tables.Differences, err)
	}
	row, err := s.Reader().Token(t.Context(), "gitea")
	if err != nil || !row.GrantedAt.Equal(row.CreatedAt) {
		t.Errorf("granted at %v, connected at %v, %v", row.GrantedAt, row.CreatedAt, err)
	}
	if port, err := s.GetOperatorAdapter(t.Context()); err != nil {
		t.Error(err)
	} else if _, err := port.Account(t.Context()); err != nil {
		t.Error(err)
	}
}
