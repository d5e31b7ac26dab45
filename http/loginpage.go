package http

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
)

// loginView is what templates/login.html shows, and what GET /login answers as JSON.
type loginView struct {
	Problem *problem     `json:"problem"`
	Forges  []loginForge `json:"forges"`
	// SetupCodeRequired says that a sign-in needs the form field setup_code, RecoveryCodeTaken that it may have one.
	SetupCodeRequired bool `json:"setup_code_required"`
	RecoveryCodeTaken bool `json:"recovery_code_taken"`

	// Confirm makes the page ask about the one forge of the list. SignedInAs is who the session belongs to, and SignedInAt the
	// connection at which that is somebody's name.
	Confirm    bool   `json:"-"`
	SignedInAs string `json:"-"`
	SignedInAt string `json:"-"`
}

// loginForge is one button.
type loginForge struct {
	ForgeType string     `json:"forge_type"`
	Kind      forge.Kind `json:"kind"`
	BaseURL   string     `json:"base_url"`
	// Start is where to POST.
	Start string `json:"start"`
}

func newLoginForge(c forge.Connection, returnTo string) loginForge {
	return loginForge{ForgeType: c.Name, Kind: c.Kind, BaseURL: c.BaseURL, Start: initPath(c.Name, returnTo)}
}

// newLoginView lists the forges that are a way in, within a session all of them: there they are for connecting.
func (s *server) newLoginView(r *http.Request, view *projections.View, returnTo string) (loginView, error) {
	status, err := s.config.Commands.Status(r.Context())
	if err != nil {
		return loginView{}, err
	}
	page := loginView{Forges: []loginForge{}, SetupCodeRequired: status.NeedsCode()}
	if view != nil {
		page.SignedInAs, page.SignedInAt = view.Session.Account.AccountLogin, view.Session.Account.ForgeType
	}
	page.RecoveryCodeTaken = status.Recovery && view == nil
	for _, connection := range s.config.Connections {
		if connection.Login || view != nil {
			page.Forges = append(page.Forges, newLoginForge(connection, returnTo))
		}
	}
	return page, nil
}

// leavePage is what templates/leave.html shows: it takes the browser to a forge at once, and has a link for one that
// does not follow.
type leavePage struct {
	Forge        loginForge
	AuthorizeURL string
}

// newLeavePage is for the connection that the path names, which is known to be configured.
func (s *server) newLeavePage(r *http.Request, authorizeURL string) leavePage {
	connection, _ := s.connection(chi.URLParam(r, "forge"))
	return leavePage{Forge: newLoginForge(connection, ""), AuthorizeURL: authorizeURL}
}
