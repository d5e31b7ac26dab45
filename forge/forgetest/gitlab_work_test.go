package forgetest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth/forge/forgetest"
)

// lab is a stand-in GitLab with one project, which is spoken to as any client would.
type lab struct {
	*forgetest.Forge
	token string
}

const labProject = "/projects/group%2Fsub%2Fproject"

func openLab(t *testing.T, scopes ...string) *lab {
	t.Helper()
	f := start(t, forgetest.Config{Dialect: forgetest.GitLab, Users: []forgetest.User{{ID: 2, Login: "alice", Repositories: []forgetest.Repository{
		{ID: 7, Owner: "group/sub", Name: "project"},
		{ID: 8, Owner: "group", Name: "old", Archived: true},
		{ID: 9, Owner: "group", Name: "theirs", ReadOnly: true},
	}}}})
	app := application(f, client)
	if len(scopes) > 0 {
		app.Scopes = scopes
	}
	token, err := app.Exchange(t.Context(), authorized(t, f, app, "alice"))
	if err != nil {
		t.Fatal(err)
	}
	f.Commit(7, "mend", "fix.txt", []byte("fixed"))
	return &lab{f, token.AccessToken}
}

// asks sends a request and returns the status, a space and the body.
func (l *lab) asks(t *testing.T, method, path, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, l.APIURL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+l.token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	stay := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := stay.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s%s", resp.StatusCode, resp.Header.Get("Location"), answer)
}

// exchange is a request and how its answer begins, and what it holds.
type exchange struct{ method, path, body, want string }

func (l *lab) expect(t *testing.T, all ...exchange) {
	t.Helper()
	for _, e := range all {
		status, part, _ := strings.Cut(e.want, " ")
		if got := l.asks(t, e.method, e.path, e.body); !strings.HasPrefix(got, status+" ") || !strings.Contains(got, part) {
			t.Errorf("%s %s %s: %s, want %s", e.method, e.path, e.body, got, e.want)
		}
	}
}

func TestGitLabChecksWhatItIsSent(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	issue := fmt.Sprintf("%s/issues/%d", labProject, l.OpenIssue(7, "alice", "Broken", ""))
	long := strings.Repeat("x", 256)
	l.expect(t,
		exchange{"GET", "/projects/project", "", "404 Project Not Found"},
		exchange{"GET", "/projects/7", "", `200 "path_with_namespace":"group/sub/project"`},
		exchange{"GET", "/projects/GROUP%2fsub%2FPROJECT", "", `200 "id":7`},
		exchange{"GET", labProject + "/issues/x", "", "400 is invalid"},
		exchange{"GET", labProject + "/repository/files/fix%2Etxt/raw?ref=mend", "", "200 fixed"},
		exchange{"GET", labProject + "/repository/files/fix%2Etxt/raw", "", "404 File Not Found"},
		exchange{"GET", labProject + "/repository/files/fix%2Etxt/raw?ref=", "", "400 ref is empty"},
		exchange{"GET", labProject + "/repository/files/fix%2Etxt/raw?ref=none", "", "404 Commit Not Found"},
		exchange{"GET", labProject + "/repository/files/a%2F..%2Fb/raw", "", "400 valid file path"},
		exchange{"POST", issue + "/notes", "", "415 content-type"},
		exchange{"POST", issue + "/notes", "{", "400 Invalid JSON"},
		exchange{"POST", issue + "/notes", "{}", "400 body is missing"},
		exchange{"POST", issue + "/notes", `{"body":1}`, "400 body is invalid"},
		exchange{"POST", issue + "/notes", `{"body":" "}`, "400 blank"},
		exchange{"POST", issue + "/notes", `{"body":"Seen"}`, `201 "noteable_type":"Issue"`},
		exchange{"POST", labProject + "/merge_requests", `{"title":"t"}`, "400 source_branch is missing, target_branch is missing"},
		exchange{"POST", labProject + "/statuses/mend", `{"name":"ci"}`, "400 state is missing"},
		exchange{"POST", labProject + "/statuses/mend", `{"state":"error"}`, "400 state does not have a valid value"},
		exchange{"POST", labProject + "/statuses/mend", `{"state":"success","name":"` + long + `"}`, "400 is too long"},
		exchange{"POST", labProject + "/statuses/mend", `{"state":"success","target_url":"ftp://x"}`, "400 is blocked"},
		exchange{"POST", labProject + "/statuses/none", `{"state":"success"}`, "404 Commit Not Found"},
		exchange{"POST", labProject + "/hooks", `{"push_events":true}`, "400 url is missing"},
		exchange{"POST", labProject + "/hooks", `{"url":"ftp://hooks.invalid"}`, "422 Invalid url given"},
		exchange{"POST", labProject + "/hooks", `{"url":"https://hooks.invalid/{x}"}`, "422 Invalid url given"},
		exchange{"POST", labProject + "/hooks", `{"url":"https://hooks.invalid","push_events":"x"}`, "400 push_events is invalid"},
		exchange{"POST", labProject + "/hooks", `{"url":"https://hooks.invalid","signing_token":"whsec_short"}`, "422 signing_token"},
		exchange{"DELETE", labProject + "/hooks/4711", "", "404 Not found"},
		exchange{"DELETE", labProject + "/hooks/x", "", "400 is invalid"},
	)
}

func TestGitLabLeadsReadersToAMovedProjectAndRefusesWriters(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	number := l.OpenIssue(7, "alice", "Broken", "")
	l.RenameRepository(7, "renamed")
	l.expect(t,
		exchange{"GET", fmt.Sprintf("%s/issues/%d?x=%%20", labProject, number), "", fmt.Sprintf("301 %s/projects/7/issues/%d?x=%%20", l.APIURL(), number)},
		exchange{"GET", labProject, "", "301 " + l.APIURL() + "/projects/7"},
		exchange{"POST", fmt.Sprintf("%s/issues/%d/notes", labProject, number), `{"body":"x"}`, "405 not allowed for moved projects"},
		exchange{"GET", "/projects/group%2Fsub%2Frenamed", "", `200 "id":7`},
	)
}

func TestGitLabMovesAStatusForwardOnly(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	set := func(state, want string) exchange {
		return exchange{"POST", labProject + "/statuses/mend", `{"state":"` + state + `","name":"ci"}`, want}
	}
	l.expect(t,
		exchange{"POST", labProject + "/statuses/mend", `{"state":"pending","name":"ci","description":"first","target_url":"https://ci.invalid"}`, `201 "status":"pending"`},
		set("pending", "400 Cannot transition status via :enqueue from :pending"),
		set("running", `201 "description":"first"`),
		set("running", "400 Cannot transition status via :run from :running"),
		set("pending", "400 Cannot transition status via :enqueue from :running"),
		set("success", `201 "target_url":"https://ci.invalid"`),
		set("success", `201 "target_url":null`), // another one: the first is finished
		set("pending", `201 "status":"pending"`),
		exchange{"POST", labProject + "/statuses/mend", `{"state":"pending","context":"other"}`, `201 "name":"other"`},
	)
}

func TestGitLabObeysCommands(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	issue := fmt.Sprintf("%s/issues/%d", labProject, l.OpenIssue(7, "alice", "Broken", ""))
	l.expect(t,
		exchange{"POST", issue + "/notes", `{"body":"Done.\n/CLOSE\n"}`, `201 "body":"Done."`},
		exchange{"GET", issue, "", `200 "state":"closed"`},
		exchange{"POST", issue + "/notes", `{"body":"/reopen"}`, "202 commands_changes"},
		exchange{"GET", issue, "", `200 "state":"opened"`},
		exchange{"POST", issue + "/notes", `{"body":"\n\r/close"}`, "202 commands_changes"},
		exchange{"GET", issue, "", `200 "state":"closed"`},
		exchange{"POST", labProject + "/merge_requests", `{"title":"t","source_branch":"mend","target_branch":"main","description":"/close"}`, `201 "state":"closed"`},
	)
}

func TestGitLabMakesADraftOfATitle(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	open := func(title, source, target, want string) exchange {
		return exchange{
			"POST", labProject + "/merge_requests", fmt.Sprintf(`{"title":%q,"source_branch":%q,"target_branch":%q}`, title, source, target), want,
		}
	}
	l.expect(t,
		open("draft: Mend", "mend", "main", `201 "draft":true`),
		open("Mend", "mend", "main", `409 Another open merge request already exists for this source branch: !1`),
		open("Mend", "main", "mend", `201 "draft":false`),
		open("Mend", "none", "main", `400 "source_branch":["does not exist"]`),
		open("Mend", "mend", "none", `400 "target_branch":["does not exist"]`),
		open("Mend", "mend", "mend", `422 same project/branch`),
		open(" ", "main", "other", "400 "),
	)
	l.Commit(7, "other", "x", nil)
	l.expect(t,
		open(" ", "main", "other", `400 "title":["can't be blank"]`),
		open(strings.Repeat("t", 256), "main", "other", `400 "title":["is too long`),
	)
}

func TestGitLabAsksForRolesAndScopes(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	commit, theirs := l.Head(8, "main"), l.Head(9, "main")
	l.expect(t,
		exchange{"POST", "/projects/8/statuses/" + commit, `{"state":"success"}`, "403 Forbidden"},
		exchange{"GET", "/projects/8/hooks", "", "200 []"},
		exchange{"POST", "/projects/9/statuses/" + theirs, `{"state":"success"}`, "403 Forbidden"},
		exchange{"GET", "/projects/9/hooks", "", "403 Forbidden"},
		exchange{"POST", "/projects/9/hooks", `{"url":"https://hooks.invalid"}`, "403 Forbidden"},
		exchange{"PUT", "/projects/9/hooks/1", `{"url":"https://hooks.invalid"}`, "403 Forbidden"},
		exchange{"DELETE", "/projects/9/hooks/1", "", "403 Forbidden"},
	)
	readers := openLab(t, "read_api")
	readers.expect(t,
		exchange{"GET", labProject + "/hooks", "", "200 []"},
		exchange{"POST", labProject + "/hooks", `{"url":"https://hooks.invalid"}`, `403 "scope":"api"`},
		exchange{"POST", labProject + "/statuses/mend", `{"state":"success"}`, "403 insufficient_scope"},
		exchange{"POST", labProject + "/issues/1/notes", `{"body":"x"}`, "403 insufficient_scope"},
	)
	files := openLab(t, "read_repository")
	files.expect(t,
		exchange{"GET", labProject + "/repository/files/fix%2Etxt/raw?ref=mend", "", "200 fixed"},
		exchange{"GET", labProject, "", "403 insufficient_scope"},
	)
}

func TestGitLabKeepsWebhooksApartByNumberAlone(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	const key = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlBQkNERUY="
	l.expect(t,
		exchange{"POST", labProject + "/hooks", `{"url":"https://hooks.invalid","token":"a"}`, `201 "token_present":true`},
		exchange{"POST", labProject + "/hooks", `{"url":"https://hooks.invalid","signing_token":"` + key + `"}`, `201 "signing_token_present":true`},
		exchange{"POST", labProject + "/hooks", `{"url":"https://hooks.invalid","token":"` + key + `"}`, "422 signing_token"},
	)
	kept := l.Webhooks(7)
	if len(kept) != 2 || kept[0].Events[0] != "push_events" || kept[1].Secret != key {
		t.Fatalf("%d webhooks", len(kept))
	}
	one := fmt.Sprintf("%s/hooks/%d", labProject, kept[0].ID)
	l.expect(t,
		exchange{"PUT", one, `{"token":"b"}`, "400 url is missing"},
		exchange{"PUT", one, `{"url":"https://hooks.invalid","issues_events":true,"push_events":false}`, `200 "token_present":true`},
		exchange{"PUT", one, `{"url":"https://hooks.invalid/other"}`, `200 "token_present":false`}, // another address forgets the token
		exchange{"DELETE", one, "", "204 "},
		exchange{"PUT", one, `{"url":"https://hooks.invalid"}`, "404 Not found"},
	)
	dead := l.AddWebhook(7, forgetest.Webhook{URL: "https://hooks.invalid"})
	l.expect(t, exchange{"PUT", fmt.Sprintf("%s/hooks/%d", labProject, dead), `{"url":"https://hooks.invalid"}`, `200 "alert_status":"disabled"`})
}
