package forgetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
)

func exerciseIssues(t *testing.T, x *exercise) {
	t.Helper()
	if x.differences().noIssues {
		exerciseNoIssues(t, x)
		return
	}
	t.Run("an issue is what its author wrote", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		want := forge.Issue{
			Number: w.issue, Title: issueTitle, Body: issueBody, Open: true, Author: forge.Account{ID: w.account(proposedByID), Login: proposedBy},
			WebURL: w.web(w.issuePath, w.issue), CreatedAt: exerciseClock, UpdatedAt: exerciseClock,
		}
		for _, in := range []forge.RepositoryRef{w.byPath(), w.byID()} {
			got, err := w.port.Issue(t.Context(), in, w.issue)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
		}
		w.CloseIssue(repositoryID, w.issue)
		if got, err := w.port.Issue(t.Context(), w.byPath(), w.issue); err != nil || got.Open {
			t.Errorf("closed: %v", err)
		}
	})
	t.Run("an issue may have no text and no author any more", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		number := w.OpenIssue(repositoryID, "", "Alone", "")
		got, err := w.port.Issue(t.Context(), w.byPath(), number)
		if err != nil || got.Body != "" || got.Author != (forge.Account{}) || got.Title != "Alone" {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("text of strangers is made fit to be shown", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		title, body := "a\x1b[2J\u202eb"+strings.Repeat("ü", 300), "line\r\n\x00\x1b[2J\u202e<script>\xff"
		got, err := w.port.Issue(t.Context(), w.byPath(), w.OpenIssue(repositoryID, exerciseLogin, title, body))
		if err != nil || !forge.IsClean(got.Title) || !strings.HasPrefix(got.Title, "a[2Jbü") {
			t.Errorf("%q, %v", got.Title, err)
		}
		if got.Body != strings.ToValidUTF8(body, "\uFFFD") {
			t.Errorf("%q", got.Body)
		}
	})
	t.Run("the number of a change, of nothing, or none at all", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		numbers := []int64{w.issue + 1000, 1 << 40}
		if !x.config.Dialect.countsApart() {
			numbers = append(numbers, w.change)
		}
		for _, number := range numbers {
			_, err := w.port.Issue(t.Context(), w.byPath(), number)
			w.fails(t, "issue", err, forge.ErrNotFound)
		}
		before := w.Count(AnyEndpoint)
		for _, number := range []int64{0, -1, -1 << 63} {
			_, err := w.port.Issue(t.Context(), w.byPath(), number)
			w.fails(t, "issue", err, forge.ErrInvalid)
			_, err = w.port.Change(t.Context(), w.byPath(), number)
			w.fails(t, "change", err, forge.ErrInvalid)
			_, err = w.port.Comment(t.Context(), w.byPath(), forge.Subject{Number: number}, "Seen")
			w.fails(t, "comment", err, forge.ErrInvalid)
		}
		if w.Count(AnyEndpoint) != before {
			t.Error("the forge was contacted")
		}
	})
	t.Run("without an issue tracker there is no issue, and changes are there all the same", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t, func(c *Config, _ *forge.Connection) { c.Users[0].Repositories[0].IssuesOff = true })
		_, err := w.port.Issue(t.Context(), w.byPath(), w.issue)
		if !errors.Is(err, forge.ErrNotFound) && !errors.Is(err, forge.ErrUnsupported) {
			t.Errorf("%v", err)
		}
		w.fails(t, "issue", err, err)
		if _, err := w.port.Change(t.Context(), w.byPath(), w.change); err != nil {
			t.Errorf("change: %v", err)
		}
	})
}

func exerciseComments(t *testing.T, x *exercise) {
	t.Helper()
	t.Run("a comment is on the issue or on the change", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		const body = "**Ünïcödé** 漢字 🙂\n\n```\n<script>\n```\n@alice #1 \"quoted\" \\ \u202e"
		for _, in := range []forge.RepositoryRef{w.byPath(), w.byID()} {
			for _, on := range w.subjects() {
				got, err := w.port.Comment(t.Context(), in, on, body)
				if err != nil || got.ID == "" {
					t.Errorf("%+v: %v", on, err)
					continue
				}
				path := w.issuePath
				if on.OnChange {
					path = w.changePath
				}
				want := forge.Comment{
					ID: got.ID, Body: body, Author: forge.Account{ID: w.account(exerciseUserID), Login: exerciseLogin}, CreatedAt: exerciseClock,
					WebURL: w.web(path, on.Number) + fmt.Sprintf(w.commentMark, got.ID),
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			}
		}
		want := []Note{{exerciseLogin, body}, {exerciseLogin, body}}
		for _, on := range w.subjects() {
			if diff := cmp.Diff(want, w.Comments(repositoryID, on.Number, on.OnChange)); diff != "" {
				t.Errorf("on a change: %t: %s", on.OnChange, diff)
			}
		}
	})
	t.Run("a comment is sent once, whatever becomes of it", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		w.Next(CommentEndpoint, CutAfter())
		_, err := w.port.Comment(t.Context(), w.byPath(), w.subject(), "Once")
		w.fails(t, "comment", err, forge.ErrUnavailable)
		if n := len(w.said()); n != 1 || w.Count(CommentEndpoint) != 1 {
			t.Errorf("%d comments by %d requests", n, w.Count(CommentEndpoint))
		}
	})
	t.Run("a comment on what is not there, or on what is read only", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t, func(c *Config, _ *forge.Connection) { c.Users[0].Repositories[1].Archived = true })
		for _, on := range w.subjects() {
			on.Number = 4711
			_, err := w.port.Comment(t.Context(), w.byPath(), on, "Seen")
			w.fails(t, "comment", err, forge.ErrNotFound)
		}
		if w.noArchive {
			return
		}
		archived := forge.RepositoryRef{ID: w.id(repositoryID + 1)}
		number := w.OpenIssue(repositoryID+1, exerciseLogin, "Old", "")
		if _, err := w.port.Issue(t.Context(), archived, number); err != nil {
			t.Error(err)
		}
		_, err := w.port.Comment(t.Context(), archived, forge.Subject{Number: number}, "Seen")
		w.fails(t, "comment", err, forge.ErrForbidden)
	})
	t.Run("a text that no forge takes is invalid", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		before := w.Count(AnyEndpoint)
		for _, body := range []string{"", " \n\t", "a\xff", "a\x00b", strings.Repeat("é", 1_000_001)} {
			_, err := w.port.Comment(t.Context(), w.byPath(), w.subject(), body)
			w.fails(t, "comment", err, forge.ErrInvalid)
		}
		if w.Count(AnyEndpoint) != before || len(w.said()) != 0 {
			t.Error("the forge was contacted")
		}
	})
}
