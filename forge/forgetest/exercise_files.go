package forgetest

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
)

func exerciseFiles(t *testing.T, x *exercise) {
	t.Helper()
	t.Run("a file is read as it is", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		for path, content := range map[string]string{
			guide: guideContent, "empty": "", "a.json": `{"type":"dir","id":1}`, "list.json": `[{"type":"file"}]`, "page.html": "<!DOCTYPE html>",
			"Ünïcödé 漢字/🙂 100%.txt": "ü", "a+b&c=d#e?f;g,h@i:j.txt": "signs", ".github/workflows/ci.yml": "on: push\n",
			"contents/raw/hooks/issues": "words of the API", strings.Repeat("long/", 60) + "x": "deep", "base64": "aGVsbG8=",
		} {
			w.Commit(repositoryID, targetBranch, path, []byte(content))
			for _, in := range []forge.RepositoryRef{w.byPath(), w.byID()} {
				got, err := w.port.File(t.Context(), in, path, targetBranch)
				want := forge.File{Path: path, Revision: targetBranch, Content: []byte(content)}
				if diff := cmp.Diff(want, got); err != nil || diff != "" {
					t.Errorf("%s: %v %s", path, err, diff)
				}
			}
		}
	})
	t.Run("a revision is a branch, a tag, a commit or the default", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		first := w.Commit(repositoryID, targetBranch, "v", []byte("first"))
		w.Tag(repositoryID, "v1.0/rc+1", first)
		w.Commit(repositoryID, targetBranch, "v", []byte("second"))
		w.Commit(repositoryID, "feature/漢字+1", "v", []byte("third"))
		for revision, want := range map[string]string{
			"": "second", targetBranch: "second", "v1.0/rc+1": "first", first: "first", "feature/漢字+1": "third",
		} {
			got, err := w.port.File(t.Context(), w.byPath(), "v", revision)
			if err != nil || string(got.Content) != want || got.Revision != revision {
				t.Errorf("%q: %q, %v", revision, got.Content, err)
			}
		}
	})
	t.Run("what is no file is not found", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t, func(c *Config, _ *forge.Connection) { c.Users[0].Repositories[1].Empty = true })
		w.Submodule(repositoryID, "vendor/other")
		w.Commit(repositoryID, targetBranch, "deep/er/file", []byte("x"))
		empty := forge.RepositoryRef{ID: w.id(repositoryID + 1)}
		for what, err := range map[string]error{
			"a directory":             second(w.port.File(t.Context(), w.byPath(), "docs", "")),
			"a directory of another":  second(w.port.File(t.Context(), w.byPath(), "deep", targetBranch)),
			"a submodule":             second(w.port.File(t.Context(), w.byPath(), "vendor/other", "")),
			"what is not there":       second(w.port.File(t.Context(), w.byPath(), "nothing.txt", "")),
			"below a file":            second(w.port.File(t.Context(), w.byPath(), guide+"/x", "")),
			"in another case":         second(w.port.File(t.Context(), w.byPath(), strings.ToUpper(guide), "")),
			"on another branch":       second(w.port.File(t.Context(), w.byPath(), guide, sourceBranch)),
			"no such branch":          second(w.port.File(t.Context(), w.byPath(), guide, "no-such-branch")),
			"no such commit":          second(w.port.File(t.Context(), w.byPath(), guide, strings.Repeat("0a", 20))),
			"in an empty repository":  second(w.port.File(t.Context(), empty, "README.md", "")),
			"on a branch of an empty": second(w.port.File(t.Context(), empty, "README.md", targetBranch)),
		} {
			if err == nil {
				t.Error(what)
			}
			w.fails(t, "file", err, forge.ErrNotFound)
		}
	})
	t.Run("eight megabytes are read and a byte more is too large", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		most := bytes.Repeat([]byte("0123456789abcde\n"), forge.MaxFile/16)
		w.Commit(repositoryID, targetBranch, "most", most)
		w.Commit(repositoryID, targetBranch, "more", append(most, 'x'))
		if got, err := w.port.File(t.Context(), w.byPath(), "most", ""); err != nil || !bytes.Equal(got.Content, most) {
			t.Errorf("%d bytes, %v", len(got.Content), err)
		}
		got, err := w.port.File(t.Context(), w.byPath(), "more", "")
		w.fails(t, "file", err, forge.ErrTooLarge)
		if got.Content != nil {
			t.Errorf("%d bytes beside an error", len(got.Content))
		}
	})
	t.Run("a path or a revision that no forge has is invalid and nobody is asked", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		before := w.Count(AnyEndpoint)
		for _, path := range []string{
			"", "/", "/docs", "docs/", "docs//guide.md", ".", "..", "../" + exerciseMark, "docs/../../x", "./docs", "a/%2e%2e/b", `a\..\b`,
			"a\x00b", "a\nb", "a/\xff", strings.Repeat("a", 5000), "..;/x",
		} {
			_, err := w.port.File(t.Context(), w.byPath(), path, "")
			w.fails(t, "file", err, forge.ErrInvalid)
		}
		for _, revision := range []string{
			" ", "a b", "a..b", "../" + exerciseMark, "main~1", "main^", "main:docs", "main@{1}", "-main", "a\nb", "\xff", "main/", "a?ref=b", "a/.b",
		} {
			_, err := w.port.File(t.Context(), w.byID(), guide, revision)
			w.fails(t, "file", err, forge.ErrInvalid)
		}
		if w.Count(AnyEndpoint) != before {
			t.Error("the forge was contacted")
		}
	})
}

// second is the error of two results.
func second[T any](_ T, err error) error { return err }
