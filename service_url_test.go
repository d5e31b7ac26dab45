package forgeauth_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

func TestAPublicURLIsAnOriginThatKeepsSessions(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"http elsewhere":   "http://auth.example.org",
		"a path":           "https://auth.example.org/forgeauth",
		"a user":           "https://me:pw@auth.example.org",
		"no URL":           "auth.example.org",
		"listening openly": "", // with Listen below
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := forgeauth.Open(t.Context(), forgeauth.Config{
				EncryptionKey: secret.New("Qm8vX2rT5yLw9ZkC3nHd7JfA1sPe6GuB4oVi0KxNqYc="), Listen: "0.0.0.0:8080", PublicURL: url,
			})
			if !errors.Is(err, forgeauth.ErrPublicURL) {
				t.Errorf("Open: %v", err)
			}
		})
	}
}

// What is registered at a forge, what a sign-in sends there and where browsers are let in have to be one address, however it
// was written.
func TestAPublicURLHasOneSpelling(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea")
	origin := h.server.URL
	h.config.PublicURL = strings.Replace(origin, "http://", "HTTP://", 1) + "/"
	service := h.open(t)
	if got, want := service.CallbackURL("gitea"), origin+"/oauth/gitea/callback"; got != want {
		t.Errorf("to be registered: %s, want %s", got, want)
	}
	h.claim(t, "gitea") // the forge takes no other redirect URI than the one that is registered
}

func TestOpenRefusesConnectionsThatCannotWork(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea", "gitlab")
	for name, test := range map[string]struct {
		change func(first, second *forge.Connection)
		want   string
	}{
		"two of one name":    {func(first, second *forge.Connection) { second.Name = first.Name }, "connection gitea is configured twice"},
		"no kind":            {func(first, _ *forge.Connection) { first.Kind = "" }, "connection gitea: KIND"},
		"no secret":          {func(_, second *forge.Connection) { second.ClientSecret = secret.Text{} }, "connection gitlab: CLIENT_SECRET"},
		"another spelling":   {func(first, _ *forge.Connection) { first.BaseURL += "/" }, "connection gitea: BASE_URL"},
		"a name of no route": {func(first, _ *forge.Connection) { first.Name = "active" }, "NAME"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := h.config
			config.Connections = slices.Clone(config.Connections)
			test.change(&config.Connections[0], &config.Connections[1])
			s, err := forgeauth.Open(t.Context(), config)
			if err == nil {
				closeService(t, s)
				t.Fatal("it opens")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %q", err, test.want)
			}
		})
	}
}
