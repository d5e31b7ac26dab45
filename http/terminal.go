package http

import (
	"net/http"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/forge"
)

// forTerminal reports whether a callback is the answer to a sign-in that was started on the host. No browser has an attempt for it,
// and the code is of use only where the verifier is. So the browser stays at this address, for a person to take it there: nothing is
// exchanged, looked up or redirected, and the page repeats nothing of the query.
func (s *server) forTerminal(r *http.Request) (forge.Connection, bool) {
	if !prefersHTML(r) {
		return forge.Connection{}, false
	}
	name, err := pathForge(r)
	if err != nil {
		return forge.Connection{}, false
	}
	query, err := parseQuery(r, codeBadCallback, "state")
	if err != nil || !commands.IsHostState(query.Get("state")) {
		return forge.Connection{}, false
	}
	return s.connection(name)
}
