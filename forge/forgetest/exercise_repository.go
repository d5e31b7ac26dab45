package forgetest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
)

func exerciseRepository(t *testing.T, x *exercise) {
	t.Helper()
	t.Run("it is found by its id and by its path, in any case", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		want := forge.Repository{
			ID: w.id(repositoryID), Path: w.path, WebURL: w.web(""), CloneURL: w.web(".git"), Default: targetBranch, Private: true,
		}
		for _, in := range []forge.RepositoryRef{
			w.byID(), w.byPath(), {ID: w.id(repositoryID), Path: "somebody/else"}, want.Ref(), {Path: strings.ToUpper(w.path)},
		} {
			got, err := w.port.Repository(t.Context(), in)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%+v: %v %s", in, err, diff)
			}
		}
	})
	t.Run("it says what it is", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t, func(c *Config, _ *forge.Connection) {
			c.Users[0].Repositories = append(c.Users[0].Repositories, Repository{
				ID: 77, Owner: "an-organization", Name: "Ünïcödé.漢字", DefaultBranch: "trunk/漢字", Archived: true,
			})
		})
		got, err := w.port.Repository(t.Context(), forge.RepositoryRef{ID: w.id(77)})
		web := w.URL() + "/an-organization/%C3%9Cn%C3%AFc%C3%B6d%C3%A9.%E6%BC%A2%E5%AD%97"
		want := forge.Repository{
			ID: w.id(77), Path: "an-organization/Ünïcödé.漢字", WebURL: web, CloneURL: web + ".git", Default: "trunk/漢字", Archived: !w.noArchive,
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
	})
	t.Run("a renamed one keeps its id, and its former path leads to it", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		former := w.byPath()
		w.RenameRepository(repositoryID, "renamed")
		w.path = exerciseLogin + "/renamed"
		for _, in := range []forge.RepositoryRef{w.byID(), w.byPath(), former} {
			if got, err := w.port.Repository(t.Context(), in); err != nil || got.ID != w.id(repositoryID) || got.Path != w.path {
				t.Errorf("%+v: %+v, %v", in, got, err)
			}
		}
		for _, m := range x.methods() {
			if err := m.prepare(t, w)(t.Context(), w.port, w.byID()); err != nil {
				t.Errorf("%v, by id: %v", m, err)
			}
			switch err := m.prepare(t, w)(t.Context(), w.port, former); {
			case err == nil: // the forge leads there
			case m.writes || m.skip > 0 || m.op == "ensure hook" || m.op == "open change":
				// What writes may not be sent after it; what was not done is never said to be.
				w.fails(t, m.op, err, forge.ErrNotFound)
			default:
				t.Errorf("%v, by the former path: %v", m, err)
			}
		}
		if hooks := w.Webhooks(repositoryID); w.port.RemoveHook(t.Context(), former, w.id(hooks[0].ID)) == nil && len(w.Webhooks(repositoryID)) == len(hooks) {
			t.Error("a webhook that is there is said to be gone")
		}
	})
	t.Run("a former path that somebody took leads to theirs, and the id does not", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		former := w.byPath()
		w.RenameRepository(repositoryID, "renamed")
		w.RenameRepository(repositoryID+1, strings.TrimPrefix(former.Path, exerciseLogin+"/"))
		if got, err := w.port.Repository(t.Context(), former); err != nil || got.ID != w.id(repositoryID+1) {
			t.Errorf("%+v, %v", got, err)
		}
		if got, err := w.port.Repository(t.Context(), w.byID()); err != nil || got.Path != exerciseLogin+"/renamed" {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("an answer about another one is none", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		for what, path := range map[string]string{"no path": "", "a path that cannot be shown": "\x1b\u202e"} {
			w.Next(RepositoryEndpoint, renamed(path))
			_, err := w.port.Repository(t.Context(), w.byPath())
			if err == nil {
				t.Error(what)
			}
			w.fails(t, "repository", err, forge.ErrUnavailable)
		}
	})
}

func exerciseQuery(t *testing.T, x *exercise) {
	t.Helper()
	all := Repositories(1, manyRepositories)
	all[3].Name, all[14].Name = "Ünïcödé-漢字", "search & destroy+100%"
	all[29].Owner = "an-organization"
	named := func(options ...func(Repository) bool) []string {
		var paths []string
		for _, r := range all {
			owner := r.Owner
			if owner == "" {
				owner = exerciseLogin
			}
			if !slices.ContainsFunc(options, func(admits func(Repository) bool) bool { return !admits(r) }) {
				paths = append(paths, owner+"/"+r.Name)
			}
		}
		slices.Sort(paths)
		return paths
	}
	isKept := func(r Repository) bool { return !r.Archived || x.differences().noArchive }
	contains := func(text string) func(Repository) bool {
		return func(r Repository) bool { return strings.Contains(strings.ToLower(r.Name), text) }
	}
	for name, test := range map[string]struct {
		query forge.RepositoryQuery
		want  []string
	}{
		"a part of a name":        {forge.RepositoryQuery{Text: "tory-10"}, named(contains("tory-10"))},
		"a part in another case":  {forge.RepositoryQuery{Text: "REPOSITORY-000"}, named(contains("repository-000"))},
		"a name in other scripts": {forge.RepositoryQuery{Text: "ünïcödé-漢"}, []string{exerciseLogin + "/Ünïcödé-漢字"}},
		"a name with signs":       {forge.RepositoryQuery{Text: "h & destroy+1"}, []string{exerciseLogin + "/search & destroy+100%"}},
		"an owner":                {forge.RepositoryQuery{Text: "an-organization/"}, []string{"an-organization/" + all[29].Name}},
		"what nothing is called":  {forge.RepositoryQuery{Text: "no-such"}, nil},
		"what is not archived": {
			forge.RepositoryQuery{WithoutArchived: true}, named(isKept),
		},
		"both": {
			forge.RepositoryQuery{Text: "repository-09", WithoutArchived: true},
			named(contains("repository-09"), isKept),
		},
	} {
		t.Run("out of a thousand, "+name, func(t *testing.T) {
			t.Parallel()
			b := x.bench(t, func(c *Config, _ *forge.Connection) { c.Users[0].Repositories = slices.Clone(all) })
			var got []string
			for r, err := range b.port(t).Repositories(t.Context(), test.query) {
				if err != nil {
					t.Fatal(err)
				}
				if !test.query.Admits(r) {
					t.Errorf("%s was not asked for", r.Path)
				}
				got = append(got, r.Path)
			}
			slices.Sort(got)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func exerciseWorkTogether(t *testing.T, x *exercise) {
	t.Helper()
	w := x.workshop(t)
	var all sync.WaitGroup
	for worker := range 8 {
		own := w.fresh("worker")
		w.Commit(repositoryID, own, "own.txt", []byte(own))
		all.Go(func() {
			for _, in := range []forge.RepositoryRef{w.byPath(), w.byID()} {
				if file, err := w.port.File(t.Context(), in, guide, ""); err != nil || string(file.Content) != guideContent {
					t.Errorf("file: %v", err)
				}
				if issue, err := w.port.Issue(t.Context(), in, w.issue); !w.noIssues && (err != nil || issue.Title != issueTitle) {
					t.Errorf("issue: %v", err)
				}
				if change, err := w.port.Change(t.Context(), in, w.change); err != nil || change.Head != w.commit {
					t.Errorf("change: %v", err)
				}
				if said, err := w.port.Comment(t.Context(), in, w.subject(), own); err != nil || said.Body != own {
					t.Errorf("comment: %v", err)
				}
				if err := w.port.SetStatus(t.Context(), in, w.commit, forge.Status{Context: own, State: forge.StatusSuccess}); err != nil {
					t.Errorf("set status: %v", err)
				}
				if hook, err := w.port.EnsureHook(t.Context(), in, hookSpec(fmt.Sprintf("https://hooks.invalid/%d", worker))); err != nil || hook.ID == "" {
					t.Errorf("ensure hook: %v", err)
				}
				if hooks, err := hooksOf(t.Context(), w.port, in); err != nil || len(hooks) == 0 {
					t.Errorf("hooks: %d, %v", len(hooks), err)
				}
			}
			opened, err := w.port.OpenChange(t.Context(), w.byPath(), forge.NewChange{Title: own, Source: own, Target: targetBranch})
			if err != nil || opened.Title != own || opened.Head != w.Head(repositoryID, own) {
				t.Errorf("open change: %+v, %v", opened, err)
			}
		})
	}
	all.Wait()
	if n := len(w.Webhooks(repositoryID)); n != 8 {
		t.Errorf("%d webhooks of 8 workers", n)
	}
	if n := len(w.said()); n != 16 {
		t.Errorf("%d comments", n)
	}
	if n := len(w.Checks(repositoryID, w.commit)); n != 8 {
		t.Errorf("%d checks", n)
	}
}
