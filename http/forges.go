package http

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
)

// forgeList is the body of GET /forges.
type forgeList struct {
	Forges []commands.ForgeStatus `json:"forges"`
}

// changes is the body of an answer to a change: the events that it appended, none if all was so already.
type changes struct {
	Events []change `json:"events"`
	// Revocation is what has become of the token that the change took out of use; absent if it took none.
	Revocation *commands.RevocationStatus `json:"revocation,omitempty"`
}

type change struct {
	Position int64  `json:"position"`
	Stream   string `json:"stream"`
	Type     string `json:"type"`
}

func (s *server) forges(w http.ResponseWriter, r *http.Request, _ projections.View) error {
	list, err := s.listForges(r)
	if err != nil {
		return err
	}
	return s.reply(w, r, list)
}

func (s *server) listForges(r *http.Request) (forgeList, error) {
	forges, err := s.config.Commands.Forges(r.Context())
	if forges == nil {
		forges = []commands.ForgeStatus{}
	}
	return forgeList{Forges: forges}, err
}

// activateForge takes JSON by PUT and a form by POST.
func (s *server) activateForge(w http.ResponseWriter, r *http.Request, view projections.View) error {
	forgeType, err := decodeForgeType(w, r)
	if err != nil {
		return err
	}
	appended, err := s.config.Commands.ActivateForge(r.Context(), caller(r, view), forgeType)
	return s.changed(w, r, appended, err)
}

func decodeForgeType(w http.ResponseWriter, r *http.Request) (string, error) {
	if r.Method == http.MethodPost {
		form, err := decodeForm(w, r, "forge_type")
		if err != nil {
			return "", err
		}
		return knownShape(form.Get("forge_type"), codeBadForm)
	}
	body, err := decodeJSON[struct {
		ForgeType string `json:"forge_type"`
	}](w, r)
	if err != nil {
		return "", err
	}
	return knownShape(body.ForgeType, codeBadJSON)
}

func (s *server) deactivateForge(w http.ResponseWriter, r *http.Request, view projections.View) error {
	if _, err := decodeForm(w, r); err != nil {
		return err
	}
	appended, err := s.config.Commands.DeactivateForge(r.Context(), caller(r, view))
	return s.changed(w, r, appended, err)
}

func (s *server) disconnectForge(w http.ResponseWriter, r *http.Request, view projections.View) error {
	forgeType, err := pathForge(r)
	if err != nil {
		return err
	}
	if _, err := decodeForm(w, r); err != nil {
		return err
	}
	appended, err := s.config.Commands.DisconnectForge(r.Context(), caller(r, view), forgeType)
	return s.changed(w, r, appended, err)
}

// changed answers a change: with the events, or for a browser's form with the page it came from.
func (s *server) changed(w http.ResponseWriter, r *http.Request, appended []events.Event, err error) error {
	if err != nil {
		return err
	}
	if prefersHTML(r) {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return nil
	}
	document := changes{Events: []change{}, Revocation: commands.RevocationIn(appended)}
	for _, e := range appended {
		document.Events = append(document.Events, change{e.Position, string(e.Stream), e.Type})
	}
	return s.reply(w, r, document)
}

// pathForge returns the connection that the path names. What could not be a name is known to nobody.
func pathForge(r *http.Request) (string, error) {
	return knownShape(chi.URLParam(r, "forge"), codeUnknownForge)
}

func knownShape(name string, otherwise code) (string, error) {
	if forge.ValidName(name) != nil {
		return "", refuse(otherwise)
	}
	return name, nil
}
