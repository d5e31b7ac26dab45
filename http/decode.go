package http

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	mostBody = 64 << 10
	// bodyTime is how long a client may take to send its body.
	bodyTime = 15 * time.Second
)

// decodeJSON reads a request's one JSON object strictly: unknown and duplicate members, other types, invalid UTF-8 and
// trailing data are refused. Members that are missing stay zero.
func decodeJSON[T any](w http.ResponseWriter, r *http.Request) (T, error) {
	var request T
	if err := checkMediaType(r, "application/json"); err != nil {
		return request, err
	}
	body, err := readBody(w, r)
	if err != nil {
		return request, err
	}
	if err := json.Unmarshal(body, &request, json.RejectUnknownMembers(true)); err != nil {
		return request, refuse(codeBadJSON) // the cause would quote the body
	}
	return request, nil
}

// decodeForm reads what an HTML form sends: only the named fields, each at most once. No body is a form without fields.
func decodeForm(w http.ResponseWriter, r *http.Request, fields ...string) (url.Values, error) {
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return url.Values{}, nil
	}
	if err := checkMediaType(r, "application/x-www-form-urlencoded"); err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, refuse(codeBadForm)
	}
	for name, values := range form {
		if !slices.Contains(fields, name) || len(values) != 1 {
			return nil, refuse(codeBadForm)
		}
	}
	return form, nil
}

// parseQuery reads the query: what is malformed, or named here and sent twice, is refused with the code c. Parameters that
// are not named are left alone (RFC 6749 §4.1.2).
func parseQuery(r *http.Request, c code, names ...string) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refuse(c)
	}
	for _, name := range names {
		if len(query[name]) > 1 {
			return nil, refuse(c)
		}
	}
	return query, nil
}

func checkMediaType(r *http.Request, want string) error {
	got, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || got != want || len(r.Header.Values("Content-Type")) > 1 || r.Header.Get("Content-Encoding") != "" {
		return refuse(codeUnsupportedMediaType)
	}
	delete(parameters, "charset") // both are UTF-8 by definition, and checked to be
	if len(parameters) > 0 {
		return refuse(codeUnsupportedMediaType)
	}
	return nil
}

// readBody reads a body of bounded size in bounded time.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	connection := http.NewResponseController(w)
	// Not every writer can; those of net/http's servers do.
	_ = connection.SetReadDeadline(time.Now().Add(bodyTime)) //nolint:forbidigo // a deadline of the socket, on its clock
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &requestError{code: codeBodyTooLarge, cause: err}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, &requestError{code: codeTimeout, cause: err}
	}
	if err != nil {
		return nil, &requestError{code: codeBadBody, cause: err}
	}
	_ = connection.SetReadDeadline(time.Time{})
	return body, nil
}
