package forgetest_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
)

// ask sends JSON, or nothing, with a bearer token.
func ask(t *testing.T, f *forgetest.Forge, token, method, path, body string, header ...string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, f.APIURL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	return send(t, request)
}

// TestGitHubRefusesWhatGitHubRefuses has a row for each refusal; the second repository is public, the first is not.
func TestGitHubRefusesWhatGitHubRefuses(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitHub})
	token := signIn(t, f, client, "alice").AccessToken
	f.Commit(1, "mend", "fix", []byte("fixed"))
	f.OpenIssue(1, "alice", "Broken", "")
	f.OpenChange(1, "alice", "Mend", "mend", "main")
	f.AddWebhook(1, forgetest.Webhook{URL: "https://h.example", Secret: "s", Events: []string{"push"}})
	head := f.Head(1, "main")
	const repo = "/repos/alice/repository-0001"
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		says                     string
	}{
		{"no such repository", "GET", "/repos/alice/nothing", "", 404, "Not Found"},
		{"no such id", "GET", "/repositories/4711", "", 404, "Not Found"},
		{"an id that is no number", "GET", "/repositories/x", "", 404, "Not Found"},
		{"no such path", "GET", repo + "/contents/nothing", "", 404, "Not Found"},
		{"no such revision", "GET", repo + "/contents/README.md?ref=nothing", "", 404, "No commit found for the ref nothing"},
		{"no such issue", "GET", repo + "/issues/4711", "", 404, "Not Found"},
		{"an issue that is no number", "GET", repo + "/issues/x", "", 404, "Not Found"},
		{"an issue as a pull request", "GET", repo + "/pulls/1", "", 404, "Not Found"},
		{"a comment that is no JSON", "POST", repo + "/issues/1/comments", "{", 400, "Problems parsing JSON"},
		{"a comment without a body", "POST", repo + "/issues/1/comments", "{}", 422, "missing_field"},
		{"a blank comment", "POST", repo + "/issues/1/comments", `{"body":" "}`, 422, "missing_field"},
		{"a long comment", "POST", repo + "/issues/1/comments", `{"body":"` + strings.Repeat("a", 65537) + `"}`, 422, "maximum is 65536"},
		{"a comment on nothing", "POST", repo + "/issues/4711/comments", `{"body":"a"}`, 404, "Not Found"},
		{"a pull request that is no JSON", "POST", repo + "/pulls", "", 400, "Problems parsing JSON"},
		{"a pull request without a base", "POST", repo + "/pulls", `{"title":"a","head":"mend"}`, 422, `\"base\" wasn't supplied`},
		{"a pull request from nowhere", "POST", repo + "/pulls", `{"title":"a","head":"nothing","base":"main"}`, 422, `"field":"head"`},
		{"a pull request to nowhere", "POST", repo + "/pulls", `{"title":"a","head":"mend","base":"nothing"}`, 422, `"field":"base"`},
		{"the same pull request", "POST", repo + "/pulls", `{"title":"a","head":"mend","base":"main"}`, 422, "A pull request already exists for alice:mend."},
		{"a pull request without commits", "POST", repo + "/pulls", `{"title":"a","head":"main","base":"main"}`, 422, "No commits between main and main"},
		{"a status of a short hash", "POST", repo + "/statuses/abc", `{"state":"success"}`, 422, "40 character SHA1"},
		{"a status of no commit", "POST", repo + "/statuses/" + strings.Repeat("0a", 20), `{"state":"success"}`, 422, "No commit found for SHA"},
		{"a status of another forge", "POST", repo + "/statuses/" + head, `{"state":"running"}`, 422, "not included in the list"},
		{"a long description", "POST", repo + "/statuses/" + head, `{"state":"success","description":"` + strings.Repeat("ü", 141) + `"}`, 422, "maximum is 140"},
		{"a target of no web", "POST", repo + "/statuses/" + head, `{"state":"success","target_url":"ftp://a"}`, 422, "must use http(s) scheme"},
		{"a webhook that is no JSON", "POST", repo + "/hooks", "", 400, "Problems parsing JSON"},
		{"a webhook without an address", "POST", repo + "/hooks", `{"config":{}}`, 422, "not valid"},
		{"a webhook of another name", "POST", repo + "/hooks", `{"name":"email","config":{"url":"https://a.example"}}`, 422, "name must be web"},
		{"a webhook for nothing known", "POST", repo + "/hooks", `{"config":{"url":"https://a.example"},"events":["pushes"]}`, 422, "pushes"},
		{"a webhook in another format", "POST", repo + "/hooks", `{"config":{"url":"https://a.example","content_type":"xml"}}`, 422, "content_type"},
		{"the same webhook", "POST", repo + "/hooks", `{"config":{"url":"https://h.example"},"events":["push","issues"]}`, 422, "Hook already exists on this repository"},
		{"no such webhook", "PATCH", repo + "/hooks/4711", `{"active":true}`, 404, "Not Found"},
		{"no such webhook to remove", "DELETE", repo + "/hooks/4711", "", 404, "Not Found"},
	} {
		answer := ask(t, f, token, c.method, c.path, c.body)
		if answer.status != c.status || !strings.Contains(answer.body, c.says) {
			t.Errorf("%s: %d %s; want %d with %s", c.name, answer.status, answer.body, c.status, c.says)
		}
	}
}

func TestGitHubSaysNothingToWhoLacksAScope(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		scopes             []string
		method, path, body string
		status             int
		accepted           string
	}{
		{[]string{"public_repo"}, "GET", "/repos/alice/repository-0002", "", 200, "repo"},
		{[]string{"gist"}, "GET", "/repos/alice/repository-0002/contents/README.md", "", 200, "repo"},
		{[]string{"public_repo"}, "GET", "/repos/alice/repository-0001", "", 404, "repo"},
		{[]string{"gist"}, "POST", "/repos/alice/repository-0002/issues/1/comments", `{"body":"a"}`, 404, "public_repo, repo"},
		{[]string{"public_repo"}, "POST", "/repos/alice/repository-0002/issues/1/comments", `{"body":"a"}`, 201, "public_repo, repo"},
		{[]string{"public_repo"}, "POST", "/repos/alice/repository-0001/issues/1/comments", `{"body":"a"}`, 404, "public_repo, repo"},
		{[]string{"public_repo"}, "GET", "/repos/alice/repository-0002/hooks", "", 404, "admin:repo_hook, repo, write:repo_hook, read:repo_hook"},
		{[]string{"admin:repo_hook"}, "GET", "/repos/alice/repository-0001/hooks", "", 200, "admin:repo_hook, repo, write:repo_hook, read:repo_hook"},
		{[]string{"write:repo_hook"}, "DELETE", "/repos/alice/repository-0001/hooks/1", "", 404, "admin:repo_hook, repo"},
		{[]string{"repo"}, "POST", "/repos/alice/repository-0001/issues/1/comments", `{"body":"a"}`, 201, "public_repo, repo"},
	} {
		fresh := start(t, forgetest.Config{Dialect: forgetest.GitHubEnterprise})
		for id := range int64(2) {
			fresh.OpenIssue(id+1, "alice", "Broken", "")
		}
		app := application(fresh, client)
		app.Scopes = c.scopes
		token, err := app.Exchange(t.Context(), authorized(t, fresh, app, "alice"))
		if err != nil {
			t.Fatal(err)
		}
		answer := ask(t, fresh, token.AccessToken, c.method, c.path, c.body)
		if answer.status != c.status || answer.header.Get("X-Accepted-OAuth-Scopes") != c.accepted {
			t.Errorf("%s %s with %v: %d, accepted %q", c.method, c.path, c.scopes, answer.status, answer.header.Get("X-Accepted-OAuth-Scopes"))
		}
		if answer.header.Get("X-OAuth-Scopes") != strings.Join(c.scopes, ", ") {
			t.Errorf("granted %q", answer.header.Get("X-OAuth-Scopes"))
		}
	}
}

func TestGitHubRedirectsFromAFormerPathToTheID(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitHubEnterprise})
	token := signIn(t, f, client, "alice").AccessToken
	f.RenameRepository(1, "renamed")
	for _, c := range []struct {
		method, path, body string
		status             int
		location           string
	}{
		{"GET", "/repos/alice/repository-0001", "", 301, "/repositories/1"},
		{"GET", "/repos/Alice/REPOSITORY-0001/contents/a%20b/c?ref=x%2Fy", "", 301, "/repositories/1/contents/a%20b/c?ref=x%2Fy"},
		{"POST", "/repos/alice/repository-0001/issues/1/comments", `{"body":"a"}`, 307, "/repositories/1/issues/1/comments"},
		{"DELETE", "/repos/alice/repository-0001/hooks/1", "", 307, "/repositories/1/hooks/1"},
	} {
		answer := ask(t, f, token, c.method, c.path, c.body)
		if answer.status != c.status || answer.header.Get("Location") != f.APIURL()+c.location || !strings.Contains(answer.body, "Moved Permanently") {
			t.Errorf("%s %s: %d to %s: %s", c.method, c.path, answer.status, answer.header.Get("Location"), answer.body)
		}
	}
	if answer := ask(t, f, token, "GET", "/repositories/1", ""); answer.status != 200 || !strings.Contains(answer.body, `"full_name":"alice/renamed"`) {
		t.Errorf("by id: %d %s", answer.status, answer.body)
	}
}

func TestGitHubHasFilesRawAndAsJSON(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitHub, Users: []forgetest.User{{ID: 2, Login: "alice", Repositories: []forgetest.Repository{
		{ID: 1, Name: "full"}, {ID: 2, Name: "empty", Empty: true}, {ID: 3, Name: "quiet", IssuesOff: true},
	}}}})
	token := signIn(t, f, client, "alice").AccessToken
	f.Commit(1, "main", "docs/a.md", []byte("hello"))
	f.Commit(1, "main", "big", []byte(strings.Repeat("x", 1<<20+1)))
	f.Submodule(1, "vendor")
	raw := []string{"Accept", "application/vnd.github.raw+json"}
	for _, c := range []struct {
		name, path string
		header     []string
		media      string
		want       string
	}{
		{"a file, raw", "/contents/docs/a.md", raw, "application/vnd.github.raw+json; charset=utf-8", "hello"},
		{"a file", "/contents/docs/a.md", nil, "application/json; charset=utf-8", `"encoding":"base64","content":"aGVsbG8="`},
		{"a large file", "/contents/big", nil, "application/json; charset=utf-8", `"encoding":"none","content":""`},
		{"a directory, raw", "/contents/docs", raw, "application/json; charset=utf-8", `[{"type":"file","name":"a.md"`},
		{"the root", "/contents/", nil, "application/json; charset=utf-8", `{"type":"dir","name":"docs","path":"docs","size":0}`},
		{"a submodule, raw", "/contents/vendor", raw, "application/json; charset=utf-8", `"type":"submodule"`},
	} {
		answer := ask(t, f, token, "GET", "/repos/alice/full"+c.path, "", c.header...)
		if answer.status != 200 || answer.header.Get("Content-Type") != c.media || !strings.Contains(answer.body, c.want) {
			t.Errorf("%s: %d %s %.200s", c.name, answer.status, answer.header.Get("Content-Type"), answer.body)
		}
	}
	if answer := ask(t, f, token, "GET", "/repos/alice/empty/contents/README.md", ""); answer.status != 404 || !strings.Contains(answer.body, "This repository is empty.") {
		t.Errorf("empty: %d %s", answer.status, answer.body)
	}
	if answer := ask(t, f, token, "GET", "/repos/alice/quiet/issues/1", ""); answer.status != 410 || !strings.Contains(answer.body, "Issues are disabled") {
		t.Errorf("without issues: %d %s", answer.status, answer.body)
	}
}

func TestGitHubDeliversToWhoIsSubscribed(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitHub})
	var mu sync.Mutex
	var got []string
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.URL.Path+" "+r.Header.Get("X-GitHub-Event"))
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}
	}))
	t.Cleanup(receiver.Close)
	for path, hook := range map[string]forgetest.Webhook{
		"/all":   {Events: []string{"*"}, Active: true},
		"/push":  {Events: []string{"push"}, Active: true},
		"/off":   {Events: []string{"push"}},
		"/moved": {Events: []string{"issues"}, Active: true, Secret: "s"},
	} {
		hook.URL = receiver.URL + path
		f.AddWebhook(1, hook)
	}
	number := f.OpenIssue(1, "bob", "Broken", "")
	for _, c := range []struct {
		what forgetest.Happening
		want []string
	}{
		{forgetest.Happening{Event: forge.HookPush}, []string{"/all push", "/push push"}},
		{forgetest.Happening{Event: forge.HookIssue, Number: number, Login: "bob"}, []string{"/all issues", "/moved issues"}},
		{forgetest.Happening{Event: forge.HookPing}, []string{"/all ping", "/moved ping", "/push ping"}},
		{forgetest.Happening{Event: forge.HookOther}, []string{"/all star"}},
	} {
		mu.Lock()
		got = nil
		mu.Unlock()
		sent, err := f.Deliver(t.Context(), 1, c.what)
		mu.Lock()
		slices.Sort(got)
		if err != nil || !slices.Equal(got, c.want) || len(sent) != len(c.want) {
			t.Errorf("%s: %v, %v; want %v", c.what.Event, got, err, c.want)
		}
		mu.Unlock()
		for _, d := range sent {
			isSigned := d.Header.Get("X-Hub-Signature-256") != ""
			isMoved := strings.HasSuffix(d.URL, "/moved")
			if isSigned != isMoved || isMoved != (d.Status == http.StatusTemporaryRedirect) || d.Header.Get("X-GitHub-Delivery") == "" {
				t.Errorf("%s: status %d, signed %t", d.URL, d.Status, isSigned)
			}
		}
	}
	receiver.Close()
	if sent, err := f.Deliver(t.Context(), 1, forgetest.Happening{Event: forge.HookPush}); err == nil || len(sent) != 2 || sent[0].Status != 0 {
		t.Errorf("to nobody: %v", err)
	}
}
