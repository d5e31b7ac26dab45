package gitea_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
)

func TestIssuesAndCommentsNeedAScopeOfTheirOwn(t *testing.T) {
	t.Parallel()
	onBoth(t, []string{"read:user", "write:repository"}, one(), func(t *testing.T, b bench) {
		t.Helper()
		issue := b.OpenIssue(1, "alice", "Broken", "")
		_, err := b.port.Issue(t.Context(), ref("1"), issue)
		lacks(t, err, "read:issue")
		_, err = b.port.Comment(t.Context(), ref("1"), forge.Subject{Number: issue}, "hello")
		lacks(t, err, "write:issue")
	})
}

func lacks(t *testing.T, err error, scope string) {
	t.Helper()
	missing, ok := errors.AsType[*forge.ScopeMissingError](err)
	if !ok {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{scope}, missing.Want); diff != "" {
		t.Error(diff)
	}
}

// A revision that is not there is not the default branch, and the beginning of a path is not the rest of a branch's name: the
// raw endpoint would take both for it.
func TestAFileIsReadAtTheRevisionThatWasAskedFor(t *testing.T) {
	t.Parallel()
	onBoth(t, nil, one(), func(t *testing.T, b bench) {
		t.Helper()
		commit := b.Commit(1, "main", "dir/file", []byte("on main"))
		b.Commit(1, "release/dir", "file", []byte("on release/dir"))
		b.Tag(1, "release", commit)
		for revision, want := range map[string]string{"": "on main", "main": "on main", "release": "on main", commit: "on main"} {
			got, err := b.port.File(t.Context(), ref("1"), "dir/file", revision)
			if err != nil || string(got.Content) != want || got.Path != "dir/file" || got.Revision != revision {
				t.Errorf("%q: %+v, %v", revision, got, err)
			}
		}
		if _, err := b.port.File(t.Context(), ref("1"), "dir/file", "no-such"); !errors.Is(err, forge.ErrNotFound) {
			t.Error(err)
		}
	})
}

func TestAFileComesWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	repositories := append(one(), forgetest.Repository{ID: 2, Name: "empty", Empty: true})
	onBoth(t, nil, repositories, func(t *testing.T, b bench) {
		t.Helper()
		largest := bytes.Repeat([]byte{0, 0xff, '\n'}, forge.MaxFile/3+1)[:forge.MaxFile]
		for path, content := range map[string][]byte{"dir/largest": largest, "nothing": {}, "ünï %2e?#&+.txt": []byte("x")} {
			b.Commit(1, "main", path, content)
			got, err := b.port.File(t.Context(), ref("1"), path, "")
			if err != nil || !bytes.Equal(got.Content, content) {
				t.Errorf("%s: %d bytes, %v", path, len(got.Content), err)
			}
		}
		b.Commit(1, "main", "larger", append(largest, '!'))
		b.Commit(1, "main", "kept-back", make([]byte, 11<<20))
		b.Submodule(1, "module")
		for path, want := range map[string]error{
			"larger": forge.ErrTooLarge, "kept-back": forge.ErrTooLarge, "dir": forge.ErrNotFound, "module": forge.ErrNotFound, "gone": forge.ErrNotFound,
		} {
			if got, err := b.port.File(t.Context(), ref("1"), path, ""); !errors.Is(err, want) || got.Content != nil {
				t.Errorf("%s: %d bytes, %v", path, len(got.Content), err)
			}
		}
		if _, err := b.port.File(t.Context(), ref("2"), "README.md", ""); !errors.Is(err, forge.ErrNotFound) {
			t.Error(err)
		}
	})
}

func TestWhatTheForgeSaysOfAFile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer, want string
		err          error
	}{
		"a symbolic link is its target":               {`{"type":"symlink","size":9,"target":"../target"}`, "../target", nil},
		"content that an instance keeps back":         {`{"type":"file","size":9,"encoding":"base64","content":""}`, "", forge.ErrTooLarge},
		"content that is null":                        {`{"type":"file","size":9,"encoding":null,"content":null}`, "", forge.ErrTooLarge},
		"an empty file":                               {`{"type":"file","size":0,"encoding":"base64","content":""}`, "", nil},
		"a size beyond what is read":                  {`{"type":"file","size":8388609,"encoding":"base64","content":""}`, "", forge.ErrTooLarge},
		"content that is cut off":                     {`{"type":"file","size":9,"encoding":"base64","content":"YQ=="}`, "", forge.ErrUnavailable},
		"content in another encoding":                 {`{"type":"file","size":1,"encoding":"utf-8","content":"YQ=="}`, "", forge.ErrUnavailable},
		"content that is no base64":                   {`{"type":"file","size":1,"encoding":"base64","content":"%"}`, "", forge.ErrUnavailable},
		"a negative size":                             {`{"type":"file","size":-1,"encoding":"base64","content":""}`, "", forge.ErrUnavailable},
		"another type":                                {`{"type":"socket"}`, "", forge.ErrUnavailable},
		"a submodule":                                 {`{"type":"submodule"}`, "", forge.ErrNotFound},
		"a list":                                      {" \n[]", "", forge.ErrNotFound},
		"no JSON":                                     {`<html>`, "", forge.ErrUnavailable},
		"an answer longer than any that holds a file": {strings.Repeat(" ", 12<<20), "", forge.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := canned(t, map[string]string{"GET /contents/f?ref=v1": test.answer}).File(t.Context(), named, "f", "v1")
			if !errors.Is(err, test.err) || string(got.Content) != test.want {
				t.Errorf("%q, %v", got.Content, err)
			}
		})
	}
}

// Both forges answer 500 where something is not there; what breaks down for another reason stays that.
func TestWhatIsMissingIsNotABreakdown(t *testing.T) {
	t.Parallel()
	onBoth(t, nil, one(), func(t *testing.T, b bench) {
		t.Helper()
		issue := b.OpenIssue(1, "alice", "Broken", "")
		if _, err := b.port.Comment(t.Context(), named, forge.Subject{Number: issue + 1}, "hello"); !errors.Is(err, forge.ErrNotFound) {
			t.Error(err)
		}
		status := forge.Status{Context: "ci", State: forge.StatusError}
		if err := b.port.SetStatus(t.Context(), named, strings.Repeat("0", 40), status); !errors.Is(err, forge.ErrNotFound) {
			t.Error(err)
		}
		b.Next(forgetest.CommentEndpoint, forgetest.Status(500))
		if _, err := b.port.Comment(t.Context(), named, forge.Subject{Number: issue}, "hello"); !errors.Is(err, forge.ErrUnavailable) {
			t.Error(err)
		}
		b.Next(forgetest.StatusEndpoint, forgetest.Status(500))
		if err := b.port.SetStatus(t.Context(), named, b.Head(1, "main"), status); !errors.Is(err, forge.ErrUnavailable) {
			t.Error(err)
		}
		b.Next(forgetest.CommentEndpoint, forgetest.Status(502))
		asked := b.Count(forgetest.IssueEndpoint)
		if _, err := b.port.Comment(t.Context(), named, forge.Subject{Number: issue}, "hello"); !errors.Is(err, forge.ErrUnavailable) {
			t.Error(err)
		}
		if b.Count(forgetest.IssueEndpoint) != asked {
			t.Error("a proxy's answer made it ask whether the issue is there")
		}
	})
}

func TestAnIssueTrackerThatIsOffIsSaid(t *testing.T) {
	t.Parallel()
	onBoth(t, nil, []forgetest.Repository{{ID: 1, Name: "one", IssuesOff: true}}, func(t *testing.T, b bench) {
		t.Helper()
		b.Commit(1, "topic", "file", []byte("x"))
		change, err := b.port.OpenChange(t.Context(), ref("1"), forge.NewChange{Title: "Topic", Source: "topic"})
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range []forge.RepositoryRef{ref("1"), named} {
			if _, err := b.port.Issue(t.Context(), in, 99); !errors.Is(err, forge.ErrUnsupported) {
				t.Error(err)
			}
			// A pull request is an issue that is not one, whatever the tracker.
			if _, err := b.port.Issue(t.Context(), in, change.Number); !errors.Is(err, forge.ErrNotFound) {
				t.Error(err)
			}
			if _, err := b.port.Comment(t.Context(), in, forge.Subject{Number: change.Number, OnChange: true}, "hello"); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestADraftIsATitle(t *testing.T) {
	t.Parallel()
	onBoth(t, nil, one(), func(t *testing.T, b bench) {
		t.Helper()
		i := 0
		for title, want := range map[string]struct{ kept, shown string }{
			"Topic": {"WIP: Topic", "Topic"}, "wip: Topic": {"wip: Topic", "Topic"}, "[WiP] Topic": {"[WiP] Topic", "Topic"},
			"Wipe": {"WIP: Wipe", "Wipe"}, "WIP:": {"WIP:", "WIP:"},
		} {
			i++
			branch := fmt.Sprintf("topic-%d", i)
			b.Commit(1, branch, "file", []byte(title))
			change, err := b.port.OpenChange(t.Context(), ref("1"), forge.NewChange{Title: title, Source: branch, Draft: true})
			if err != nil || !change.Draft || change.Title != want.shown {
				t.Errorf("%+v, %v", change, err)
			}
			issue, err := b.port.HTTPClient().Get(fmt.Sprintf("%s/repos/alice/one/pulls/%d", b.APIURL(), change.Number)) //nolint:noctx // a test
			if err != nil {
				t.Fatal(err)
			}
			var kept struct {
				Title string `json:"title"`
			}
			err = json.NewDecoder(issue.Body).Decode(&kept)
			_ = issue.Body.Close()
			if err != nil || kept.Title != want.kept {
				t.Errorf("%q is kept as %q, %v", title, kept.Title, err)
			}
		}
		// What is no draft for an instance keeps its title.
		b.Commit(1, "ready", "file", []byte("x"))
		if change, err := b.port.OpenChange(t.Context(), ref("1"), forge.NewChange{Title: "Topic", Source: "ready"}); err != nil || change.Draft {
			t.Errorf("%+v, %v", change, err)
		}
	})
}

func TestAChangeWhoseForkWasDeleted(t *testing.T) {
	t.Parallel()
	head := strings.Repeat("a", 40)
	answer := `{"number":3,"title":"Topic","state":"closed","merged":false,"draft":false,"user":{"id":-1,"login":"Ghost"},
		"base":{"label":"main","ref":"main","sha":"` + head + `","repo_id":1,"repo":{"id":1,"full_name":"alice/one"}},
		"head":{"label":"topic","ref":"refs/pull/3/head","sha":"` + head + `","repo_id":-1,"repo":null},
		"created_at":"2026-11-23T12:00:00Z","updated_at":"2026-11-23T13:00:00+01:00"}`
	// An instance can have other words for a draft.
	other := canned(t, map[string]string{"GET /pulls/3": strings.ReplaceAll(answer, `"Topic"`, `"WIP: Topic"`)})
	if got, err := other.Change(t.Context(), named, 3); err != nil || got.Title != "WIP: Topic" || got.Draft {
		t.Errorf("%+v, %v", got, err)
	}
	port := canned(t, map[string]string{"GET /pulls/3": answer, "GET /pulls/4": answer, "GET /pulls/5": strings.ReplaceAll(strings.ReplaceAll(answer, `"number":3`, `"number":5`), head, "")})
	got, err := port.Change(t.Context(), named, 3)
	if err != nil {
		t.Fatal(err)
	}
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	got.CreatedAt, got.UpdatedAt, got.WebURL = got.CreatedAt.UTC(), got.UpdatedAt.UTC(), got.WebURL[strings.Index(got.WebURL, "/alice"):]
	want := forge.Change{
		Number: 3, Title: "Topic", State: forge.ChangeClosed, Source: "topic", Target: "main", Head: head, WebURL: "/alice/one/pulls/3",
		CreatedAt: noon, UpdatedAt: noon,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, number := range []int64{4, 5} { // the answer is about another one, or about no commit
		if _, err := port.Change(t.Context(), named, number); !errors.Is(err, forge.ErrUnavailable) {
			t.Error(err)
		}
	}
}

func TestAnIssueThatWasNotAskedFor(t *testing.T) {
	t.Parallel()
	port := canned(t, map[string]string{"GET /issues/3": `{"number":4,"title":"Other","state":"open"}`})
	if got, err := port.Issue(t.Context(), named, 3); !errors.Is(err, forge.ErrUnavailable) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTheDefaultBranchIsNotProposedToItself(t *testing.T) {
	t.Parallel()
	onBoth(t, nil, one(), func(t *testing.T, b bench) {
		t.Helper()
		for _, in := range []forge.RepositoryRef{ref("1"), named} {
			if _, err := b.port.OpenChange(t.Context(), in, forge.NewChange{Title: "Main", Source: "main"}); !errors.Is(err, forge.ErrInvalid) {
				t.Error(err)
			}
		}
		if b.Count(forgetest.ChangeEndpoint) != 0 {
			t.Error("the forge was asked to open it")
		}
	})
}

// Gitea redirects by 301 where a repository was renamed, and by 307 where its owner was; Forgejo did both by 307.
func TestWhatHasMoved(t *testing.T) {
	t.Parallel()
	onBoth(t, nil, one(), func(t *testing.T, b bench) {
		t.Helper()
		issue := b.OpenIssue(1, "alice", "Broken", "")
		hook := b.AddWebhook(1, forgetest.Webhook{URL: "https://hooks.example/x", Secret: strings.Repeat("s", 16), Events: []string{"push"}, Active: true})
		b.RenameRepository(1, "uno")
		r, err := b.port.Repository(t.Context(), named)
		if err != nil || r.ID != "1" || r.Path != "alice/uno" {
			t.Fatalf("%+v, %v", r, err)
		}
		if i, err := b.port.Issue(t.Context(), named, issue); err != nil || !strings.HasSuffix(i.WebURL, fmt.Sprintf("/alice/uno/issues/%d", issue)) {
			t.Errorf("%+v, %v", i, err)
		}
		if _, err := b.port.File(t.Context(), named, "README.md", "main"); err != nil {
			t.Error(err)
		}
		_, err = b.port.Comment(t.Context(), named, forge.Subject{Number: issue}, "hello")
		if !errors.Is(err, forge.ErrMoved) {
			t.Error(err)
		}
		if err := b.port.RemoveHook(t.Context(), named, fmt.Sprint(hook)); !errors.Is(err, forge.ErrMoved) || len(b.Webhooks(1)) != 1 {
			t.Errorf("%v, with %d webhooks", err, len(b.Webhooks(1)))
		}
		if err := b.port.RemoveHook(t.Context(), r.Ref(), fmt.Sprint(hook)); err != nil || len(b.Webhooks(1)) != 0 {
			t.Errorf("%v, with %d webhooks", err, len(b.Webhooks(1)))
		}
	})
	t.Run("by status 307", func(t *testing.T) {
		t.Parallel()
		port := canned(t, map[string]string{
			"GET ":                      "307 /api/v1/repos/ada/one",
			"GET /api/v1/repos/ada/one": `{"id":1,"full_name":"ada/one"}`,
			"DELETE /hooks/3":           "307 /api/v1/repos/ada/one/hooks/3",
		})
		if r, err := port.Repository(t.Context(), named); err != nil || r.Path != "ada/one" {
			t.Errorf("%+v, %v", r, err)
		}
		if err := port.RemoveHook(t.Context(), named, "3"); !errors.Is(err, forge.ErrMoved) {
			t.Error(err)
		}
	})
}

func TestWhatIsNoIDHereIsNotAskedFor(t *testing.T) {
	t.Parallel()
	port := canned(t, nil) // fails the test for any request
	for _, id := range []string{"0", "-1", "01", "x", "{a-b}", "9223372036854775808"} {
		if _, err := port.Repository(t.Context(), ref(id)); !errors.Is(err, forge.ErrInvalid) {
			t.Errorf("%s: %v", id, err)
		}
		if err := port.RemoveHook(t.Context(), named, id); !errors.Is(err, forge.ErrInvalid) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if _, err := port.Repository(t.Context(), forge.RepositoryRef{Path: "a/group/name"}); !errors.Is(err, forge.ErrInvalid) {
		t.Error(err)
	}
}

// The forge decides by the id who is asked about, and nothing else than that is believed.
func TestAnotherRepositoryThanWasAskedFor(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"another id": `{"id":2,"full_name":"alice/one"}`, "no path": `{"id":1,"full_name":"alice"}`, "a path that climbs": `{"id":1,"full_name":"../x"}`,
	} {
		port := canned(t, map[string]string{"GET /api/v1/repositories/1": answer})
		if err := port.RemoveHook(t.Context(), ref("1"), "3"); !errors.Is(err, forge.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
