package http

import (
	"net/http"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/projections"
)

// me answers from what authenticating has read: one query in all.
func (s *server) me(w http.ResponseWriter, r *http.Request, view projections.View) error {
	document, err := commands.MeOf(view)
	if err != nil {
		return err
	}
	return s.reply(w, r, document)
}
