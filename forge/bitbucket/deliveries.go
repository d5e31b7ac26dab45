package bitbucket

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

type verifier struct{}

// Verify implements [forge.HookVerifier]: the signature is sha256= and the body's HMAC-SHA256 under the secret in hexadecimal
// digits. Another attempt at the same delivery has its X-Request-UUID. The headers that name event and delivery are not
// signed. (Bitbucket Cloud documentation: Manage webhooks, Event payloads)
func (verifier) Verify(header http.Header, body []byte, secrets ...secret.Text) (forge.Delivery, error) {
	signature, ok := only(header, "X-Hub-Signature")
	if !ok || !signed(signature, body, secrets) {
		return forge.Delivery{}, forge.ErrSignature
	}
	// Two of one name contradict each other, and were not sent by the forge.
	name, ok := only(header, "X-Event-Key")
	if !ok && len(header.Values("X-Event-Key")) > 0 {
		return forge.Delivery{}, forge.ErrSignature
	}
	id, ok := only(header, "X-Request-Uuid")
	if !ok && len(header.Values("X-Request-Uuid")) > 0 {
		return forge.Delivery{}, forge.ErrSignature
	}
	return forge.Delivery{Event: delivered(name), Name: forge.CleanString(name), ID: forge.CleanString(id)}, nil
}

// only is the value of a header that is there once.
func only(header http.Header, name string) (string, bool) {
	values := header.Values(name)
	if len(values) != 1 {
		return "", false
	}
	return values[0], true
}

// signed reports whether a signature is the body's under one of the secrets. It compares with all of them, in constant time.
func signed(signature string, body []byte, secrets []secret.Text) bool {
	digits, ok := strings.CutPrefix(signature, "sha256=")
	given, err := hex.DecodeString(digits)
	if !ok || err != nil {
		return false
	}
	matches := false
	for _, s := range secrets {
		if s.IsZero() {
			continue // an empty secret signs nothing
		}
		mac := hmac.New(sha256.New, []byte(s.Reveal()))
		mac.Write(body)
		matches = hmac.Equal(given, mac.Sum(nil)) || matches
	}
	return matches
}

// delivered is the event by Bitbucket's name for it.
func delivered(name string) forge.HookEvent {
	switch name {
	case "repo:push":
		return forge.HookPush
	case "pullrequest:created", "pullrequest:updated", "pullrequest:push", "pullrequest:fulfilled", "pullrequest:rejected":
		return forge.HookChange
	case "pullrequest:comment_created":
		return forge.HookComment
	}
	return forge.HookOther
}
