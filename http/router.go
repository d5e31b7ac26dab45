package http

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/history"
	"github.com/forgeauth/forgeauth/proof"
)

// Config is what the handler stands on.
type Config struct {
	Commands *commands.Commands
	// Log is read for the last events on the operator's page.
	Log *events.Log
	// Tree is the Merkle tree over the log. With PublicTree its hashes are for anybody, else for a session.
	Tree       *proof.Tree
	PublicTree bool
	// History answers under /audit.
	History *history.Reader
	// Feed is followed by GET /events.
	Feed *events.Feed
	// Draining is closed when the process is about to end: streams, which have no end of their own, end then.
	Draining <-chan struct{}
	Streams  Streams
	// Connections are the configured forges in the order of their buttons.
	Connections []forge.Connection
	// PublicURL is the one origin the deployment is reached under; nil means http:// and Listen.
	PublicURL *url.URL
	Listen    string
	// TrustedProxies are the peers whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// Ready says whether the process can serve. It is asked at most once a second.
	Ready   func(context.Context) Readiness
	Limits  Limits
	Version string
	Logger  *slog.Logger
	// Now and NewID default to the clock and to random UUIDv7.
	Now   func() time.Time
	NewID func() uuid.UUID
}

// server is the handler's parts. All of it is immutable or safe for concurrent use.
type server struct {
	config  Config
	cookies cookies
	limits  *limiter
	known   *known
	roll    *roll
	streams *streams
	pages   pages
	ready   *readiness
	routes  chi.Router
}

// The times a request may take. The writer gives up an append after 15 s and then knows what became of it, so that no
// request ends before; what talks to a forge waits for the forge's own timeouts.
const (
	quickTime = 20 * time.Second
	forgeTime = 60 * time.Second
)

// New returns the handler of a deployment. It starts nothing and is safe for concurrent use.
func New(config Config) http.Handler {
	if config.PublicURL == nil {
		config.PublicURL = &url.URL{Scheme: "http", Host: config.Listen}
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.NewID == nil {
		config.NewID = func() uuid.UUID { return uuid.Must(uuid.NewV7()) }
	}
	s := &server{
		config:  config,
		cookies: cookiesOf(config.PublicURL),
		limits:  newLimiter(config.Limits, config.Now),
		known:   newKnown(),
		streams: newStreams(config.Streams),
		pages:   parsePages(),
		ready:   &readiness{ask: config.Ready, now: config.Now},
		routes:  chi.NewRouter(),
	}
	s.roll = newRoll(config.Commands.LiveSessions, config.Now, config.Logger)
	s.route(s.routes)
	return s.door(s.routes)
}

func (s *server) route(r chi.Router) {
	r.Use(middleware.GetHead)
	r.NotFound(s.endpoint(func(http.ResponseWriter, *http.Request) error { return refuse(codeNotFound) }))
	r.MethodNotAllowed(s.endpoint(s.methodNotAllowed))

	r.Get("/healthz", s.endpoint(s.healthz))
	r.Get("/readyz", s.endpoint(s.readyz))
	r.Get(stylePath, s.asset(styleSheet, "text/css; charset=utf-8"))
	r.Get(iconPath, s.asset(icon, "image/svg+xml"))
	r.Get("/events", s.follow) // limits its own time

	r.Group(func(r chi.Router) {
		r.Use(timeLimit(quickTime))
		r.Get("/login", s.visitor(s.loginPage))
		r.Post("/oauth/{forge}/init", s.visitor(s.startLogin))
		r.Get("/oauth/{forge}/init", s.visitor(s.offerLogin))
		r.Post("/logout", s.visitor(s.logout))

		s.routeLog(r)
		s.routeAudit(r)
		r.Get("/", s.visitor(s.home))
		r.Get("/me", s.operator(s.me))
		r.Get("/forges", s.operator(s.forges))
		r.Put("/forges/active", s.operator(s.activateForge))
		r.Post("/forges/active", s.operator(s.activateForge))
		r.Delete("/forges/active", s.operator(s.deactivateForge))
		r.Post("/forges/active/clear", s.operator(s.deactivateForge))
	})
	r.Group(func(r chi.Router) {
		r.Use(timeLimit(forgeTime))
		r.Get("/oauth/{forge}/callback", s.visitor(s.completeLogin))
		// Who only wants to look, such as a link preview, must not use up the code.
		r.Head("/oauth/{forge}/callback", s.endpoint(s.methodNotAllowed))
		r.Delete("/forges/{forge}", s.operator(s.disconnectForge))
		r.Post("/forges/{forge}/disconnect", s.operator(s.disconnectForge))
		r.Get("/forge/repositories", s.operator(s.repositories))
	})
}

func timeLimit(limit time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), limit)
			defer cancel()
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
}

// methodNotAllowed lists the methods that the path takes.
func (s *server) methodNotAllowed(_ http.ResponseWriter, r *http.Request) error {
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	allow := ""
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if !s.routes.Match(chi.NewRouteContext(), method, path) {
			continue
		}
		if allow != "" {
			allow += ", "
		}
		allow += method
		// A route of its own for HEAD is one that refuses it; otherwise HEAD is a GET without a body.
		if method == http.MethodGet && !s.routes.Match(chi.NewRouteContext(), http.MethodHead, path) {
			allow += ", " + http.MethodHead
		}
	}
	return &requestError{code: codeMethodNotAllowed, allow: allow}
}

// routeOf returns the pattern of the route a request took, for the log; never its path or query.
func routeOf(r *http.Request) string {
	if route := chi.RouteContext(r.Context()); route != nil && route.RoutePattern() != "" {
		return route.RoutePattern()
	}
	return "none"
}
