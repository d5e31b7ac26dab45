package commands

import (
	"time"

	"github.com/forgeauth/forgeauth/projections"
)

// Me is the body of GET /me: the active forge, and as whom forgeauth acts on it.
type Me struct {
	ForgeType    string    `json:"forge_type"`
	AccountLogin string    `json:"account_login"`
	BaseURL      string    `json:"base_url"`
	Since        time.Time `json:"since"` // since when this forge is the active one
}

// MeOf answers from what authenticating has read, or with [projections.ErrNoActiveForge].
func MeOf(view projections.View) (Me, error) {
	if view.Active == nil {
		return Me{}, projections.ErrNoActiveForge
	}
	return Me{view.Active.ForgeType, view.AccountLogin, view.BaseURL, view.Active.Since.UTC()}, nil
}

// MeAt is what [MeOf] would have answered where the log had been folded into state.
func MeAt(state *projections.State) (Me, error) {
	active, ok := state.Active()
	if !ok {
		return Me{}, projections.ErrNoActiveForge
	}
	token, _ := state.Token(active.ForgeType)
	return MeOf(projections.View{Active: &active, AccountLogin: token.AccountLogin, BaseURL: token.BaseURL})
}
