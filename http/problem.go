package http

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
)

// code is the stable name of a problem: programs compare it, the sign-in page finds its sentence by it. Codes are never
// renamed.
type code string

// problem is an answer that says what went wrong, in the shape of RFC 9457. It holds sentences of ours only: nothing a
// browser or a forge sent is repeated in it, but for the account of a [problem] not_allowed, which its owner may see.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Error  code   `json:"error"`
	// Account is who was refused (forge_type:account_id), so that it can be put on the list of operators.
	Account   string `json:"account,omitzero"`
	RequestID string `json:"request_id,omitzero"`

	// retryAfter becomes the header Retry-After (RFC 9110 §10.2.3) where positive.
	retryAfter time.Duration
	// allow becomes the header Allow (RFC 9110 §10.2.1) of a 405.
	allow string
}

// problemType is what the type of a problem begins with. It is a name, not an address.
const problemType = "urn:forgeauth:problem:"

func newProblem(c code) problem {
	entry, ok := catalogue[c]
	if !ok {
		c, entry = codeInternal, catalogue[codeInternal]
	}
	p := problem{
		Type:   problemType + string(c),
		Title:  entry.title,
		Status: entry.status,
		Detail: entry.detail,
		Error:  c,
	}
	if slices.Contains(soonOver, c) {
		p.retryAfter = retrySoon
	}
	return p
}

// header sets the headers that belong to the problem.
func (p problem) header(h http.Header) {
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Cookie realm="forgeauth"`) // RFC 9110 §11.6.1 wants one; no browser prompts for this
	}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((p.retryAfter+time.Second-1)/time.Second)))
	}
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
}

// fail answers with the error: a problem document, or a page for a browser. What the table does not know is logged and
// answered with a bare 500.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	scope := scopeOf(r.Context())
	p := s.explain(r, err)
	p.RequestID = scope.id.String()
	if p.Status < http.StatusInternalServerError {
		s.chargeFailure(scope, p.Error)
	}
	p.header(w.Header())
	if prefersHTML(r) {
		s.page(w, r, p.Status, "error", s.newErrorPage(p))
		return
	}
	s.write(w, r, p.Status, "application/problem+json", p)
}

// explain looks the error up and logs what a person has to look into.
func (s *server) explain(r *http.Request, err error) problem {
	p, known := problemOf(err, s.config.Now())
	log := s.config.Logger.With("request_id", scopeOf(r.Context()).id, "method", r.Method, "route", routeOf(r))
	ended := r.Context().Err()
	switch {
	case ended != nil && !known, errors.Is(ended, context.Canceled) && p.Error == codeTemporarilyUnreadable:
		// To the driver a read that is given up looks like one that failed.
		p = newProblem(codeTimeout)
		log.DebugContext(r.Context(), "request abandoned or out of time", "error", err)
	case !known:
		log.ErrorContext(r.Context(), "request failed", "error", err)
	case p.Status >= http.StatusInternalServerError:
		log.WarnContext(r.Context(), "request failed", "code", p.Error, "error", err)
	}
	return p
}

// reply answers with a JSON document.
func (s *server) reply(w http.ResponseWriter, r *http.Request, document any) error {
	s.write(w, r, http.StatusOK, "application/json", document)
	return nil
}

func (s *server) write(w http.ResponseWriter, r *http.Request, status int, contentType string, document any) {
	// A nil list of scopes means that the forge does not say; lists that are merely empty are made so by their owners.
	body, err := json.Marshal(document, json.FormatNilSliceAsNull(true))
	if err != nil {
		s.config.Logger.ErrorContext(r.Context(), "document not encodable", "route", routeOf(r), "error", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that has gone hears nothing
}
