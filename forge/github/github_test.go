package github_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/forge/github"
	"github.com/forgeauth/forgeauth/secret"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, dialect := range map[string]forgetest.Dialect{
		"an OAuth App on github.com": forgetest.GitHub,
		"a GitHub App":               forgetest.GitHubApp,
		"an Enterprise Server":       forgetest.GitHubEnterprise,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forgetest.Exercise(t, forgetest.Config{Dialect: dialect}, github.New)
		})
	}
}

// TestPagesAreCountedByTheForgeWithinBounds links to a page beyond all bounds, to one that does not follow, and to one
// without a number: the library reads page numbers and none of the rest.
func TestPagesAreCountedByTheForgeWithinBounds(t *testing.T) {
	t.Parallel()
	for _, query := range []string{fmt.Sprintf("page=%d", forge.MaxPages+1), "page=1", "page=-1", "page=x", "cursor=x"} {
		requests := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			requests++
			w.Header().Set("Link", `</api/v3/user/repos?`+query+`>; rel="next"`)
			_, _ = io.WriteString(w, `[]`)
		}))
		t.Cleanup(server.Close)
		provider, err := github.New(forge.Connection{
			Name: "ghe", Kind: forge.GitHub, BaseURL: server.URL, ClientID: "id", ClientSecret: secret.New("secret"),
		}, forge.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var failed error
		for _, failed = range provider.Bind(forge.Binding{}, forge.StaticToken(forge.Token{Access: secret.New("t")})).Repositories(t.Context(), forge.RepositoryQuery{}) {
			break
		}
		if !errors.Is(failed, forge.ErrEndlessPages) || requests != 1 {
			t.Errorf("%s: %d requests, %v", query, requests, failed)
		}
	}
}
