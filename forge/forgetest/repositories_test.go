package forgetest_test

import (
	"net/http"
	"regexp"
	"strconv"
	"testing"

	"github.com/forgeauth/forgeauth/forge/forgetest"
)

var nextLink = regexp.MustCompile(`<([^>]+)>; rel="next"`)

// follow reads a list by its next links and returns the ids and the number of pages.
func follow(t *testing.T, address, token string) (ids []int64, pages int) {
	t.Helper()
	for address != "" {
		answer := get(t, address, token)
		if answer.status != http.StatusOK {
			t.Fatalf("%s: %d %s", address, answer.status, answer.body)
		}
		var list []struct{ ID int64 }
		answer.json(t, &list)
		for _, repository := range list {
			ids = append(ids, repository.ID)
		}
		pages++
		address = ""
		if next := nextLink.FindStringSubmatch(answer.header.Get("Link")); next != nil {
			address = next[1]
		}
	}
	return ids, pages
}

func TestAThousandRepositoriesArePagedWithoutLossOrRepetition(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		dialect forgetest.Dialect
		path    string
		pages   int
	}{
		{"GitHub, page by page", forgetest.GitHub, "/user/repos?per_page=100", 10},
		{"GitHub, more per page than allowed", forgetest.GitHub, "/user/repos?per_page=1000", 10},
		{"GitHub Enterprise, default size", forgetest.GitHubEnterprise, "/user/repos", 34},
		{"GitLab by offset", forgetest.GitLab, "/projects?membership=true&per_page=100", 10},
		{"GitLab by keyset, newest first", forgetest.GitLab, "/projects?membership=true&per_page=100&pagination=keyset&order_by=id", 10},
		{"GitLab by keyset, oldest first", forgetest.GitLab, "/projects?membership=true&per_page=100&pagination=keyset&order_by=id&sort=asc", 10},
		{"Gitea", forgetest.Gitea, "/user/repos?limit=50", 20},
		{"Forgejo, more per page than allowed", forgetest.Forgejo, "/user/repos?limit=1000", 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, forgetest.Config{Dialect: c.dialect, Users: []forgetest.User{
				{ID: 2, Login: "alice", Repositories: forgetest.Repositories(500, 1000)},
			}})
			ids, pages := follow(t, f.APIURL()+c.path, signIn(t, f, client, "alice").AccessToken)
			seen := map[int64]bool{}
			for _, id := range ids {
				seen[id] = true
			}
			if len(ids) != 1000 || len(seen) != 1000 || !seen[500] || !seen[1499] || pages != c.pages {
				t.Errorf("%d repositories, %d different, on %d pages; want 1000 on %d", len(ids), len(seen), pages, c.pages)
			}
		})
	}
}

func TestGitLabNumbersItsPagesInHeaders(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitLab})
	token := signIn(t, f, client, "alice").AccessToken
	page, got := "1", []string(nil)
	for page != "" {
		answer := get(t, f.APIURL()+"/projects?membership=true&per_page=30&page="+page, token)
		got = append(got, answer.header.Get("X-Total"))
		page = answer.header.Get("X-Next-Page")
	}
	if len(got) != 3 || got[0] != strconv.Itoa(75) {
		t.Errorf("pages with totals %v", got)
	}
}

func TestPrivateRepositoriesNeedTheirScope(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitHub})
	app := application(f, client)
	app.Scopes = []string{"read:org"}
	token, err := app.Exchange(t.Context(), authorized(t, f, app, "alice"))
	if err != nil {
		t.Fatal(err)
	}
	ids, _ := follow(t, f.APIURL()+"/user/repos?per_page=100", token.AccessToken)
	if len(ids) != 50 {
		t.Errorf("%d repositories without the repo scope, want the 50 public ones of 75", len(ids))
	}
}
