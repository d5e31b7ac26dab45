package forgetest

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// gitlab is GitLab, whose OAuth server is Doorkeeper.
type gitlab struct{ f *Forge }

const gitlabJSON = "application/json; charset=utf-8"

func (g *gitlab) traits() traits {
	return traits{
		authorizePath: "/oauth/authorize", tokenPath: "/oauth/token", loginPath: "/users/sign_in",
		consentPath: "/oauth/authorize/decision", apiPrefixes: []string{"/api/v4"}, redirectStatus: http.StatusFound,
		accessTTL: 7200 * time.Second, refreshTTL: 10 * 365 * 24 * time.Hour, rotates: true, refreshKillsAccess: true,
		keepsCode: true, railsRoutes: true,
	}
}

var gitlabScopes = []string{
	"api", "read_api", "read_user", "read_repository", "write_repository", "read_registry", "write_registry",
	"sudo", "openid", "profile", "email",
}

// grantScope refuses unknown names, as Doorkeeper does.
func (g *gitlab) grantScope(asked string) (string, bool) {
	names := splitScopes(asked)
	for _, name := range names {
		if !slices.Contains(gitlabScopes, name) {
			return "", false
		}
	}
	if len(names) == 0 {
		names = []string{"api"}
	}
	return strings.Join(names, " "), true
}

func (g *gitlab) covers(consented, asked string) bool { return consented == asked }

func (g *gitlab) mintCode() string { return hex64() }

func (g *gitlab) mint(*pair) (access, refresh string) { return hex64(), hex64() }

func hex64() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}

func (g *gitlab) refuseRefresh(t *token, client string) reason {
	if t.kind != RefreshTokenIssue || t.pair.client != client || t.revoked || t.isSpent(g.f.ledger.now(), 0) || t.lapsed(g.f.ledger.now()) {
		return badRefresh
	}
	return noReason
}

type gitlabToken struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token"`
	Scope        string `json:"scope"`
	CreatedAt    int64  `json:"created_at"`
}

func (g *gitlab) answerGrant(w http.ResponseWriter, _ *http.Request, p *pair) {
	noStore(w)
	writeJSON(w, http.StatusOK, gitlabJSON, gitlabToken{
		AccessToken: p.access.value, TokenType: "Bearer", ExpiresIn: int64(g.f.traits.accessTTL / time.Second),
		RefreshToken: p.refresh.value, Scope: p.scope, CreatedAt: p.issuedAt.Unix(),
	})
}

func noStore(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
}

type gitlabError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	Scope       string `json:"scope,omitempty"`
}

const gitlabInvalidGrant = "The provided authorization grant is invalid, expired, revoked, does not match the redirection " +
	"URI used in the authorization request, or was issued to another client."

const gitlabInvalidClient = "Client authentication failed due to unknown client, no client authentication included, or " +
	"unsupported authentication method."

func (g *gitlab) refuseGrant(w http.ResponseWriter, _ *http.Request, why refusal) {
	noStore(w)
	status, answer := http.StatusBadRequest, gitlabError{Error: "invalid_grant", Description: gitlabInvalidGrant}
	missing := func(name string) gitlabError {
		return gitlabError{Error: "invalid_request", Description: "Missing required parameter: " + name + "."}
	}
	switch why.reason {
	case unsupportedGrant:
		answer = gitlabError{
			Error: "unsupported_grant_type", Description: "The authorization grant type is not supported by the authorization server.",
		}
	case unknownClient, emptySecret, wrongSecret:
		status, answer = http.StatusUnauthorized, gitlabError{Error: "invalid_client", Description: gitlabInvalidClient}
		w.Header().Set("WWW-Authenticate", `Bearer realm="GitLab", error="invalid_client"`)
	case missingCode:
		answer = missing("code")
	case missingRedirect:
		answer = missing("redirect_uri")
	case missingVerifier:
		answer = missing("code_verifier")
	case missingRefresh:
		answer = missing("refresh_token")
	default:
	}
	writeJSON(w, status, gitlabJSON, answer)
}

func (g *gitlab) redirectError(why reason) (code, description string, redirected bool) {
	switch why {
	case deniedByUser:
		return "access_denied", "The resource owner or authorization server denied the request.", true
	case unsupportedResponse:
		return "unsupported_response_type", "The authorization server does not support this response type.", true
	case unsupportedChallenge:
		return "invalid_code_challenge_method", "The code challenge method must be S256.", true
	case missingChallenge:
		return "invalid_request", "Code challenge is required.", true
	case badScope:
		return "invalid_scope", "The requested scope is invalid, unknown, or malformed.", true
	default:
		return "", "", false
	}
}

func (g *gitlab) errorPage(why reason) (status int, sentence string) {
	if why == unregisteredRedirect {
		return http.StatusBadRequest, "The redirect URI included is not valid."
	}
	return http.StatusUnauthorized, gitlabInvalidClient
}

// throttle answers as GitLab's rack-attack does: plain text and RateLimit headers.
func (g *gitlab) throttle(w http.ResponseWriter, _ *http.Request, status int, retryAfter time.Duration) {
	header := w.Header()
	header.Set("RateLimit-Limit", "60")
	header.Set("RateLimit-Observed", "61")
	header.Set("RateLimit-Remaining", "0")
	header.Set("RateLimit-Name", "throttle_authenticated_api")
	header.Set("RateLimit-Reset", strconv.FormatInt(g.f.config.Now().Add(retryAfter).Unix(), 10))
	header.Set("Retry-After", seconds(retryAfter))
	header.Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	_, _ = w.Write([]byte("Retry later\n")) // fails only when the client has gone
}

type gitlabEmpty struct{}

// revokeToken is RFC 7009: 200 with an empty object whether or not the token existed. As in Doorkeeper, an access token that
// has expired counts as one that never was, so that its refresh token lives on; a refresh token ends both.
func (g *gitlab) revokeToken(w http.ResponseWriter, r *http.Request) {
	form := bodyValues(r)
	noStore(w)
	g.f.mu.Lock()
	client := g.f.ledger.clients[form.Get("client_id")]
	t := g.f.ledger.tokens[form.Get("token")]
	authenticated := client != nil && client.Secret == form.Get("client_secret")
	foreign := t != nil && authenticated && t.pair.client != client.ID
	if authenticated && t != nil && !foreign && (t.kind == RefreshTokenIssue || !t.lapsed(g.f.ledger.now())) {
		t.pair.revoke()
	}
	g.f.mu.Unlock()
	if !authenticated || foreign {
		writeJSON(w, http.StatusForbidden, gitlabJSON, gitlabError{
			Error: "unauthorized_client", Description: "You are not authorized to revoke this token",
		})
		return
	}
	writeJSON(w, http.StatusOK, gitlabJSON, gitlabEmpty{})
}

type gitlabApplication struct {
	UID string `json:"uid"`
}

type gitlabTokenInfo struct {
	ResourceOwnerID int64             `json:"resource_owner_id"`
	Scope           []string          `json:"scope"`
	ExpiresIn       int64             `json:"expires_in"`
	Application     gitlabApplication `json:"application"`
	CreatedAt       int64             `json:"created_at"`
}

func (g *gitlab) tokenInfo(w http.ResponseWriter, r *http.Request) {
	g.f.mu.Lock()
	t, verdict := g.f.ledger.judge(bearer(r, "Bearer"), 0)
	var info gitlabTokenInfo
	if verdict == living {
		info = gitlabTokenInfo{
			ResourceOwnerID: t.pair.user, Scope: splitScopes(t.pair.scope), Application: gitlabApplication{t.pair.client},
			ExpiresIn: int64(t.expires.Sub(g.f.ledger.now()) / time.Second), CreatedAt: t.pair.issuedAt.Unix(),
		}
	}
	g.f.mu.Unlock()
	noStore(w)
	if verdict != living {
		w.Header().Set("WWW-Authenticate", `Bearer realm="GitLab", error="invalid_token"`)
		writeJSON(w, http.StatusUnauthorized, gitlabJSON,
			gitlabError{Error: "invalid_token", Description: "The access token is invalid"})
		return
	}
	writeJSON(w, http.StatusOK, gitlabJSON, info)
}
