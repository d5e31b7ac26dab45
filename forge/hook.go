package forge

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"github.com/forgeauth/forgeauth/secret"
)

// HookEvent is what a webhook reports, named alike for all kinds of forges. Adapters translate.
type HookEvent string

// The events that every kind of forge has. A delivery of anything else has the event [HookOther].
const (
	HookPush    HookEvent = "push"    // commits on a branch, or a tag
	HookChange  HookEvent = "change"  // a change was opened, updated, closed or merged
	HookIssue   HookEvent = "issue"   // an issue was opened, edited or closed
	HookComment HookEvent = "comment" // somebody commented an issue or a change
	HookPing    HookEvent = "ping"    // the forge tries the hook
	HookOther   HookEvent = "other"
)

// Hook is a webhook of a repository. Forges do not tell its secret.
type Hook struct {
	ID  string `json:"id"`
	URL string `json:"url"`
	// Events are those of this package that the hook is subscribed to, in the order of their constants; others that it may
	// have are left out.
	Events []HookEvent `json:"events"`
	Active bool        `json:"active"`
}

// HookSpec is a webhook as it should be.
type HookSpec struct {
	// URL is where the forge delivers to: http or https, and what [Port.EnsureHook] knows its own hook by.
	URL string
	// Secret signs the deliveries: 16 to 255 visible ASCII characters. See [HookVerifier].
	Secret secret.Text
	// Events out of push, change, issue, comment; at least one.
	Events []HookEvent
}

// Delivery is what a verified request of a webhook is about.
type Delivery struct {
	Event HookEvent
	// Name is the event as the forge calls it, cleaned: pull_request, Merge Request Hook, pullrequest:created.
	Name string
	// ID tells deliveries apart, and is the same when the forge sends one again; cleaned, empty where the forge has none.
	ID string
}

// ErrSignature says that a delivery is not signed with a secret that was given, or not at all: answer 401 and look no
// further into it.
var ErrSignature = errors.New("the delivery is not signed with this webhook's secret")

// HookVerifier checks deliveries of one kind of forge. It needs no token and no network. Safe for concurrent use.
type HookVerifier interface {
	// Verify compares the delivery's signature, in constant time, with that of the body under each of the secrets: two
	// while one is being replaced. The body is as received, byte for byte. It fails with [ErrSignature], also for no secret
	// or an empty one; what it returns beside an error is zero. Only after that is the event named.
	Verify(header http.Header, body []byte, secrets ...secret.Text) (Delivery, error)
}

// OneHeader returns the value of a header that is there once, whatever the case of its name; empty if it is not there, or more
// than once, of which two readers could take two.
func OneHeader(header http.Header, name string) string {
	var found []string
	for key, values := range header {
		if strings.EqualFold(key, name) {
			found = append(found, values...)
		}
	}
	if len(found) != 1 {
		return ""
	}
	return found[0]
}

// IsSigned reports whether the hexadecimal digits are the HMAC-SHA-256 (RFC 2104) of the body under one of the secrets. It
// compares in constant time; nothing is signed with an empty secret.
func IsSigned(body []byte, digits string, secrets ...secret.Text) bool {
	claimed, err := hex.DecodeString(digits)
	isSigned := false
	for _, key := range secrets {
		mac := hmac.New(sha256.New, []byte(key.Reveal()))
		_, _ = mac.Write(body) // never fails
		isEqual := hmac.Equal(mac.Sum(nil), claimed)
		isSigned = isSigned || isEqual && err == nil && key.Reveal() != ""
	}
	return isSigned
}
