package gitlab_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/forge/gitlab"
	"github.com/forgeauth/forgeauth/secret"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	forgetest.Exercise(t, forgetest.Config{Dialect: forgetest.GitLab}, gitlab.New)
}

const (
	redirect = "http://127.0.0.1:1/callback"
	address  = "https://hooks.invalid/in"
	token    = "hook-secret-0123456789"
	// signing is a signing token: 32 bytes.
	signing = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlBQkNERUY="
)

// desk is a port on a stand-in GitLab in which there is one project, with an issue, a branch and a merge request.
type desk struct {
	*forgetest.Forge
	port          forge.Port
	in            forge.RepositoryRef
	path          string
	issue, change int64
	commit        string
}

const projectID = 7

// sit signs in as the owner of the project.
func sit(t *testing.T, path forgetest.Repository) *desk {
	t.Helper()
	path.ID, path.DefaultBranch = projectID, "main"
	now := func() time.Time { return time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC) }
	f := forgetest.Start(t, forgetest.Config{
		Dialect: forgetest.GitLab, Now: now,
		Users:   []forgetest.User{{ID: 11, Login: "alice", Repositories: []forgetest.Repository{path}}},
		Clients: []forgetest.Client{{ID: "client", Secret: "client-secret", RedirectURIs: []string{redirect}}},
	})
	provider := provide(t, f.URL(), forge.Options{Now: now})
	verifier := "verifier-verifier-verifier-verifier-verifier"
	challenge := sha256.Sum256([]byte(verifier))
	back, err := f.Consent(t.Context(), provider.AuthorizeURL(forge.AuthorizeRequest{
		State: "s", RedirectURI: redirect, Challenge: base64.RawURLEncoding.EncodeToString(challenge[:]),
	}), "alice")
	if err != nil {
		t.Fatal(err)
	}
	callback, err := url.Parse(back)
	if err != nil {
		t.Fatal(err)
	}
	granted, err := provider.Exchange(t.Context(), forge.ExchangeRequest{
		Code: callback.Query().Get("code"), RedirectURI: redirect, Verifier: verifier,
	})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{Forge: f, port: provider.Bind(forge.Binding{}, forge.StaticToken(granted)), path: path.Owner + "/" + path.Name}
	d.in = forge.RepositoryRef{Path: d.path}
	d.commit = f.Commit(projectID, "mend", "fix.txt", []byte("fixed"))
	d.issue = f.OpenIssue(projectID, "alice", "It is broken", "")
	d.change = f.OpenChange(projectID, "alice", "Mend it", "mend", "main")
	return d
}

// provide returns the provider of a GitLab at an address.
func provide(t *testing.T, address string, o forge.Options) forge.Provider {
	t.Helper()
	provider, err := gitlab.New(forge.Connection{
		Name: "gitlab", Kind: forge.GitLab, BaseURL: address, ClientID: "client", ClientSecret: secret.New("client-secret"), Scopes: []string{"api"},
	}, o)
	if err != nil {
		t.Fatal(err)
	}
	return provider
}

// at returns a port on a GitLab that answers as it is told: a body for each method and path below /api/v4.
func at(t *testing.T, answers map[string]string, asked *[]string) forge.Port {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := r.Method + " " + r.URL.EscapedPath()[len("/api/v4"):]
		if asked != nil {
			*asked = append(*asked, request)
		}
		body, known := answers[request]
		switch {
		case !known:
			w.WriteHeader(http.StatusNotFound)
		case body == "":
			w.WriteHeader(http.StatusNoContent)
		case body[0] >= '1' && body[0] <= '9': // a status and a body
			status := int(body[0]-'0')*100 + int(body[1]-'0')*10 + int(body[2]-'0')
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body[4:]))
		default:
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(body))
		}
	}))
	t.Cleanup(server.Close)
	return provide(t, server.URL, forge.Options{}).Bind(forge.Binding{}, forge.StaticToken(forge.Token{Access: secret.New("t")}))
}

func hookSpec(token string, events ...forge.HookEvent) forge.HookSpec {
	if len(events) == 0 {
		events = []forge.HookEvent{forge.HookPush, forge.HookChange, forge.HookIssue, forge.HookComment}
	}
	return forge.HookSpec{URL: address, Secret: secret.New(token), Events: events}
}
