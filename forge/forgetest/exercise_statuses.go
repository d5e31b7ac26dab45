package forgetest

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
)

func exerciseStatuses(t *testing.T, x *exercise) {
	t.Helper()
	t.Run("every verdict is understood, and the last of a context counts", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		for _, state := range []forge.StatusState{forge.StatusPending, forge.StatusSuccess, forge.StatusFailure, forge.StatusError} {
			for _, in := range []forge.RepositoryRef{w.byPath(), w.byID()} {
				err := w.port.SetStatus(t.Context(), in, w.commit, forge.Status{
					Context: statusContext, State: state, Description: "Ünïcödé 漢字", TargetURL: "https://ci.example/1?a=b&c=%20#d",
				})
				if err != nil {
					t.Errorf("%s: %v", state, err)
				}
				want := []Check{{statusContext, w.statusNames[state], "Ünïcödé 漢字", "https://ci.example/1?a=b&c=%20#d"}}
				if diff := cmp.Diff(want, w.Checks(repositoryID, w.commit)); diff != "" {
					t.Errorf("%s: %s", state, diff)
				}
			}
		}
	})
	t.Run("contexts are apart, and one is enough of a status", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		for _, name := range []string{"ci/build", "ci/Ünïcödé 漢字", strings.Repeat("c", 100)} {
			if err := w.port.SetStatus(t.Context(), w.byPath(), w.commit, forge.Status{Context: name, State: forge.StatusPending}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := len(w.Checks(repositoryID, w.commit)); n != 3 {
			t.Errorf("%d contexts", n)
		}
	})
	t.Run("a description is one short line", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		err := w.port.SetStatus(t.Context(), w.byPath(), w.commit, forge.Status{
			Context: statusContext, State: forge.StatusSuccess, Description: "two\nlines\x1b and " + strings.Repeat("漢", 300),
		})
		if err != nil {
			t.Fatal(err)
		}
		got := w.Checks(repositoryID, w.commit)[0].Description
		if utf8.RuneCountInString(got) > 140 || !strings.HasPrefix(got, "two lines and 漢") {
			t.Errorf("%d characters: %s", utf8.RuneCountInString(got), got)
		}
	})
	t.Run("a commit that is not there is not found", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		err := w.port.SetStatus(t.Context(), w.byPath(), strings.Repeat("0a", 20), forge.Status{Context: statusContext, State: forge.StatusSuccess})
		w.fails(t, "set status", err, forge.ErrNotFound)
	})
	t.Run("who may not write to it", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t, func(c *Config, _ *forge.Connection) { c.Users[0].Repositories[1].ReadOnly = true })
		commit := w.Head(repositoryID+1, targetBranch)
		err := w.port.SetStatus(t.Context(), forge.RepositoryRef{ID: w.id(repositoryID + 1)}, commit, forge.Status{Context: statusContext, State: forge.StatusSuccess})
		w.fails(t, "set status", err, forge.ErrForbidden)
	})
	t.Run("a status that no forge takes is invalid and nobody is asked", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		before := w.Count(AnyEndpoint)
		good := forge.Status{Context: statusContext, State: forge.StatusSuccess}
		for _, commit := range []string{"", "main", w.commit[:12], strings.ToUpper(w.commit), w.commit + "0", "../" + exerciseMark, strings.Repeat("g", 40)} {
			w.fails(t, "set status", w.port.SetStatus(t.Context(), w.byPath(), commit, good), forge.ErrInvalid)
		}
		for _, status := range []forge.Status{
			{},
			{Context: statusContext},
			{State: forge.StatusSuccess},
			{Context: statusContext, State: "running"},
			{Context: "a\nb", State: forge.StatusSuccess},
			{Context: strings.Repeat("c", 256), State: forge.StatusSuccess},
			{Context: statusContext, State: forge.StatusSuccess, Description: "\xff"},
			{Context: statusContext, State: forge.StatusSuccess, TargetURL: "javascript:alert('" + exerciseMark + "')"},
			{Context: statusContext, State: forge.StatusSuccess, TargetURL: "ci.example"},
			{Context: statusContext, State: forge.StatusSuccess, TargetURL: "https://"},
		} {
			w.fails(t, "set status", w.port.SetStatus(t.Context(), w.byPath(), w.commit, status), forge.ErrInvalid)
		}
		if w.Count(AnyEndpoint) != before {
			t.Error("the forge was contacted")
		}
	})
}
