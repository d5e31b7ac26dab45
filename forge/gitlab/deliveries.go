package gitlab

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

// HookVerifier implements [forge.Provider]. (GitLab docs: Webhooks, signing tokens, delivery headers.)
//
// A secret of the form whsec_ and 32 bytes in base64 is a signing token: the delivery must carry an HMAC-SHA-256 of id, time
// and body, by Standard Webhooks, and the token that GitLab may send beside it does not count. Any other secret is that
// token; it proves who sent a delivery, but not that nobody changed it on the way. Its age is not looked at,
// since clocks differ: who must not act twice remembers [forge.Delivery.ID].
func (p *provider) HookVerifier() forge.HookVerifier { return verifier{} }

type verifier struct{}

func (verifier) Verify(header http.Header, body []byte, secrets ...secret.Text) (forge.Delivery, error) {
	signed, sent := false, false
	for _, s := range secrets {
		// Each of them is looked at, so that how long it takes does not tell which one it was.
		if key, signs := signingKey(s); signs {
			signed = isSigned(header, body, key) || signed
		} else {
			sent = isSent(header, s) || sent
		}
	}
	if !signed && !sent {
		return forge.Delivery{}, forge.ErrSignature
	}
	name, id := forge.OneHeader(header, "X-Gitlab-Event"), ""
	if signed {
		id = forge.OneHeader(header, "webhook-id")
	}
	// Idempotency-Key since GitLab 17.4. The event's UUID is the same for all webhooks of a project, each of which has its own
	// receiver, and for what a webhook causes in turn, if it hands the UUID on.
	for _, other := range []string{"Idempotency-Key", "X-Gitlab-Event-UUID"} {
		if id == "" {
			id = forge.OneHeader(header, other)
		}
	}
	return forge.Delivery{Event: event(name, body), Name: forge.CleanString(name), ID: forge.CleanString(id)}, nil
}

// isSent compares the token of a delivery with a secret. Digests are compared, which are all of one length: comparing the
// values would tell how long the secret is.
func isSent(header http.Header, s secret.Text) bool {
	sent := forge.OneHeader(header, "X-Gitlab-Token")
	a, b := sha256.Sum256([]byte(sent)), sha256.Sum256([]byte(s.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && sent != ""
}

// isSigned looks for one good signature of the list in the header: v1, and base64, separated by spaces.
func isSigned(header http.Header, body, key []byte) bool {
	id, at := forge.OneHeader(header, "webhook-id"), forge.OneHeader(header, "webhook-timestamp")
	if id == "" || at == "" {
		return false
	}
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write(slices.Concat([]byte(id+"."+at+"."), body)) // never fails
	want := mac.Sum(nil)
	good := false
	for candidate := range strings.FieldsSeq(forge.OneHeader(header, "webhook-signature")) {
		version, encoded, _ := strings.Cut(candidate, ",")
		signature, err := base64.StdEncoding.DecodeString(encoded)
		good = version == "v1" && err == nil && hmac.Equal(signature, want) || good
	}
	return good
}

// signingKey is the key in a signing token, or false for a secret that is none.
func signingKey(s secret.Text) ([]byte, bool) {
	const length = 32
	encoded, ok := strings.CutPrefix(s.Reveal(), "whsec_")
	if !ok {
		return nil, false
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	return key, err == nil && len(key) == length
}

// event translates the name of a delivery. GitLab has no ping: trying a webhook sends an event as if it had happened.
func event(name string, body []byte) forge.HookEvent {
	switch name {
	case "Push Hook", "Tag Push Hook":
		return forge.HookPush
	case "Merge Request Hook":
		return forge.HookChange
	case "Issue Hook", "Confidential Issue Hook":
		return forge.HookIssue
	case "Note Hook", "Confidential Note Hook":
		if isElsewhere(body) {
			return forge.HookOther
		}
		return forge.HookComment
	}
	return forge.HookOther
}

// isElsewhere reports whether a note is neither on an issue nor on a merge request.
func isElsewhere(body []byte) bool {
	var delivered struct {
		Attributes struct {
			On string `json:"noteable_type"`
		} `json:"object_attributes"`
	}
	// A template of the webhook's owner can be anything, and then says nothing.
	_ = json.NewDecoder(bytes.NewReader(body)).Decode(&delivered)
	return delivered.Attributes.On == "Commit" || delivered.Attributes.On == "Snippet"
}
