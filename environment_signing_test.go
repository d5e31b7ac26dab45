package forgeauth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/proof"
)

func signingKey(t *testing.T, name string) string {
	t.Helper()
	key, _, err := proof.GenerateKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return key.Reveal()
}

func TestSigningOfTheEnvironment(t *testing.T) {
	t.Parallel()
	present, previous := signingKey(t, "auth.example.org/log"), signingKey(t, "auth.example.org/log")
	file := writeFile(t, "signing", present+"\n", 0o600)
	settings := []string{
		"FORGEAUTH_SIGNING_KEY_FILE=" + file, "FORGEAUTH_SIGNING_KEY_PREVIOUS=" + previous, "FORGEAUTH_CHECKPOINT_FILE=/elsewhere/newest",
		"FORGEAUTH_PUBLIC_LOG=true", "FORGEAUTH_RELAY_WITNESS_URL=nats://n1", "FORGEAUTH_RELAY_WITNESS_CHECKPOINTS=true",
		"OAUTH_ENCRYPTION_KEY_PREVIOUS=" + randomKey() + " " + randomKey(),
	}
	e, err := forgeauth.ReadEnvironment(with(serving(), settings...), forgeauth.Serving, false)
	if err != nil {
		t.Fatal(err)
	}
	signing := e.Config.Signing
	keys, err := signing.Keys()
	if err != nil || len(keys.PublicKeys()) != 2 || signing.CheckpointFile != "/elsewhere/newest" || !signing.Public {
		t.Errorf("%+v, %v", signing, err)
	}
	if len(e.Config.PreviousKeys) != 2 || !e.Config.Relays[0].Checkpoints {
		t.Errorf("%d previous keys; %+v", len(e.Config.PreviousKeys), e.Config.Relays)
	}
	if text := fmt.Sprintf("%v %+v", e.Config, signing); strings.Contains(text, "PRIVATE") {
		t.Errorf("printed, the configuration shows a key: %s", text)
	}
	alone, err := forgeauth.SigningFromEnvironment(settings)
	if err != nil || alone.Key.Reveal() != present {
		t.Errorf("by itself: %v", err)
	}
}

func TestFaultsOfSigning(t *testing.T) {
	t.Parallel()
	key, other := signingKey(t, "auth.example.org/log"), signingKey(t, "other.example.org/log")
	const file = "FORGEAUTH_CHECKPOINT_FILE=/elsewhere/newest"
	for name, test := range map[string]struct {
		settings    []string
		at, problem string
	}{
		"no key":                      {[]string{"FORGEAUTH_SIGNING_KEY=secret-and-wrong", file}, "FORGEAUTH_SIGNING_KEY", "is no signing key"},
		"a key of another name":       {[]string{"FORGEAUTH_SIGNING_KEY=" + key, "FORGEAUTH_SIGNING_KEY_PREVIOUS=" + other, file}, "FORGEAUTH_SIGNING_KEY_PREVIOUS", "same name"},
		"no file":                     {[]string{"FORGEAUTH_SIGNING_KEY=" + key}, "FORGEAUTH_CHECKPOINT_FILE", "is missing"},
		"a relative file":             {[]string{"FORGEAUTH_SIGNING_KEY=" + key, "FORGEAUTH_CHECKPOINT_FILE=newest"}, "FORGEAUTH_CHECKPOINT_FILE", "is relative"},
		"a previous key alone":        {[]string{"FORGEAUTH_SIGNING_KEY_PREVIOUS=" + key}, "FORGEAUTH_SIGNING_KEY_PREVIOUS", "is not"},
		"neither true nor false":      {[]string{"FORGEAUTH_PUBLIC_LOG=yes"}, "FORGEAUTH_PUBLIC_LOG", "yes"},
		"types for checkpoints":       {[]string{"FORGEAUTH_RELAY_W_URL=nats://n", "FORGEAUTH_RELAY_W_CHECKPOINTS=true", "FORGEAUTH_RELAY_W_TYPES=TokenIssued"}, "FORGEAUTH_RELAY_W_TYPES", "carries no events"},
		"a previous key that is none": {[]string{"OAUTH_ENCRYPTION_KEY_PREVIOUS=short"}, "OAUTH_ENCRYPTION_KEY_PREVIOUS", "holds what is no key"},
	} {
		_, err := forgeauth.ReadEnvironment(with(serving(), test.settings...), forgeauth.Serving, false)
		faults := faultsOf(t, err)
		if len(faults) != 1 || faults[0].Name != test.at || !strings.Contains(faults[0].String(), test.problem) {
			t.Errorf("%s: %+v", name, faults)
		}
		if strings.Contains(fmt.Sprint(err), "PRIVATE") || strings.Contains(fmt.Sprint(err), "secret-and-wrong") {
			t.Errorf("%s: the fault holds a key: %v", name, err)
		}
	}
}
