package http

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/go-chi/chi/v5"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
)

// loginPage shows how to sign in, and with ?error=<code> why the last attempt failed. A browser whose account was turned away
// is told which that was, with a 403.
func (s *server) loginPage(w http.ResponseWriter, r *http.Request, view *projections.View) error {
	query, err := parseQuery(r, codeBadQuery, "error", "return")
	if err != nil {
		return err
	}
	page, err := s.newLoginView(r, view, query.Get("return"))
	if err != nil {
		return err
	}
	status := http.StatusOK
	if query.Has("error") {
		page.Problem = loginProblem(query.Get("error"))
		account, refused := s.config.Commands.RefusedAccount(s.cookies.readRefused(r))
		if refused && page.Problem.Error == codeNotAllowed {
			page.Problem.Account, status = account, page.Problem.Status
		}
	}
	if prefersHTML(r) {
		s.page(w, r, status, "login", page)
		return nil
	}
	s.write(w, r, status, "application/json", page)
	return nil
}

// loginProblem returns what to say for an error code of the query. It is one of our sentences, whatever the query says.
func loginProblem(given string) *problem {
	c := code(given)
	if _, ok := catalogue[c]; !ok {
		c = codeInternal
	}
	p := newProblem(c)
	if c == codeInternal {
		p.Title, p.Detail = "The sign-in did not succeed", "Sign in again."
	}
	return &p
}

// startLogin sends the client to the forge with an attempt in a cookie of its own. What answers a browser's form is a
// page: a redirect would be checked against form-action, and so would the forge's own to wherever it keeps its people.
func (s *server) startLogin(w http.ResponseWriter, r *http.Request, view *projections.View) error {
	form, err := decodeForm(w, r, "setup_code")
	if err != nil {
		return err
	}
	send := seeOther
	if prefersHTML(r) {
		send = func(w http.ResponseWriter, authorizeURL string) {
			s.page(w, r, http.StatusOK, "leave", s.newLeavePage(r, authorizeURL))
		}
	}
	err = s.sendToForge(w, r, view, form.Get("setup_code"), send)
	switch {
	case errors.Is(err, commands.ErrSetupCodeRequired), errors.Is(err, commands.ErrSetupCodeWrong), errors.Is(err, commands.ErrLoginDisabled):
		if prefersHTML(r) {
			return s.sendToLogin(w, r, err, r.URL.Query().Get("return"))
		}
	}
	return err
}

// offerLogin is the GET of the same address. A link on another site must not start a sign-in, so unless the browser says
// that no other site had a part in it, or while the setup code has to be POSTed, a button is shown first. Links in mail
// and chat are nobody's site either: they must not make who is signed in link an account.
func (s *server) offerLogin(w http.ResponseWriter, r *http.Request, view *projections.View) error {
	from := r.Header.Values("Sec-Fetch-Site")
	if len(from) == 1 && (from[0] == "same-origin" || from[0] == "none" && view == nil) {
		err := s.sendToForge(w, r, view, "", seeOther)
		if !errors.Is(err, commands.ErrSetupCodeRequired) || !prefersHTML(r) {
			return err
		}
	}
	if !prefersHTML(r) {
		return refuse(codeConfirmationRequired)
	}
	forgeType, returnTo, err := s.loginTarget(r)
	if err != nil {
		return err
	}
	connection, ok := s.connection(forgeType)
	if !ok {
		return commands.ErrUnknownConnection
	}
	page, err := s.newLoginView(r, view, returnTo)
	if err != nil {
		return err
	}
	page.Forges = []loginForge{newLoginForge(connection, returnTo)}
	page.Confirm = true
	s.page(w, r, http.StatusOK, "login", page)
	return nil
}

// connection returns the configured connection of that name.
func (s *server) connection(name string) (forge.Connection, bool) {
	i := slices.IndexFunc(s.config.Connections, func(c forge.Connection) bool { return c.Name == name })
	if i < 0 {
		return forge.Connection{}, false
	}
	return s.config.Connections[i], true
}

// sendToForge starts an attempt, sets its cookie, and answers with send, which gets the address to go to. That address
// holds the attempt's state: it is in no log and, like every answer here, in no cache.
func (s *server) sendToForge(
	w http.ResponseWriter, r *http.Request, view *projections.View, setupCode string, send func(http.ResponseWriter, string),
) error {
	forgeType, returnTo, err := s.loginTarget(r)
	if err != nil {
		return err
	}
	started, err := s.config.Commands.StartLogin(r.Context(), commands.StartLogin{
		ForgeType: forgeType,
		ReturnTo:  returnTo,
		SetupCode: setupCode,
		Session:   sessionOf(view),
	})
	if err != nil {
		return err
	}
	s.cookies.setAttempt(w, r, started.Attempt, s.config.Now())
	send(w, started.AuthorizeURL)
	return nil
}

func (s *server) loginTarget(r *http.Request) (forgeType, returnTo string, err error) {
	if forgeType, err = pathForge(r); err != nil {
		return "", "", err
	}
	query, err := parseQuery(r, codeBadQuery, "return")
	if err != nil {
		return "", "", err
	}
	returnTo = query.Get("return")
	if returnTo != "" && !s.hasPage(returnTo) {
		return "", "", refuse(codeBadReturn)
	}
	return forgeType, returnTo, nil
}

// hasPage reports whether a GET of the path is routed. Which of those may be returned to is for [commands.StartLogin].
func (s *server) hasPage(path string) bool {
	to, err := url.Parse(path)
	return err == nil && s.routes.Match(chi.NewRouteContext(), http.MethodGet, to.EscapedPath())
}

// completeLogin is where the forge sends the browser back to. Whatever goes wrong lands on the sign-in page, but for a program
// that may not sign in, which is told so at once.
func (s *server) completeLogin(w http.ResponseWriter, r *http.Request, view *projections.View) error {
	if connection, ok := s.forTerminal(r); ok {
		s.page(w, r, http.StatusOK, "terminal", newLoginForge(connection, ""))
		return nil
	}
	completed, err := s.readCallback(r, view)
	switch {
	case errors.Is(err, commands.ErrAlreadySignedIn):
		seeOther(w, "/")
		return nil
	case err != nil:
		return s.failLogin(w, r, err)
	}
	s.cookies.clearAttempt(w, completed.AttemptID)
	for _, attempt := range completed.Carried {
		s.cookies.keepAttempt(w, attempt, s.config.Now())
	}
	if key, ok := s.config.Commands.SessionKey(completed.SessionSecret.Reveal()); ok {
		s.known.add(key)
	}
	if s.cookies.readRefused(r) != "" {
		s.cookies.clearRefused(w)
	}
	s.cookies.setSession(w, completed.SessionSecret, completed.Session.ExpiresAt.Sub(s.config.Now()))
	seeOther(w, completed.ReturnTo)
	return nil
}

func (s *server) readCallback(r *http.Request, view *projections.View) (commands.LoginCompleted, error) {
	forgeType, err := pathForge(r)
	if err != nil {
		return commands.LoginCompleted{}, err
	}
	query, err := parseQuery(r, codeBadCallback, "state", "code", "error", "iss")
	if err != nil {
		return commands.LoginCompleted{}, err
	}
	_, attempts := s.cookies.readAttempts(r)
	return s.config.Commands.CompleteLogin(r.Context(), commands.CompleteLogin{
		ForgeType: forgeType,
		Query: commands.CallbackQuery{
			State:  query.Get("state"),
			Code:   query.Get("code"),
			Error:  query.Get("error"),
			Issuer: query.Get("iss"),
		},
		Attempts:    attempts,
		Session:     sessionOf(view),
		Correlation: scopeOf(r.Context()).id,
	})
}

// failLogin answers a callback that failed: it leads to the sign-in page with a code. Who may not sign in takes their account
// along, sealed in a cookie, to be told it there; a program is told at once. The attempt is over either way.
func (s *server) failLogin(w http.ResponseWriter, r *http.Request, err error) error {
	if failed := (*commands.LoginError)(nil); errors.As(err, &failed) {
		s.cookies.clearAttempt(w, failed.AttemptID)
	}
	p := s.explain(r, err)
	if p.Error == codeNotAllowed && !prefersHTML(r) {
		return err
	}
	if p.Account != "" {
		refusal, sealErr := s.config.Commands.SealRefusal(p.Account)
		if sealErr != nil {
			return sealErr
		}
		s.cookies.setRefused(w, refusal, s.config.Now())
	} else if s.cookies.readRefused(r) != "" {
		s.cookies.clearRefused(w) // that was somebody else, or at another time
	}
	return s.sendToLogin(w, r, err, "")
}

// sendToLogin redirects to the sign-in page, which says what went wrong.
func (s *server) sendToLogin(w http.ResponseWriter, r *http.Request, err error, returnTo string) error {
	p, _ := problemOf(err, s.config.Now())
	s.chargeFailure(scopeOf(r.Context()), p.Error)
	query := url.Values{"error": {string(p.Error)}}
	if returnTo != "" {
		query.Set("return", returnTo)
	}
	seeOther(w, "/login?"+query.Encode())
	return nil
}

// logout ends the session and leaves the tokens alone. Without a session there is nothing to end, which is no fault.
func (s *server) logout(w http.ResponseWriter, r *http.Request, view *projections.View) error {
	if _, err := decodeForm(w, r); err != nil {
		return err
	}
	if view != nil {
		if _, err := s.config.Commands.EndSession(r.Context(), caller(r, *view), view.Session.ID); err != nil {
			return err
		}
	}
	s.cookies.clearSession(w)
	if prefersHTML(r) {
		seeOther(w, "/login")
		return nil
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// seeOther redirects without a body, so that no address is written anywhere but into the header.
func seeOther(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

func sessionOf(view *projections.View) *projections.Session {
	if view == nil {
		return nil
	}
	return &view.Session
}
