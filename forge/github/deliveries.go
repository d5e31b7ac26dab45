package github

import (
	"net/http"
	"slices"
	"strings"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

// HookVerifier implements [forge.Provider].
func (p *provider) HookVerifier() forge.HookVerifier { return verifier{} }

type verifier struct{}

// Verify implements [forge.HookVerifier] by X-Hub-Signature-256 (GitHub Docs: Validating webhook deliveries). The older
// X-Hub-Signature is made with SHA-1 and not looked at.
func (verifier) Verify(header http.Header, body []byte, secrets ...secret.Text) (forge.Delivery, error) {
	digits, ok := strings.CutPrefix(forge.OneHeader(header, "X-Hub-Signature-256"), "sha256=")
	if !ok || !forge.IsSigned(body, digits, secrets...) {
		return forge.Delivery{}, forge.ErrSignature
	}
	name := forge.OneHeader(header, "X-GitHub-Event")
	delivery := forge.Delivery{
		Event: forge.HookOther, Name: forge.CleanString(name), ID: forge.CleanString(forge.OneHeader(header, "X-GitHub-Delivery")),
	}
	for _, known := range hookEvents {
		if slices.Contains(known.names, name) {
			delivery.Event = known.event
		}
	}
	if name == "ping" {
		delivery.Event = forge.HookPing
	}
	return delivery, nil
}
