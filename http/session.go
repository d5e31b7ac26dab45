package http

import (
	"errors"
	"net/http"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/projections"
)

// endpoint turns a handler that returns its error into one of net/http's. It asks for no session and has no limit, so
// it is for what costs nothing to answer.
func (s *server) endpoint(handle func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := handle(w, r); err != nil {
			s.fail(w, r, err)
		}
	}
}

// visitor is for routes that serve people with and without a session; the view is nil without one.
func (s *server) visitor(handle func(http.ResponseWriter, *http.Request, *projections.View) error) http.HandlerFunc {
	return s.endpoint(func(w http.ResponseWriter, r *http.Request) error {
		view, err := s.authenticate(r)
		if err != nil {
			return err
		}
		return handle(w, r, view)
	})
}

// operator is for routes that need a live session.
func (s *server) operator(handle func(http.ResponseWriter, *http.Request, projections.View) error) http.HandlerFunc {
	return s.visitor(func(w http.ResponseWriter, r *http.Request, view *projections.View) error {
		if view == nil {
			return projections.ErrNoSession
		}
		return handle(w, r, *view)
	})
}

// authenticate returns what the live session of the request sees, nil without one; then the request counts against its
// client's limit. One query if there is a cookie that could be one, none otherwise.
//
// Cookies that were live when last looked up are asked about without limit. Others count first, as guesses, or a flood of
// them would be one of queries. Where a client that has spent its limit sends one, the roll is called: that tells a session
// that is merely not known here yet, as after a restart, from any number of guesses.
func (s *server) authenticate(r *http.Request) (*projections.View, error) {
	scope := scopeOf(r.Context())
	cookie, err := s.cookies.readSession(r)
	switch {
	case err != nil:
		return nil, errors.Join(err, s.count(scope))
	case cookie == "":
		return nil, s.count(scope)
	}
	key, ok := s.config.Commands.SessionKey(cookie)
	if !ok {
		scope.guessed = true
		return nil, s.count(scope)
	}
	known := s.known.has(key)
	if !known {
		if limited := s.count(scope); limited != nil {
			if known = s.roll.has(r.Context(), key); !known {
				return nil, limited
			}
		}
	}
	view, err := s.config.Commands.Authenticate(r.Context(), key)
	switch {
	case err == nil:
		s.known.add(key)
		scope.counted = false // a live session is charged for nothing
		return &view, nil
	case !errors.Is(err, projections.ErrNoSession):
		return nil, err
	}
	scope.guessed = true
	if known {
		s.known.forget(key)
		s.roll.forget(key)
		return nil, s.count(scope)
	}
	return nil, nil
}

// count spends one for the request from its client's limit, or refuses it.
func (s *server) count(scope *scope) error {
	err := s.limits.take(scope.client)
	scope.counted = err == nil
	return err
}

// chargeFailure makes a refusal cost its client more. It costs nothing where the request did not count: with a live
// session, and where it was refused before anything was looked up, which any site can make a browser cause; nor where
// all that was wrong is that nobody is signed in.
func (s *server) chargeFailure(scope *scope, why code) {
	if scope.counted && (scope.guessed || why != codeUnauthenticated) {
		s.limits.charge(scope.client)
	}
}

// caller says on whose behalf a request's command runs. The events carry the request's id.
func caller(r *http.Request, view projections.View) commands.Caller {
	caller := commands.SessionCaller(view.Session.ID)
	caller.Correlation = scopeOf(r.Context()).id
	return caller
}
