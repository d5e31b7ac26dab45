package forgetest

import (
	"crypto/rand"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-oauth2/oauth2/v4"

	"github.com/forgeauth/forgeauth/forge"
)

// authorization is a checked authorization request that waits for a person's decision.
type authorization struct {
	client, redirect, state, scope string
	challenge, method              string
	user                           int64
	session                        string
}

const (
	stylesheetPath = "/stand-in.css"
	logoutPath     = "/stand-in/logout"
	returnCookie   = "redirect_to"
	consentField   = "consent"
)

// serveAuthorize checks an authorization request, sees to it that somebody is logged in, and asks them unless they
// agreed before.
func (f *Forge) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	asked := authorization{
		client: query.Get("client_id"), redirect: query.Get("redirect_uri"), state: query.Get("state"),
		challenge: query.Get("code_challenge"), method: query.Get("code_challenge_method"),
	}
	f.mu.Lock()
	client := f.ledger.clients[asked.client]
	f.mu.Unlock()
	if client == nil {
		f.refuseAuthorize(w, r, asked, unknownClient)
		return
	}
	if asked.redirect == "" && f.config.Dialect.isGitHub() {
		asked.redirect = client.RedirectURIs[0]
	}
	if !slices.Contains(client.RedirectURIs, asked.redirect) {
		asked.redirect = client.RedirectURIs[0]
		f.refuseAuthorize(w, r, asked, unregisteredRedirect)
		return
	}
	if why := f.checkAuthorize(query, &asked); why != noReason {
		f.refuseAuthorize(w, r, asked, why)
		return
	}
	session, user := f.session(r)
	if f.config.AutoConsent && len(f.config.Users) > 0 {
		user = f.config.Users[0].ID
		f.approve(w, r, asked, user)
		return
	}
	if user == 0 || query.Get("prompt") == "select_account" {
		back := r.URL
		query.Del("prompt")
		back.RawQuery = query.Encode()
		f.sendToLoginPage(w, back.RequestURI())
		return
	}
	f.mu.Lock()
	agreed := f.ledger.consents[consentKey{user, asked.client}]
	skip := agreed != nil && f.dialect.covers(agreed.scope, asked.scope)
	var pending string
	if !skip {
		pending = rand.Text()
		asked.user, asked.session = user, session
		f.ledger.pending[pending] = &asked
	}
	account := *f.ledger.userByID(user)
	f.mu.Unlock()
	if skip {
		f.approve(w, r, asked, user)
		return
	}
	f.showConsent(w, consentPage{
		frame: f.frame(), Client: client.Name, Account: account.Login, AccountName: account.Name,
		Scopes: splitScopes(asked.scope), Destination: asked.redirect, Action: f.local(f.traits.consentPath), Consent: pending,
		Elsewhere: f.elsewhere(r),
	})
}

// checkAuthorize checks what may be answered by a redirect to the client, and settles scope and challenge method.
func (f *Forge) checkAuthorize(query url.Values, asked *authorization) reason {
	if responseType := query.Get("response_type"); responseType != "code" && (responseType != "" || !f.config.Dialect.isGitHub()) {
		return unsupportedResponse
	}
	switch asked.method {
	case "S256", "plain":
	case "":
		if asked.challenge != "" {
			asked.method = "plain"
		}
	default:
		return unsupportedChallenge
	}
	plain := asked.method == "plain"
	if plain && f.config.Dialect != Gitea && f.config.Dialect != Forgejo {
		return unsupportedChallenge
	}
	if f.config.RequirePKCE && (asked.challenge == "" || plain) {
		return missingChallenge
	}
	wanted := query.Get("scope")
	if f.traits.clientScopes {
		wanted = f.clientScope(asked.client)
	}
	scope, ok := f.dialect.grantScope(wanted)
	if !ok {
		return badScope
	}
	asked.scope = scope
	return noReason
}

// clientScope is what a client is registered for.
func (f *Forge) clientScope(id string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	client := f.ledger.clients[id]
	if client == nil {
		return ""
	}
	if client.Scopes == nil {
		info, _ := forge.Info(f.config.Dialect.Kind())
		return strings.Join(info.Scopes, " ")
	}
	return strings.Join(client.Scopes, " ")
}

// elsewhere is the address that leads back to this request with another account.
func (f *Forge) elsewhere(r *http.Request) string {
	query := r.URL.Query()
	query.Set("prompt", "select_account")
	return f.local(f.traits.authorizePath) + "?" + query.Encode()
}

// serveConsent takes the decision that a person made on the consent page.
func (f *Forge) serveConsent(w http.ResponseWriter, r *http.Request) {
	session, user := f.session(r)
	form := bodyValues(r)
	f.mu.Lock()
	asked := f.ledger.pending[form.Get(consentField)]
	mine := asked != nil && asked.session == session && asked.user == user
	if mine {
		delete(f.ledger.pending, form.Get(consentField))
	}
	f.mu.Unlock()
	switch {
	case !mine:
		f.showError(w, http.StatusBadRequest, "This page is no longer current. Start again at the application.")
	case form.Get("decision") == "authorize":
		f.approve(w, r, *asked, user)
	default:
		f.refuseAuthorize(w, r, *asked, deniedByUser)
	}
}

// approve records the consent, has the library issue a code, and sends it to the client.
func (f *Forge) approve(w http.ResponseWriter, r *http.Request, asked authorization, user int64) {
	f.mu.Lock()
	value, err := f.issueCode(r, asked, user)
	f.mu.Unlock()
	if err != nil {
		f.showError(w, http.StatusInternalServerError, "The forge could not issue an authorization code.")
		return
	}
	f.returnToClient(w, r, asked, url.Values{"code": {value}})
}

func (f *Forge) issueCode(r *http.Request, asked authorization, user int64) (string, error) {
	key := consentKey{user, asked.client}
	agreed := f.ledger.consents[key]
	first := agreed == nil
	switch {
	case first:
		agreed = &consent{id: f.ledger.nextID(), scope: asked.scope}
		f.ledger.consents[key] = agreed
	case f.traits.frozenScope:
		asked.scope = agreed.scope
	case asked.scope == "":
		asked.scope = agreed.scope
	case f.dialect.covers(agreed.scope, asked.scope):
	default:
		agreed.scope = asked.scope
	}
	info, err := f.manager.GenerateAuthToken(r.Context(), oauth2.Code, &oauth2.TokenGenerateRequest{
		ClientID: asked.client, UserID: strconv.FormatInt(user, 10), RedirectURI: asked.redirect, Scope: asked.scope,
		CodeChallenge: asked.challenge, CodeChallengeMethod: oauth2.CodeChallengeMethod(asked.method), Request: r,
	})
	if err != nil {
		return "", err //nolint:wrapcheck // shown to nobody; the caller answers with a page
	}
	f.ledger.codes[info.GetCode()].firstConsent = first
	return info.GetCode(), nil
}

// refuseAuthorize answers an authorization request with an error: to the client where its redirect URI can be
// trusted and the dialect does so, else on a page.
func (f *Forge) refuseAuthorize(w http.ResponseWriter, r *http.Request, asked authorization, why reason) {
	name, description, redirected := f.dialect.redirectError(why)
	if !redirected {
		status, sentence := f.dialect.errorPage(why)
		f.showError(w, status, sentence)
		return
	}
	f.returnToClient(w, r, asked, url.Values{"error": {name}, "error_description": {description}})
}

func (f *Forge) returnToClient(w http.ResponseWriter, r *http.Request, asked authorization, values url.Values) {
	target, err := url.Parse(asked.redirect)
	if err != nil {
		f.showError(w, http.StatusBadRequest, "The application's redirect URI is not a URL.")
		return
	}
	query := target.Query()
	maps.Copy(query, values)
	if asked.state != "" {
		query.Set("state", asked.state)
	}
	if f.config.SendIssuer {
		query.Set("iss", f.root(r))
	}
	target.RawQuery = query.Encode()
	f.redirect(w, target.String())
}

// redirect sends the browser on without a body, so that a code in the address is in one place only.
func (f *Forge) redirect(w http.ResponseWriter, target string) {
	w.Header().Set("Location", target)
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(f.traits.redirectStatus)
}

func (f *Forge) serveLoginPage(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	page := loginPage{frame: f.frame(), Action: f.local(f.traits.loginPath)}
	for _, u := range f.ledger.users {
		page.Accounts = append(page.Accounts, account{Login: u.Login, Name: u.Name, Prohibited: u.Prohibited})
	}
	f.mu.Unlock()
	if _, destination := f.destination(r); destination != "" {
		page.Client = destination
	}
	f.showLogin(w, page)
}

func (f *Forge) serveLogin(w http.ResponseWriter, r *http.Request) {
	login := bodyValues(r).Get("login")
	f.mu.Lock()
	user := f.ledger.userByLogin(login)
	allowed := user != nil && !user.Prohibited
	var session string
	if allowed {
		session = f.ledger.session(user.ID)
	}
	f.mu.Unlock()
	if !allowed {
		f.showError(w, http.StatusForbidden, "This account cannot log in here.")
		return
	}
	target, _ := f.destination(r)
	http.SetCookie(w, f.cookie(sessionCookie(r), session))
	forget := f.cookie(returnCookie, "")
	forget.MaxAge = -1
	http.SetCookie(w, forget)
	f.redirect(w, f.local(target))
}

func (f *Forge) serveLogout(w http.ResponseWriter, r *http.Request) {
	session, _ := f.session(r)
	f.mu.Lock()
	delete(f.ledger.sessions, session)
	f.mu.Unlock()
	f.redirect(w, f.local("/"))
}

// sendToLoginPage has a browser log in first and then go on to a page of this forge.
func (f *Forge) sendToLoginPage(w http.ResponseWriter, to string) {
	http.SetCookie(w, f.cookie(returnCookie, url.QueryEscape(to)))
	f.redirect(w, f.local(f.traits.loginPath))
}

// destination returns where a login leads, which is an authorization request of this forge, its page for device codes or its
// front page and never an address that somebody put into the cookie, and the name of the application that asked.
func (f *Forge) destination(r *http.Request) (target, client string) {
	cookie, err := r.Cookie(returnCookie)
	if err != nil {
		return "/", ""
	}
	value, err := url.QueryUnescape(cookie.Value)
	if err != nil {
		return "/", ""
	}
	if enter, _ := f.devicePages(); enter != "" && (value == enter || strings.HasPrefix(value, enter+"?")) {
		return value, ""
	}
	if !strings.HasPrefix(value, f.traits.authorizePath+"?") {
		return "/", ""
	}
	parsed, err := url.Parse(value)
	if err != nil {
		return "/", ""
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if registered := f.ledger.clients[parsed.Query().Get("client_id")]; registered != nil {
		client = registered.Name
	}
	return value, client
}

// session returns the browser's session and its user's id; zero if nobody is logged in.
func (f *Forge) session(r *http.Request) (value string, user int64) {
	cookie, err := r.Cookie(sessionCookie(r))
	if err != nil {
		return "", 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	id, ok := f.ledger.sessions[cookie.Value]
	if u := f.ledger.userByID(id); !ok || u == nil || u.Prohibited {
		return "", 0
	}
	return cookie.Value, id
}

// sessionCookie is named after the port: cookies are shared by all ports of a host, and two stand-in forges side by
// side on loopback must not log each other out.
func sessionCookie(r *http.Request) string {
	if _, port, err := net.SplitHostPort(r.Host); err == nil {
		return "forge_session_" + port
	}
	return "forge_session"
}

func (f *Forge) cookie(name, value string) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(f.config.URL, "https://"),
	}
}

// splitScopes splits at spaces and commas, as every one of the forges does.
func splitScopes(scope string) []string {
	return strings.FieldsFunc(scope, func(r rune) bool { return r == ' ' || r == ',' || r == '+' })
}
