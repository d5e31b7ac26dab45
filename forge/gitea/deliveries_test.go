package gitea_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/gitea"
	"github.com/forgeauth/forgeauth/secret"
)

func verifierOf(t *testing.T, kind forge.Kind) forge.HookVerifier {
	t.Helper()
	info, _ := forge.Info(kind)
	provider, err := gitea.New(forge.Connection{
		Name: "forge", Kind: kind, BaseURL: info.BaseURL, ClientID: "id", ClientSecret: secret.New("secret"), Scopes: info.Scopes,
	}, forge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return provider.HookVerifier()
}

// TestVerify takes the headers of a delivery, changes some, and sees what is left of it at each kind.
func TestVerify(t *testing.T) {
	t.Parallel()
	const key, body = "0123456789abcdef", `{"ref":"refs/heads/main"}`
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(body))
	good := hex.EncodeToString(mac.Sum(nil))
	bad := strings.Repeat("0", 64)
	push := forge.Delivery{Event: forge.HookPush, Name: "push", ID: "d1"}
	no := forge.Delivery{}
	for name, test := range map[string]struct {
		header         http.Header // set over the usual ones; nil removes
		gitea, forgejo forge.Delivery
	}{
		"as Forgejo sends it": {nil, push, push},
		"as Gitea sends it":   {http.Header{"X-Forgejo-Signature": nil, "X-Forgejo-Event": nil, "X-Forgejo-Delivery": nil}, push, push},
		"digits in capitals": {
			http.Header{"X-Gitea-Signature": {strings.ToUpper(good)}, "X-Forgejo-Signature": {strings.ToUpper(good)}}, push, push,
		},
		"headers in lower case": {
			http.Header{"X-Gitea-Signature": nil, "x-gitea-signature": {good}, "X-Forgejo-Signature": nil, "x-forgejo-signature": {good}}, push, push,
		},
		"under Forgejo's name alone": {http.Header{"X-Gitea-Signature": nil}, no, push},
		"unsigned":                   {http.Header{"X-Gitea-Signature": nil, "X-Forgejo-Signature": nil}, no, no},
		"an empty signature":         {http.Header{"X-Gitea-Signature": {""}, "X-Forgejo-Signature": {""}}, no, no},
		"signed for GitHub's readers alone": {
			http.Header{"X-Gitea-Signature": nil, "X-Forgejo-Signature": nil, "X-Hub-Signature-256": {"sha256=" + good}}, no, no,
		},
		"a signature with a prefix":           {http.Header{"X-Gitea-Signature": {"sha256=" + good}, "X-Forgejo-Signature": {"sha256=" + good}}, no, no},
		"half a signature":                    {http.Header{"X-Gitea-Signature": {good[:32]}, "X-Forgejo-Signature": {good[:32]}}, no, no},
		"another signature":                   {http.Header{"X-Gitea-Signature": {bad}, "X-Forgejo-Signature": {bad}}, no, no},
		"two that contradict, Gitea's good":   {http.Header{"X-Forgejo-Signature": {bad}}, push, no},
		"two that contradict, Forgejo's good": {http.Header{"X-Gitea-Signature": {bad}}, no, no},
		"one header twice":                    {http.Header{"X-Gitea-Signature": {good, good}}, no, no},
		"one header in two cases":             {http.Header{"x-gitea-signature": {good}}, no, no},
		"events that contradict":              {http.Header{"X-Forgejo-Event": {"issues"}}, push, no},
		"two events":                          {http.Header{"X-Gitea-Event": {"push", "issues"}}, no, no},
		"two deliveries":                      {http.Header{"X-Gitea-Delivery": {"d1", "d2"}}, no, no},
		"what others are told is not read":    {http.Header{"X-Gogs-Event": {"issues"}, "X-Github-Event": {"issues"}, "X-Hub-Signature-256": {bad}}, push, push},
		"no event": {
			http.Header{"X-Gitea-Event": nil, "X-Forgejo-Event": nil}, forge.Delivery{Event: forge.HookOther, ID: "d1"}, forge.Delivery{Event: forge.HookOther, ID: "d1"},
		},
		"an event that is not clean": {
			http.Header{"X-Gitea-Event": {"pu\x1bsh"}, "X-Forgejo-Event": {"pu\x1bsh"}},
			forge.Delivery{Event: forge.HookOther, Name: "push", ID: "d1"},
			forge.Delivery{Event: forge.HookOther, Name: "push", ID: "d1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header := http.Header{
				"X-Gitea-Signature": {good}, "X-Gitea-Event": {"push"}, "X-Gitea-Event-Type": {"push"}, "X-Gitea-Delivery": {"d1"},
				"X-Forgejo-Signature": {good}, "X-Forgejo-Event": {"push"}, "X-Forgejo-Delivery": {"d1"}, "X-Gogs-Signature": {good},
			}
			maps.Copy(header, test.header)
			for kind, want := range map[forge.Kind]forge.Delivery{forge.Gitea: test.gitea, forge.Forgejo: test.forgejo} {
				verifier := verifierOf(t, kind)
				got, err := verifier.Verify(header, []byte(body), secret.New("another-secret-0"), secret.New(key))
				if diff := cmp.Diff(want, got); diff != "" || errors.Is(err, forge.ErrSignature) != (want == no) {
					t.Errorf("%s: %v\n%s", kind, err, diff)
				}
				for _, secrets := range [][]secret.Text{nil, {secret.New("")}, {secret.New("another-secret-0")}} {
					if got, err := verifier.Verify(header, []byte(body), secrets...); !errors.Is(err, forge.ErrSignature) || got != no {
						t.Errorf("%s: without the secret: %+v, %v", kind, got, err)
					}
				}
				if _, err := verifier.Verify(header, []byte(body+" "), secret.New(key)); !errors.Is(err, forge.ErrSignature) {
					t.Errorf("%s: another body: %v", kind, err)
				}
			}
		})
	}
}

// A signature under the empty secret is what anybody can make.
func TestNothingIsSignedWithAnEmptySecret(t *testing.T) {
	t.Parallel()
	mac := hmac.New(sha256.New, nil)
	mac.Write([]byte("body"))
	header := http.Header{"X-Gitea-Signature": {hex.EncodeToString(mac.Sum(nil))}, "X-Gitea-Event": {"push"}}
	for _, kind := range []forge.Kind{forge.Gitea, forge.Forgejo} {
		if _, err := verifierOf(t, kind).Verify(header, []byte("body"), secret.New("")); !errors.Is(err, forge.ErrSignature) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestWhatDeliveriesAreAbout(t *testing.T) {
	t.Parallel()
	const key = "0123456789abcdef"
	mac := hmac.New(sha256.New, []byte(key))
	for name, want := range map[string]forge.HookEvent{ // by X-Gitea-Event, of which one may stand for several types
		"push": forge.HookPush, "pull_request": forge.HookChange, "issues": forge.HookIssue, "issue_comment": forge.HookComment,
		"pull_request_comment": forge.HookComment, "pull_request_approved": forge.HookOther, "release": forge.HookOther, "create": forge.HookOther,
	} {
		header := http.Header{"X-Gitea-Signature": {hex.EncodeToString(mac.Sum(nil))}, "X-Gitea-Event": {name}}
		got, err := verifierOf(t, forge.Gitea).Verify(header, nil, secret.New(key))
		if err != nil || got != (forge.Delivery{Event: want, Name: name}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
