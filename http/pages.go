package http

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
)

//go:embed templates
var templates embed.FS

//go:embed assets/style.css
var styleSheet []byte

//go:embed assets/icon.svg
var icon []byte

// Assets are served under names that hold their hash, so that a browser can keep them for ever.
var (
	stylePath = hashedPath("style", styleSheet, "css")
	iconPath  = hashedPath("icon", icon, "svg")
)

func hashedPath(name string, content []byte, extension string) string {
	hash := sha256.Sum256(content)
	return "/assets/" + name + "." + hex.EncodeToString(hash[:8]) + "." + extension
}

func (s *server) asset(content []byte, contentType string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		_, _ = w.Write(content)
	}
}

// pages are the parsed templates by name, each within the layout.
type pages map[string]*template.Template

func parsePages() pages {
	functions := template.FuncMap{
		"stylePath":   func() string { return stylePath },
		"iconPath":    func() string { return iconPath },
		"isoTime":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"humanTime":   func(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04:05") + " UTC" },
		"forgeName":   func(name string, kind forge.Kind) string { return displayName(name, kind) },
		"host":        hostOf,
		"grantsPage":  forge.GrantsPage,
		"brief":       brief,
		"whyUnusable": whyUnusable,
		"initPath":    initPath,
		"held":        held,
	}
	parsed := pages{}
	for _, name := range []string{"login", "leave", "terminal", "home", "audit", "error"} {
		parsed[name] = template.Must(template.New("layout.html").Funcs(functions).
			ParseFS(templates, "templates/layout.html", "templates/"+name+".html"))
	}
	return parsed
}

// page answers with a page. It is rendered as a whole first, so that a fault in a template is a 500 and no torso.
func (s *server) page(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var body bytes.Buffer
	if err := s.pages[name].Execute(&body, data); err != nil {
		s.config.Logger.ErrorContext(r.Context(), "page not renderable", "page", name, "error", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // a client that has gone sees nothing
}

// errorPage is what templates/error.html shows.
type errorPage struct {
	Problem problem
	// PublicURL, if not empty, is where to go instead; SignIn offers to sign in, otherwise the way leads home.
	PublicURL string
	SignIn    bool
}

func (s *server) newErrorPage(p problem) errorPage {
	page := errorPage{Problem: p, SignIn: p.Error == codeUnauthenticated || p.Error == codeDuplicateCookie}
	if p.Error == codeWrongHost {
		page.PublicURL = s.config.PublicURL.String()
	}
	return page
}

// displayName is how people call a connection: its kind, and its own name where that says more.
func displayName(name string, kind forge.Kind) string {
	info, ok := forge.Info(kind)
	switch {
	case !ok:
		return name
	case name == string(kind):
		return info.Title
	default:
		return info.Title + " · " + name
	}
}

// hostOf is a base URL without its scheme, for showing.
func hostOf(baseURL string) string {
	base, err := url.Parse(baseURL)
	if err != nil {
		return baseURL
	}
	return base.Host + base.Path
}

// brief shortens the id of a session in a stream or an actor to its end: ids of the same minute begin alike.
func brief(name string) string {
	before, id, _ := strings.Cut(name, "/")
	if _, err := uuid.Parse(id); err != nil {
		return name
	}
	return before + "/…" + id[len(id)-8:]
}

// whyUnusable says why only a sign-in helps (commands.NeedsReauth).
func whyUnusable(reason string) string {
	switch reason {
	case projections.ReasonUnauthorized:
		return "the forge refuses the token"
	case projections.ReasonAccountChanged:
		return "the token acts for another account"
	case projections.ReasonKeyMissing:
		return "it was imported without its key"
	case projections.ReasonOutcomeUnknown:
		return "the answer to a refresh was lost"
	default:
		return "the forge refused to refresh the token (" + reason + ")"
	}
}

// initPath is where a sign-in to a connection starts.
func initPath(name, returnTo string) string {
	path := "/oauth/" + name + "/init"
	if returnTo != "" {
		path += "?" + url.Values{"return": {returnTo}}.Encode()
	}
	return path
}
