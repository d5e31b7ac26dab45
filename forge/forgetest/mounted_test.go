package forgetest_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth/forge/forgetest"
)

func TestAForgeLivesUnderAPathPrefix(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			t.Parallel()
			f := start(t, forgetest.Config{Dialect: dialect, PathPrefix: "/a/forge"})
			if !strings.HasSuffix(f.URL(), "/a/forge") {
				t.Fatalf("URL is %s", f.URL())
			}
			token := signIn(t, f, client, "alice")
			if answer := get(t, f.APIURL()+"/user", token.AccessToken); answer.status != http.StatusOK {
				t.Errorf("user: %d", answer.status)
			}
			if ids, pages := follow(t, f.APIURL()+repositoriesPath(dialect), token.AccessToken); len(ids) != 75 || pages < 2 {
				t.Errorf("%d repositories on %d pages", len(ids), pages)
			}
			outside, err := url.Parse(f.APIURL() + "/user")
			if err != nil {
				t.Fatal(err)
			}
			outside.Path = strings.TrimPrefix(outside.Path, "/a/forge")
			if answer := get(t, outside.String(), token.AccessToken); answer.status != http.StatusNotFound {
				t.Errorf("outside the prefix: %d", answer.status)
			}
			if answer := get(t, f.URL()+"/", ""); !strings.Contains(answer.body, `href="/a/forge/stand-in.css"`) {
				t.Errorf("the page's style sheet is elsewhere: %s", answer.body)
			}
		})
	}
}

func TestAForgeIsAPlainHandlerAnywhere(t *testing.T) {
	t.Parallel()
	f := forgetest.New(forgetest.Config{
		Dialect: forgetest.Gitea, Clients: []forgetest.Client{client},
		Users: []forgetest.User{{ID: 2, Login: "alice", Repositories: forgetest.Repositories(1, 2)}}, SendIssuer: true,
	})
	server := httptest.NewTLSServer(f.Handler())
	defer server.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/v1/user", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body := make([]byte, 200)
	n, _ := response.Body.Read(body)
	if want := `"url":"` + server.URL + `/api/swagger"`; !strings.Contains(string(body[:n]), want) {
		t.Errorf("%s does not name the origin of the request", body[:n])
	}
}
