package http

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/history"
	"github.com/forgeauth/forgeauth/projections"
)

// routeAudit serves what happened. Everything here is for a session, takes time in proportion to what it folds, and is bounded by the
// time of any request.
func (s *server) routeAudit(r chi.Router) {
	r.Get("/audit", s.operator(s.auditPage))
	r.Get("/audit/switches", s.operator(answer(s, func(r *http.Request, span history.Span, query values) (history.Page[history.Switch], error) {
		forge := query.Get("forge")
		if forge != "" {
			if _, err := knownShape(forge, codeUnknownForge); err != nil {
				return history.Page[history.Switch]{}, err
			}
		}
		return s.config.History.Switches(r.Context(), span, forge)
	}, "forge")))
	r.Get("/audit/events", s.operator(answer(s, func(r *http.Request, span history.Span, query values) (history.Page[history.Event], error) {
		types, err := parseTypes(query.of("type"))
		if err != nil {
			return history.Page[history.Event]{}, err
		}
		return s.config.History.Events(r.Context(), history.EventQuery{Span: span, Types: types, Stream: events.Stream(query.Get("stream"))})
	}, "stream")))
	r.Get("/audit/tokens/{forge}", s.operator(answer(s, func(r *http.Request, span history.Span, _ values) (history.Page[history.TokenStep], error) {
		forge, err := pathForge(r)
		if err != nil {
			return history.Page[history.TokenStep]{}, err
		}
		return s.config.History.Tokens(r.Context(), forge, span)
	})))
	r.Get("/audit/sessions", s.operator(answer(s, func(r *http.Request, span history.Span, _ values) (history.Page[history.SessionSpan], error) {
		return s.config.History.Sessions(r.Context(), span)
	})))
	r.Get("/audit/denied", s.operator(answer(s, func(r *http.Request, span history.Span, _ values) (history.Page[history.Denial], error) {
		return s.config.History.Denied(r.Context(), span)
	})))
	r.Get("/audit/replay", s.operator(answer(s, s.replay)))
	r.Get("/audit/events/{position}", s.operator(s.explainEvent))
	r.Get("/audit/events/{position}/proof", s.operator(s.proveEvent))
	r.Get("/audit/state", s.operator(s.stateAt))
	r.Get("/audit/diff", s.operator(s.diff))
}

// The sizes of pages.
const (
	usualAnswers = 100
	mostAnswers  = 1000
)

// values are those of a query, of which every name occurs at most once but type.
type values map[string][]string

func (v values) Get(name string) string {
	if len(v[name]) == 0 {
		return ""
	}
	return v[name][0]
}

func (v values) of(name string) []string { return v[name] }

// answer makes an endpoint of a question about a part of the log: ?from= and ?to= are moments, ?after= and ?limit= page.
func answer[T any](s *server, ask func(*http.Request, history.Span, values) (history.Page[T], error), more ...string) func(http.ResponseWriter, *http.Request, projections.View) error {
	return func(w http.ResponseWriter, r *http.Request, _ projections.View) error {
		span, query, err := s.spanOf(r, more...)
		if err != nil {
			return err
		}
		page, err := ask(r, span, query)
		if err != nil {
			return err
		}
		return s.reply(w, r, page)
	}
}

func (s *server) spanOf(r *http.Request, more ...string) (history.Span, values, error) {
	query, err := parseQuery(r, codeBadQuery, append([]string{"from", "to", "after", "limit"}, more...)...)
	if err != nil {
		return history.Span{}, nil, err
	}
	span := history.Span{Limit: usualAnswers}
	for name, to := range map[string]**events.Moment{"from": &span.From, "to": &span.To} {
		if !query.Has(name) {
			continue
		}
		moment, err := s.moment(query.Get(name))
		if err != nil {
			return span, nil, err
		}
		*to = &moment
	}
	if query.Has("after") {
		if span.After, err = parseDecimal(query.Get("after")); err != nil {
			return span, nil, refuse(codeBadCursor)
		}
	}
	if query.Has("limit") {
		if span.Limit, err = strconv.Atoi(query.Get("limit")); err != nil || span.Limit < 1 || span.Limit > mostAnswers {
			return span, nil, refuse(codeBadQuery)
		}
	}
	return span, values(query), nil
}

func (s *server) moment(text string) (events.Moment, error) {
	moment, err := events.ParseMoment(text, s.config.Now())
	if err != nil {
		return moment, refuse(codeBadMoment)
	}
	return moment, nil
}

func (s *server) replay(r *http.Request, span history.Span, query values) (history.Page[history.Step], error) {
	page := history.Page[history.Step]{Items: []history.Step{}}
	types, err := parseTypes(query.of("type"))
	if err != nil {
		return page, err
	}
	limit := span.Limit
	span.Limit++ // to know whether there is more
	for step, err := range s.config.History.Replay(r.Context(), history.ReplayQuery{Span: span, Types: types}) {
		if err != nil {
			return page, err
		}
		if len(page.Items) == limit {
			page.Next = &page.Items[limit-1].Event.Position
			break
		}
		page.Items = append(page.Items, step)
	}
	return page, nil
}

func (s *server) explainEvent(w http.ResponseWriter, r *http.Request, _ projections.View) error {
	position, err := pathPosition(r)
	if err != nil {
		return err
	}
	explanation, err := s.config.History.Explain(r.Context(), position)
	if err != nil {
		return err
	}
	return s.reply(w, r, explanation)
}

// proveEvent answers with a proof (C2SP tlog-proof) that an event is in the signed log.
func (s *server) proveEvent(w http.ResponseWriter, r *http.Request, _ projections.View) error {
	position, err := pathPosition(r)
	if err != nil {
		return err
	}
	bundle, err := s.config.Tree.Prove(r.Context(), s.config.Log, position)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(bundle)) // a client that has left is nobody's fault
	return nil
}

func pathPosition(r *http.Request) (int64, error) {
	position, err := parseDecimal(chi.URLParam(r, "position"))
	if err != nil || position == 0 {
		return 0, events.ErrNotFound
	}
	return position, nil
}

func (s *server) stateAt(w http.ResponseWriter, r *http.Request, _ projections.View) error {
	query, err := parseQuery(r, codeBadQuery, "at")
	if err != nil {
		return err
	}
	at := "now"
	if query.Has("at") {
		at = query.Get("at")
	}
	moment, err := s.moment(at)
	if err != nil {
		return err
	}
	snapshot, err := s.config.History.At(r.Context(), moment)
	if err != nil {
		return err
	}
	return s.reply(w, r, snapshot)
}

func (s *server) diff(w http.ResponseWriter, r *http.Request, _ projections.View) error {
	query, err := parseQuery(r, codeBadQuery, "from", "to")
	if err != nil {
		return err
	}
	to := "now"
	if query.Has("to") {
		to = query.Get("to")
	}
	first, err := s.moment(query.Get("from"))
	if err != nil {
		return err
	}
	second, err := s.moment(to)
	if err != nil {
		return err
	}
	difference, err := s.config.History.Diff(r.Context(), first, second)
	if err != nil {
		return err
	}
	return s.reply(w, r, difference)
}

// auditView is what templates/audit.html shows.
type auditView struct {
	SignedInAs signedInAs
	From, To   string
	Picture    picture
	Switches   []history.Switch // newest first
	Cut        bool
}

// auditPage draws the timeline. Without ?from= it begins with the log, or 90 days ago if that is longer ago.
func (s *server) auditPage(w http.ResponseWriter, r *http.Request, view projections.View) error {
	query, err := parseQuery(r, codeBadQuery, "from", "to")
	if err != nil {
		return err
	}
	page := auditView{
		SignedInAs: signedInAs{view.Session.Account.ForgeType, view.Session.Account.AccountLogin},
		From:       query.Get("from"), To: query.Get("to"),
	}
	if page.From == "" {
		page.From = usualTimeline
	}
	from, err := s.moment(page.From)
	if err != nil {
		return err
	}
	span := history.Span{From: &from}
	if page.To != "" {
		to, err := s.moment(page.To)
		if err != nil {
			return err
		}
		span.To = &to
	}
	timeline, err := s.config.History.Timeline(r.Context(), span)
	if err != nil {
		return err
	}
	page.Picture, page.Cut = draw(timeline), timeline.Cut
	for i := len(timeline.Switches) - 1; i >= 0 && len(page.Switches) < lastSwitches; i-- {
		page.Switches = append(page.Switches, timeline.Switches[i])
	}
	s.page(w, r, http.StatusOK, "audit", page)
	return nil
}

const (
	usualTimeline = "90d"
	lastSwitches  = 50
)

// held says for how long a switch held, for people.
func held(sw history.Switch) string {
	text := time.Duration(sw.Seconds * float64(time.Second)).Round(time.Second).String()
	if sw.Until == nil {
		return text + ", and still does"
	}
	return text
}
