package github_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/github"
	"github.com/forgeauth/forgeauth/secret"
)

// answering returns the port of an Enterprise Server that answers to each method and path, below the API base, with what is
// given, headers first: "Name: value\n…\n\nbody". Everything else is 404.
func answering(t *testing.T, answers map[string]string) forge.Port {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.Method+" "+strings.TrimPrefix(r.URL.Path, "/api/v3")]
		head, body, _ := strings.Cut(answer, "\n\n")
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		status := http.StatusOK
		for line := range strings.SplitSeq(head, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			if name == "Created" {
				status = http.StatusCreated
			} else if name != "" {
				w.Header().Set(name, value)
			}
		}
		if !ok {
			status, body = http.StatusNotFound, `{"message":"Not Found"}`
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	provider, err := github.New(forge.Connection{
		Name: "ghe", Kind: forge.GitHub, BaseURL: server.URL, ClientID: "id", ClientSecret: secret.New("secret"),
	}, forge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return provider.Bind(forge.Binding{}, forge.StaticToken(forge.Token{Access: secret.New("t")}))
}

func at() forge.RepositoryRef { return forge.RepositoryRef{Path: "a/b"} }

// TestAFileIsToldFromWhatStandsInItsPlace answers as GitHub does for what has no raw form (GitHub Docs: Get repository content).
func TestAFileIsToldFromWhatStandsInItsPlace(t *testing.T) {
	t.Parallel()
	const json, raw, older = "X: y", "Content-Type: application/vnd.github.raw+json; charset=utf-8", "Content-Type: application/vnd.github.v3.raw; charset=utf-8"
	for name, test := range map[string]struct {
		answer string
		want   error
	}{
		"a file":                              {raw + "\n\nx", nil},
		"a file of an older Enterprise":       {older + "\n\nx", nil},
		"a file that looks like a directory":  {raw + "\n\n[]", nil},
		"a directory":                         {json + "\n\n" + `[{"type":"file","name":"x"}]`, forge.ErrNotFound},
		"a directory with nothing in it":      {json + "\n\n[]", forge.ErrNotFound},
		"a directory as an object":            {json + "\n\n" + `{"type":"dir","entries":[]}`, forge.ErrNotFound},
		"a submodule":                         {json + "\n\n" + `{"type":"submodule"}`, forge.ErrNotFound},
		"a link to no file":                   {json + "\n\n" + `{"type":"symlink","target":"/x"}`, forge.ErrNotFound},
		"a file that is not raw":              {json + "\n\n" + `{"type":"file","content":"eA=="}`, forge.ErrUnavailable},
		"a JSON that is neither":              {json + "\n\nnull", forge.ErrUnavailable},
		"a page of a proxy":                   {"Content-Type: text/html\n\n<title>", forge.ErrUnavailable},
		"something of GitHub's, but not raw":  {"Content-Type: application/vnd.github.html+json\n\nx", forge.ErrUnavailable},
		"something raw, but none of GitHub's": {"Content-Type: application/raw\n\nx", forge.ErrUnavailable},
		"nothing said":                        {"Content-Type: ;;;\n\nx", forge.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := answering(t, map[string]string{"GET /repos/a/b/contents/x": test.answer})
			_, err := port.File(t.Context(), at(), "x", "")
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

// TestAnswersAboutSomethingElseAreNone answers with valid JSON that is not about what was asked.
func TestAnswersAboutSomethingElseAreNone(t *testing.T) {
	t.Parallel()
	const commit = `"head":{"sha":"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"}`
	spec := forge.HookSpec{URL: "https://h.example", Secret: secret.New("0123456789abcdef"), Events: []forge.HookEvent{forge.HookPush}}
	for name, test := range map[string]struct {
		answers map[string]string
		call    func(context.Context, forge.Port) error
	}{
		"an issue of another number": {
			map[string]string{"GET /repos/a/b/issues/7": "\n\n" + `{"number":8,"state":"open"}`},
			func(ctx context.Context, p forge.Port) error { _, err := p.Issue(ctx, at(), 7); return err },
		},
		"an issue in no state": {
			map[string]string{"GET /repos/a/b/issues/7": "\n\n" + `{"number":7,"state":"strange"}`},
			func(ctx context.Context, p forge.Port) error { _, err := p.Issue(ctx, at(), 7); return err },
		},
		"no issue": {
			map[string]string{"GET /repos/a/b/issues/7": "\n\nnull"},
			func(ctx context.Context, p forge.Port) error { _, err := p.Issue(ctx, at(), 7); return err },
		},
		"a change of another number": {
			map[string]string{"GET /repos/a/b/pulls/7": "\n\n" + `{"number":8,"state":"open",` + commit + `}`},
			func(ctx context.Context, p forge.Port) error { _, err := p.Change(ctx, at(), 7); return err },
		},
		"a change without a commit": {
			map[string]string{"GET /repos/a/b/pulls/7": "\n\n" + `{"number":7,"state":"open","head":{"sha":"../../x"}}`},
			func(ctx context.Context, p forge.Port) error { _, err := p.Change(ctx, at(), 7); return err },
		},
		"a change in no state": {
			map[string]string{"GET /repos/a/b/pulls/7": "\n\n" + `{"number":7,` + commit + `}`},
			func(ctx context.Context, p forge.Port) error { _, err := p.Change(ctx, at(), 7); return err },
		},
		"no comment": {
			map[string]string{"POST /repos/a/b/issues/7/comments": "Created: \n\nnull"},
			func(ctx context.Context, p forge.Port) error {
				_, err := p.Comment(ctx, at(), forge.Subject{Number: 7}, "x")
				return err
			},
		},
		"another status": {
			map[string]string{"POST /repos/a/b/statuses/0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a": "Created: \n\n" + `{"state":"failure"}`},
			func(ctx context.Context, p forge.Port) error {
				return p.SetStatus(ctx, at(), strings.Repeat("0a", 20), forge.Status{Context: "c", State: forge.StatusSuccess})
			},
		},
		"a list of no webhook": {
			map[string]string{"GET /repos/a/b/hooks": "\n\n[null]"},
			func(ctx context.Context, p forge.Port) (err error) {
				for _, err = range p.Hooks(ctx, at()) {
				}
				return err
			},
		},
		"no webhook": {
			map[string]string{"GET /repos/a/b/hooks": "\n\n[null]", "POST /repos/a/b/hooks": "Created: \n\nnull"},
			func(ctx context.Context, p forge.Port) error { _, err := p.EnsureHook(ctx, at(), spec); return err },
		},
		"a list of no repository": {
			map[string]string{"GET /user/repos": "\n\n[null]"},
			func(ctx context.Context, p forge.Port) (err error) {
				for _, err = range p.Repositories(ctx, forge.RepositoryQuery{}) {
				}
				return err
			},
		},
		"a repository of another id": {
			map[string]string{"GET /repositories/7": "\n\n" + `{"id":8,"full_name":"a/b"}`},
			func(ctx context.Context, p forge.Port) error {
				_, err := p.Repository(ctx, forge.RepositoryRef{ID: "7"})
				return err
			},
		},
		"a repository whose path leads elsewhere": {
			map[string]string{"GET /repositories/7": "\n\n" + `{"id":7,"full_name":"../user"}`},
			func(ctx context.Context, p forge.Port) error {
				_, err := p.Issue(ctx, forge.RepositoryRef{ID: "7"}, 7)
				return err
			},
		},
		"a removal with an answer": {
			map[string]string{"DELETE /repos/a/b/hooks/7": "\n\n{}"},
			func(ctx context.Context, p forge.Port) error { return p.RemoveHook(ctx, at(), "7") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := test.call(t.Context(), answering(t, test.answers)); !errors.Is(err, forge.ErrUnavailable) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestEventsOfWebhooksAreTranslated(t *testing.T) {
	t.Parallel()
	port := answering(t, map[string]string{"GET /repos/a/b/hooks": "\n\n" + `[
		{"id":1,"events":["*"],"config":{"url":"https://h.example/1"},"active":true},
		{"id":2,"events":["issue_comment","star","push"],"config":{"url":"https://h.example/2"}},
		{"id":3,"events":["pull_request_review_comment","release"]},
		{"id":4}]`})
	want := map[string][]forge.HookEvent{
		"1": {forge.HookPush, forge.HookChange, forge.HookIssue, forge.HookComment}, "2": {forge.HookPush, forge.HookComment}, "3": {}, "4": {},
	}
	n := 0
	for h, err := range port.Hooks(t.Context(), at()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if !slices.Equal(h.Events, want[h.ID]) || h.Events == nil || h.Active != (h.ID == "1") {
			t.Errorf("%+v", h)
		}
	}
	if n != 4 {
		t.Errorf("%d webhooks", n)
	}
}

func TestAGhostIsNobody(t *testing.T) {
	t.Parallel()
	port := answering(t, map[string]string{
		"GET /repos/a/b/issues/7": "\n\n" + `{"number":7,"state":"closed","title":"x","user":{"login":"ghost","id":10137}}`,
	})
	is, err := port.Issue(t.Context(), at(), 7)
	if err != nil || is.Author != (forge.Account{}) || is.Open {
		t.Errorf("%+v, %v", is, err)
	}
}

func TestIDsAreNumbersAndPathsHaveTwoNames(t *testing.T) {
	t.Parallel()
	port := answering(t, nil)
	for _, in := range []forge.RepositoryRef{{ID: "0"}, {ID: "-1"}, {ID: "01"}, {ID: "x"}, {ID: "99999999999999999999"}, {Path: "a/b/c"}} {
		if _, err := port.Repository(t.Context(), in); !errors.Is(err, forge.ErrInvalid) {
			t.Errorf("%+v: %v", in, err)
		}
	}
	for _, id := range []string{"0", "-1", "07", "x"} {
		if err := port.RemoveHook(t.Context(), at(), id); !errors.Is(err, forge.ErrInvalid) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestDeliveriesOfGitHub(t *testing.T) {
	t.Parallel()
	provider, err := github.New(forge.Connection{
		Name: "github", Kind: forge.GitHub, BaseURL: "https://github.com", ClientID: "id", ClientSecret: secret.New("secret"),
	}, forge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// GitHub Docs: Validating webhook deliveries, testing the webhook payload validation.
	body, key := []byte("Hello, World!"), secret.New("It's a Secret to Everybody")
	const signed = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	for name, want := range map[string]forge.HookEvent{
		"push": forge.HookPush, "pull_request": forge.HookChange, "issues": forge.HookIssue, "issue_comment": forge.HookComment,
		"pull_request_review_comment": forge.HookComment, "ping": forge.HookPing, "pull_request_review": forge.HookOther,
		"create": forge.HookOther, "": forge.HookOther, "PUSH": forge.HookOther,
	} {
		header := http.Header{"X-Hub-Signature-256": {signed}, "X-Github-Event": {name}, "X-Github-Delivery": {"72d3162e-cc78-11e3-81ab-4c9367dc0958"}}
		got, err := provider.HookVerifier().Verify(header, body, key)
		if err != nil || got != (forge.Delivery{Event: want, Name: name, ID: "72d3162e-cc78-11e3-81ab-4c9367dc0958"}) {
			t.Errorf("%q: %+v, %v", name, got, err)
		}
	}
	for name, value := range map[string]string{
		"no prefix": signed[len("sha256="):], "another prefix": "sha1=" + signed[len("sha256="):], "the prefix alone": "sha256=", "a capital prefix": "SHA256=" + signed[7:],
	} {
		if got, err := provider.HookVerifier().Verify(http.Header{"X-Hub-Signature-256": {value}}, body, key); !errors.Is(err, forge.ErrSignature) || got != (forge.Delivery{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	old := http.Header{"X-Hub-Signature": {signed}, "X-Github-Event": {"push"}}
	if _, err := provider.HookVerifier().Verify(old, body, key); !errors.Is(err, forge.ErrSignature) {
		t.Errorf("the older header: %v", err)
	}
	hostile := http.Header{"X-Hub-Signature-256": {signed}, "X-Github-Event": {"pu\x1bsh\u202e"}, "X-Github-Delivery": {strings.Repeat("ü", 300)}}
	if got, err := provider.HookVerifier().Verify(hostile, body, key); err != nil || !forge.IsClean(got.Name) || !forge.IsClean(got.ID) {
		t.Errorf("%+v, %v", got, err)
	}
}
