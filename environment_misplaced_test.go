package forgeauth_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth"
)

// TestASecretInPlaceOfItsFileIsNotShown sets the secret itself where the name of its file belongs.
func TestASecretInPlaceOfItsFileIsNotShown(t *testing.T) {
	t.Parallel()
	const secretText = "Zm9vYmFyYmF6cXV4cXV1eGNvcmdlZ3JhdWx0Z2Fy"
	for _, name := range []string{"DATABASE_URL", "OAUTH_ENCRYPTION_KEY", "FORGEAUTH_FORGE_GITHUB_CLIENT_SECRET"} {
		for _, form := range []string{"", "/", "//", "/none/", "postgres://u:", "./"} {
			value := form + secretText
			_, err := forgeauth.ReadEnvironment(with(serving(), name+"=-", name+"_FILE="+value), forgeauth.Serving, false)
			if err == nil || !strings.Contains(err.Error(), name+"_FILE") {
				t.Errorf("%s_FILE=%q: %v", name, value, err)
			} else if strings.Contains(err.Error(), secretText) {
				t.Errorf("%s_FILE=%q shows its value: %v", name, value, err)
			}
		}
	}
	misspelt := filepath.Join(t.TempDir(), "kye")
	_, err := forgeauth.ReadEnvironment(
		with(serving(), "OAUTH_ENCRYPTION_KEY=-", "OAUTH_ENCRYPTION_KEY_FILE="+misspelt), forgeauth.Serving, false)
	if err == nil || !strings.Contains(err.Error(), misspelt) {
		t.Errorf("a file that is misspelt is not named: %v", err)
	}
}
