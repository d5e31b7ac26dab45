package http

import (
	"net/http"
	"time"

	"github.com/forgeauth/forgeauth/projections"
)

// me is the body of GET /me.
type me struct {
	ForgeType    string    `json:"forge_type"`
	AccountLogin string    `json:"account_login"`
	BaseURL      string    `json:"base_url"`
	Since        time.Time `json:"since"` // since when this forge is the active one
}

func meOf(view projections.View) (me, error) {
	if view.Active == nil {
		return me{}, projections.ErrNoActiveForge
	}
	return me{
		ForgeType:    view.Active.ForgeType,
		AccountLogin: view.AccountLogin,
		BaseURL:      view.BaseURL,
		Since:        view.Active.Since.UTC(),
	}, nil
}

// me answers from what authenticating has read: one query in all.
func (s *server) me(w http.ResponseWriter, r *http.Request, view projections.View) error {
	document, err := meOf(view)
	if err != nil {
		return err
	}
	return s.reply(w, r, document)
}
