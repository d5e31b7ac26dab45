package forge

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// Caller talks to a forge's API with one operator's token. Adapters embed it: it is the part of [Port] that is the same
// everywhere. Safe for concurrent use.
type Caller struct {
	transport *Transport
	binding   Binding
	keep      Keeper
}

// Caller returns the caller of one token. It does no I/O and costs one allocation.
func (t *Transport) Caller(b Binding, keep Keeper) *Caller {
	return &Caller{transport: t, binding: b, keep: keep}
}

// Binding implements [Port].
func (c *Caller) Binding() Binding { return c.binding }

// Token asks the keeper for the token of the next request and checks that it can be sent.
func (c *Caller) Token(ctx context.Context) (Token, error) {
	return sendable(c.keep.Token(ctx))
}

func sendable(token Token, err error) (Token, error) {
	if err != nil {
		return Token{}, err
	}
	if !isVisibleASCII(token.Access.Reveal()) {
		return Token{}, ErrNeedsReauth
	}
	return token, nil
}

// HTTPClient implements [Port]. Answers come as they are, 401 included; a body longer than [MaxClientBody] fails while
// it is read. Requests and redirects to other destinations fail with an *[Error] that wraps [ErrDestination], inside
// the *[url.Error] that net/http makes of it. A request may take as long as [Options.Timeout], redirects and reading its body
// included; what takes longer is [ErrUnavailable] like every other silence. The client's own Timeout is not set, since it
// puts an error of net/http in the place of ours.
func (c *Caller) HTTPClient() *http.Client {
	return &http.Client{Transport: &timed{&pinned{c, MaxClientBody}}}
}

// SDKClient returns a client for a client library: all it sees is answers 2xx, read whole and bounded by [MaxAPIBody] and
// [MaxAPIValues]. Every other answer is an *[Error] before the library can put the body into an error of its own; hand
// what the library returns to [Caller.Fail]. Redirects are followed within the connection's destinations.
func (c *Caller) SDKClient() *http.Client {
	return &http.Client{Transport: &judged{pinned: &pinned{c, MaxAPIBody}, follow: true}, Timeout: c.transport.timeout}
}

// WriteClient is [Caller.SDKClient] for requests that write: it follows no redirect, which is an error like any other.
func (c *Caller) WriteClient() *http.Client {
	return &http.Client{
		Transport:     &judged{pinned: &pinned{c, MaxAPIBody}, write: true},
		CheckRedirect: neverFollow,
		Timeout:       c.transport.timeout,
	}
}

// ProfileClient is [Caller.SDKClient] for asking who the token belongs to: it follows no redirect, which is an error
// like any other, and answers are bounded by [MaxTokenBody].
func (c *Caller) ProfileClient() *http.Client {
	return &http.Client{
		Transport:     &judged{pinned: &pinned{c, MaxTokenBody}},
		CheckRedirect: neverFollow,
		Timeout:       c.transport.timeout,
	}
}

// TokenSource implements [Port]. The tokens it returns have no refresh token: refreshing is not its holder's to do.
func (c *Caller) TokenSource(ctx context.Context) oauth2.TokenSource {
	return keeperSource{ctx, c}
}

type keeperSource struct {
	ctx    context.Context //nolint:containedctx // oauth2.TokenSource takes no context; this is how that package does it too
	caller *Caller
}

func (s keeperSource) Token() (*oauth2.Token, error) {
	token, err := s.caller.Token(s.ctx)
	if err != nil {
		return nil, s.caller.transport.fail("token", 0, err)
	}
	return &oauth2.Token{AccessToken: token.Access.Reveal(), TokenType: "Bearer", Expiry: token.ExpiresAt}, nil
}

// Fail names the operation in an error that came from a request of this caller. Of an error that is not this package's,
// such as a client library's, nothing is kept but that the answer made no sense.
func (c *Caller) Fail(op string, err error) error {
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return c.transport.fail(op, known.Status, known.Err)
	}
	for _, sentinel := range []error{
		ErrNotFound, ErrNeedsReauth, ErrForbidden, ErrInvalid, ErrConflict, ErrTooLarge, ErrUnsupported, ErrUnavailable, ErrDestination,
	} {
		if errors.Is(err, sentinel) {
			return c.transport.fail(op, 0, err)
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return c.transport.fail(op, 0, unreachable(err))
	}
	return c.transport.fail(op, 0, unavailable("its answer is not what its API documents"))
}

// Now is the clock's time.
func (c *Caller) Now() time.Time { return c.transport.now() }

// Number is an id that is a number as this module writes it, empty if it is not positive.
func Number(id int64) string {
	if id <= 0 {
		return ""
	}
	return strconv.FormatInt(id, 10)
}

// NewAccount makes an account of what the forge answered: without an id it is no account, whereas the login, which is only
// shown, is cleaned. See [Number] for ids that are numbers.
func (c *Caller) NewAccount(op, id, login string) (Account, error) {
	login = CleanString(login)
	if id == "" || !IsClean(id) || login == "" {
		return Account{}, c.Fail(op, unavailable("its answer names no account"))
	}
	return Account{ID: id, Login: login}, nil
}

// Author is the account that wrote something; zero where the forge names none, since accounts are deleted.
func (c *Caller) Author(id, login string) Account {
	author, _ := c.NewAccount("author", id, login)
	return author
}

// NewRepository makes a repository of what the forge answered, in r all but its identity. The addresses are built from
// the connection's web root and not taken from the forge, so that no answer decides where a person or a token goes; they
// are empty for a path that is not plain names between slashes. Without an id or a path it is no repository. See [Number]
// for ids that are numbers.
func (c *Caller) NewRepository(op, id, path string, r Repository) (Repository, error) {
	r.ID, r.Path, r.Default = id, CleanString(path), CleanString(r.Default)
	if id == "" || !IsClean(id) || r.Path == "" {
		return Repository{}, c.Fail(op, unavailable("its answer names no repository"))
	}
	if below, ok := webPath(path); ok {
		r.WebURL = c.transport.connection.BaseURL + below
		r.CloneURL = r.WebURL + ".git"
	}
	return r, nil
}

// NewHook makes a webhook of what the forge answered. Without an id it is no webhook. See [Number] for ids that are numbers.
func (c *Caller) NewHook(op, id string, h Hook) (Hook, error) {
	if id == "" || !IsClean(id) {
		return Hook{}, c.Fail(op, unavailable("its answer names no webhook"))
	}
	h.ID, h.URL = id, clean(h.URL, maxAddress)
	return h, nil
}

// WebURL is where a person opens something of a repository: below the connection's web root, in the repository's path, with
// what the adapter appends, such as /issues/7. Empty for a path that is not plain names between slashes.
func (c *Caller) WebURL(path, below string) string {
	at, ok := webPath(path)
	if !ok {
		return ""
	}
	return c.transport.connection.BaseURL + at + below
}

// webPath escapes a repository's path for a URL; false for one that is not plain names between slashes.
func webPath(path string) (string, bool) {
	var b strings.Builder
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || climbs(segment) || !IsClean(segment) || strings.Contains(segment, `\`) {
			return "", false
		}
		b.WriteString("/" + url.PathEscape(segment))
	}
	return b.String(), true
}
