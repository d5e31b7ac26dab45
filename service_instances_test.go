package forgeauth_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge/forgetest"
)

// instances is a deployment with two GitLabs and two GitHubs. Ada has the same login and the same id at all four, so that nothing
// but the connection tells them apart, and repositories that do.
type instances struct {
	*house

	t *testing.T
}

var instanceNames = []string{"gitlab", "gitlab-work", "github", "github-work"}

func newInstances(t *testing.T) *instances {
	t.Helper()
	i := &instances{newHouse(t), t}
	for n, name := range instanceNames {
		dialect := forgetest.GitLab
		switch name {
		case "github":
			dialect = forgetest.GitHub
		case "github-work":
			dialect = forgetest.GitHubEnterprise
		}
		mine := forgetest.User{ID: ada.ID, Login: ada.Login, Repositories: forgetest.Repositories(int64(1000*(n+1)), 3)}
		i.connect(t, name, dialect, mine, bob)
	}
	i.open(t)
	return i
}

// page gets what a browser shows.
func (i *instances) page(b *browser, path string) string {
	i.t.Helper()
	a, err := b.do(i.t.Context(), http.MethodGet, path, nil, acceptHTML)
	if err != nil || a.StatusCode != http.StatusOK {
		i.t.Fatalf("GET %s: %v, %v", path, a.Response, err)
	}
	return a.body
}

func acceptHTML(r *http.Request) { r.Header.Set("Accept", "text/html") }

// call makes a request, with a form or with JSON, and expects a status.
func (i *instances) call(b *browser, status int, method, path, body string) answer {
	i.t.Helper()
	a, err := b.do(i.t.Context(), method, path, nil, func(r *http.Request) {
		if body != "" {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			r.Header.Set("Content-Type", "application/json")
		}
	})
	if err != nil || a.StatusCode != status {
		i.t.Fatalf("%s %s: %v, want %d: %v\n%s", method, path, a.StatusCode, status, err, a.body)
	}
	return a
}

func decodeAs[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	return v
}

type meDocument struct {
	ForgeType string `json:"forge_type"`
	BaseURL   string `json:"base_url"`
}

// isActive checks what /me says.
func (i *instances) isActive(b *browser, name string) {
	i.t.Helper()
	got := decodeAs[meDocument](i.t, i.call(b, http.StatusOK, http.MethodGet, "/me", ""))
	if want := (meDocument{name, i.forges[name].URL()}); got != want {
		i.t.Errorf("/me says %+v, want %+v", got, want)
	}
}

// states is what /forges says.
func (i *instances) states(b *browser) map[string]string {
	i.t.Helper()
	list := decodeAs[struct{ Forges []commands.ForgeStatus }](i.t, i.call(b, http.StatusOK, http.MethodGet, "/forges", ""))
	states := map[string]string{}
	for _, f := range list.Forges {
		if f.BaseURL != i.forges[f.ForgeType].URL() || f.AccountID != "" && f.AccountID != "7" {
			i.t.Errorf("%+v", f)
		}
		states[f.ForgeType] = f.State
	}
	return states
}

type repositoryDocument struct {
	ForgeType    string `json:"forge_type"`
	Repositories []struct {
		ID string `json:"id"`
	} `json:"repositories"`
	Next *string `json:"next"`
}

// refused signs in as far as the callback, which is expected to lead to the sign-in page with a code.
func (i *instances) refused(b *browser, callback, code string) {
	i.t.Helper()
	a, err := b.do(i.t.Context(), http.MethodGet, callback, nil, acceptHTML)
	if err != nil {
		i.t.Fatal(err)
	}
	if to := a.Header.Get("Location"); a.StatusCode != http.StatusSeeOther || to != "/login?error="+code {
		i.t.Errorf("%d to %s, want %s", a.StatusCode, to, code)
	}
}

// exchanges counts the codes that reached each forge.
func (i *instances) exchanges() map[string]int {
	n := map[string]int{}
	for name, f := range i.forges {
		n[name] = f.Count(forgetest.TokenEndpoint)
	}
	return n
}

var (
	buttonName  = regexp.MustCompile(`<span class="name">([^<]*)</span>`)
	pageTitle   = regexp.MustCompile(`<title>([^<]*)</title>`)
	pageHeading = regexp.MustCompile(`(?s)<h3>.*?</span>\s*([^<]*?)\s*<`)
)

func found(what *regexp.Regexp, page string) (all []string) {
	for _, match := range what.FindAllStringSubmatch(page, -1) {
		all = append(all, match[1])
	}
	return all
}

// distinct fails the test if two of the texts are the same, or if there are not that many.
func distinct(t *testing.T, what string, texts []string, n int) {
	t.Helper()
	if sorted := slices.Sorted(slices.Values(texts)); len(texts) != n || len(slices.Compact(sorted)) != n {
		t.Errorf("%s: %q", what, texts)
	}
}

func TestInstancesOfAKindAreToldApartOnEveryPage(t *testing.T) {
	t.Parallel()
	i := newInstances(t)
	visitor := i.browser()
	login := i.page(visitor, "/login")
	distinct(t, "the buttons of the sign-in page", found(buttonName, login), len(instanceNames))
	for _, name := range instanceNames {
		if !strings.Contains(login, `formaction="/oauth/`+name+`/init"`) || !strings.Contains(login, strings.TrimPrefix(i.forges[name].URL(), "http://")) {
			t.Errorf("the sign-in page does not lead to %s", name)
		}
	}
	b := i.claim(t, "gitlab")
	for _, name := range instanceNames[1:] {
		mustSignIn(t, b, name, "ada", nil)
	}
	var leaving, confirming []string
	for _, name := range instanceNames {
		a, err := b.do(t.Context(), http.MethodPost, "/oauth/"+name+"/init", url.Values{}, acceptHTML)
		if err != nil {
			t.Fatal(err)
		}
		leaving = append(leaving, found(pageTitle, a.body)...)
		if !strings.Contains(a.body, `content="0;url=`+i.forges[name].URL()+`/`) {
			t.Errorf("%s leads elsewhere", name)
		}
		confirm := func(r *http.Request) { // as if a link somewhere else had led here
			acceptHTML(r)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Sec-Fetch-Mode", "navigate")
			r.Header.Set("Sec-Fetch-Dest", "document")
		}
		if a, err = b.do(t.Context(), http.MethodGet, "/oauth/"+name+"/init", nil, confirm); err != nil {
			t.Fatal(err)
		}
		confirming = append(confirming, found(buttonName, a.body)...)
	}
	distinct(t, "the pages on the way", leaving, len(instanceNames))
	distinct(t, "the buttons that ask", confirming, len(instanceNames))

	titles := []string{}
	for _, name := range instanceNames {
		i.call(b, http.StatusOK, http.MethodPut, "/forges/active", `{"forge_type":"`+name+`"}`)
		home := i.page(b, "/")
		titles = append(titles, found(pageTitle, home)...)
		distinct(t, "the forges of the operator's page", found(pageHeading, home), len(instanceNames))
	}
	distinct(t, "the titles of the operator's page", titles, len(instanceNames))

	// Who is signed in: the account of the last sign-in, which has namesakes.
	for path, want := range map[string]string{"/": "(github-work)", "/login": "(github-work)"} {
		if page := i.page(b, path); !strings.Contains(page, want) {
			t.Errorf("%s does not say at which forge the session's account is", path)
		}
	}
}

func TestInstancesOfAKindShareNothing(t *testing.T) {
	t.Parallel()
	i := newInstances(t)
	ctx := t.Context()
	b := i.claim(t, "gitlab")

	// The same id at the other instance is another account.
	stranger := i.browser()
	callback, err := stranger.callback(ctx, "gitlab-work", "ada", nil)
	if err != nil {
		t.Fatal(err)
	}
	i.refused(stranger, callback, "not_allowed")
	a, err := stranger.do(ctx, http.MethodGet, "/login?error=not_allowed", nil, acceptHTML)
	if err != nil || a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "gitlab-work:7") {
		t.Errorf("who was refused is told %d %v", a.StatusCode, err)
	}
	if tokens := i.forges["gitlab-work"].Tokens(); len(tokens) != 2 || tokens[0].Live || tokens[1].Live {
		t.Errorf("the refused token: %+v", tokens)
	}

	// A callback belongs to the connection that it was started for, and its code goes nowhere else.
	for _, pair := range [][2]string{{"gitlab", "gitlab-work"}, {"gitlab-work", "gitlab"}, {"github", "github-work"}, {"github-work", "github"}} {
		before := i.exchanges()
		callback, err := b.callback(ctx, pair[0], "ada", nil)
		if err != nil {
			t.Fatal(err)
		}
		i.refused(b, strings.Replace(callback, "/oauth/"+pair[0]+"/", "/oauth/"+pair[1]+"/", 1), "wrong_forge")
		// With the state of one and the code of the other.
		other, err := b.callback(ctx, pair[1], "ada", nil)
		if err != nil {
			t.Fatal(err)
		}
		mixed, theirs := mustURL(t, callback), mustURL(t, other)
		query := mixed.Query()
		query.Set("state", theirs.Query().Get("state"))
		mixed.RawQuery = query.Encode()
		i.refused(b, mixed.String(), "wrong_forge")
		if diff := cmp.Diff(before, i.exchanges()); diff != "" {
			t.Errorf("a code was sent out: %s", diff)
		}
	}

	// From within the session each of them is connected, as an account of its own.
	for _, name := range instanceNames[1:] {
		mustSignIn(t, b, name, "ada", nil)
		i.isActive(b, name)
	}
	accounts, err := i.service().Commands().Accounts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	known := []string{}
	for _, account := range accounts {
		known = append(known, account.ForgeType+":"+account.AccountID)
	}
	if diff := cmp.Diff([]string{"gitlab:7", "gitlab-work:7", "github:7", "github-work:7"}, known); diff != "" {
		t.Error(diff)
	}
	for _, name := range instanceNames {
		for _, token := range i.forges[name].Tokens() {
			if strings.HasPrefix(token.Client, "client-of-") && token.Client != "client-of-"+name {
				t.Errorf("%s granted a token to %s", name, token.Client)
			}
		}
	}

	// Their repositories, and cursors that are good for one of them only.
	cursors := map[string]string{}
	for n, name := range instanceNames {
		form := url.Values{"forge_type": {name}}
		if a, err := b.do(ctx, http.MethodPost, "/forges/active", form, acceptHTML); err != nil || a.StatusCode != http.StatusSeeOther {
			t.Fatalf("%v, %v", a.Response, err)
		}
		i.isActive(b, name)
		page := decodeAs[repositoryDocument](t, i.call(b, http.StatusOK, http.MethodGet, "/forge/repositories?limit=2", ""))
		if page.ForgeType != name || len(page.Repositories) != 2 || page.Repositories[0].ID != []string{"1000", "2000", "3000", "4000"}[n] || page.Next == nil {
			t.Fatalf("%s: %+v", name, page)
		}
		cursors[name] = *page.Next
		for other, cursor := range cursors {
			want := http.StatusBadRequest
			if other == name {
				want = http.StatusOK
			}
			i.call(b, want, http.MethodGet, "/forge/repositories?limit=2&cursor="+url.QueryEscape(cursor), "")
		}
	}

	// Disconnecting one, by either route, leaves the others as they were.
	i.call(b, http.StatusOK, http.MethodDelete, "/forges/gitlab", "")
	if a, err := b.do(ctx, http.MethodPost, "/forges/github/disconnect", url.Values{}, acceptHTML); err != nil || a.StatusCode != http.StatusSeeOther {
		t.Fatalf("%v, %v", a.Response, err)
	}
	want := map[string]string{
		"gitlab": commands.StateNotConnected, "gitlab-work": commands.StateConnected,
		"github": commands.StateNotConnected, "github-work": commands.StateActive,
	}
	if diff := cmp.Diff(want, i.states(b)); diff != "" {
		t.Error(diff)
	}
	for name, state := range want {
		living := slices.ContainsFunc(i.forges[name].Tokens(), func(s forgetest.TokenState) bool { return s.Live })
		if living != (state != commands.StateNotConnected) {
			t.Errorf("%s: a token lives: %t", name, living)
		}
	}
	i.call(b, http.StatusConflict, http.MethodPut, "/forges/active", `{"forge_type":"gitlab"}`)
	i.call(b, http.StatusOK, http.MethodPut, "/forges/active", `{"forge_type":"gitlab-work"}`)
	i.isActive(b, "gitlab-work")
	i.call(b, http.StatusOK, http.MethodDelete, "/forges/active", "")
	i.call(b, http.StatusPreconditionFailed, http.MethodGet, "/me", "")

	// A session belongs to the account of one of them, and ends with that.
	work := i.browser()
	mustSignIn(t, work, "gitlab-work", "ada", nil)
	if _, err := i.service().Commands().RemoveAccount(ctx, commands.Caller{Actor: "cli"}, "gitlab", "7"); err != nil {
		t.Fatal(err)
	}
	i.call(work, http.StatusOK, http.MethodGet, "/me", "")
	if callback, err = stranger.callback(ctx, "gitlab", "ada", nil); err != nil {
		t.Fatal(err)
	}
	i.refused(stranger, callback, "not_allowed")
	if _, err := i.service().Commands().RemoveAccount(ctx, commands.Caller{Actor: "cli"}, "gitlab-work", "7"); err != nil {
		t.Fatal(err)
	}
	i.call(work, http.StatusUnauthorized, http.MethodGet, "/me", "")

	for _, e := range readLog(ctx, t, i.service()) {
		if issued, ok := e.Fact.(events.TokenIssued); ok && issued.BaseURL != i.forges[issued.ForgeType].URL() {
			t.Errorf("position %d: %s was issued by %s", e.Position, issued.ForgeType, issued.BaseURL)
		}
	}
}

func mustURL(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
