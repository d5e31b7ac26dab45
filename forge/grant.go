package forge

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Grant is what a forge says about a token at this moment.
type Grant struct {
	// Account is who the token acts for.
	Account Account
	// Scopes as the forge holds them now, nil where it does not say. On Gitea and Forgejo [ScopeAll] is among them if the
	// token can do everything, whatever it was asked for.
	Scopes []string
	// ExpiresAt is when the access token stops working, zero where the forge does not say.
	ExpiresAt time.Time
}

// Kind is the kind of forge that the caller talks to.
func (c *Caller) Kind() Kind { return c.transport.connection.Kind }

// ProfileAndHeader is [Profile] for a forge that says in a header what a token may do.
func ProfileAndHeader[T any](ctx context.Context, c *Caller, op, path string) (T, http.Header, error) {
	var document, none T
	resp, err := fetch(ctx, c, c.ProfileClient(), c.transport.api+path, &document) //nolint:bodyclose // fetch has closed it
	if err != nil {
		return none, nil, c.Fail(op, err)
	}
	return document, resp.Header, nil
}

// WebProfile is [Profile] for what is not below the API base but below the web root.
func WebProfile[T any](ctx context.Context, c *Caller, op, path string) (T, error) {
	document, _, err := get[T](ctx, c, c.ProfileClient(), c.transport.connection.BaseURL+path)
	if err != nil {
		var none T
		return none, c.Fail(op, err)
	}
	return document, nil
}

// Introspection is the part of RFC 7662 §2.2 that is looked at.
type Introspection struct {
	Active  bool    `json:"active"`
	Scope   string  `json:"scope"`
	Expires float64 `json:"exp"` // Unix seconds, 0 where it is not said
}

// Introspect asks about the token by RFC 7662, as the OAuth client (RFC 7617), in one POST below the web root. It reports false
// where the forge refuses or has no such endpoint, which says nothing about the token. Errors are *[Error].
func (c *Caller) Introspect(ctx context.Context, op, path string) (about Introspection, ok bool, err error) {
	token, err := c.Token(ctx)
	if err != nil {
		return about, false, c.transport.fail(op, 0, err)
	}
	ctx, cancel := c.transport.withTimeout(ctx)
	defer cancel()
	form := url.Values{"token": {token.Access.Reveal()}, "token_type_hint": {"access_token"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.transport.connection.BaseURL+path, strings.NewReader(form))
	if err != nil {
		return about, false, c.Fail(op, ErrDestination)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(c.transport.connection.ClientID, c.transport.connection.ClientSecret.Reveal())
	resp, body, err := c.transport.once(req) //nolint:bodyclose // once has closed it
	switch {
	case err != nil:
		return about, false, c.Fail(op, err)
	case resp.StatusCode >= 400 && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests:
		return about, false, nil
	case resp.StatusCode != http.StatusOK:
		if err = c.transport.judge(resp, body); err == nil {
			err = ErrUnavailable
		}
		return about, false, c.transport.fail(op, resp.StatusCode, err)
	}
	if json.Unmarshal(body, &about) != nil {
		return Introspection{}, false, c.transport.fail(op, resp.StatusCode, unavailable("its answer is no introspection"))
	}
	return about, about.Active, nil
}
