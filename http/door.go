package http

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/google/uuid"
)

// scope is what is known of a request besides the request. Only the request's own goroutine uses it.
type scope struct {
	// id is sent back in X-Request-Id and becomes the correlation id of the events that the request causes.
	id     uuid.UUID
	client netip.Prefix
	// counted says that the request has spent from its client's limit.
	counted bool
	// guessed says that it came with a session cookie that is none.
	guessed bool
}

type scopeKey struct{}

func scopeOf(ctx context.Context) *scope {
	found, _ := ctx.Value(scopeKey{}).(*scope)
	return found
}

// door wraps the router in what holds for every request; the last line is the outermost.
func (s *server) door(next http.Handler) http.Handler {
	next = s.refuseCrossOrigin(next)
	next = s.requireHost(next)
	next = s.secureHeaders(next)
	next = s.recoverPanics(next)
	next = s.logAccess(next)
	return next
}

// logAccess gives the request its scope and writes one line when it is over. The path is logged as the pattern of its route:
// the path of what matched none is anybody's text, and a query holds codes.
func (s *server) logAccess(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := s.config.Now()
		scope := &scope{id: s.config.NewID(), client: limitKey(clientAddr(r, s.config.TrustedProxies))}
		route := chi.NewRouteContext()
		ctx := context.WithValue(context.WithValue(r.Context(), scopeKey{}, scope), chi.RouteCtxKey, route)
		route.Routes = s.routes
		r = r.WithContext(ctx)
		watched := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		w.Header().Set("X-Request-Id", scope.id.String())
		defer func() {
			s.config.Logger.InfoContext(ctx, "request", "request_id", scope.id, "method", cleanMethod(r.Method),
				"route", routeOf(r), "status", watched.Status(), "bytes", watched.BytesWritten(),
				"duration", s.config.Now().Sub(start))
		}()
		next.ServeHTTP(watched, r)
	})
}

// cleanMethod keeps invented methods out of the log.
func cleanMethod(method string) string {
	known := []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions, http.MethodConnect, http.MethodTrace,
	}
	if slices.Contains(known, method) {
		return method
	}
	return "other"
}

// recoverPanics answers 500 and logs where it happened. The value of a panic may hold anything, so only the runtime's own
// are printed.
func (s *server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { //nolint:contextcheck // the request has it
			value := recover()
			if value == nil {
				return
			}
			err, isError := value.(error)
			if isError && errors.Is(err, http.ErrAbortHandler) {
				panic(http.ErrAbortHandler)
			}
			what := fmt.Sprintf("%T", value)
			if fault := runtime.Error(nil); isError && errors.As(err, &fault) {
				what = fault.Error()
			}
			s.config.Logger.ErrorContext(r.Context(), "panic in a handler", "request_id", scopeOf(r.Context()).id,
				"route", routeOf(r), "panic", what, "stack", string(debug.Stack()))
			if watched, ok := w.(middleware.WrapResponseWriter); ok && watched.Status() != 0 {
				panic(http.ErrAbortHandler) // half an answer is out: cut it off
			}
			s.fail(w, r, refuse(codeInternal))
		}()
		next.ServeHTTP(w, r)
	})
}

// secureHeaders are on every answer. Browsers check a form's target against form-action, and some of them every redirect
// that follows it, which is why the forges are listed, and why [server.startLogin] does not rely on it: whom a forge
// redirects to is not known here.
func (s *server) secureHeaders(next http.Handler) http.Handler {
	targets := []string{"'self'"}
	for _, connection := range s.config.Connections {
		targets = append(targets, formTarget(connection.BaseURL))
	}
	policy := "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action " +
		strings.Join(targets, " ")
	isHTTPS := s.config.PublicURL.Scheme == "https"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		h.Set("Vary", "Accept")
		if isHTTPS {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// formTarget returns the source expression of a forge's origin. The grammar has none for IPv6 addresses (CSP3 §2.3.1), for
// which the scheme has to do.
func formTarget(baseURL string) string {
	base, err := url.Parse(baseURL)
	if err != nil {
		return "" // connections are validated before they come here
	}
	if strings.Contains(base.Host, "[") {
		return base.Scheme + ":"
	}
	return base.Scheme + "://" + base.Host
}

// requireHost refuses requests for another host than the public URL's: by rebinding a name of its own, another site
// could otherwise make browsers talk to this deployment as if it were that site. Health checks know no names, and the page
// that says so wants its style sheet: assets are the same for everybody.
func (s *server) requireHost(next http.Handler) http.Handler {
	want := canonicalHost(s.config.PublicURL.Host, s.config.PublicURL.Scheme)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		isExempt := slices.Contains([]string{"/healthz", "/readyz", stylePath, iconPath}, r.URL.Path)
		if !isExempt && canonicalHost(r.Host, s.config.PublicURL.Scheme) != want {
			s.fail(w, r, refuse(codeWrongHost))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// canonicalHost is a host in lower case with its port spelled out.
func canonicalHost(host, scheme string) string {
	host = strings.ToLower(host)
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	port := "80"
	if scheme == "https" {
		port = "443"
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}

// refuseCrossOrigin refuses state changes that a browser says, or whose Origin shows, to come from elsewhere. Our own origin
// is not registered as trusted: that would let Origin overrule Sec-Fetch-Site. What another site embeds, as an image or a
// frame, is refused too: it could spend what its visitor's address may ask for. A person who follows a link, and a forge that
// sends one back, navigate a window (Fetch Metadata, W3C).
func (s *server) refuseCrossOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, refuse(codeCrossOrigin))
	}))
	next = protection.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if embedded(r) {
			s.fail(w, r, refuse(codeCrossOrigin))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// embedded reports whether a browser says that another site loads this into one of its pages.
func embedded(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	if site != "cross-site" && site != "same-site" {
		return false
	}
	mode, destination := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	return mode != "" && mode != "navigate" || destination != "" && destination != "document"
}
