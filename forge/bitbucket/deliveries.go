package bitbucket

import (
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
	digits, ok := strings.CutPrefix(forge.OneHeader(header, "X-Hub-Signature"), "sha256=")
	if !forge.IsSigned(body, digits, secrets...) || !ok {
		return forge.Delivery{}, forge.ErrSignature
	}
	name := forge.OneHeader(header, "X-Event-Key")
	return forge.Delivery{
		Event: delivered(name), Name: forge.CleanString(name), ID: forge.CleanString(forge.OneHeader(header, "X-Request-UUID")),
	}, nil
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
