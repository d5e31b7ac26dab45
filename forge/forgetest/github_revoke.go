package forgetest

import (
	"encoding/json"
	"net/http"
	"strings"
)

// application authenticates a call to /applications/{client}/… by HTTP Basic and returns the living token that the
// body names. Where it returns nil, it has answered.
func (g *github) application(w http.ResponseWriter, r *http.Request) *token {
	id, password, basic := r.BasicAuth()
	var body struct {
		AccessToken string `json:"access_token"`
	}
	decodeErr := json.NewDecoder(r.Body).Decode(&body)
	g.f.mu.Lock()
	defer g.f.mu.Unlock()
	client := g.f.ledger.clients[id]
	switch {
	case !basic:
		g.message(w, http.StatusUnauthorized, "Requires authentication")
	case client == nil || client.Secret != password:
		g.message(w, http.StatusUnauthorized, "Bad credentials")
	case id != r.PathValue("client"):
		g.message(w, http.StatusNotFound, "Not Found")
	case decodeErr != nil || body.AccessToken == "":
		g.message(w, http.StatusUnprocessableEntity, "Validation Failed")
	default:
		t, verdict := g.f.ledger.judge(body.AccessToken, g.f.traits.idleTTL)
		if t != nil && t.pair.client == id && verdict == living {
			return t
		}
		g.message(w, http.StatusNotFound, "Not Found")
	}
	return nil
}

// revoke deletes one token, or with /grant the user's whole authorization of the application.
func (g *github) revoke(w http.ResponseWriter, r *http.Request) {
	t := g.application(w, r)
	if t == nil {
		return
	}
	g.f.mu.Lock()
	if strings.HasSuffix(r.URL.Path, "/grant") {
		g.f.ledger.withdraw(t.pair.user, t.pair.client)
	} else {
		t.pair.revoke()
	}
	g.f.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

type githubAuthorization struct {
	ID     int64       `json:"id"`
	Scopes []string    `json:"scopes"`
	Token  string      `json:"token"`
	User   githubOwner `json:"user"`
}

// check tells an application whether a token of its own is good.
func (g *github) check(w http.ResponseWriter, r *http.Request) {
	t := g.application(w, r)
	if t == nil {
		return
	}
	who, verdict := g.f.caller(t.value)
	if verdict != living {
		g.message(w, http.StatusNotFound, "Not Found")
		return
	}
	writeJSON(w, http.StatusOK, githubJSON, githubAuthorization{
		ID: who.user.ID, Scopes: splitScopes(who.scope), Token: t.value, User: g.owner(g.f.root(r), who.user.Login, who.user.ID),
	})
}
