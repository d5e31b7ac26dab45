package forgetest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
)

func exerciseChanges(t *testing.T, x *exercise) {
	t.Helper()
	t.Run("a change is what is proposed now", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		want := forge.Change{
			Number: w.change, Title: changeTitle, State: forge.ChangeOpen, Source: sourceBranch, SourceID: w.id(repositoryID), Target: targetBranch,
			Head: w.commit, Author: forge.Account{ID: w.account(proposedByID), Login: proposedBy}, WebURL: w.web(w.changePath, w.change),
			CreatedAt: exerciseClock, UpdatedAt: exerciseClock,
		}
		for _, in := range []forge.RepositoryRef{w.byPath(), w.byID()} {
			got, err := w.port.Change(t.Context(), in, w.change)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
		}
		want.Head = w.Commit(repositoryID, sourceBranch, "fix.txt", []byte("fixed again"))
		if got, err := w.port.Change(t.Context(), w.byPath(), w.change); err != nil || got.Head != want.Head {
			t.Errorf("after a push: %s, %v", got.Head, err)
		}
	})
	t.Run("a change is merged, or closed without", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		w.MergeChange(repositoryID, w.change)
		if got, err := w.port.Change(t.Context(), w.byPath(), w.change); err != nil || got.State != forge.ChangeMerged {
			t.Errorf("%s, %v", got.State, err)
		}
		again := w.OpenChange(repositoryID, proposedBy, "Again", sourceBranch, targetBranch)
		w.CloseChange(repositoryID, again)
		if got, err := w.port.Change(t.Context(), w.byPath(), again); err != nil || got.State != forge.ChangeClosed {
			t.Errorf("%s, %v", got.State, err)
		}
	})
	t.Run("a change may have lost its author and the repository that it comes from", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		number := w.OpenChange(repositoryID, "", "Alone", sourceBranch, targetBranch)
		w.DeleteSource(repositoryID, number)
		got, err := w.port.Change(t.Context(), w.byPath(), number)
		if err != nil || got.Author != (forge.Account{}) || got.SourceID != "" || got.Title != "Alone" {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("the number of an issue, or of nothing", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		numbers := []int64{w.change + 1000, 1 << 40}
		if !x.config.Dialect.countsApart() {
			numbers = append(numbers, w.issue)
		}
		for _, number := range numbers {
			_, err := w.port.Change(t.Context(), w.byPath(), number)
			w.fails(t, "change", err, forge.ErrNotFound)
		}
	})
}

func exerciseOpenChange(t *testing.T, x *exercise) {
	t.Helper()
	t.Run("a branch is proposed, also as a draft and to the default branch", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		const body = "Closes #1\n\n漢字 🙂"
		for i, proposed := range []forge.NewChange{
			{Title: "Ünïcödé 漢字 🙂", Body: body, Target: targetBranch},
			{Title: "Draft it", Body: body, Draft: true},
			{Title: "To the default branch"},
			{Title: "Draft: a title that says so", Target: targetBranch, Draft: true},
		} {
			proposed.Source = w.fresh("feature/漢字+")
			head := w.Commit(repositoryID, proposed.Source, "new", []byte(proposed.Title))
			got, err := w.port.OpenChange(t.Context(), []forge.RepositoryRef{w.byPath(), w.byID()}[i%2], proposed)
			if err != nil || got.Number <= 0 {
				t.Errorf("%s: %v", proposed.Title, err)
				continue
			}
			want := forge.Change{
				Number: got.Number, Title: proposed.Title, Body: proposed.Body, State: forge.ChangeOpen, Draft: proposed.Draft,
				Source: proposed.Source, SourceID: w.id(repositoryID), Target: targetBranch, Head: head,
				Author: forge.Account{ID: w.account(exerciseUserID), Login: exerciseLogin}, WebURL: w.web(w.changePath, got.Number),
				CreatedAt: exerciseClock, UpdatedAt: exerciseClock,
			}
			// Where drafts are a matter of the title, what the forge puts before it is no part of it.
			got.Title, want.Title = strings.TrimPrefix(got.Title, "Draft: "), strings.TrimPrefix(want.Title, "Draft: ")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			read, err := w.port.Change(t.Context(), w.byID(), got.Number)
			read.Title = strings.TrimPrefix(read.Title, "Draft: ")
			if diff := cmp.Diff(got, read); err != nil || diff != "" {
				t.Errorf("read again: %v %s", err, diff)
			}
		}
	})
	t.Run("the same two branches once, until it is closed", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		proposed := forge.NewChange{Title: "Mend it, too", Source: sourceBranch, Target: targetBranch}
		_, err := w.port.OpenChange(t.Context(), w.byPath(), proposed)
		w.fails(t, "open change", err, forge.ErrConflict)
		proposed.Target = ""
		_, err = w.port.OpenChange(t.Context(), w.byPath(), proposed)
		w.fails(t, "open change", err, forge.ErrConflict)
		w.CloseChange(repositoryID, w.change)
		if got, err := w.port.OpenChange(t.Context(), w.byPath(), proposed); err != nil || got.Number == w.change {
			t.Errorf("%d, %v", got.Number, err)
		}
	})
	t.Run("it is sent once, whatever becomes of it", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		w.Commit(repositoryID, "once", "new", []byte("once"))
		proposed := forge.NewChange{Title: "Once", Source: "once", Target: targetBranch}
		_, err := w.port.OpenChange(t.Context(), w.byPath(), proposed)
		if err != nil {
			t.Fatal(err)
		}
		// How many requests one takes is known now: the last of them makes it.
		took := w.Count(ChangeEndpoint)
		w.Commit(repositoryID, "twice", "new", []byte("twice"))
		for range took - 1 {
			w.Next(ChangeEndpoint, AsUsual())
		}
		w.Next(ChangeEndpoint, CutAfter())
		proposed.Source = "twice"
		_, err = w.port.OpenChange(t.Context(), w.byPath(), proposed)
		w.fails(t, "open change", err, forge.ErrUnavailable)
		if n := w.Count(ChangeEndpoint); n != 2*took {
			t.Errorf("%d requests, want %d", n, 2*took)
		}
		_, err = w.port.OpenChange(t.Context(), w.byPath(), proposed)
		w.fails(t, "open change", err, forge.ErrConflict)
	})
	t.Run("a branch that is not there", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		for _, proposed := range []forge.NewChange{
			{Title: "No source", Source: "no-such-" + exerciseMark, Target: targetBranch},
			{Title: "No target", Source: "other", Target: "no-such-" + exerciseMark},
		} {
			w.Commit(repositoryID, "other", "new", []byte("x"))
			_, err := w.port.OpenChange(t.Context(), w.byPath(), proposed)
			if !errors.Is(err, forge.ErrInvalid) && !errors.Is(err, forge.ErrNotFound) {
				t.Errorf("%s: %v", proposed.Title, err)
			}
			w.fails(t, "open change", err, err)
		}
	})
	t.Run("who may not write to it, or nobody may", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t, func(c *Config, _ *forge.Connection) {
			c.Users[0].Repositories[1].Archived, c.Users[0].Repositories[2].ReadOnly = true, true
		})
		for _, id := range []int64{repositoryID + 1, repositoryID + 2} {
			if w.noArchive && id == repositoryID+1 {
				continue
			}
			w.Commit(id, "new", "new", []byte("x"))
			_, err := w.port.OpenChange(t.Context(), forge.RepositoryRef{ID: w.id(id)}, forge.NewChange{Title: "New", Source: "new", Target: targetBranch})
			if w.readersPropose && id == repositoryID+2 {
				if err != nil {
					t.Error(err)
				}
				continue
			}
			w.fails(t, "open change", err, forge.ErrForbidden)
		}
	})
	t.Run("a proposal that no forge takes is invalid and nobody is asked", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		before := w.Count(AnyEndpoint)
		for _, proposed := range slices.Concat([]forge.NewChange{
			{},
			{Title: "No branch"},
			{Source: sourceBranch},
			{Title: " ", Source: sourceBranch},
			{Title: "a\nb", Source: sourceBranch},
			{Title: strings.Repeat("t", 256), Source: sourceBranch},
			{Title: "Itself", Source: targetBranch, Target: targetBranch},
			{Title: "a\xff", Source: sourceBranch},
			{Title: "Body", Body: "\xff", Source: sourceBranch},
		}, proposals("../"+exerciseMark, "a b", "a..b", "bob:mend", "-x", "a?b", "a/", "")) {
			_, err := w.port.OpenChange(t.Context(), w.byPath(), proposed)
			w.fails(t, "open change", err, forge.ErrInvalid)
		}
		if w.Count(AnyEndpoint) != before {
			t.Error("the forge was contacted")
		}
	})
	t.Run("the default branch may have a name that is cleaned before it is shown", func(t *testing.T) {
		t.Parallel()
		// Git takes zero-width joiners and what no keyboard has; two characters of this name are not shown.
		const branch = "trunk/\U0001F469\u200d\U0001F4BB\u2060"
		w := x.workshop(t, func(c *Config, _ *forge.Connection) { c.Users[0].Repositories[0].DefaultBranch = branch })
		for _, in := range []forge.RepositoryRef{w.byPath(), w.byID()} {
			source := w.fresh("proposal")
			w.Commit(repositoryID, source, "new.txt", []byte(source))
			got, err := w.port.OpenChange(t.Context(), in, forge.NewChange{Title: "Take it", Source: source})
			if err != nil || got.Target != forge.CleanString(branch) {
				t.Errorf("%q, %v", got.Target, err)
			}
			if _, err := w.port.File(t.Context(), in, "README.md", ""); err != nil {
				t.Errorf("a file of it: %v", err)
			}
		}
	})
	t.Run("the default branch cannot be proposed to itself", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		_, err := w.port.OpenChange(t.Context(), w.byPath(), forge.NewChange{Title: "Itself", Source: targetBranch})
		if !errors.Is(err, forge.ErrInvalid) && !errors.Is(err, forge.ErrConflict) {
			t.Errorf("%v", err)
		}
		w.fails(t, "open change", err, err)
	})
}

func proposals(sources ...string) []forge.NewChange {
	var all []forge.NewChange
	for _, source := range sources {
		all = append(all, forge.NewChange{Title: "Branch", Source: source, Target: targetBranch})
	}
	return all
}
