package http

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// follow answers with the log as it grows, as Server-Sent Events (WHATWG HTML §9.2). What can be refused is refused before the
// stream begins and in the time of any request: a browser's EventSource connects again after a stream that ends, and gives up
// after any answer but 200.
func (s *server) follow(w http.ResponseWriter, r *http.Request) {
	opening, cancel := context.WithTimeout(r.Context(), quickTime)
	defer cancel()
	s.operator(func(w http.ResponseWriter, opening *http.Request, view projections.View) error {
		if !acceptsStream(r) {
			return refuse(codeNotAcceptable)
		}
		start, err := s.startOf(opening)
		if err != nil {
			return err
		}
		leave, err := s.streams.enter(view.Session.ID)
		if err != nil {
			return err
		}
		defer leave()
		header := w.Header()
		header.Set("Content-Type", streamType)
		header.Set("X-Accel-Buffering", "no") // nginx would wait for more before it passes anything on
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodHead {
			return nil
		}
		s.stream(w, r, start, view.Session)
		return nil
	})(w, r.WithContext(opening))
}

const streamType = "text/event-stream"

// acceptsStream reports whether the client takes what there is; one that does not say takes anything (RFC 9110 §12.5.1).
func acceptsStream(r *http.Request) bool {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	return accept == "" || quality(accept, "text", "event-stream") > 0
}

// start is what a client wants to hear.
type start struct {
	after int64    // the position of the last event it has, or does not want
	head  int64    // the end of the log as it was when the client asked
	types []string // all if empty
}

func (s *server) startOf(r *http.Request) (start, error) {
	query, err := parseQuery(r, codeBadQuery, "from")
	if err != nil {
		return start{}, err
	}
	types, err := parseTypes(query["type"])
	if err != nil {
		return start{}, err
	}
	head, err := s.config.Log.Head(r.Context())
	if err != nil {
		return start{}, err
	}
	after, err := s.parsePosition(r, query, head.Position)
	if err != nil {
		return start{}, err
	}
	if after > head.Position {
		return start{}, refuse(codePositionAhead)
	}
	return start{after, head.Position, types}, nil
}

// parseTypes reads the values of ?type=, each a name or several with commas between them.
func parseTypes(values []string) ([]string, error) {
	known := events.Types()
	var types []string
	for _, value := range values {
		for name := range strings.SplitSeq(value, ",") {
			if !slices.Contains(known, name) {
				return nil, refuse(codeUnknownType)
			}
			types = append(types, name)
		}
	}
	slices.Sort(types)
	return slices.Compact(types), nil
}

// parsePosition returns the position after which the stream begins: that of the header Last-Event-ID, else what ?from= says,
// else the head. The header counts first because a browser that connects again sends it with the same address as before.
func (s *server) parsePosition(r *http.Request, query url.Values, head int64) (after int64, err error) {
	if last := r.Header.Values("Last-Event-ID"); len(last) > 0 {
		after, err := parseDecimal(last[0])
		if err != nil || len(last) > 1 {
			return 0, refuse(codeBadPosition)
		}
		return after, nil
	}
	if !query.Has("from") {
		return head, nil
	}
	from, err := events.ParseMoment(query.Get("from"), time.Time{})
	if err != nil {
		return 0, refuse(codeBadPosition)
	}
	return from.Before(r.Context(), s.config.Log)
}

// parseDecimal takes digits only: no sign.
func parseDecimal(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	return int64(n), err
}
