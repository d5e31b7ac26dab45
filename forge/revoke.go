package forge

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// RevokeRequest is one call of a revocation endpoint (RFC 7009 or GitHub's own).
type RevokeRequest struct {
	Method, URL string
	ContentType string
	Body        string
	Basic       bool // authenticate as the OAuth client by RFC 7617; else the body does
	// Done are the statuses that say that the token is dead, now or already. But for 204, which has none, they say so only with
	// a body of JSON, since login pages and proxies before a forge answer with these statuses, too.
	Done []int
	// Beyond are the statuses that say, with a body of JSON, that the forge has nothing to revoke by this token although
	// something of the grant may live: [ErrUnsupported].
	Beyond []int
}

// Revoke sends a revocation, once, and reads the verdict.
func (c *Caller) Revoke(ctx context.Context, build func(Token) RevokeRequest) error {
	const op = "revoke"
	token, err := c.Token(ctx)
	if err != nil {
		return c.transport.fail(op, 0, err)
	}
	ctx, cancel := c.transport.withTimeout(ctx)
	defer cancel()
	r := build(token)
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, strings.NewReader(r.Body))
	if err != nil {
		return c.Fail(op, ErrDestination)
	}
	req.Header.Set("Accept", c.transport.dialect.Accept)
	req.Header.Set("Content-Type", r.ContentType)
	if r.Basic {
		req.SetBasicAuth(c.transport.connection.ClientID, c.transport.connection.ClientSecret.Reveal())
	}
	resp, body, err := c.transport.once(req) //nolint:bodyclose // once has closed it
	if err != nil {
		return c.Fail(op, err)
	}
	isDone := slices.Contains(r.Done, resp.StatusCode)
	if isDone && (resp.StatusCode == http.StatusNoContent || json.Valid(body)) {
		return nil
	}
	err = c.transport.judge(resp, body)
	switch {
	case slices.Contains(r.Beyond, resp.StatusCode) && json.Valid(body):
		err = ErrUnsupported
	case isDone, err == nil, errors.Is(err, ErrNotFound):
		err = unavailable("its answer does not say that the token is revoked")
	case errors.Is(err, ErrNeedsReauth), errors.Is(err, ErrForbidden):
		// Who was refused here is the OAuth client, not the operator.
		err = &ExchangeError{Code: "invalid_client"}
	}
	return c.transport.fail(op, resp.StatusCode, err)
}
