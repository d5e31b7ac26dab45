package forgetest

import (
	_ "embed" // the pages and their style sheet
	"html/template"
	"net/http"
	"slices"
)

//go:embed pages.html
var pagesSource string

//go:embed stand-in.css
var stylesheet []byte

var pages = template.Must(template.New("pages").Parse(pagesSource))

type account struct {
	Login, Name string
	Prohibited  bool
}

// frame is what every page shows.
type frame struct{ Forge, Stylesheet string }

func (f *Forge) frame() frame {
	return frame{Forge: f.config.Dialect.Title(), Stylesheet: f.local(stylesheetPath)}
}

type loginPage struct {
	frame
	Client, Action string
	Accounts       []account
}

type consentPage struct {
	frame
	Client, Account, AccountName string
	Scopes                       []string
	Destination, Action, Consent string
	Elsewhere                    string
}

type errorPage struct {
	frame
	Sentence string
}

type homePage struct {
	frame
	Account, Login, Logout string
	Clients                []string
}

func (f *Forge) showLogin(w http.ResponseWriter, page loginPage) {
	render(w, http.StatusOK, "login", page)
}

func (f *Forge) showConsent(w http.ResponseWriter, page consentPage) {
	render(w, http.StatusOK, "consent", page)
}

func (f *Forge) showError(w http.ResponseWriter, status int, sentence string) {
	render(w, status, "error", errorPage{frame: f.frame(), Sentence: sentence})
}

// serveHome shows who is logged in and which applications they authorized.
func (f *Forge) serveHome(w http.ResponseWriter, r *http.Request) {
	_, user := f.session(r)
	page := homePage{frame: f.frame(), Login: f.local(f.traits.loginPath), Logout: f.local(logoutPath)}
	f.mu.Lock()
	if u := f.ledger.userByID(user); u != nil {
		page.Account = u.Login
		for key := range f.ledger.consents {
			if client := f.ledger.clients[key.client]; key.user == user && client != nil {
				page.Clients = append(page.Clients, client.Name)
			}
		}
	}
	f.mu.Unlock()
	slices.Sort(page.Clients)
	render(w, http.StatusOK, "home", page)
}

// render writes a page that holds no script and loads nothing but the style sheet.
func render[P loginPage | consentPage | errorPage | homePage | devicePage](w http.ResponseWriter, status int, name string, page P) {
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = pages.ExecuteTemplate(w, name, page) // fails only when the browser has gone
}

func serveStylesheet(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "max-age=3600")
	_, _ = w.Write(stylesheet) // fails only when the browser has gone
}
