package forge

import (
	"context"
	"iter"
	"net/http"

	"golang.org/x/oauth2"

	"github.com/forgeauth/forgeauth/secret"
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
	// Refresh trades a refresh token for a new pair (RFC 6749 §6) in exactly one POST, like Exchange: a refresh token can be
	// single-use, and a lost answer with it. It returns *[RefreshRejectedError] when the forge no longer takes the refresh
	// token; *[ExchangeError] when it refuses the client or the request, *[RateLimitedError], and [ErrUnavailable], none of
	// which say anything about the token; and [ErrNotSent] when it is certain that the forge has not heard of it.
	Refresh(context.Context, RefreshRequest) (Token, error)
	DeviceProvider
	// Bind returns the port of one operator's token. It does no I/O. The keeper is asked for the token before each request.
	Bind(Binding, Keeper) Port
	// HookVerifier checks the deliveries of this forge's webhooks.
	HookVerifier() HookVerifier
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

// RefreshRequest is RFC 6749 §6.
type RefreshRequest struct {
	RefreshToken secret.Text
	// MaySend, if not nil, is asked at the last moment, when the request is connected and all of it but its body has been
	// written. If it says no, the forge never gets a whole request, and Refresh fails with [ErrNotSent].
	MaySend func() bool
}

// Keeper holds the token of a [Port] and sees that it is good. Both methods may wait for a refresh, as long as ctx lasts.
// Safe for concurrent use.
type Keeper interface {
	// Token returns the token to use for the next request, or an error that is [ErrNeedsReauth] if there is none.
	Token(ctx context.Context) (Token, error)
	// Refused is told that the forge has answered 401 to this token, and returns another one to try, once. The error is
	// [ErrNeedsReauth] if there is none, and another one if that could not be found out.
	Refused(ctx context.Context, refused Token) (Token, error)
}

// StaticToken is a [Keeper] that always returns t, and has no other.
func StaticToken(t Token) Keeper { return staticToken{t} }

type staticToken struct{ token Token }

// Token implements [Keeper].
func (s staticToken) Token(context.Context) (Token, error) { return s.token, nil }

// Refused implements [Keeper].
func (staticToken) Refused(context.Context, Token) (Token, error) { return Token{}, ErrNeedsReauth }

// Port is what an application does on a forge as the operator. A port stays bound to the connection and account it
// was made for, whatever the operator switches to. Safe for concurrent use. All methods return the errors of this
// package ([ErrNotFound], [ErrNeedsReauth], [ErrForbidden], [ErrInvalid], [ErrConflict], [ErrTooLarge],
// *[ScopeMissingError], *[RateLimitedError], [ErrUnsupported], [ErrDestination], [ErrUnavailable]), each wrapped in an
// *[Error] that names connection and operation; what they return beside an error is zero.
//
// Numbers must be positive and names not empty; what no forge could take is [ErrInvalid] without a request. Requests that
// write are sent once. After [ErrUnavailable] it is unknown whether such a request was carried out; EnsureHook, SetStatus and
// RemoveHook can be repeated, Comment and OpenChange would do it twice.
type Port interface {
	// Binding says what the port was made for. Connection, base URL and account stay; generation and position are those of the
	// token that was the connection's then, while the port goes on with those that replace it. No I/O.
	Binding() Binding
	// Account asks the forge who the token belongs to.
	Account(context.Context) (Account, error)
	// Grant asks the forge what it says about the token: whose it is, and what it may do.
	Grant(context.Context) (Grant, error)

	// Repositories yields the repositories the account can see and the query asks for, page by page as they are consumed, in
	// the forge's order. After an error the sequence ends.
	Repositories(context.Context, RepositoryQuery) iter.Seq2[Repository, error]
	// Repository looks one up.
	Repository(context.Context, RepositoryRef) (Repository, error)
	// File reads a file at a revision, which is a branch, a tag or a commit, and the default branch if empty. The path is
	// relative to the repository's root, without a slash before it. What is no file (a directory, a submodule) is
	// [ErrNotFound], more than [MaxFile] bytes [ErrTooLarge].
	File(ctx context.Context, in RepositoryRef, path, revision string) (File, error)

	// Issue looks one up by its number. Where a forge counts changes among its issues, a change's number is
	// [ErrNotFound]. [ErrUnsupported] where the repository has no issue tracker and the forge says so.
	Issue(ctx context.Context, in RepositoryRef, number int64) (Issue, error)
	// Change looks up a pull or merge request by its number.
	Change(ctx context.Context, in RepositoryRef, number int64) (Change, error)
	// Comment comments an issue or a change. The body is Markdown, as the forge reads it.
	Comment(ctx context.Context, in RepositoryRef, on Subject, body string) (Comment, error)
	// OpenChange proposes a branch. If there is one open already for the same two branches, it is [ErrConflict].
	OpenChange(context.Context, RepositoryRef, NewChange) (Change, error)
	// SetStatus says what a check makes of a commit, named by its full hash.
	SetStatus(ctx context.Context, in RepositoryRef, commit string, status Status) error

	// EnsureHook makes the repository have a webhook as specified: the one with that URL is changed, if it has to be, or one
	// is made. It can be repeated. The forge does not tell a hook's secret, so that a hook that is there is given it again.
	EnsureHook(context.Context, RepositoryRef, HookSpec) (Hook, error)
	// Hooks yields the repository's webhooks, page by page as they are consumed. After an error the sequence ends.
	Hooks(context.Context, RepositoryRef) iter.Seq2[Hook, error]
	// RemoveHook removes a webhook. One that is gone already is no error, and so is one whose repository is gone, or no
	// longer visible to the account.
	RemoveHook(ctx context.Context, in RepositoryRef, id string) error

	// Revoke revokes the token at the forge. It returns [ErrUnsupported] where the forge has no such endpoint (Gitea,
	// Forgejo, Bitbucket) and nil if the token was already dead.
	Revoke(context.Context) error
	// HTTPClient returns a client that adds the token to requests for the connection's API and web root (scheme, host,
	// port and path prefix as configured) and refuses every other destination with [ErrDestination], redirects included. A
	// request that is answered 401 is sent once more if there is another token by then and its body can be had again
	// ([http.Request.GetBody]).
	HTTPClient() *http.Client
	// TokenSource returns the token for programs that speak to the forge by other means (git, an SDK).
	TokenSource(context.Context) oauth2.TokenSource
}
