package forgetest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// giteaScopes are the scopes of Gitea's API in the order in which its messages list them.
var giteaScopes = []string{
	"public-only",
	"write:activitypub", "read:activitypub", "write:admin", "read:admin", "write:misc", "read:misc",
	"write:notification", "read:notification", "write:organization", "read:organization",
	"write:package", "read:package", "write:issue", "read:issue",
	"write:repository", "read:repository", "write:user", "read:user",
}

var giteaOpenID = []string{"openid", "profile", "email", "groups"}

// apiScope returns what a consent's scope means for the API: the scopes, or everything. Everything is what Gitea
// grants when no API scope is named and, this being the trap, when one name is unknown to it. Forgejo drops unknown
// names and grants everything only if none is left.
func (g *gitea) apiScope(scope string) (names []string, everything bool) {
	for _, name := range splitScopes(scope) {
		switch {
		case slices.Contains(giteaScopes, name):
			names = append(names, name)
		case slices.Contains(giteaOpenID, name):
		case g.forgejo():
		default:
			return nil, true
		}
	}
	return names, len(names) == 0
}

// allows reports whether a token of that scope may do what the required scope is for; the message is Gitea's refusal.
func (g *gitea) allows(scope, required string) (message string, ok bool) {
	names, everything := g.apiScope(scope)
	if everything || slices.Contains(names, required) ||
		slices.Contains(names, strings.Replace(required, "read:", "write:", 1)) {
		return "", true
	}
	slices.SortFunc(names, func(a, b string) int { return slices.Index(giteaScopes, a) - slices.Index(giteaScopes, b) })
	return fmt.Sprintf("token does not have at least one of required scope(s), required=[%s], token scope=%s",
		required, strings.Join(slices.Compact(names), ",")), false
}

type giteaMessage struct {
	Message string `json:"message"`
	URL     string `json:"url,omitempty"`
}

func (g *gitea) message(w http.ResponseWriter, r *http.Request, status int, message string) {
	writeJSON(w, status, giteaJSON, giteaMessage{Message: message, URL: g.f.root(r) + "/api/swagger"})
}

func (g *gitea) routes(mux *http.ServeMux) {
	api := g.f.traits.apiPrefixes[0]
	mux.HandleFunc("GET "+api+"/version", g.version)
	mux.HandleFunc("GET "+api+"/user", g.bound(g.user, "read:user"))
	mux.HandleFunc("GET "+api+"/user/emails", g.bound(g.emails, "read:user"))
	mux.HandleFunc("GET "+api+"/user/settings", g.bound(g.settings, "read:user"))
	mux.HandleFunc("PATCH "+api+"/user/settings", g.bound(g.rename, "write:user"))
	mux.HandleFunc("GET "+api+"/user/repos", g.bound(g.repositories, "read:user", "read:repository"))
	g.routeRepositories(mux, api)
	mux.HandleFunc("GET "+api+"/notifications", g.bound(g.notifications, "read:notification"))
	mux.HandleFunc("GET "+api+"/admin/users", g.bound(g.notAdmin, "read:admin"))
	mux.HandleFunc("GET /login/oauth/userinfo", g.userInfo)
	mux.HandleFunc("POST /login/oauth/introspect", g.introspect)
}

// bound wraps an API handler that needs a living token with all of the scopes. What it refuses, it refuses in the
// words recorded, and without WWW-Authenticate.
func (g *gitea) bound(serve func(http.ResponseWriter, *http.Request, caller), scopes ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		g.json(w)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		who, verdict := g.f.caller(bearer(r, "Bearer", "token"))
		switch {
		case verdict == absent:
			g.message(w, r, http.StatusUnauthorized, "token is required")
			return
		case verdict != living:
			g.message(w, r, http.StatusUnauthorized, "user does not exist [uid: 0, name: ]")
			return
		case who.user.Prohibited:
			writeJSON(w, http.StatusForbidden, giteaJSON, giteaMessage{
				Message: "This account is prohibited from signing in, please contact your site administrator.",
			})
			return
		}
		for _, required := range scopes {
			if message, ok := g.allows(who.scope, required); !ok {
				g.message(w, r, http.StatusForbidden, message)
				return
			}
		}
		serve(w, r, who)
	}
}

type giteaVersion struct {
	Version string `json:"version"`
}

func (g *gitea) version(w http.ResponseWriter, _ *http.Request) {
	version := "1.26.0+dev"
	if g.forgejo() {
		version = "15.0.0+gitea-1.22.0"
	}
	g.json(w)
	writeJSON(w, http.StatusOK, giteaJSON, giteaVersion{version})
}

type giteaUser struct {
	ID            int64  `json:"id"`
	Login         string `json:"login"`
	LoginName     string `json:"login_name"`
	SourceID      int64  `json:"source_id"`
	FullName      string `json:"full_name"`
	Email         string `json:"email"`
	AvatarURL     string `json:"avatar_url"`
	HTMLURL       string `json:"html_url"`
	Language      string `json:"language"`
	IsAdmin       bool   `json:"is_admin"`
	LastLogin     string `json:"last_login"`
	Created       string `json:"created"`
	Restricted    bool   `json:"restricted"`
	Active        bool   `json:"active"`
	ProhibitLogin bool   `json:"prohibit_login"`
	Location      string `json:"location"`
	Website       string `json:"website"`
	Description   string `json:"description"`
	Visibility    string `json:"visibility"`
	Followers     int    `json:"followers_count"`
	Following     int    `json:"following_count"`
	Starred       int    `json:"starred_repos_count"`
	Username      string `json:"username"`
}

func (g *gitea) account(root string, id int64, login, name string) giteaUser {
	if name == login {
		name = ""
	}
	return giteaUser{
		ID: id, Login: login, FullName: name, Email: login + "@forge.invalid",
		AvatarURL: root + "/avatars/" + url.PathEscape(login), HTMLURL: root + "/" + url.PathEscape(login),
		Language: "en-US", LastLogin: founded, Created: founded, Active: true, Visibility: "public", Username: login,
	}
}

func (g *gitea) user(w http.ResponseWriter, r *http.Request, who caller) {
	writeJSON(w, http.StatusOK, giteaJSON, g.account(g.f.root(r), who.user.ID, who.user.Login, who.user.Name))
}

type giteaEmail struct {
	Email    string `json:"email"`
	Verified bool   `json:"verified"`
	Primary  bool   `json:"primary"`
	UserID   int64  `json:"user_id"`
	Username string `json:"username"`
}

func (g *gitea) emails(w http.ResponseWriter, _ *http.Request, who caller) {
	writeJSON(w, http.StatusOK, giteaJSON, []giteaEmail{{Email: who.user.Login + "@forge.invalid", Verified: true, Primary: true}})
}

type giteaSettings struct {
	FullName string `json:"full_name"`
}

func (g *gitea) settings(w http.ResponseWriter, _ *http.Request, who caller) {
	writeJSON(w, http.StatusOK, giteaJSON, giteaSettings{who.user.Name})
}

// rename is PATCH /user/settings, of which the stand-in knows the full name.
func (g *gitea) rename(w http.ResponseWriter, r *http.Request, who caller) {
	if name := bodyValues(r).Get("full_name"); name != "" {
		g.f.mu.Lock()
		g.f.ledger.userByID(who.user.ID).Name = name
		g.f.mu.Unlock()
		who.user.Name = name
	}
	g.settings(w, r, who)
}

type giteaNotification struct {
	ID int64 `json:"id"`
}

// notifications is always empty: nothing happens at a stand-in forge.
func (g *gitea) notifications(w http.ResponseWriter, _ *http.Request, _ caller) {
	writeJSON(w, http.StatusOK, giteaJSON, []giteaNotification{})
}

// notAdmin refuses: no account of a stand-in forge is its administrator, whatever its token's scope.
func (g *gitea) notAdmin(w http.ResponseWriter, r *http.Request, _ caller) {
	g.message(w, r, http.StatusForbidden, "user should be the site admin")
}

type giteaUserInfo struct {
	Subject  string   `json:"sub"`
	Name     string   `json:"name"`
	Username string   `json:"preferred_username"`
	Email    string   `json:"email"`
	Picture  string   `json:"picture"`
	Groups   []string `json:"groups"`
}

func (g *gitea) userInfo(w http.ResponseWriter, r *http.Request) {
	g.json(w)
	who, verdict := g.f.caller(bearer(r, "Bearer", "token"))
	if verdict != living || who.user.Prohibited {
		http.Error(w, "Failed to authenticate user", http.StatusUnauthorized)
		return
	}
	writeJSON(w, http.StatusOK, giteaJSON, giteaUserInfo{
		Subject: strconv.FormatInt(who.user.ID, 10), Name: who.user.Name, Username: who.user.Login,
		Email: who.user.Login + "@forge.invalid", Picture: g.f.root(r) + "/avatars/" + url.PathEscape(who.user.Login),
	})
}

type giteaIntrospection struct {
	Active   bool     `json:"active"`
	Scope    string   `json:"scope,omitempty"`
	Username string   `json:"username,omitempty"`
	Issuer   string   `json:"iss,omitempty"`
	Subject  string   `json:"sub,omitempty"`
	Audience []string `json:"aud,omitempty"`
}

// introspect is RFC 7662 for any registered client, authenticated by Basic.
func (g *gitea) introspect(w http.ResponseWriter, r *http.Request) {
	g.json(w)
	id, password, _ := r.BasicAuth()
	value := bodyValues(r).Get("token")
	g.f.mu.Lock()
	client := g.f.ledger.clients[id]
	known := client != nil && client.Secret == password
	t := g.f.ledger.tokens[value]
	answer := giteaIntrospection{}
	if t != nil && !t.revoked && !t.lapsed(g.f.ledger.now()) && g.f.ledger.clients[t.pair.client] != nil {
		answer = giteaIntrospection{
			Active: true, Scope: t.pair.scope, Username: g.f.ledger.userByID(t.pair.user).Login, Issuer: g.f.root(r),
			Subject: strconv.FormatInt(t.pair.user, 10), Audience: []string{t.pair.client},
		}
	}
	g.f.mu.Unlock()
	if !known {
		w.Header().Set("WWW-Authenticate", `Basic realm="Gitea OAuth2"`)
		http.Error(w, "no valid authorization", http.StatusUnauthorized)
		return
	}
	writeJSON(w, http.StatusOK, giteaJSON, answer)
}
