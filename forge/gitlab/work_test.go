package gitlab_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
)

func project() forgetest.Repository { return forgetest.Repository{Owner: "group", Name: "project"} }

// TestAPathOfManyGroupsIsOneSegment also ends like the name of a format, which the API would take off.
func TestAPathOfManyGroupsIsOneSegment(t *testing.T) {
	t.Parallel()
	d := sit(t, forgetest.Repository{Owner: "group/sub group/ünter", Name: "site.json"})
	found, err := d.port.Repository(t.Context(), d.in)
	if err != nil || found.ID != "7" || found.Path != "group/sub group/ünter/site.json" {
		t.Fatalf("%+v, %v", found, err)
	}
	web := d.URL() + "/group/sub%20group/%C3%BCnter/site.json"
	if found.WebURL != web || found.CloneURL != web+".git" {
		t.Errorf("%s, %s", found.WebURL, found.CloneURL)
	}
	for _, in := range []forge.RepositoryRef{d.in, found.Ref()} {
		change, err := d.port.Change(t.Context(), in, d.change)
		if err != nil || change.WebURL != web+"/-/merge_requests/1" {
			t.Errorf("%s, %v", change.WebURL, err)
		}
		said, err := d.port.Comment(t.Context(), in, forge.Subject{Number: d.issue}, "Seen")
		if err != nil || said.WebURL != web+"/-/issues/1#note_"+said.ID {
			t.Errorf("%s, %v", said.WebURL, err)
		}
	}
	for _, request := range d.Requests() {
		if request.Endpoint == forgetest.OtherEndpoint || request.Status == 404 {
			t.Errorf("%s %s: %d", request.Method, request.Path, request.Status)
		}
	}
}

func TestAnIDIsANumber(t *testing.T) {
	t.Parallel()
	d := sit(t, project())
	before := d.Count(forgetest.AnyEndpoint)
	for _, id := range []string{"x", "-1", "0", "007", "+7", "7a", "{7}", "99999999999999999999"} {
		if _, err := d.port.Repository(t.Context(), forge.RepositoryRef{ID: id}); !errors.Is(err, forge.ErrInvalid) {
			t.Errorf("project %s: %v", id, err)
		}
		if err := d.port.RemoveHook(t.Context(), d.in, id); !errors.Is(err, forge.ErrInvalid) {
			t.Errorf("webhook %s: %v", id, err)
		}
	}
	if d.Count(forgetest.AnyEndpoint) != before {
		t.Error("GitLab was asked")
	}
}

func TestCommandsInATextAreShownAndNotCarriedOut(t *testing.T) {
	t.Parallel()
	d := sit(t, project())
	const text = "They wrote:\r\n/close\r/Close now\n\n/close"
	const shown = "They wrote:\n\\/close\n\\/Close now\n\n\\/close"
	on := forge.Subject{Number: d.issue}
	said, err := d.port.Comment(t.Context(), d.in, on, text)
	if err != nil || said.Body != shown {
		t.Errorf("%q, %v", said.Body, err)
	}
	if said, err = d.port.Comment(t.Context(), d.in, on, "/close"); err != nil || said.Body != `\/close` {
		t.Errorf("a command alone: %q, %v", said.Body, err)
	}
	if issue, err := d.port.Issue(t.Context(), d.in, d.issue); err != nil || !issue.Open {
		t.Errorf("the issue is closed, or %v", err)
	}
	d.Commit(projectID, "other", "x", nil)
	opened, err := d.port.OpenChange(t.Context(), d.in, forge.NewChange{Title: "Other", Body: text, Source: "other"})
	if err != nil || opened.Body != shown || opened.State != forge.ChangeOpen {
		t.Errorf("%q, %s, %v", opened.Body, opened.State, err)
	}
	// That the stand-in does carry commands out is tested with it: TestGitLabObeysCommands.
}

func TestADraftIsNoPartOfTheTitle(t *testing.T) {
	t.Parallel()
	for title, want := range map[string]string{
		"Draft: Mend it": "Mend it", "draft:Mend it": "Mend it", "[Draft] Mend it": "Mend it", "(DRAFT) Draft: Mend it": "Mend it",
		"Draft: ": "Draft:", "Draft it": "Draft it", "Mend Draft: it": "Mend Draft: it",
	} {
		port := at(t, map[string]string{
			"GET /projects/7/merge_requests/1": `{"iid":1,"state":"locked","draft":` + boolean(strings.Contains(strings.ToLower(title), "draft")) +
				`,"title":"` + title + `","source_project_id":null,"sha":null,"references":{"full":"a/b!1"}}`,
		}, nil)
		got, err := port.Change(t.Context(), forge.RepositoryRef{ID: "7"}, 1)
		if err != nil || got.Title != want || got.State != forge.ChangeOpen || got.Head != "" || got.SourceID != "" || !strings.HasSuffix(got.WebURL, "/a/b/-/merge_requests/1") {
			t.Errorf("%q: %+v, %v", title, got, err)
		}
	}
}

func boolean(is bool) string {
	if is {
		return "true"
	}
	return "false"
}

// TestAnOldGitLabDoesNotNameTheProject: then an address is known if the path was.
func TestAnOldGitLabDoesNotNameTheProject(t *testing.T) {
	t.Parallel()
	const issue = `{"iid":3,"state":"opened","title":"Old"}`
	port := at(t, map[string]string{"GET /projects/7/issues/3": issue, "GET /projects/a%2Fb/issues/3": issue}, nil)
	byPath, err := port.Issue(t.Context(), forge.RepositoryRef{Path: "a/b"}, 3)
	if err != nil || !strings.HasSuffix(byPath.WebURL, "/a/b/-/issues/3") {
		t.Errorf("%s, %v", byPath.WebURL, err)
	}
	if byID, err := port.Issue(t.Context(), forge.RepositoryRef{ID: "7"}, 3); err != nil || byID.WebURL != "" || byID.Title != "Old" {
		t.Errorf("%+v, %v", byID, err)
	}
}

func TestAnAnswerAboutSomethingElseIsNone(t *testing.T) {
	t.Parallel()
	in := forge.RepositoryRef{ID: "7"}
	for what, body := range map[string]string{
		"another number": `{"iid":4,"state":"opened"}`, "a state that nobody knows": `{"iid":3,"state":"reopened"}`, "no number": `{"state":"opened"}`,
	} {
		port := at(t, map[string]string{"GET /projects/7/issues/3": body, "GET /projects/7/merge_requests/3": body}, nil)
		if got, err := port.Issue(t.Context(), in, 3); !errors.Is(err, forge.ErrUnavailable) || got != (forge.Issue{}) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
		if got, err := port.Change(t.Context(), in, 3); !errors.Is(err, forge.ErrUnavailable) || got != (forge.Change{}) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
}

// TestAHeadIsAHash: a status is set on it, and it gets into paths.
func TestAHeadIsAHash(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("0a", 20)
	for sha, want := range map[string]string{
		`null`: "", `""`: "", `"` + hash + `"`: hash, `"../` + hash + `"`: "", `"main"`: "", `"` + strings.ToUpper(hash) + `"`: "",
	} {
		port := at(t, map[string]string{"GET /projects/7/merge_requests/1": `{"iid":1,"state":"opened","sha":` + sha + `}`}, nil)
		if got, err := port.Change(t.Context(), forge.RepositoryRef{ID: "7"}, 1); err != nil || got.Head != want {
			t.Errorf("%s: %q, %v", sha, got.Head, err)
		}
	}
}

func TestWhatIsPendingMayBeSetPendingAgain(t *testing.T) {
	t.Parallel()
	d := sit(t, project())
	set := func(state forge.StatusState, description string) {
		t.Helper()
		if err := d.port.SetStatus(t.Context(), d.in, d.commit, forge.Status{Context: "ci", State: state, Description: description}); err != nil {
			t.Errorf("%s: %v", state, err)
		}
	}
	checks := func(want ...forgetest.Check) {
		t.Helper()
		if diff := cmp.Diff(want, d.Checks(projectID, d.commit)); diff != "" {
			t.Error(diff)
		}
	}
	set(forge.StatusPending, "queued")
	set(forge.StatusPending, "still queued")
	checks(forgetest.Check{Context: "ci", State: "pending", Description: "queued"}) // nothing was changed
	set(forge.StatusError, "it broke")
	set(forge.StatusError, "it broke again")
	set(forge.StatusPending, "once more")
	set(forge.StatusSuccess, "done")
	checks(forgetest.Check{Context: "ci", State: "success", Description: "done"})
}

func TestAStatusThatIsRefused(t *testing.T) {
	t.Parallel()
	commit := strings.Repeat("0a", 20)
	for name, test := range map[string]struct {
		answer string
		state  forge.StatusState
		want   error
	}{
		"is pending already": {
			`400 {"message":"Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition via \"enqueue\")"}`,
			forge.StatusPending, nil,
		},
		"runs already": {
			`400 {"message":"Cannot transition status via :enqueue from :running (Reason(s): Status cannot transition via \"enqueue\")"}`,
			forge.StatusPending, nil,
		},
		"another refusal": {
			`400 {"message":"Cannot transition status via :success from :canceled"}`, forge.StatusSuccess, forge.ErrInvalid,
		},
		"fields that are not taken":      {`400 {"message":{"target_url":["is too long"]}}`, forge.StatusPending, forge.ErrInvalid},
		"another one is being set":       {`409 {"message":"Another update to this commit status is in progress"}`, forge.StatusPending, forge.ErrUnavailable},
		"too many jobs":                  {`422 {"message":"The number of jobs has exceeded the limit"}`, forge.StatusSuccess, forge.ErrInvalid},
		"a commit that is on no branch":  {`404 {"message":"404 References for commit Not Found"}`, forge.StatusSuccess, forge.ErrNotFound},
		"a pipeline of another's branch": {`403 {"message":"403 Forbidden"}`, forge.StatusSuccess, forge.ErrForbidden},
		"an answer without a status":     {`201 {"id":0}`, forge.StatusSuccess, forge.ErrUnavailable},
	} {
		port := at(t, map[string]string{"POST /projects/7/statuses/" + commit: test.answer}, nil)
		err := port.SetStatus(t.Context(), forge.RepositoryRef{ID: "7"}, commit, forge.Status{Context: "ci", State: test.state})
		if (test.want == nil) != (err == nil) || !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnAddressThatIsTooLongForAStatus(t *testing.T) {
	t.Parallel()
	d := sit(t, project())
	err := d.port.SetStatus(t.Context(), d.in, d.commit, forge.Status{
		Context: "ci", State: forge.StatusSuccess, TargetURL: "https://ci.invalid/" + strings.Repeat("x", 255),
	})
	if !errors.Is(err, forge.ErrInvalid) {
		t.Error(err)
	}
}

func TestWithoutATargetTheDefaultBranchIsLookedUp(t *testing.T) {
	t.Parallel()
	for what, answer := range map[string]string{
		"an empty project":             `{"id":7,"path_with_namespace":"a/b","default_branch":null}`,
		"the branch that is proposed":  `{"id":7,"path_with_namespace":"a/b","default_branch":"mend"}`,
		"a default that is refused so": `{"id":7,"path_with_namespace":"a/b","default_branch":""}`,
	} {
		var asked []string
		port := at(t, map[string]string{"GET /projects/7": answer}, &asked)
		_, err := port.OpenChange(t.Context(), forge.RepositoryRef{ID: "7"}, forge.NewChange{Title: "Mend it", Source: "mend"})
		if !errors.Is(err, forge.ErrInvalid) || !slices.Equal(asked, []string{"GET /projects/7"}) {
			t.Errorf("%s: %v, %v", what, asked, err)
		}
	}
}

func TestAMovedProjectIsReadAndNotWrittenByItsFormerPath(t *testing.T) {
	t.Parallel()
	d := sit(t, project())
	d.RenameRepository(projectID, "renamed")
	if issue, err := d.port.Issue(t.Context(), d.in, d.issue); err != nil || !strings.HasSuffix(issue.WebURL, "/group/renamed/-/issues/1") {
		t.Errorf("%s, %v", issue.WebURL, err)
	}
	if _, err := d.port.Comment(t.Context(), d.in, forge.Subject{Number: d.issue}, "Seen"); !errors.Is(err, forge.ErrMoved) {
		t.Errorf("comment: %v", err)
	}
	id := d.AddWebhook(projectID, forgetest.Webhook{URL: address, Active: true})
	if err := d.port.RemoveHook(t.Context(), d.in, forge.Number(id)); !errors.Is(err, forge.ErrMoved) || len(d.Webhooks(projectID)) != 1 {
		t.Errorf("a webhook that is there is said to be gone: %v", err)
	}
}
