package forge

import (
	"bytes"
	"errors"
	"io"
	"net/http"
)

// pinned adds the token to requests that stay on the connection's destinations, and makes no others. It is below
// [http.Client]'s redirects, so that each hop passes here; the token is added to a copy of the request and so never
// carried along by [http.Client].
type pinned struct {
	*Caller
	limit int64
}

func (p *pinned) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, _, err := p.roundTrip(req)
	if err == nil {
		err = p.staysInside(resp)
	}
	if err != nil {
		return nil, p.transport.fail("request", 0, err)
	}
	return resp, nil
}

// roundTrip makes the request, and once more if the forge answers 401 and the keeper has another token. If it has not, the
// answer is returned as it is, and with it why there was no second try.
func (p *pinned) roundTrip(req *http.Request) (resp *http.Response, refused, err error) {
	if !p.transport.allowed.admitsRequest(req) {
		closeBody(req.Body)
		return nil, nil, ErrDestination
	}
	token, err := p.Token(req.Context())
	if err != nil {
		closeBody(req.Body)
		return nil, nil, err
	}
	resp, err = p.send(req, req.Body, token)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, nil, err
	}
	another, refused := sendable(p.keep.Refused(req.Context(), token))
	if refused != nil {
		return resp, refused, nil
	}
	body, err := again(req)
	if err != nil {
		return resp, err, nil
	}
	closeBody(resp.Body)
	resp, err = p.send(req, body, another)
	return resp, nil, err
}

// again returns the body of a request for another time.
func again(req *http.Request) (io.ReadCloser, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return req.Body, nil
	}
	if req.GetBody != nil {
		if body, err := req.GetBody(); err == nil {
			return body, nil
		}
	}
	return nil, unavailable("the token was replaced meanwhile, and the request cannot be repeated")
}

// send makes the request with the token.
func (p *pinned) send(req *http.Request, body io.ReadCloser, token Token) (*http.Response, error) {
	sent := req.Clone(req.Context())
	sent.Body = body
	sent.Header.Set("Authorization", "Bearer "+token.Access.Reveal())
	resp, err := p.transport.send(p.transport.kept, sent)
	if err != nil {
		return nil, err
	}
	resp.Request = req // and not the one with the token: answers are logged and quoted
	resp.Body = &boundedBody{resp.Body, p.limit}
	return resp, nil
}

// staysInside refuses a redirect out of the destinations before [http.Client] reads it, whose error would quote it.
func (p *pinned) staysInside(resp *http.Response) error {
	location := resp.Header.Get("Location")
	if !isRedirect(resp) || location == "" {
		return nil
	}
	to, err := resp.Request.URL.Parse(location)
	if err != nil || !p.transport.allowed.admits(to) {
		closeBody(resp.Body)
		return ErrDestination
	}
	return nil
}

func isRedirect(resp *http.Response) bool { return resp.StatusCode >= 300 && resp.StatusCode < 400 }

// isFollowed reports whether [http.Client] goes on from an answer. It hands out every other 3xx like a success.
func isFollowed(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return resp.Header.Get("Location") != ""
	}
	return false
}

func closeBody(body io.Closer) {
	if body != nil {
		_ = body.Close()
	}
}

// boundedBody fails the read that would pass its limit.
type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLong
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = unreachable(err)
	}
	return n, err
}

// judged reads answers whole and lets only 2xx through.
type judged struct {
	*pinned
	follow bool // redirects within the destinations
	write  bool // requests change something at the forge
	raw    bool // the answer is a document, which may be anything
}

func (j *judged) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("Accept") == "" {
		req = req.Clone(req.Context())
		req.Header.Set("Accept", j.transport.dialect.Accept)
	}
	resp, refused, err := j.roundTrip(req)
	if err != nil {
		return nil, j.transport.fail("request", 0, err)
	}
	body, err := readAll(resp, j.limit)
	switch {
	case j.raw && errors.Is(err, errTooLong) && resp.StatusCode == http.StatusOK:
		err = ErrTooLarge
	case err != nil:
	case refused != nil:
		err = refused
	case j.follow && isFollowed(resp):
		err = j.staysInside(resp)
	case j.write:
		err = j.transport.judgeWrite(resp, body)
	default:
		err = j.transport.judge(resp, body)
	}
	if err == nil && !j.raw {
		err = j.checkJSON(resp, body)
	}
	if err != nil {
		return nil, j.transport.fail("request", resp.StatusCode, err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// checkJSON refuses what a client library would take for something else, and what would take too much room.
func (j *judged) checkJSON(resp *http.Response, body []byte) error {
	if countValues(body) > MaxAPIValues {
		return unavailable("its answer has too many values")
	}
	said := bytes.TrimSpace(body)
	if resp.StatusCode == http.StatusOK && (len(said) == 0 || string(said) == "null") {
		return unavailable("its answer is empty") // it would pass for an empty list
	}
	_, err := j.Next(resp)
	return err
}

// countValues counts the values of a JSON text, roughly: those that open an object or a list, and those after a comma.
func countValues(text []byte) int {
	n, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && (c == ',' || c == '{' || c == '['):
			n++
		}
	}
	return n
}
