package forgeauth_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/secret"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(child())
	}
	if os.Getenv(workerVariable) != "" {
		os.Exit(workerProgram())
	}
	flag.Parse()
	checks := "15" // of which each is a whole deployment
	if soak() != "" {
		checks = "500"
	}
	for name, value := range map[string]string{
		"rapid.checks":     checks,
		"rapid.nofailfile": "true", // a race is not repeated by repeating what was drawn
		"rapid.shrinktime": "5s",
	} {
		if f := flag.Lookup(name); f.Value.String() == f.DefValue {
			_ = f.Value.Set(value)
		}
	}
	os.Exit(pgtest.Main(m))
}

// soak asks for the full length of what is otherwise tried a few times: anything does, and a duration goes on for that
// long.
func soak() string { return os.Getenv("FORGEAUTH_SOAK") }

// rounds yields the rounds of a test that is the more worth the longer it goes on: a few of them, or many in a soak.
func rounds(few, many int) func(yield func(int) bool) {
	duration, err := time.ParseDuration(soak())
	timed := err == nil && duration > 0
	end := time.Now().Add(duration)
	if soak() != "" {
		few = many
	}
	return func(yield func(int) bool) {
		for round := 0; timed && time.Now().Before(end) || !timed && round < few; round++ {
			if !yield(round) {
				return
			}
		}
	}
}

// house is a deployment as it stands in production: one database, forges over real HTTP, and some Services behind one
// origin that take turns.
type house struct {
	db       *pgtest.DB
	config   forgeauth.Config
	forges   map[string]*forgetest.Forge
	clock    *clock
	server   *httptest.Server
	services []*forgeauth.Service
	handlers atomic.Pointer[[]http.Handler]
	turn     atomic.Uint64
	browsers atomic.Uint64
	answered func(answer) // sees every answer
}

var (
	// ada owns the houses; bob is somebody else. Both have accounts at every forge.
	ada = forgetest.User{ID: 7, Login: "ada", Repositories: forgetest.Repositories(100, 3)}
	bob = forgetest.User{ID: 8, Login: "bob", Repositories: forgetest.Repositories(200, 1)}

	// dialects are all that a stand-in speaks, each as a connection of that name.
	dialects = map[string]forgetest.Dialect{
		"github": forgetest.GitHub, "github-app": forgetest.GitHubApp, "github-work": forgetest.GitHubEnterprise,
		"gitlab": forgetest.GitLab, "gitea": forgetest.Gitea, "forgejo": forgetest.Forgejo, "bitbucket": forgetest.Bitbucket,
	}
	kinds = map[forgetest.Dialect]forge.Kind{
		forgetest.GitHub: forge.GitHub, forgetest.GitHubApp: forge.GitHub, forgetest.GitHubEnterprise: forge.GitHub,
		forgetest.GitLab: forge.GitLab, forgetest.Gitea: forge.Gitea, forgetest.Forgejo: forge.Forgejo, forgetest.Bitbucket: forge.Bitbucket,
	}
)

// newHouse prepares a deployment with the named connections; nothing is open yet.
func newHouse(t *testing.T, connections ...string) *house {
	t.Helper()
	h := &house{db: pgtest.Migrated(t, migrations.Up), forges: map[string]*forgetest.Forge{}, clock: &clock{}}
	h.server = httptest.NewUnstartedServer(http.HandlerFunc(h.serve))
	h.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	h.server.Start()
	t.Cleanup(h.server.Close)
	h.config = forgeauth.Config{
		DatabaseURL:    secret.New(h.db.URL),
		EncryptionKey:  secret.New(randomKey()),
		Listen:         strings.TrimPrefix(h.server.URL, "http://"),
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), httptestPeer},
		Now:            h.clock.Now,
	}
	for _, name := range connections {
		h.connect(t, name, dialects[name], ada, bob)
	}
	return h
}

// connect adds a connection with a forge of its own, for Services that are opened later.
func (h *house) connect(t *testing.T, name string, dialect forgetest.Dialect, users ...forgetest.User) {
	t.Helper()
	client := forgetest.Client{
		ID: "client-of-" + name, Secret: rand.Text(), RedirectURIs: []string{h.server.URL + "/oauth/" + name + "/callback"},
		DeviceFlow: true,
	}
	h.forges[name] = forgetest.Start(t, forgetest.Config{
		Dialect: dialect, Users: users, Clients: []forgetest.Client{client}, RequirePKCE: true, Now: h.clock.Now,
	})
	info, _ := forge.Info(kinds[dialect])
	h.config.Connections = append(h.config.Connections, forge.Connection{
		Name: name, Kind: info.Kind, BaseURL: h.forges[name].URL(), ClientID: client.ID, ClientSecret: secret.New(client.Secret),
		Scopes: info.Scopes, Login: true,
	})
}

// open adds a Service, on the house's database unless its configuration is changed.
func (h *house) open(t *testing.T, change ...func(*forgeauth.Config)) *forgeauth.Service {
	t.Helper()
	config := h.config
	for _, apply := range change {
		apply(&config)
	}
	service, err := forgeauth.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeService(t, service) })
	h.services = append(h.services, service)
	handlers := make([]http.Handler, 0, len(h.services))
	for _, s := range h.services {
		handlers = append(handlers, s.Handler())
	}
	h.handlers.Store(&handlers)
	return service
}

func closeService(t *testing.T, service *forgeauth.Service) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	if err := service.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// serve hands each request to the next Service.
func (h *house) serve(w http.ResponseWriter, r *http.Request) {
	handlers := *h.handlers.Load()
	handlers[h.turn.Add(1)%uint64(len(handlers))].ServeHTTP(w, r)
}

// service returns one of the Services; which one does not matter.
func (h *house) service() *forgeauth.Service {
	return h.services[h.turn.Add(1)%uint64(len(h.services))]
}

// claim makes the house ada's, by signing her in, and returns her browser.
func (h *house) claim(t *testing.T, connection string) *browser {
	t.Helper()
	code, _, err := h.service().Commands().IssueSetupCode(t.Context(), commands.Caller{Actor: "cli"})
	if err != nil {
		t.Fatal(err)
	}
	b := h.browser()
	mustSignIn(t, b, connection, "ada", url.Values{"setup_code": {code.Reveal()}})
	return b
}

// mustSignIn goes the whole way and expects to end at "/".
func mustSignIn(t *testing.T, b *browser, connection, login string, form url.Values) {
	t.Helper()
	a, err := b.signIn(t.Context(), connection, login, form)
	if err != nil {
		t.Fatal(err)
	}
	if a.Header.Get("Location") != "/" {
		t.Fatalf("sign-in to %s as %s: status %d, Location %q\n%s", connection, login, a.StatusCode, a.Header.Get("Location"), a.body)
	}
}

// robotToken is an OperatorOAuth to import, of an account that nobody knows; no two are alike.
func robotToken(connection string) forgeauth.OperatorOAuth {
	return forgeauth.OperatorOAuth{
		ForgeType: connection, AccountID: "4711", AccountLogin: "robot",
		AccessToken: secret.New("access-" + rand.Text()), RefreshToken: secret.New("refresh-" + rand.Text()),
	}
}

// browser is a person's: it keeps cookies and follows no redirect by itself. For forgeauth each comes from an address of
// its own, so that they share no limit. Safe for concurrent use, as a browser with several tabs is.
type browser struct {
	h      *house
	client *http.Client
	jar    *cookiejar.Jar
	header http.Header
}

func (h *house) browser() *browser {
	jar, _ := cookiejar.New(nil) // never fails
	client := *h.server.Client()
	client.Jar = jar
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	n := h.browsers.Add(1)
	return &browser{h: h, client: &client, jar: jar, header: http.Header{
		"X-Forwarded-For": {fmt.Sprintf("198.51.%d.%d", 100+n/250, n%250+1)},
		"User-Agent":      {"Lynx/2.9 (of browser " + strconv.FormatUint(n, 10) + ")"},
	}}
}

// answer is a response that has been read.
type answer struct {
	*http.Response

	body string
}

// do sends a request, with a form if there is one. What is changed on it is said by prepare, which may be nil.
func (b *browser) do(ctx context.Context, method, path string, form url.Values, prepare func(*http.Request)) (answer, error) {
	target := path
	if strings.HasPrefix(path, "/") {
		target = b.h.server.URL + path
	}
	body := io.Reader(nil)
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return answer{}, err
	}
	r.Header = b.header.Clone()
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if prepare != nil {
		prepare(r)
	}
	response, err := b.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{response, string(content)}
	if b.h.answered != nil {
		b.h.answered(a)
	}
	return a, nil
}

func (b *browser) get(ctx context.Context, path string) (answer, error) {
	return b.do(ctx, http.MethodGet, path, nil, nil)
}

// callback starts a sign-in and walks through the forge's pages; it returns where the forge sends the browser then.
func (b *browser) callback(ctx context.Context, connection, login string, form url.Values) (string, error) {
	started, err := b.start(ctx, connection, form)
	if err != nil {
		return "", err
	}
	return b.h.forges[connection].Consent(ctx, started, login)
}

// start begins a sign-in and returns where forgeauth sends the browser.
func (b *browser) start(ctx context.Context, connection string, form url.Values) (string, error) {
	if form == nil {
		form = url.Values{}
	}
	a, err := b.do(ctx, http.MethodPost, "/oauth/"+connection+"/init", form, nil)
	if err != nil {
		return "", err
	}
	if a.StatusCode != http.StatusSeeOther {
		return "", &refusedError{a.StatusCode, a.body}
	}
	return a.Header.Get("Location"), nil
}

// signIn goes the whole way and returns the answer to the callback.
func (b *browser) signIn(ctx context.Context, connection, login string, form url.Values) (answer, error) {
	callback, err := b.callback(ctx, connection, login, form)
	if err != nil {
		return answer{}, err
	}
	return b.get(ctx, callback)
}

// refusedError is an answer of forgeauth that does not go on.
type refusedError struct {
	status int
	body   string
}

func (e *refusedError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.body) }

// session is the value of the browser's session cookie, empty if it has none.
func (b *browser) session() string {
	at, _ := url.Parse(b.h.server.URL)
	for _, cookie := range b.jar.Cookies(at) {
		if cookie.Name == "forgeauth_"+at.Port() {
			return cookie.Value
		}
	}
	return ""
}

// clock runs with the system's, from where it is set.
type clock struct{ offset atomic.Int64 }

func (c *clock) Now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

func (c *clock) jump(d time.Duration) { c.offset.Add(int64(d)) }

// randomKey is an OAUTH_ENCRYPTION_KEY as openssl rand -base64 32 makes one.
func randomKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return base64.StdEncoding.EncodeToString(key)
}

// exampleDatabase is an empty database for an example, which has no test to belong to.
func exampleDatabase() (databaseURL string, done func()) {
	tb := &exampleTB{}
	return pgtest.Schema(tb).URL, func() {
		for _, clean := range slices.Backward(tb.cleanups) {
			clean()
		}
	}
}

// exampleTB is as much of a test as pgtest needs.
type exampleTB struct {
	testing.TB

	cleanups []func()
}

func (*exampleTB) Helper()                           {}
func (*exampleTB) Name() string                      { return "example" }
func (*exampleTB) Context() context.Context          { return context.Background() }
func (tb *exampleTB) Cleanup(clean func())           { tb.cleanups = append(tb.cleanups, clean) }
func (*exampleTB) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (*exampleTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (*exampleTB) Skipf(format string, args ...any)  { panic(fmt.Sprintf(format, args...)) }
