package http_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/forge/gitea"
	"github.com/forgeauth/forgeauth/forge/github"
	"github.com/forgeauth/forgeauth/history"
	forgehttp "github.com/forgeauth/forgeauth/http"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/proof"
	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

// deployment is a whole forgeauth on loopback: Postgres, two stand-in forges, and the handler behind a real server.
type deployment struct {
	url      string
	decides  commands.Config
	config   forgehttp.Config
	handler  http.Handler
	server   *httptest.Server
	commands *commands.Commands
	log      *events.Log
	forges   map[string]*forgetest.Forge
	queries  *queryCounter
	logs     *safeBuffer
	clock    *clock
	pool     *pgxpool.Pool
	direct   *pgx.ConnConfig // of the feed
	draining chan struct{}
	// reads and writes stand between the pool and the database, and between the writer and the database, if proxied.
	reads, writes *pgtest.Proxy
}

// settings are what tests vary.
type settings struct {
	https     bool
	operators []commands.AllowedAccount
	proxies   []netip.Prefix
	limits    forgehttp.Limits
	ready     func(context.Context) forgehttp.Readiness
	streams   forgehttp.Streams
	narrow    bool   // connections of the server hold little of what is written
	noLogin   string // a connection that is no way in
	fixedTime bool   // a clock that stands still, for golden files
	proxied   bool   // the database is reached through proxies, which lose it
}

// ada owns most deployments; bob is somebody else.
var (
	ada = forgetest.User{ID: 7, Login: "ada", Repositories: forgetest.Repositories(100, 23)}
	bob = forgetest.User{ID: 8, Login: "bob"}
)

func deploy(t *testing.T, change ...func(*settings)) *deployment {
	t.Helper()
	s := settings{limits: forgehttp.Limits{Burst: 1_000_000}}
	for _, apply := range change {
		apply(&s)
	}
	d := &deployment{
		forges: map[string]*forgetest.Forge{}, queries: &queryCounter{}, logs: &safeBuffer{}, clock: &clock{},
	}
	if s.fixedTime {
		d.clock.stand(time.Date(2026, 11, 23, 17, 38, 36, 0, time.UTC))
	}
	logger := slog.New(slog.NewJSONHandler(d.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.handler.ServeHTTP(w, r)
	}))
	if s.narrow {
		d.server.Listener = narrow{d.server.Listener}
	}
	d.server.Config.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelError)
	if s.https {
		d.server.StartTLS()
	} else {
		d.server.Start()
	}
	t.Cleanup(d.server.Close)
	d.url = d.server.URL
	public, err := url.Parse(d.url)
	check(t, err)

	connections, providers := d.connect(t, s, logger)
	writer := d.connectDatabase(t, s, logger)
	d.log = events.NewLog(d.pool)
	d.decides = commands.Config{
		Writer: writer, Log: d.log, Reader: projections.NewReader(d.pool), Pool: d.pool, Vault: vault.New(masterKey(t), rand.Reader),
		Connections: providers, Operators: s.operators, PublicURL: d.url, Logger: logger, Now: d.clock.Now,
	}
	if s.ready == nil {
		s.ready = func(context.Context) forgehttp.Readiness { return forgehttp.Readiness{} }
	}
	d.config = forgehttp.Config{
		Log: d.log, Connections: connections, PublicURL: public, TrustedProxies: s.proxies,
		Ready: s.ready, Limits: s.limits, Streams: s.streams, Version: "test", Logger: logger, Now: d.clock.Now,
	}
	d.restart(t)
	return d
}

// restart makes the process forget whatever it knows but its configuration.
func (d *deployment) restart(t *testing.T) {
	t.Helper()
	d.handler = d.process(t)
}

// process is another process of the same configuration; what d has to call is then that one's.
func (d *deployment) process(t *testing.T) http.Handler {
	t.Helper()
	feed := events.NewFeed(events.FeedConfig{Pool: d.pool, Conn: d.direct, Logger: d.config.Logger})
	t.Cleanup(func() { check(t, feed.Close()) })
	d.draining = make(chan struct{})
	d.commands = commands.New(d.decides)
	d.config.Commands, d.config.Feed, d.config.Draining = d.commands, feed, d.draining
	d.config.Tree, d.config.History = proof.NewTree(d.pool), history.New(d.log, d.commands, d.clock.Now)
	return forgehttp.New(d.config)
}

// connect starts the forges "gitea" and "github" and registers the deployment there.
func (d *deployment) connect(t *testing.T, s settings, logger *slog.Logger) ([]forge.Connection, []forge.Provider) {
	t.Helper()
	var connections []forge.Connection
	var providers []forge.Provider
	for name, dialect := range map[string]forgetest.Dialect{"gitea": forgetest.Gitea, "github": forgetest.GitHubEnterprise} {
		d.forges[name] = forgetest.Start(t, forgetest.Config{
			Dialect: dialect, Users: []forgetest.User{ada, bob}, Logger: logger, RequirePKCE: true, Now: d.clock.Now,
			Clients: []forgetest.Client{{
				ID: "forgeauth-" + name, Secret: "client-secret-of-" + name, RedirectURIs: []string{d.url + "/oauth/" + name + "/callback"},
			}},
		})
	}
	for _, name := range []string{"gitea", "github"} {
		info, _ := forge.Info(forge.Kind(name))
		connection := forge.Connection{
			Name: name, Kind: info.Kind, BaseURL: d.forges[name].URL(), ClientID: "forgeauth-" + name,
			ClientSecret: secret.New("client-secret-of-" + name), Scopes: info.Scopes, Login: name != s.noLogin,
		}
		newProvider := gitea.New
		if name == "github" {
			newProvider = github.New
		}
		provider, err := newProvider(connection, forge.Options{Now: d.clock.Now, Logger: logger})
		check(t, err)
		connections, providers = append(connections, connection), append(providers, provider)
	}
	return connections, providers
}

// connectDatabase sets the pool, and the proxies if there shall be any, and returns the writer.
func (d *deployment) connectDatabase(t *testing.T, s settings, logger *slog.Logger) *events.Writer[*projections.State] {
	t.Helper()
	db := pgtest.Migrated(t, migrations.Up)
	reads, writes, patience := db.URL, db.URL, time.Duration(0)
	if s.proxied {
		d.reads, reads = db.Proxied(t)
		d.writes, writes = db.Proxied(t)
		patience = 2 * time.Second // long enough to connect on a busy machine
	}
	config, err := pgxpool.ParseConfig(reads)
	check(t, err)
	config.ConnConfig.Tracer = d.queries
	d.pool, err = pgxpool.NewWithConfig(t.Context(), config)
	check(t, err)
	t.Cleanup(d.pool.Close)
	conn, err := pgx.ParseConfig(writes)
	check(t, err)
	d.direct, err = pgx.ParseConfig(reads)
	check(t, err)
	writer := events.NewWriter(events.WriterConfig{Conn: conn, Now: d.clock.Now, Logger: logger, Patience: patience}, projections.NewState())
	t.Cleanup(func() { _ = writer.Close(context.WithoutCancel(t.Context())) })
	return writer
}

func masterKey(t *testing.T) vault.MasterKey {
	t.Helper()
	raw := make([]byte, 32)
	_, _ = rand.Read(raw)
	key, err := vault.ParseKey(secret.New(base64.StdEncoding.EncodeToString(raw)))
	check(t, err)
	return key
}

// setupCode returns the code that claims the deployment.
func (d *deployment) setupCode(t *testing.T) string {
	t.Helper()
	code, _, err := d.commands.IssueSetupCode(t.Context(), commands.Caller{Actor: "cli"})
	check(t, err)
	return code.Reveal()
}

// claimed is a deployment that belongs to ada of gitea, and her browser.
func claimed(t *testing.T, change ...func(*settings)) (*deployment, *browser) {
	t.Helper()
	d := deploy(t, change...)
	b := d.browser(t)
	b.signIn(t, "gitea", "ada", url.Values{"setup_code": {d.setupCode(t)}})
	return d, b
}

// browser is a person's: it keeps cookies, asks for pages, and follows no redirect by itself.
type browser struct {
	d      *deployment
	client *http.Client
	jar    *cookiejar.Jar
	accept string
}

const (
	acceptHTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	acceptJSON = "application/json"
)

func (d *deployment) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	check(t, err)
	client := *d.server.Client()
	client.Jar = jar
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{d: d, client: &client, jar: jar, accept: acceptHTML}
}

// json is the same browser asking for JSON, as a script of its page would.
func (b *browser) json() *browser {
	same := *b
	same.accept = acceptJSON
	return &same
}

// answer is a response that has been read.
type answer struct {
	*http.Response

	body string
}

func (b *browser) do(t *testing.T, method, path string, body io.Reader, header ...string) answer {
	t.Helper()
	target := path
	if strings.HasPrefix(path, "/") {
		target = b.d.url + path
	}
	r, err := http.NewRequestWithContext(t.Context(), method, target, body)
	check(t, err)
	r.Header.Set("Accept", b.accept)
	for pair := range slices.Chunk(header, 2) {
		name, value := pair[0], pair[1]
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Add(name, value)
	}
	response, err := b.client.Do(r)
	check(t, err)
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	check(t, err)
	return answer{response, string(content)}
}

func (b *browser) get(t *testing.T, path string, header ...string) answer {
	t.Helper()
	return b.do(t, http.MethodGet, path, nil, header...)
}

// post sends a form as a page of the deployment would.
func (b *browser) post(t *testing.T, path string, form url.Values) answer {
	t.Helper()
	return b.do(t, http.MethodPost, path, strings.NewReader(form.Encode()),
		"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
}

// start begins a sign-in and returns where forgeauth wants the browser.
func (b *browser) start(t *testing.T, path string, form url.Values) string {
	t.Helper()
	a := b.post(t, path, form)
	if b.accept != acceptHTML {
		wantStatus(t, a, http.StatusSeeOther)
		return a.Header.Get("Location")
	}
	wantStatus(t, a, http.StatusOK)
	return leadsTo(t, a)
}

// leadsTo returns where a page takes the browser at once, which its link must do too.
func leadsTo(t *testing.T, a answer) string {
	t.Helper()
	_, rest, _ := strings.Cut(a.body, `<meta http-equiv="refresh" content="0;url=`)
	refresh, _, found := strings.Cut(rest, `"`)
	if !found || !strings.Contains(a.body, ` href="`+refresh+`"`) {
		t.Fatalf("the page leads nowhere:\n%s", a.body)
	}
	return html.UnescapeString(refresh)
}

// consent is what a person does at the forge; it returns the callback's address.
func (b *browser) consent(t *testing.T, forgeType, authorizeURL, login string) string {
	t.Helper()
	callback, err := b.d.forges[forgeType].Consent(t.Context(), authorizeURL, login)
	check(t, err)
	return callback
}

// signIn goes the whole way and expects to end at "/".
func (b *browser) signIn(t *testing.T, forgeType, login string, form url.Values) {
	t.Helper()
	callback := b.consent(t, forgeType, b.start(t, "/oauth/"+forgeType+"/init", form), login)
	a := b.get(t, callback)
	wantStatus(t, a, http.StatusSeeOther)
	wantHeader(t, a, "Location", "/")
}

// cookies returns the browser's cookies of the deployment by name.
func (b *browser) cookies(t *testing.T) map[string]string {
	t.Helper()
	at, err := url.Parse(b.d.url)
	check(t, err)
	held := map[string]string{}
	for _, cookie := range b.jar.Cookies(at) {
		held[cookie.Name] = cookie.Value
	}
	return held
}

func (b *browser) setCookie(t *testing.T, name, value string) {
	t.Helper()
	at, err := url.Parse(b.d.url)
	check(t, err)
	b.jar.SetCookies(at, []*http.Cookie{{Name: name, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}}) //nolint:gosec // a jar of a test
}

// sessionCookie is the name of the session's cookie.
func (d *deployment) sessionCookie() string {
	at, _ := url.Parse(d.url)
	if at.Scheme == "https" {
		return "__Host-forgeauth"
	}
	return "forgeauth_" + at.Port()
}

// facts returns the types of all events.
func (d *deployment) facts(t *testing.T) []string {
	t.Helper()
	var types []string
	for e, err := range d.log.Read(t.Context(), events.Query{}) {
		check(t, err)
		types = append(types, e.Type)
	}
	return types
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantStatus(t *testing.T, a answer, want int) {
	t.Helper()
	if a.StatusCode != want {
		t.Fatalf("%s %s: status %d, want %d\nLocation: %s\n%s", a.Request.Method, a.Request.URL.Path, a.StatusCode, want,
			a.Header.Get("Location"), a.body)
	}
}

func wantHeader(t *testing.T, a answer, name, want string) {
	t.Helper()
	if got := a.Header.Get(name); got != want {
		t.Errorf("%s %s: %s: %q, want %q", a.Request.Method, a.Request.URL.Path, name, got, want)
	}
}

// wantProblem expects an RFC 9457 document with the code.
func wantProblem(t *testing.T, a answer, status int, code string) {
	t.Helper()
	wantStatus(t, a, status)
	wantHeader(t, a, "Content-Type", "application/problem+json")
	if !strings.Contains(a.body, `"error":"`+code+`"`) {
		t.Errorf("%s %s: want code %s, got %s", a.Request.Method, a.Request.URL.Path, code, a.body)
	}
}

// queryCounter counts what a pool sends.
type queryCounter struct{ n atomic.Int64 }

func (q *queryCounter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	q.n.Add(1)
	return ctx
}

func (*queryCounter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// clock is the system's until it is told to stand or move.
type clock struct {
	at    atomic.Pointer[time.Time]
	ahead atomic.Int64
}

func (c *clock) Now() time.Time {
	if at := c.at.Load(); at != nil {
		return *at
	}
	return time.Now().Add(time.Duration(c.ahead.Load()))
}

// advance puts the clock forward, and lets it go on from there.
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

func (c *clock) stand(at time.Time) { c.at.Store(&at) }

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
