package forgetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-oauth2/oauth2/v4/manage"
)

// Forge is a stand-in forge. It is an [http.Handler], safe for concurrent use.
type Forge struct {
	config  Config
	traits  traits
	dialect dialect
	manager *manage.Manager
	mux     *http.ServeMux

	mu     sync.Mutex
	ledger ledger

	traffic traffic
	faults  faultQueue

	server *http.Server
	closed chan struct{}
	once   sync.Once
}

// New returns a forge that serves as an [http.Handler] under whatever origin it is mounted at. It panics if config
// could not describe a forge (see [Config]).
func New(config Config) *Forge {
	config = config.withDefaults()
	f := &Forge{config: config, closed: make(chan struct{})}
	f.ledger = ledger{
		now:          config.Now,
		clients:      map[string]*Client{},
		codes:        map[string]*code{},
		tokens:       map[string]*token{},
		consents:     map[consentKey]*consent{},
		sessions:     map[string]int64{},
		pending:      map[string]*authorization{},
		repositories: map[int64]*contents{},
	}
	f.faults.waiting = map[Endpoint][]Fault{}
	f.traffic.changed = make(chan struct{})
	f.dialect = newDialect(f)
	f.traits = f.dialect.traits()
	f.traits.override(config)
	f.manager = newManager(f)
	for _, client := range config.Clients {
		f.Register(client)
	}
	for _, user := range config.Users {
		f.AddUser(user)
	}
	f.mux = http.NewServeMux()
	f.routes()
	return f
}

func newDialect(f *Forge) dialect {
	switch f.config.Dialect {
	case GitLab:
		return &gitlab{f}
	case Gitea, Forgejo:
		return newGitea(f)
	case Bitbucket:
		return &bitbucket{f}
	case GitHub, GitHubApp, GitHubEnterprise:
		return &github{f}
	default:
		panic("forgetest: a dialect that withDefaults let pass has no implementation")
	}
}

func (t *traits) override(config Config) {
	if config.AccessTokenTTL > 0 && t.accessTTL > 0 {
		t.accessTTL = config.AccessTokenTTL
	}
	if config.RefreshTokenTTL > 0 && t.refreshTTL > 0 {
		t.refreshTTL = config.RefreshTokenTTL
	}
	if config.Rotation != nil && (config.Dialect == Gitea || config.Dialect == Forgejo) {
		t.rotates = *config.Rotation
	}
}

func (d Dialect) isGitHub() bool { return d == GitHub || d == GitHubApp || d == GitHubEnterprise }

// Listen starts a forge on a free loopback port. Its URL is known when Listen returns; [Forge.Close] ends it.
func Listen(ctx context.Context, config Config) (*Forge, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("forgetest: listening on loopback: %w", err)
	}
	config.URL = "http://" + listener.Addr().String()
	f := New(config)
	f.server = &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = f.server.Serve(listener) }() // always ErrServerClosed: the listener is ours alone
	return f, nil
}

// Start is [Listen] for tests: a forge that does not start fails the test, and the forge is closed at its end.
func Start(tb testing.TB, config Config) *Forge {
	tb.Helper()
	f, err := Listen(tb.Context(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(f.Close)
	return f
}

// Close releases every request that a fault holds and closes a forge that [Listen] started, cutting what is still
// open. It may be called more than once.
func (f *Forge) Close() {
	f.once.Do(func() {
		close(f.closed)
		if f.server != nil {
			_ = f.server.Close()
		}
	})
}

// Handler returns the forge itself, for those who look for the method.
func (f *Forge) Handler() http.Handler { return f }

// URL returns the forge's web root, the origin and [Config.PathPrefix], without a trailing slash; empty where [New] was
// told neither.
func (f *Forge) URL() string { return f.config.URL + f.config.PathPrefix }

// APIURL returns the root of the forge's API, without a trailing slash.
func (f *Forge) APIURL() string { return f.URL() + f.traits.apiPrefixes[0] }

// Dialect returns the dialect the forge speaks.
func (f *Forge) Dialect() Dialect { return f.config.Dialect }

// root is the forge's web root as this request's sender sees it.
func (f *Forge) root(r *http.Request) string {
	switch {
	case f.config.URL != "":
		return f.URL()
	case r.TLS != nil:
		return "https://" + r.Host + f.config.PathPrefix
	default:
		return "http://" + r.Host + f.config.PathPrefix
	}
}

// local is a path of this forge as a browser must ask for it.
func (f *Forge) local(path string) string { return f.config.PathPrefix + path }

// maxRequestBody is more than any client of a forge sends here.
const maxRequestBody = 1 << 20

// ServeHTTP implements [http.Handler].
func (f *Forge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	http.StripPrefix(f.config.PathPrefix, http.HandlerFunc(f.handle)).ServeHTTP(w, r)
}

// handle answers a request whose path is below the prefix.
func (f *Forge) handle(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBody))
	if err != nil {
		http.Error(w, "request body unreadable", http.StatusRequestEntityTooLarge)
		return
	}
	r.Body = rewound(body)
	endpoint := f.endpoint(r)
	entry := f.traffic.arrive(f.describe(r, endpoint))
	watched := &statusWriter{ResponseWriter: w}
	defer f.settle(r.Context(), r.Method, r.URL.Path, entry, watched)
	if fault, ok := f.faults.take(endpoint); ok {
		fault.serve(f, watched, r)
		return
	}
	f.serve(watched, r)
}

// settle notes what was answered. The path is the one that arrived: a mux may rewrite the request's.
func (f *Forge) settle(ctx context.Context, method, path string, entry int, answered *statusWriter) {
	f.traffic.settle(entry, answered.status)
	f.config.Logger.DebugContext(ctx, "request at the stand-in forge", "dialect", f.config.Dialect.String(),
		"method", method, "path", path, "status", answered.status)
}

// serve answers without faults.
func (f *Forge) serve(w http.ResponseWriter, r *http.Request) { f.mux.ServeHTTP(w, r) }

func (f *Forge) routes() {
	t := f.traits
	f.mux.HandleFunc("GET /{$}", f.serveHome)
	f.mux.HandleFunc("GET "+stylesheetPath, serveStylesheet)
	f.mux.HandleFunc("GET "+t.authorizePath, f.serveAuthorize)
	f.mux.HandleFunc("GET "+t.loginPath, f.serveLoginPage)
	f.mux.HandleFunc("POST "+t.loginPath, f.serveLogin)
	f.mux.HandleFunc("POST "+logoutPath, f.serveLogout)
	f.mux.HandleFunc("POST "+t.consentPath, f.serveConsent)
	f.mux.HandleFunc("POST "+t.tokenPath, f.serveToken)
	if t.railsRoutes {
		f.mux.HandleFunc(t.tokenPath, http.NotFound)
	}
	f.deviceRoutes()
	f.dialect.routes(f.mux)
}

func rewound(body []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(body)) }

// bearer returns the token of an Authorization header with one of the schemes, compared without regard to case.
func bearer(r *http.Request, schemes ...string) string {
	scheme, value, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if !found {
		return ""
	}
	for _, accepted := range schemes {
		if strings.EqualFold(scheme, accepted) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// statusWriter remembers the status for the log. Unwrap keeps hijacking and flushing possible.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b) //nolint:wrapcheck // a ResponseWriter passes the error on as it is
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
