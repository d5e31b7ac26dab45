package forge

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
)

// Get asks the API for one JSON document. Path is below the API base, with its query. Redirects are followed within the
// connection's destinations: forges redirect from the old path of a renamed repository. Errors are *[Error].
func Get[T any](ctx context.Context, c *Caller, op, path string) (T, error) {
	document, _, err := get[T](ctx, c, c.SDKClient(), c.transport.api+path)
	if err != nil {
		var none T
		return none, c.Fail(op, err)
	}
	return document, nil
}

// Page asks the API for one page of a list, for a forge that does not name the next: how much there is, the answer's header
// may tell. Path is below the API base. Errors are *[Error].
func Page[T any](ctx context.Context, c *Caller, op, path string) ([]T, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.transport.api+path, nil)
	if err != nil {
		return nil, nil, c.Fail(op, ErrInvalid)
	}
	resp, err := c.SDKClient().Do(req) //nolint:bodyclose // readAll closes it
	if err != nil {
		return nil, nil, c.Fail(op, err)
	}
	body, err := readAll(resp, MaxAPIBody)
	var items []T
	if err == nil && json.Unmarshal(body, &items) != nil {
		err = unavailable("its answer is not the JSON that its API documents")
	}
	if err != nil {
		return nil, nil, c.Fail(op, err)
	}
	return items, resp.Header, nil
}

// Send makes one request that writes, with in as JSON, and reads the JSON answer. It follows no redirect: what was moved is
// [ErrNotFound], because a client that follows would read the answer of a GET for that of a POST. Errors are *[Error].
func Send[T any](ctx context.Context, c *Caller, op, method, path string, in any) (T, error) {
	var out T
	body, _, err := c.write(ctx, op, method, path, in)
	if err == nil {
		if json.Unmarshal(body, &out) != nil {
			err = c.Fail(op, unavailable("its answer is not the JSON that its API documents"))
		}
	}
	if err != nil {
		var none T
		return none, err
	}
	return out, nil
}

// Do is [Send] where the answer does not matter; in may be nil for a request without a body. To a DELETE every forge answers 204:
// another answer 2xx, of a proxy perhaps, does not say that something is gone.
func (c *Caller) Do(ctx context.Context, op, method, path string, in any) error {
	_, status, err := c.write(ctx, op, method, path, in)
	if err == nil && method == http.MethodDelete && status != http.StatusNoContent {
		return c.transport.fail(op, status, unavailable("its answer does not say that it is gone"))
	}
	return err
}

func (c *Caller) write(ctx context.Context, op, method, path string, in any) (body []byte, status int, err error) {
	var content io.Reader = http.NoBody
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return nil, 0, c.Fail(op, ErrInvalid)
		}
		content = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.transport.api+path, content)
	if err != nil {
		return nil, 0, c.Fail(op, ErrInvalid)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.WriteClient().Do(req) //nolint:bodyclose // readAll closes it
	if err != nil {
		return nil, 0, c.Fail(op, err)
	}
	body, err = readAll(resp, MaxAPIBody)
	return body, resp.StatusCode, c.Fail(op, err)
}

// Raw reads a document that is no JSON, of at most limit bytes; one that is longer is [ErrTooLarge]. Path is below the API
// base. Redirects are followed within the connection's destinations. The header is that of the answer. Errors are *[Error].
func (c *Caller) Raw(ctx context.Context, op, path, accept string, limit int64) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.transport.api+path, nil)
	if err != nil {
		return nil, nil, c.Fail(op, ErrInvalid)
	}
	req.Header.Set("Accept", accept)
	client := &http.Client{Transport: &judged{pinned: &pinned{c, limit}, follow: true, raw: true}, Timeout: c.transport.timeout}
	resp, err := client.Do(req) //nolint:bodyclose // readAll closes it
	if err != nil {
		return nil, nil, c.Fail(op, err)
	}
	body, err := readAll(resp, limit)
	return body, resp.Header, c.Fail(op, err)
}
