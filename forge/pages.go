package forge

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"slices"
	"strings"
)

// Next returns the next page's address by the Link header (RFC 8288), empty on the last page. One that leads out of the
// connection's destinations is [ErrDestination].
func (c *Caller) Next(resp *http.Response) (string, error) {
	for _, header := range resp.Header.Values("Link") {
		target, err := nextLink(header)
		if err != nil {
			return "", err
		}
		if target != "" {
			return c.follow(resp, target)
		}
	}
	return "", nil
}

// follow resolves a pagination link of an answer, wherever that has it, and holds it to the connection's destinations.
func (c *Caller) follow(resp *http.Response, target string) (string, error) {
	to, err := resp.Request.URL.Parse(target)
	if err != nil || len(target) > maxLinkLength {
		return "", unavailable("its pagination link cannot be read")
	}
	if !c.transport.allowed.admits(to) {
		return "", ErrDestination
	}
	return to.String(), nil
}

// maxLinkLength bounds an address that [Pages] remembers; headers alone could have it keep gigabytes.
const maxLinkLength = 8 << 10

// nextLink returns the target with rel="next" in one Link header: <target>; name=value; …, <target>; …
func nextLink(header string) (string, error) {
	for rest := strings.TrimSpace(header); rest != ""; {
		opened, after, closed := strings.Cut(rest, ">")
		if !closed || !strings.HasPrefix(opened, "<") {
			return "", unavailable("its pagination link cannot be read")
		}
		parameters, following, _ := strings.Cut(after, ",")
		if isNext(parameters) {
			return opened[1:], nil
		}
		rest = strings.TrimSpace(following)
	}
	return "", nil
}

func isNamedNext(relation string) bool { return strings.EqualFold(relation, "next") }

// isNext: one link can have several relations, with spaces between (RFC 8288 §3.3).
func isNext(parameters string) bool {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		if strings.EqualFold(name, "rel") && slices.ContainsFunc(strings.Fields(strings.Trim(value, `"`)), isNamedNext) {
			return true
		}
	}
	return false
}

// Profile asks the API for one JSON document of at most [MaxTokenBody] bytes, following no redirect. Path is below the
// API base. Errors are *[Error].
func Profile[T any](ctx context.Context, c *Caller, op, path string) (T, error) {
	document, _, err := get[T](ctx, c, c.ProfileClient(), c.transport.api+path)
	if err != nil {
		var none T
		return none, c.Fail(op, err)
	}
	return document, nil
}

// MaxPages bounds a pagination that does not end.
const MaxPages = 10_000

// Pages asks the API for a list, page by page as it is consumed: it yields the items of a page before it asks for the
// next, which the Link header names. Path is below the API base. After an error, always an *[Error], it ends.
func Pages[T any](ctx context.Context, c *Caller, op, path string) iter.Seq2[T, error] {
	return pages(c, op, path, func(client *http.Client, at string) ([]T, string, error) {
		return get[[]T](ctx, c, client, at)
	})
}

// BodyPages is [Pages] for a forge whose pages are {"values": […], "next": "https://…"}, without next on the last. A page
// without values is none.
func BodyPages[T any](ctx context.Context, c *Caller, op, path string) iter.Seq2[T, error] {
	return pages(c, op, path, func(client *http.Client, at string) ([]T, string, error) {
		var page struct {
			Values []T    `json:"values"`
			Next   string `json:"next"`
		}
		resp, err := fetch(ctx, c, client, at, &page) //nolint:bodyclose // fetch has closed it
		switch {
		case err != nil:
			return nil, "", err
		case page.Values == nil:
			return nil, "", c.transport.fail(op, resp.StatusCode, unavailable("its answer is no page of a list"))
		case page.Next == "":
			return page.Values, "", nil
		}
		next, err := c.follow(resp, page.Next)
		return page.Values, next, err
	})
}

// pages yields what read returns of one page after the other, and reads no address twice.
func pages[T any](c *Caller, op, path string, read func(*http.Client, string) ([]T, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		client := c.SDKClient()
		asked := map[string]bool{}
		for at := c.transport.api + path; at != ""; {
			if asked[at] || len(asked) == MaxPages {
				yield(none, c.Fail(op, ErrEndlessPages))
				return
			}
			asked[at] = true
			items, next, err := read(client, at)
			if err != nil {
				yield(none, c.Fail(op, err))
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			at = next
		}
	}
}

func get[T any](ctx context.Context, c *Caller, client *http.Client, at string) (document T, next string, err error) {
	resp, err := fetch(ctx, c, client, at, &document) //nolint:bodyclose // fetch has closed it
	if err != nil {
		return document, "", err
	}
	next, err = c.Next(resp)
	return document, next, err
}

// fetch reads one JSON document. Of the answer that it returns the body is read and closed.
func fetch(ctx context.Context, c *Caller, client *http.Client, at string, document any) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, unavailable("its address cannot be read")
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err //nolint:wrapcheck // Caller.Fail takes it apart
	}
	body, err := readAll(resp, MaxAPIBody)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, document); err != nil {
		return nil, c.transport.fail("request", resp.StatusCode, unavailable("its answer is not the JSON that its API documents"))
	}
	return resp, nil
}
