package forgetest

import (
	"net/http"
	"time"
)

// traits are what differs between dialects as data.
type traits struct {
	authorizePath, tokenPath, loginPath, consentPath string
	// apiPrefixes are the paths under which the API is served; the first is the one [Forge.APIURL] names.
	apiPrefixes []string
	// redirectStatus is what redirects between pages and back to the client use.
	redirectStatus int
	// accessTTL is zero where access tokens do not expire, refreshTTL where there is no refresh token.
	accessTTL, refreshTTL time.Duration
	// rotates: a refresh token works once, and again for as long as refreshGrace after that.
	rotates      bool
	refreshGrace time.Duration
	// refreshKillsAccess: refreshing revokes the access token issued beside the refresh token.
	refreshKillsAccess bool
	// basicAuth: the token endpoint reads client credentials from the Authorization header too; basicOnly: from there alone.
	basicAuth, basicOnly bool
	// redirectOptional: the exchange may leave redirect_uri out.
	redirectOptional bool
	// keepsCode: a code survives an exchange that was refused. Where nothing is known, it does not.
	keepsCode bool
	// railsRoutes: a known path with another method is 404 and not 405.
	railsRoutes bool
	// frozenScope: the scope of the first consent is used for ever after, whatever is asked.
	frozenScope bool
	// bodyPages: the page after a page of a list is named in its body, and not in a Link header.
	bodyPages bool
	// clientScopes: the scopes are those that the client is registered for, whatever is asked.
	clientScopes bool
	// tokenLimit is how many tokens live per user, client and scope; zero is without limit.
	tokenLimit int
	// idleTTL is how long a token lives without being used; zero is for ever.
	idleTTL time.Duration
}

// dialect is what differs between dialects as behaviour. Its methods are called with the ledger locked where they
// take tokens or the ledger itself, and must not block.
type dialect interface {
	deliverer
	traits() traits
	// grantScope returns what is granted of the scope asked for, or false where the forge refuses the request.
	grantScope(asked string) (string, bool)
	// covers reports whether an earlier consent to one scope makes a page for another unnecessary.
	covers(consented, asked string) bool
	// mintCode returns the value of a new authorization code.
	mintCode() string
	// mint returns the values of a token pair; refresh is empty where the dialect has none.
	mint(p *pair) (access, refresh string)
	// refuseRefresh says why this token is no good for a refresh by that client, or returns noReason.
	refuseRefresh(t *token, client string) reason
	// answerGrant and refuseGrant write what the token endpoint says.
	answerGrant(w http.ResponseWriter, r *http.Request, p *pair)
	refuseGrant(w http.ResponseWriter, r *http.Request, why refusal)
	// redirectError returns the error and error_description that travel back to the client, or false where the forge
	// shows a page of its own instead; the page's status and sentence come back in their place.
	redirectError(why reason) (code, description string, redirected bool)
	errorPage(why reason) (status int, sentence string)
	// throttle answers that the caller is over a rate limit.
	throttle(w http.ResponseWriter, r *http.Request, status int, retryAfter time.Duration)
	// routes adds the API and what else only this dialect serves.
	routes(mux *http.ServeMux)
}

// reason is why the forge says no.
type reason int

const (
	noReason reason = iota
	unsupportedGrant
	unknownClient
	emptySecret
	wrongSecret
	missingCode
	missingRedirect
	missingVerifier
	missingRefresh
	unregisteredRedirect
	differentRedirect
	badCode
	failedPKCE
	badRefresh
	spentRefresh
	foreignRefresh
	withdrawnConsent
	unsupportedResponse
	unsupportedChallenge
	missingChallenge
	badScope
	deniedByUser
	deviceUndecided
	polledTooSoon
	expiredDeviceCode
	badDeviceCode
	deviceFlowOff
)

// refusal is a reason with what its wording needs.
type refusal struct {
	reason  reason
	client  string
	refresh bool
}
