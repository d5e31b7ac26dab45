package events

import (
	"strings"

	"github.com/google/uuid"
)

// Stream names one sequence of facts that are decided about together. Its versions are dense: 1, 2, 3, …
type Stream string

// The streams of which there is one.
const (
	// StreamOperator says whom this deployment belongs to and which accounts may sign in.
	StreamOperator Stream = "operator"
	// StreamActiveForge says which forge is active.
	StreamActiveForge Stream = "active-forge"
	// StreamDenials says who was turned away.
	StreamDenials Stream = "denials"
	// StreamCustody says what was done to the keys and, against the log, to the tables.
	StreamCustody Stream = "custody"
)

const (
	tokenPrefix   = "token/"
	sessionPrefix = "session/"
	relayPrefix   = "relay/"
)

// TokenStream is the stream of one connection's token: issued, replaced, revoked.
func TokenStream(forgeType string) Stream { return Stream(tokenPrefix + forgeType) }

// SessionStream is the stream of one browser session.
func SessionStream(id uuid.UUID) Stream { return Stream(sessionPrefix + id.String()) }

// RelayStream is the stream of what people and forgeauth itself decided about one consumer group of the feed.
func RelayStream(group string) Stream { return Stream(relayPrefix + group) }

// ForgeType returns the connection whose token stream s is.
func (s Stream) ForgeType() (name string, ok bool) { return strings.CutPrefix(string(s), tokenPrefix) }

// SessionID returns the session whose stream s is.
func (s Stream) SessionID() (id uuid.UUID, ok bool) {
	text, ok := strings.CutPrefix(string(s), sessionPrefix)
	if !ok {
		return uuid.Nil, false
	}
	id, err := uuid.Parse(text)
	return id, err == nil
}
