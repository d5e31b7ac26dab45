package forgetest

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// bitbucket is Bitbucket Cloud.
type bitbucket struct{ f *Forge }

const bitbucketJSON = "application/json; charset=utf-8"

// bitbucketGrace is how long a refresh token works on after its first use.
const bitbucketGrace = 10 * time.Minute

func (b *bitbucket) traits() traits {
	return traits{
		authorizePath: "/site/oauth2/authorize", tokenPath: "/site/oauth2/access_token", loginPath: "/account/signin",
		consentPath: "/site/oauth2/decision", apiPrefixes: []string{"/2.0"}, redirectStatus: http.StatusFound,
		accessTTL: 7200 * time.Second, refreshTTL: 90 * 24 * time.Hour, rotates: true, refreshGrace: bitbucketGrace,
		basicOnly: true, clientScopes: true, bodyPages: true,
	}
}

// bitbucketImplied are the scopes that a broader one includes. (Scopes for the Bitbucket Cloud REST API)
var bitbucketImplied = map[string][]string{
	"repository:write":  {"repository"},
	"pullrequest":       {"repository"},
	"pullrequest:write": {"pullrequest", "repository:write", "repository"},
	"project":           {"repository"},
	"account":           {"email"},
	"account:write":     {"account", "email"},
	"team:write":        {"team"},
	"issue:write":       {"issue"},
	"snippet:write":     {"snippet"},
	"pipeline:write":    {"pipeline"},
	"pipeline:variable": {"pipeline:write", "pipeline"},
	"runner:write":      {"runner"},
	"test:write":        {"test"},
}

func bitbucketHas(scopes []string, name string) bool {
	return slices.Contains(scopes, name) ||
		slices.ContainsFunc(scopes, func(broad string) bool { return slices.Contains(bitbucketImplied[broad], name) })
}

// grantScope leaves out what another scope includes, which is how Bitbucket reports what it has granted.
func (b *bitbucket) grantScope(registered string) (string, bool) {
	names := splitScopes(registered)
	var granted []string
	for _, name := range names {
		others := slices.DeleteFunc(slices.Clone(names), func(other string) bool { return other == name })
		if !bitbucketHas(others, name) && !slices.Contains(granted, name) {
			granted = append(granted, name)
		}
	}
	slices.Sort(granted)
	return strings.Join(granted, " "), true
}

func (b *bitbucket) covers(consented, asked string) bool { return consented == asked }

func (b *bitbucket) mintCode() string { return rand.Text()[:20] }

// mint returns tokens of the length that Bitbucket's have since 2026.
func (b *bitbucket) mint(*pair) (access, refresh string) {
	return bitbucketToken2600(), bitbucketToken2600()
}

func bitbucketToken2600() string {
	raw := make([]byte, 1950)
	_, _ = rand.Read(raw) // never fails
	return base64.RawURLEncoding.EncodeToString(raw)
}

func (b *bitbucket) refuseRefresh(t *token, client string) reason {
	now := b.f.ledger.now()
	if t.kind != RefreshTokenIssue || t.pair.client != client || t.revoked || t.isSpent(now, bitbucketGrace) || t.lapsed(now) {
		return badRefresh
	}
	return noReason
}

type bitbucketToken struct {
	Scope        string `json:"scope"`
	AccessToken  string `json:"access_token"`
	ExpiresIn    int64  `json:"expires_in"`
	TokenType    string `json:"token_type"`
	State        string `json:"state"`
	RefreshToken string `json:"refresh_token"`
}

func (b *bitbucket) answerGrant(w http.ResponseWriter, r *http.Request, p *pair) {
	noStore(w)
	writeJSON(w, http.StatusOK, bitbucketJSON, bitbucketToken{
		Scope: p.scope, AccessToken: p.access.value, ExpiresIn: int64(b.f.traits.accessTTL / time.Second), TokenType: "bearer",
		State: bodyValues(r).Get("grant_type"), RefreshToken: p.refresh.value,
	})
}

// bitbucketFault is what the token endpoint refuses with.
type bitbucketFault struct {
	Description string `json:"error_description"`
	Error       string `json:"error"`
}

// refuseGrant refuses with 400 whatever the reason. Of the words only those for unknown clients, foreign grant types and refresh
// tokens have been seen.
func (b *bitbucket) refuseGrant(w http.ResponseWriter, r *http.Request, why refusal) {
	noStore(w)
	answer := bitbucketFault{"The specified code is not valid.", "invalid_grant"}
	switch why.reason {
	case unsupportedGrant:
		answer = bitbucketFault{"Unsupported grant type: " + bodyValues(r).Get("grant_type"), "invalid_grant"}
	case unknownClient, emptySecret, wrongSecret:
		answer = bitbucketFault{"Invalid OAuth client credentials", "unauthorized_client"}
	case unregisteredRedirect, differentRedirect, missingRedirect:
		answer = bitbucketFault{"The redirect_uri does not match the one of the authorization request.", "invalid_grant"}
	case missingRefresh, badRefresh, spentRefresh, foreignRefresh, withdrawnConsent:
		answer = bitbucketFault{"Invalid refresh_token", "invalid_request"}
	default:
		if why.refresh {
			answer = bitbucketFault{"Invalid refresh_token", "invalid_request"}
		}
	}
	writeJSON(w, http.StatusBadRequest, bitbucketJSON, answer)
}

func (b *bitbucket) redirectError(why reason) (code, description string, redirected bool) {
	switch why {
	case deniedByUser:
		return "access_denied", "The user has denied access to the application.", true
	case unsupportedResponse:
		return "unsupported_response_type", "The response_type is not supported.", true
	case unsupportedChallenge, missingChallenge:
		return "invalid_request", "A code_challenge with code_challenge_method S256 is required.", true
	default:
		return "", "", false
	}
}

func (b *bitbucket) errorPage(why reason) (status int, sentence string) {
	if why == unregisteredRedirect {
		return http.StatusBadRequest, "Invalid redirect_uri. It does not match the callback URL that this consumer is registered with."
	}
	return http.StatusBadRequest, "Invalid client_id. This integration is misconfigured. Contact the vendor for assistance."
}

// throttle answers over a limit. Bitbucket's documentation names no header that says until when.
func (b *bitbucket) throttle(w http.ResponseWriter, _ *http.Request, status int, retryAfter time.Duration) {
	w.Header().Set("Retry-After", seconds(retryAfter))
	b.refuse(w, status, "Rate limit for this resource has been exceeded")
}

// Ids at Bitbucket are UUIDs, of which the last digits are the number that the ledger knows a thing by.
const (
	bitbucketThing     = "{7a5e0000-0000-4000-8000-%012d}" // repositories and webhooks
	bitbucketUser      = "{7a5e0000-acc0-4000-8000-%012d}"
	bitbucketWorkspace = "{7a5e0000-503c-4000-8000-%012d}"
	bitbucketAtlassian = "557058:7a5e0000-acc0-4000-8000-%012d"
)

func bitbucketUUID(n int64) string { return fmt.Sprintf(bitbucketThing, n) }

func bitbucketAccountID(n int64) string { return fmt.Sprintf(bitbucketAtlassian, n) }

// bitbucketNumber is the number of a repository or webhook, 0 for what is none.
func bitbucketNumber(uuid string) int64 {
	var n int64
	if _, err := fmt.Sscanf(uuid, bitbucketThing, &n); err != nil || bitbucketUUID(n) != uuid {
		return 0
	}
	return n
}
