package forgetest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// gitea is Gitea and Forgejo: the same program at heart. Where they differ, forgejo decides.
type gitea struct {
	f   *Forge
	key []byte
}

func newGitea(f *Forge) *gitea {
	key := make([]byte, 64)
	_, _ = rand.Read(key) // never fails
	return &gitea{f: f, key: key}
}

func (g *gitea) forgejo() bool { return g.f.config.Dialect == Forgejo }

func (g *gitea) traits() traits {
	return traits{
		authorizePath: "/login/oauth/authorize", tokenPath: "/login/oauth/access_token",
		loginPath: "/user/login", consentPath: "/login/oauth/grant",
		apiPrefixes: []string{"/api/v1"}, redirectStatus: http.StatusSeeOther,
		accessTTL: time.Hour, refreshTTL: 730 * time.Hour, rotates: g.forgejo(),
		basicAuth: true, redirectOptional: !g.forgejo(), keepsCode: true, frozenScope: true,
	}
}

// grantScope grants whatever is asked: what the names mean is decided when a token is used.
func (g *gitea) grantScope(asked string) (string, bool) { return asked, true }

// covers: nobody is asked twice, since the scope of the first consent stays.
func (g *gitea) covers(string, string) bool { return true }

func (g *gitea) mintCode() string { return "gta_" + strings.ToLower(rand.Text()+rand.Text()) }

// giteaClaims is the body of both tokens. Nothing in it is random: two tokens of one grant issued within a second
// are byte-identical, unless the counter tells them apart.
type giteaClaims struct {
	Grant   int64 `json:"gnt"`
	Type    int   `json:"tt"`
	Counter int64 `json:"cnt,omitempty"`
	Expires int64 `json:"exp"`
	Issued  int64 `json:"iat"`
}

func (g *gitea) mint(p *pair) (access, refresh string) {
	agreed := g.f.ledger.consents[consentKey{p.user, p.client}]
	if agreed == nil { // refused before, see refuseRefresh
		return "", ""
	}
	if g.f.traits.rotates {
		agreed.counter++
	}
	claims := giteaClaims{Grant: agreed.id, Issued: p.issuedAt.Unix(), Expires: p.issuedAt.Add(g.f.traits.accessTTL).Unix()}
	access = g.jwt(mustJSON(claims))
	claims.Type, claims.Counter, claims.Expires = 1, agreed.counter, p.issuedAt.Add(g.f.traits.refreshTTL).Unix()
	return access, g.jwt(mustJSON(claims))
}

// jwt returns what looks like a JWT signed with a 4096-bit RSA key. The signature is as long and as deterministic as
// such a one, and nobody but this forge can check either; making real keys would cost each test seconds.
func (g *gitea) jwt(claims []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"RS256","kid":"stand-in-forge-signing-key-0123456789abcdefghi","typ":"JWT"}`)) + "." + encode(claims)
	var signature []byte
	for block := byte(0); len(signature) < 512; block++ {
		mac := hmac.New(sha512.New, g.key)
		mac.Write([]byte{block})
		mac.Write([]byte(signed))
		signature = mac.Sum(signature)
	}
	return signed + "." + encode(signature)
}

// refuseRefresh follows the recordings. Gitea looks at neither the token's type nor its client, so that an access
// token refreshes too where nothing rotates; Forgejo refuses a foreign client.
func (g *gitea) refuseRefresh(t *token, client string) reason {
	agreed := g.f.ledger.consents[consentKey{t.pair.user, t.pair.client}]
	switch {
	case t.kind == IDTokenIssue, t.lapsed(g.f.ledger.now()):
		return badRefresh
	case agreed == nil, t.revoked:
		return withdrawnConsent
	case g.forgejo() && t.pair.client != client:
		return foreignRefresh
	case g.f.traits.rotates && (t.counter == 0 || t.counter != agreed.counter):
		return spentRefresh
	default:
		return noReason
	}
}

type giteaToken struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token,omitempty"`
}

func (g *gitea) answerGrant(w http.ResponseWriter, r *http.Request, p *pair) {
	answer := giteaToken{
		AccessToken: p.access.value, TokenType: "bearer", ExpiresIn: int64(g.f.traits.accessTTL / time.Second),
		RefreshToken: p.refresh.value,
	}
	if slices.Contains(splitScopes(p.scope), "openid") {
		answer.IDToken = g.idToken(r, p)
	}
	g.json(w)
	writeJSON(w, http.StatusOK, giteaJSON, answer)
}

type giteaIDClaims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience []string `json:"aud"`
	Expires  int64    `json:"exp"`
	Issued   int64    `json:"iat"`
}

func (g *gitea) idToken(r *http.Request, p *pair) string {
	value := g.jwt(mustJSON(giteaIDClaims{
		Issuer: g.f.root(r), Subject: strconv.FormatInt(p.user, 10), Audience: []string{p.client},
		Expires: p.issuedAt.Add(g.f.traits.accessTTL).Unix(), Issued: p.issuedAt.Unix(),
	}))
	g.f.mu.Lock()
	g.f.ledger.record(IDTokenIssue, value)
	g.f.mu.Unlock()
	return value
}

const giteaJSON = "application/json;charset=utf-8"

type giteaError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func (g *gitea) json(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "max-age=0, private, must-revalidate, no-transform")
}

// refuseGrant answers as recorded: status 400, and unauthorized_client where RFC 6749 says invalid_grant. A foreign
// refresh token and a withdrawn consent, which were not recorded, are worded as in Gitea's source.
func (g *gitea) refuseGrant(w http.ResponseWriter, _ *http.Request, why refusal) {
	g.json(w)
	writeJSON(w, http.StatusBadRequest, giteaJSON, g.refusal(why))
}

func (g *gitea) refusal(why refusal) giteaError {
	secretError := "unauthorized_client"
	if why.refresh {
		secretError = "invalid_client"
	}
	switch why.reason {
	case unsupportedGrant:
		return giteaError{"unsupported_grant_type", "Only refresh_token or authorization_code grant type is supported"}
	case unknownClient:
		if why.refresh {
			return giteaError{"invalid_client", fmt.Sprintf("cannot load client with client id: %q", why.client)}
		}
		return giteaError{"invalid_client", fmt.Sprintf("cannot load client with client id: '%s'", why.client)}
	case emptySecret:
		return giteaError{secretError, "invalid empty client secret"}
	case wrongSecret:
		return giteaError{secretError, "invalid client secret"}
	case missingRedirect, unregisteredRedirect, differentRedirect:
		return giteaError{"unauthorized_client", "unexpected redirect URI"}
	case failedPKCE, missingVerifier:
		return giteaError{"unauthorized_client", "failed PKCE code challenge"}
	case missingRefresh, badRefresh:
		return giteaError{"unauthorized_client", "unable to parse refresh token"}
	case spentRefresh:
		return giteaError{"unauthorized_client", "token was already used"}
	case foreignRefresh:
		return giteaError{"invalid_grant", "refresh token belongs to a different client"}
	case withdrawnConsent:
		return giteaError{"invalid_grant", "grant does not exist"}
	default:
		return giteaError{"unauthorized_client", "client is not authorized"}
	}
}

func (g *gitea) redirectError(why reason) (code, description string, redirected bool) {
	switch why {
	case deniedByUser:
		return "access_denied", "the request is denied", true
	case unsupportedResponse:
		return "unsupported_response_type", "Only code response type is supported.", true
	case unsupportedChallenge:
		return "invalid_request", "unsupported code challenge method", true
	case missingChallenge:
		return "invalid_request", "PKCE is required for public clients", true
	default:
		return "", "", false
	}
}

func (g *gitea) errorPage(why reason) (status int, sentence string) {
	cause := "Client ID not registered"
	if why == unregisteredRedirect {
		cause = "Unregistered Redirect URI"
	}
	return http.StatusBadRequest, cause + ". The authorization failed because we detected an invalid request. " +
		"Please contact the maintainer of the app you tried to authorize."
}

// throttle imitates the reverse proxy that stands before a busy instance; Gitea itself limits nothing.
func (g *gitea) throttle(w http.ResponseWriter, _ *http.Request, status int, retryAfter time.Duration) {
	w.Header().Set("Retry-After", seconds(retryAfter))
	http.Error(w, "Too Many Requests", status)
}

func mustJSON[T giteaClaims | giteaIDClaims](claims T) []byte {
	encoded, err := json.Marshal(claims)
	if err != nil {
		panic(err) // plain numbers and strings always encode
	}
	return encoded
}
