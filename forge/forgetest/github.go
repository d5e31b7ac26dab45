package forgetest

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// github is github.com with an OAuth App or a GitHub App, and GitHub Enterprise Server.
type github struct{ f *Forge }

const (
	githubDocs = "https://docs.github.com/rest"
	githubJSON = "application/json; charset=utf-8"
)

func (g *github) app() bool { return g.f.config.Dialect == GitHubApp }

func (g *github) traits() traits {
	t := traits{
		authorizePath: "/login/oauth/authorize", tokenPath: "/login/oauth/access_token",
		loginPath: "/login", consentPath: "/login/oauth/decision",
		apiPrefixes:    []string{"", "/api/v3"},
		redirectStatus: http.StatusFound, redirectOptional: true, railsRoutes: true,
		tokenLimit: 10, idleTTL: 365 * 24 * time.Hour,
	}
	switch {
	case g.app():
		t.accessTTL, t.refreshTTL, t.rotates, t.refreshKillsAccess = 8*time.Hour, 184*24*time.Hour, true, true
		t.tokenLimit = 0
	case g.f.config.Dialect == GitHubEnterprise:
		t.apiPrefixes = []string{"/api/v3"}
	}
	return t
}

// githubImplied are scopes that a broader one includes; GitHub leaves them out of what it reports.
var githubImplied = map[string][]string{
	"repo":            {"public_repo", "repo:status", "repo_deployment", "repo:invite", "security_events"},
	"user":            {"read:user", "user:email", "user:follow"},
	"admin:org":       {"write:org", "read:org", "manage_runners:org"},
	"write:org":       {"read:org"},
	"admin:repo_hook": {"write:repo_hook", "read:repo_hook"},
	"write:repo_hook": {"read:repo_hook"},
	"workflow":        nil, "gist": nil, "notifications": nil, "delete_repo": nil, "project": {"read:project"},
	"write:packages": {"read:packages"}, "admin:public_key": {"write:public_key", "read:public_key"},
}

// grantScope drops names that GitHub does not know and those that a broader one includes. A GitHub App has
// permissions instead of scopes.
func (g *github) grantScope(asked string) (string, bool) {
	if g.app() {
		return "", true
	}
	names := splitScopes(asked)
	var granted []string
	for _, name := range names {
		known, implied := false, false
		for broad, narrow := range githubImplied {
			known = known || name == broad || slices.Contains(narrow, name)
			implied = implied || slices.Contains(narrow, name) && slices.Contains(names, broad)
		}
		if known && !implied && !slices.Contains(granted, name) {
			granted = append(granted, name)
		}
	}
	return strings.Join(granted, ","), true
}

func (g *github) covers(consented, asked string) bool {
	has := splitScopes(consented)
	for _, name := range splitScopes(asked) {
		if !githubHas(has, name) {
			return false
		}
	}
	return true
}

func githubHas(scopes []string, name string) bool {
	if slices.Contains(scopes, name) {
		return true
	}
	return slices.ContainsFunc(scopes, func(broad string) bool { return slices.Contains(githubImplied[broad], name) })
}

func (g *github) mintCode() string {
	raw := make([]byte, 10)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}

func (g *github) mint(*pair) (access, refresh string) {
	if g.app() {
		return "ghu_" + (rand.Text() + rand.Text())[:36], "ghr_" + (rand.Text() + rand.Text() + rand.Text())[:76]
	}
	return "gho_" + (rand.Text() + rand.Text())[:36], ""
}

func (g *github) refuseRefresh(t *token, client string) reason {
	if t.kind != RefreshTokenIssue || t.pair.client != client || t.revoked || t.isSpent(g.f.ledger.now(), 0) || t.lapsed(g.f.ledger.now()) {
		return badRefresh
	}
	return noReason
}

func (g *github) answerGrant(w http.ResponseWriter, r *http.Request, p *pair) {
	values := [][2]string{{"access_token", p.access.value}}
	if p.refresh != nil {
		values = append(values,
			[2]string{"expires_in", strconv.Itoa(int(g.f.traits.accessTTL / time.Second))},
			[2]string{"refresh_token", p.refresh.value},
			[2]string{"refresh_token_expires_in", strconv.Itoa(int(g.f.traits.refreshTTL / time.Second))})
	}
	g.answer(w, r, append(values, [2]string{"scope", p.scope}, [2]string{"token_type", "bearer"}))
}

// githubRefusals are GitHub's answers at the token endpoint; all of them travel with status 200.
var githubRefusals = map[reason][2]string{
	unsupportedGrant:     {"unsupported_grant_type", "The grant_type is not supported."},
	unknownClient:        {"incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect."},
	emptySecret:          {"incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect."},
	wrongSecret:          {"incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect."},
	unregisteredRedirect: {"redirect_uri_mismatch", "The redirect_uri MUST match the registered callback URL for this application."},
	differentRedirect:    {"redirect_uri_mismatch", "The redirect_uri MUST match the registered callback URL for this application."},
	missingRefresh:       {"bad_refresh_token", "The refresh token passed is incorrect or expired."},
	badRefresh:           {"bad_refresh_token", "The refresh token passed is incorrect or expired."},
}

func (g *github) refuseGrant(w http.ResponseWriter, r *http.Request, why refusal) {
	words, ok := githubRefusals[why.reason]
	switch {
	case ok:
	case why.refresh:
		words = githubRefusals[badRefresh]
	default:
		words = [2]string{"bad_verification_code", "The code passed is incorrect or expired."}
	}
	g.answer(w, r, [][2]string{
		{"error", words[0]},
		{"error_description", words[1]},
		{"error_uri", "https://docs.github.com/apps/managing-oauth-apps/troubleshooting-oauth-app-access-token-request-errors/#" +
			strings.ReplaceAll(words[0], "_", "-")},
	})
}

// answer writes the pairs as a form, or as JSON where the client asked for it, with status 200 either way.
func (g *github) answer(w http.ResponseWriter, r *http.Request, values [][2]string) {
	w.Header().Set("Cache-Control", "max-age=0, private, must-revalidate")
	if !strings.Contains(r.Header.Get("Accept"), "json") {
		form := url.Values{}
		for _, value := range values {
			form.Set(value[0], value[1])
		}
		w.Header().Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		_, _ = w.Write([]byte(form.Encode())) // fails only when the client has gone
		return
	}
	fields := make(map[string]json.RawMessage, len(values))
	for _, value := range values {
		if strings.HasSuffix(value[0], "expires_in") || value[0] == "interval" {
			fields[value[0]] = json.RawMessage(value[1])
			continue
		}
		quoted, err := json.Marshal(value[1])
		if err != nil {
			panic(err) // a string always encodes
		}
		fields[value[0]] = quoted
	}
	writeJSON(w, http.StatusOK, githubJSON, fields)
}

func (g *github) redirectError(why reason) (code, description string, redirected bool) {
	switch why {
	case deniedByUser:
		return "access_denied", "The user has denied your application access.", true
	case unregisteredRedirect:
		return "redirect_uri_mismatch", "The redirect_uri MUST match the registered callback URL for this application.", true
	case unsupportedResponse:
		return "unsupported_response_type", "The response_type is not supported.", true
	case unsupportedChallenge, missingChallenge:
		return "invalid_request", "A code_challenge with code_challenge_method S256 is required.", true
	default:
		return "", "", false
	}
}

func (g *github) errorPage(reason) (status int, sentence string) {
	return http.StatusNotFound, "This is not the web page you are looking for."
}

// githubMessage is the body of every error of the API.
type githubMessage struct {
	Message       string        `json:"message"`
	Errors        []githubFault `json:"errors,omitempty"`
	Documentation string        `json:"documentation_url"`
	Status        string        `json:"status,omitempty"`
}

// githubFault is one thing that is wrong with what was sent.
type githubFault struct {
	Resource string `json:"resource"`
	Code     string `json:"code"`
	Field    string `json:"field,omitempty"`
	Message  string `json:"message,omitempty"`
}

func (g *github) message(w http.ResponseWriter, status int, message string, faults ...githubFault) {
	writeJSON(w, status, githubJSON,
		githubMessage{Message: message, Errors: faults, Documentation: githubDocs, Status: strconv.Itoa(status)})
}

// throttle answers with 429 for a primary limit and 403 for a secondary one; both are in use at GitHub.
func (g *github) throttle(w http.ResponseWriter, _ *http.Request, status int, retryAfter time.Duration) {
	g.limits(w, 0, retryAfter)
	w.Header().Set("Retry-After", seconds(retryAfter))
	g.message(w, status, "API rate limit exceeded for user ID 1. If you reach out to GitHub Support for help, please include the request ID.")
}

func (g *github) limits(w http.ResponseWriter, remaining int, reset time.Duration) {
	header := w.Header()
	header.Set("X-RateLimit-Limit", "5000")
	header.Set("X-RateLimit-Remaining", strconv.Itoa(remaining))
	header.Set("X-RateLimit-Used", strconv.Itoa(5000-remaining))
	header.Set("X-RateLimit-Reset", strconv.FormatInt(g.f.config.Now().Add(reset).Unix(), 10))
	header.Set("X-RateLimit-Resource", "core")
	header.Set("X-GitHub-Media-Type", "github.v3; format=json")
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

func (g *github) routes(mux *http.ServeMux) {
	for _, prefix := range g.f.traits.apiPrefixes {
		mux.HandleFunc("GET "+prefix+"/user", g.bound(g.user))
		mux.HandleFunc("GET "+prefix+"/user/repos", g.bound(g.repositories))
		mux.HandleFunc("DELETE "+prefix+"/applications/{client}/token", g.revoke)
		mux.HandleFunc("DELETE "+prefix+"/applications/{client}/grant", g.revoke)
		mux.HandleFunc("POST "+prefix+"/applications/{client}/token", g.check)
		g.repositoryRoutes(mux, prefix)
	}
}

// bound wraps an API handler that needs a living token.
func (g *github) bound(serve func(http.ResponseWriter, *http.Request, caller)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("User-Agent") == "" {
			http.Error(w, "Request forbidden by administrative rules. Please make sure your request has a User-Agent header.", http.StatusForbidden)
			return
		}
		g.limits(w, 4999, time.Hour)
		who, verdict := g.f.caller(bearer(r, "Bearer", "token"))
		switch {
		case verdict == absent:
			g.message(w, http.StatusUnauthorized, "Requires authentication")
		case verdict != living:
			g.message(w, http.StatusUnauthorized, "Bad credentials")
		case who.user.Prohibited:
			g.message(w, http.StatusForbidden, "Sorry. Your account was suspended.")
		default:
			if !g.app() {
				w.Header().Set("X-OAuth-Scopes", strings.Join(splitScopes(who.scope), ", "))
				w.Header().Set("X-Accepted-OAuth-Scopes", "")
			}
			w.Header().Set("X-OAuth-Client-Id", who.client)
			serve(w, r, who)
		}
	}
}

type githubOwner struct {
	Login     string `json:"login"`
	ID        int64  `json:"id"`
	NodeID    string `json:"node_id"`
	AvatarURL string `json:"avatar_url"`
	URL       string `json:"url"`
	HTMLURL   string `json:"html_url"`
	Type      string `json:"type"`
	SiteAdmin bool   `json:"site_admin"`
}

type githubUser struct {
	githubOwner
	Name        string `json:"name"`
	PublicRepos int    `json:"public_repos"`
	CreatedAt   string `json:"created_at"`
	UpdatedAt   string `json:"updated_at"`
}

// founded is when everything at a stand-in forge was created.
const founded = "2026-01-01T00:00:00Z"

func (g *github) owner(root, login string, id int64) githubOwner {
	name := "/" + url.PathEscape(login)
	return githubOwner{
		Login: login, ID: id, NodeID: fmt.Sprintf("U_%d", id), AvatarURL: root + "/avatars" + name,
		URL: root + "/users" + name, HTMLURL: root + name, Type: "User",
	}
}

func (g *github) user(w http.ResponseWriter, r *http.Request, who caller) {
	writeJSON(w, http.StatusOK, githubJSON, githubUser{
		githubOwner: g.owner(g.f.root(r), who.user.Login, who.user.ID), Name: who.user.Name,
		PublicRepos: len(who.user.Repositories), CreatedAt: founded, UpdatedAt: founded,
	})
}
