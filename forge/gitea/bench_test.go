package gitea_test

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/forge/gitea"
	"github.com/forgeauth/forgeauth/secret"
)

const redirect = "http://127.0.0.1:1/oauth/callback"

// bench is a stand-in with the port of somebody who has signed in.
type bench struct {
	*forgetest.Forge

	port     forge.Port
	provider forge.Provider
}

// onBoth runs a test at Gitea and at Forgejo. Alice has the repositories.
func onBoth(t *testing.T, scopes []string, repositories []forgetest.Repository, run func(*testing.T, bench)) {
	t.Helper()
	for _, dialect := range []forgetest.Dialect{forgetest.Gitea, forgetest.Forgejo} {
		t.Run(dialect.Title(), func(t *testing.T) {
			t.Parallel()
			run(t, newBench(t, dialect, scopes, repositories))
		})
	}
}

func newBench(t *testing.T, dialect forgetest.Dialect, scopes []string, repositories []forgetest.Repository) bench {
	t.Helper()
	stand := forgetest.Start(t, forgetest.Config{
		Dialect: dialect, RequirePKCE: true,
		Users:   []forgetest.User{{ID: 7, Login: "alice", Repositories: repositories}, {ID: 8, Login: "bob"}},
		Clients: []forgetest.Client{{ID: "client", Secret: "client-secret", RedirectURIs: []string{redirect}}},
	})
	if scopes == nil {
		info, _ := forge.Info(dialect.Kind())
		scopes = info.Scopes
	}
	provider, err := gitea.New(forge.Connection{
		Name: "forge", Kind: dialect.Kind(), BaseURL: stand.URL(), ClientID: "client", ClientSecret: secret.New("client-secret"), Scopes: scopes,
	}, forge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	verifier := strings.Repeat("v", 64)
	challenge := sha256.Sum256([]byte(verifier))
	callback, err := stand.Consent(t.Context(), provider.AuthorizeURL(forge.AuthorizeRequest{
		State: "state", RedirectURI: redirect, Challenge: base64.RawURLEncoding.EncodeToString(challenge[:]),
	}), "alice")
	if err != nil {
		t.Fatal(err)
	}
	back, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	token, err := provider.Exchange(t.Context(), forge.ExchangeRequest{
		Code: back.Query().Get("code"), RedirectURI: redirect, Verifier: verifier,
	})
	if err != nil {
		t.Fatal(err)
	}
	return bench{stand, provider.Bind(forge.Binding{Connection: "forge"}, forge.StaticToken(token)), provider}
}

// one is a repository of alice's, by its id.
func one() []forgetest.Repository {
	return []forgetest.Repository{{ID: 1, Name: "one", DefaultBranch: "main"}}
}

func ref(id string) forge.RepositoryRef { return forge.RepositoryRef{ID: id} }

// canned is a forge that answers each path, with its query, from a table, and the repository one as alice's with id 1.
func canned(t *testing.T, answers map[string]string) forge.Port {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.Method+" "+strings.TrimPrefix(r.URL.RequestURI(), "/api/v1/repos/alice/one")]
		if !ok {
			t.Errorf("%s %s", r.Method, r.URL.RequestURI())
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if location, redirected := strings.CutPrefix(answer, "307 "); redirected {
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	info, _ := forge.Info(forge.Gitea)
	provider, err := gitea.New(forge.Connection{
		Name: "forge", Kind: forge.Gitea, BaseURL: server.URL, ClientID: "id", ClientSecret: secret.New("secret"), Scopes: info.Scopes,
	}, forge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return provider.Bind(forge.Binding{}, forge.StaticToken(forge.Token{Access: secret.New("t")}))
}

// named is alice's repository by its path, which is asked for by no request.
var named = forge.RepositoryRef{Path: "alice/one"}
