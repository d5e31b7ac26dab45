package forge

import (
	"context"
	"io"
	"net/http"
)

// timed bounds a request from dialling to the last byte of its body, and with it all the redirects that lead there.
type timed struct{ *pinned }

func (t *timed) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := t.bound(req)
	resp, err := t.pinned.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = &timedBody{resp.Body, cancel}
	return resp, nil
}

// bound ends a request's context when the time is up. A redirect leads to a request that has the deadline of the one before.
func (t *timed) bound(req *http.Request) (context.Context, context.CancelFunc) {
	if req.Response != nil && req.Response.Request != nil {
		if deadline, ok := req.Response.Request.Context().Deadline(); ok {
			return context.WithDeadline(req.Context(), deadline)
		}
	}
	return t.transport.withTimeout(req.Context())
}

// timedBody frees the timer once nobody reads any more.
type timedBody struct {
	io.ReadCloser

	cancel context.CancelFunc
}

// Read implements [io.Reader].
func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.cancel()
	}
	return n, err //nolint:wrapcheck // it is ours, or the end
}

// Close implements [io.Closer].
func (b *timedBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close() //nolint:wrapcheck // nothing comes of it
}
