package forge

import (
	"context"
	"iter"
	"net/http"

	"golang.org/x/oauth2"
)

// Provider is one configured forge as seen without an operator's token: it sends people to consent and exchanges what
// they come back with. Each adapter package has a New that makes one from a [Connection]. Safe for concurrent use.
type Provider interface {
	// Connection returns the configuration the provider was made from.
	Connection() Connection
	// AuthorizeURL returns where to send the browser. It is a pure function of its argument.
	AuthorizeURL(AuthorizeRequest) string
	// Exchange trades an authorization code for a token (RFC 6749 §4.1.3, RFC 7636 §4.5) in exactly one POST: codes
	// are single-use and so nothing is tried twice. It returns *[ExchangeError] when the forge refuses and
	// [ErrUnavailable] when it does not answer, or not in a way that says whether the code was used.
	Exchange(context.Context, ExchangeRequest) (Token, error)
	// Bind returns the port of one operator's token. It does no I/O and keeps tokens, which is asked for the token
	// before each request.
	Bind(Binding, TokenSource) Port
}

// AuthorizeRequest is RFC 6749 §4.1.1 with the PKCE challenge of RFC 7636 §4.3, method S256.
type AuthorizeRequest struct {
	State       string
	RedirectURI string
	Challenge   string
}

// ExchangeRequest is RFC 6749 §4.1.3 with the PKCE verifier. RedirectURI must equal the one of the [AuthorizeRequest].
type ExchangeRequest struct {
	Code        string
	RedirectURI string
	Verifier    string
}

// TokenSource returns the token to use for the next request, or [ErrNeedsReauth]. It must be safe for concurrent use.
type TokenSource func(context.Context) (Token, error)

// StaticToken is a [TokenSource] that always returns t.
func StaticToken(t Token) TokenSource {
	return func(context.Context) (Token, error) { return t, nil }
}

// Port is what an application does on a forge as the operator. A port stays bound to the connection and account it
// was made for, whatever the operator switches to. Safe for concurrent use. All methods return the errors of this
// package ([ErrNotFound], [ErrNeedsReauth], [ErrForbidden], *[ScopeMissingError], *[RateLimitedError],
// [ErrUnsupported], [ErrDestination], [ErrUnavailable]), each wrapped in an *[Error] that names connection and operation.
type Port interface {
	// Binding says what the port is bound to. No I/O.
	Binding() Binding
	// Account asks the forge who the token belongs to.
	Account(context.Context) (Account, error)
	// Repositories yields the repositories the account can see, page by page as they are consumed, in the forge's
	// order. After an error the sequence ends.
	Repositories(context.Context) iter.Seq2[Repository, error]
	// Revoke revokes the token at the forge. It returns [ErrUnsupported] where the forge has no such endpoint (Gitea,
	// Forgejo) and nil if the token was already dead.
	Revoke(context.Context) error
	// HTTPClient returns a client that adds the token to requests for the connection's API and web root (scheme, host,
	// port and path prefix as configured) and refuses every other destination with [ErrDestination], redirects included.
	HTTPClient() *http.Client
	// TokenSource returns the token for programs that speak to the forge by other means (git, an SDK).
	TokenSource(context.Context) oauth2.TokenSource
}
