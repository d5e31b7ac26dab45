package forgeauth_test

import (
	"errors"
	"testing"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/secret"
)

func TestAPublicURLIsAnOriginThatKeepsSessions(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"http elsewhere":   "http://auth.example.org",
		"a path":           "https://auth.example.org/forgeauth",
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
