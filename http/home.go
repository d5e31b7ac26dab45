package http

import (
	"net/http"
	"time"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// homeView is what templates/home.html shows, and what GET / answers as JSON.
type homeView struct {
	Me         *commands.Me `json:"me"` // null if no forge is active
	SignedInAs signedInAs   `json:"signed_in_as"`

	forgeList

	Events []eventLine `json:"events"` // newest first
}

// signedInAs is the account a session belongs to, which need not be the active forge's.
type signedInAs struct {
	ForgeType    string `json:"forge_type"`
	AccountLogin string `json:"account_login"`
}

// eventLine is an event without its payload.
type eventLine struct {
	Position   int64     `json:"position"`
	OccurredAt time.Time `json:"occurred_at"`
	Type       string    `json:"type"`
	Stream     string    `json:"stream"`
	Actor      string    `json:"actor"`
}

// lastEvents is how many events the page shows.
const lastEvents = 20

// home is the operator's page. A browser without a session goes to sign in first.
func (s *server) home(w http.ResponseWriter, r *http.Request, view *projections.View) error {
	switch {
	case view == nil && prefersHTML(r):
		seeOther(w, "/login")
		return nil
	case view == nil:
		return projections.ErrNoSession
	}
	page, err := s.newHomeView(r, *view)
	if err != nil {
		return err
	}
	if prefersHTML(r) {
		s.page(w, r, http.StatusOK, "home", page)
		return nil
	}
	return s.reply(w, r, page)
}

func (s *server) newHomeView(r *http.Request, view projections.View) (homeView, error) {
	page := homeView{
		SignedInAs: signedInAs{view.Session.Account.ForgeType, view.Session.Account.AccountLogin},
		Events:     []eventLine{},
	}
	if active, err := commands.MeOf(view); err == nil {
		page.Me = &active
	}
	var err error
	if page.forgeList, err = s.listForges(r); err != nil {
		return homeView{}, err
	}
	// Records and not Read: the page shows no payload, and what a newer version wrote is worth seeing.
	for record, err := range s.config.Log.Records(r.Context(), events.Query{Latest: lastEvents}) {
		if err != nil {
			return homeView{}, err
		}
		page.Events = append(page.Events, eventLine{
			record.Position, record.OccurredAt, record.Type, string(record.Stream), record.Actor,
		})
	}
	return page, nil
}
