package gitea

import (
	"net/http"
	"strings"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

// HookVerifier implements [forge.Provider].
func (p *provider) HookVerifier() forge.HookVerifier {
	if p.Connection().Kind == forge.Forgejo {
		return verifier{"X-Forgejo-", "X-Gitea-"}
	}
	return verifier{"X-Gitea-"}
}

// verifier is the beginnings of the headers that count, the forge's own first. Gitea sends X-Gitea-…; Forgejo sends
// X-Forgejo-… and the same as X-Gitea-…. What both send besides for programs made for others (X-Gogs-…, X-Hub-Signature-256,
// X-GitHub-Event) says the same once more and is not looked at.
type verifier []string

// Verify implements [forge.HookVerifier] (docs.gitea.com, Webhooks; forgejo.org, Webhooks): the signature is the body's
// HMAC-SHA256 under the secret, in hexadecimal digits. Of the headers that count each may be there once, and all that are there
// must say the same: a request in which two contradict each other was not made by the forge. The headers that name event and
// delivery are not signed. A hook that delivers forms signs what is inside the form and not the body, and so never verifies.
func (v verifier) Verify(header http.Header, body []byte, secrets ...secret.Text) (forge.Delivery, error) {
	signature, _ := v.value(header, "Signature") // of two that contradict each other neither is one
	if !forge.IsSigned(body, signature, secrets...) {
		return forge.Delivery{}, forge.ErrSignature
	}
	event, isOne := v.value(header, "Event")
	id, isSame := v.value(header, "Delivery")
	if !isOne || !isSame {
		return forge.Delivery{}, forge.ErrSignature
	}
	return forge.Delivery{Event: delivered(event), Name: forge.CleanString(event), ID: forge.CleanString(id)}, nil
}

// value is what the headers say by all their names, whatever the case of those; false if they contradict each other. Nothing
// is empty.
func (v verifier) value(header http.Header, name string) (value string, ok bool) {
	for _, prefix := range v {
		var found []string
		for key, values := range header {
			if strings.EqualFold(key, prefix+name) {
				found = append(found, values...)
			}
		}
		switch {
		case len(found) == 0:
			continue
		case len(found) > 1, value != "" && !strings.EqualFold(value, found[0]):
			return "", false
		}
		value = found[0]
	}
	return value, true
}

// delivered is the event by the header's name for it, which is that of a group: issue_comment is on pull requests too.
func delivered(name string) forge.HookEvent {
	switch name {
	case "push":
		return forge.HookPush
	case "pull_request":
		return forge.HookChange
	case "issues":
		return forge.HookIssue
	case "issue_comment", "pull_request_comment":
		return forge.HookComment
	}
	return forge.HookOther
}
