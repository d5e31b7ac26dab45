package forgeauth_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

// refuses opens the house with a change and expects an error of type E that names the remedy.
func refuses[E error](t *testing.T, h *house, remedy string, change func(*forgeauth.Config)) {
	t.Helper()
	config := h.config
	change(&config)
	service, err := forgeauth.Open(t.Context(), config)
	if err == nil {
		closeService(t, service)
		t.Fatal("it opens")
	}
	if _, is := errors.AsType[E](err); !is || !strings.Contains(err.Error(), remedy) {
		t.Errorf("%T: %v; want the remedy %q", err, err, remedy)
	}
	if key := config.EncryptionKey.Reveal(); key != "" && strings.Contains(err.Error(), key) {
		t.Error("the error holds the key")
	}
}

func TestBootRefusesAKeyThatIsNone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for name, key := range map[string]string{
		"missing": "", "one byte too short": randomKey()[:31], "a placeholder": strings.Repeat("changeme", 4),
		"few distinct bytes": strings.Repeat("ab", 20), "only long by its newline": randomKey()[:31] + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses[*vault.KeyError](t, h, "openssl rand -base64 32", func(c *forgeauth.Config) { c.EncryptionKey = secret.New(key) })
		})
	}
}

func TestBootRefusesAnotherKeyAndChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea")
	closeService(t, h.open(t)) // no token is stored, and yet another key is noticed
	other := func(c *forgeauth.Config) {
		c.EncryptionKey = secret.New(randomKey())
	}
	refuses[*vault.WrongKeyError](t, h, vault.KeyVariable, other)
	s := h.open(t)
	if err := s.UpsertOperatorOAuth(t.Context(), robotToken("gitea")); err != nil {
		t.Fatal(err)
	}
	before := dump(t, h.db)
	refuses[*vault.WrongKeyError](t, h, "start with the former key", other)
	if dump(t, h.db) != before {
		t.Error("the refusal has changed the database")
	}
	if _, err := h.open(t).GetOperatorOAuth(t.Context(), "gitea"); err != nil {
		t.Errorf("with the right key: %v", err)
	}
}

func TestBootChecksTheSchemasVersion(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	empty := pgtest.Schema(t)
	refuses[*migrations.VersionError](t, h, "forgeauth migrate", func(c *forgeauth.Config) { c.DatabaseURL = secret.New(empty.URL) })
	refuses[*migrations.VersionError](t, h, "forgeauth migrate", func(c *forgeauth.Config) {
		c.DatabaseURL, c.Maintenance, c.EncryptionKey = secret.New(empty.URL), true, secret.Text{}
	})
	h.open(t, func(c *forgeauth.Config) { c.DatabaseURL, c.MigrateOnOpen = secret.New(empty.URL), true })
	h.open(t, func(c *forgeauth.Config) { c.DatabaseURL = secret.New(empty.URL) })
	running := h.open(t)
	_, err := h.db.Conn(t).Exec(t.Context(), `INSERT INTO forgeauth_migrations (version_id, is_applied) VALUES (999999, true)`)
	if err != nil {
		t.Fatal(err)
	}
	refuses[*migrations.VersionError](t, h, "run the newer forgeauth", func(*forgeauth.Config) {})
	h.services = []*forgeauth.Service{running}
	handlers := []http.Handler{running.Handler()}
	h.handlers.Store(&handlers)
	a, err := h.browser().get(t.Context(), "/readyz")
	if err != nil || a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "run the newer forgeauth") {
		t.Errorf("/readyz of a process that the schema has overtaken: %v %d %s", err, a.StatusCode, a.body)
	}
}

// A newer process has folded the tables anew: the older one writes no more, says so, and turns unready; reading goes on.
func TestANewerFoldStopsTheOlderProcess(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea")
	s := h.open(t)
	b := h.claim(t, "gitea")
	conn := h.db.Conn(t)
	if _, err := conn.Exec(t.Context(), `UPDATE projections SET version = version + 1 WHERE name = 'operator_sessions'`); err != nil {
		t.Fatal(err)
	}
	before := readLog(t.Context(), t, s)
	if err := s.ClearActiveForge(t.Context()); !errors.Is(err, events.ErrOutdated) {
		t.Errorf("an append: %v", err)
	}
	a, err := b.do(t.Context(), http.MethodPost, "/forges/active/clear", url.Values{}, nil)
	if err != nil || a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, `"outdated"`) {
		t.Errorf("a change: %v %d %s", err, a.StatusCode, a.body)
	}
	stranger := h.browser()
	a, err = stranger.signIn(t.Context(), "gitea", "ada", nil)
	if err != nil || a.Header.Get("Location") != "/login?error=outdated" || stranger.session() != "" {
		t.Errorf("a sign-in: %v %d %s", err, a.StatusCode, a.Header.Get("Location"))
	}
	h.clock.jump(time.Minute)
	a, err = b.get(t.Context(), "/readyz")
	if err != nil || a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "newer version") {
		t.Errorf("/readyz: %v %d %s", err, a.StatusCode, a.body)
	}
	if a, err = b.get(t.Context(), "/me"); err != nil || a.StatusCode != http.StatusOK {
		t.Errorf("/me: %v %d %s", err, a.StatusCode, a.body)
	}
	if _, err := forgeauth.Open(t.Context(), h.config); !errors.Is(err, events.ErrOutdated) {
		t.Errorf("open: %v", err)
	}
	if _, err := s.Verify(t.Context(), forgeauth.VerifyOptions{Repair: true}); !errors.Is(err, events.ErrOutdated) {
		t.Errorf("repair by the older: %v", err)
	}
	if after := readLog(t.Context(), t, s); len(after) != len(before) {
		t.Errorf("%d events were written", len(after)-len(before))
	}
}

// However many processes boot at once over tables of an older fold, they are repaired once.
func TestManyProcessesRepairOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea")
	h.open(t)
	h.claim(t, "gitea")
	conn := h.db.Conn(t)
	if _, err := conn.Exec(t.Context(), `UPDATE projections SET version = version - 1; UPDATE operator_oauth_tokens SET account_login = 'x'`); err != nil {
		t.Fatal(err)
	}
	var before, after int
	const repairs = `SELECT sum(repairs) FROM projections`
	if err := conn.QueryRow(t.Context(), repairs).Scan(&before); err != nil {
		t.Fatal(err)
	}
	opened := make(chan *forgeauth.Service, 8)
	var booting sync.WaitGroup
	for range cap(opened) {
		booting.Go(func() {
			s, err := forgeauth.Open(t.Context(), h.config)
			if err != nil {
				t.Error(err)
				return
			}
			opened <- s
		})
	}
	booting.Wait()
	close(opened)
	for s := range opened {
		checkInvariants(t.Context(), t, s, h.db.Pool(t))
		closeService(t, s)
	}
	if err := conn.QueryRow(t.Context(), repairs).Scan(&after); err != nil {
		t.Fatal(err)
	}
	if tables := 5; after-before != tables {
		t.Errorf("%d repairs of %d tables", after-before, tables)
	}
}

// The tables are an older fold's: a process that runs writes nothing into them, and one that boots repairs them once.
func TestAnOlderFoldIsRepairedAtBoot(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea")
	running := h.open(t)
	h.claim(t, "gitea")
	conn := h.db.Conn(t)
	for _, statement := range []string{
		`UPDATE projections SET version = version - 1 WHERE name = 'operator_oauth_tokens'`, `UPDATE operator_oauth_tokens SET account_login = 'x'`,
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := running.ClearActiveForge(t.Context()); !errors.Is(err, events.ErrBehind) {
		t.Errorf("an append: %v", err)
	}
	if report, err := running.Verify(t.Context(), forgeauth.VerifyOptions{}); err != nil || len(report.Tables.Differences) != 1 {
		t.Errorf("the difference: %v %+v", err, report)
	}
	repaired := h.open(t)
	checkInvariants(t.Context(), t, repaired, h.db.Pool(t))
	if err := running.ClearActiveForge(t.Context()); err != nil {
		t.Errorf("the one that ran all the time: %v", err)
	}
	checkInvariants(t.Context(), t, repaired, h.db.Pool(t))
}

func TestBootRefusesAConnectionThatHasMoved(t *testing.T) {
	t.Parallel()
	for name, keep := range map[string]bool{"and its accounts are strangers": false, "and somebody vouches for its accounts": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, "gitea", "gitlab")
			first := h.open(t)
			b := h.claim(t, "gitea")
			mustSignIn(t, b, "gitlab", "ada", nil)
			closeService(t, first)
			h.services = nil
			// Another forge is where the first one was said to be.
			client := forgetest.Client{
				ID: "client-of-gitea", Secret: h.config.Connections[0].ClientSecret.Reveal(), RedirectURIs: []string{h.server.URL + "/oauth/gitea/callback"},
			}
			h.forges["gitea"] = forgetest.Start(t, forgetest.Config{
				Dialect: forgetest.Gitea, Users: []forgetest.User{ada, bob}, Clients: []forgetest.Client{client}, RequirePKCE: true, Now: h.clock.Now,
			})
			h.config.Connections[0].BaseURL = h.forges["gitea"].URL()
			refuses[*commands.ReboundError](t, h, "forgeauth connections rebind gitea", func(*forgeauth.Config) {})
			maintenance := h.open(t, func(c *forgeauth.Config) { c.Maintenance, c.EncryptionKey = true, secret.Text{} })
			if _, err := maintenance.Commands().Rebind(t.Context(), commands.Caller{Actor: "cli"}, "gitea", keep); err != nil {
				t.Fatal(err)
			}
			closeService(t, maintenance)
			h.services = nil
			s := h.open(t)
			if h.forges["gitea"].Count(forgetest.AnyEndpoint) != 0 {
				t.Error("something was sent to the forge at the new address")
			}
			if _, err := s.GetOperatorOAuth(t.Context(), "gitea"); !errors.Is(err, projections.ErrNotConnected) {
				t.Errorf("the token of the former address: %v", err)
			}
			stranger := h.browser()
			a, err := stranger.signIn(t.Context(), "gitea", "ada", nil)
			if err != nil || (stranger.session() != "") != keep {
				t.Errorf("the account of that id at the new address: %v %d %s", err, a.StatusCode, a.Header.Get("Location"))
			}
			checkInvariants(t.Context(), t, s, h.db.Pool(t))
		})
	}
}

// The role that migrations.Grant makes serves every flow, and is not warned about; the owner is.
func TestARuntimeRoleServesEveryFlow(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea", "gitlab", "github-work")
	role := runtimeRole(t, h.db)
	if err := migrations.Grant(t.Context(), h.db.URL, role); err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(h.db.URL)
	if err != nil {
		t.Fatal(err)
	}
	query := at.Query()
	query.Set("user", role)
	at.User, at.RawQuery = nil, strings.ReplaceAll(query.Encode(), "+", "%20")
	var warnings, ownerWarnings bytes.Buffer
	warned := func(b *bytes.Buffer) func(*forgeauth.Config) {
		return func(c *forgeauth.Config) {
			c.Logger = slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelWarn}))
		}
	}
	closeService(t, h.open(t, warned(&ownerWarnings)))
	h.services = nil
	if !strings.Contains(ownerWarnings.String(), "--runtime-role") {
		t.Errorf("the owner is not warned: %s", ownerWarnings.String())
	}
	h.config.DatabaseURL = secret.New(at.String())
	h.signs(t)
	s := h.open(t, warned(&warnings))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	running := make(chan error, 1)
	go func() { running <- s.Run(ctx) }()

	b := h.claim(t, "gitea")
	mustSignIn(t, b, "gitlab", "ada", nil)
	mustSignIn(t, b, "gitlab", "ada", nil) // replaces, and revokes
	mustSignIn(t, b, "github-work", "ada", nil)
	for _, request := range [][2]string{
		{http.MethodGet, "/"},
		{http.MethodGet, "/me"},
		{http.MethodGet, "/forges"},
		{http.MethodGet, "/forge/repositories"},
		{http.MethodGet, "/readyz"},
		{http.MethodDelete, "/forges/active"},
		{http.MethodDelete, "/forges/gitlab"},
	} {
		a, err := b.do(ctx, request[0], request[1], nil, nil)
		if err != nil || a.StatusCode != http.StatusOK {
			t.Errorf("%s: %v %d %s", request, err, a.StatusCode, a.body)
		}
	}
	a, err := h.browser().signIn(ctx, "gitea", "bob", nil)
	if err != nil || a.StatusCode != http.StatusForbidden {
		t.Errorf("a stranger: %v %d", err, a.StatusCode)
	}
	caller := commands.Caller{Actor: "cli"}
	code, _, err := s.Commands().Recover(ctx, caller)
	if err != nil {
		t.Fatal(err)
	}
	mustSignIn(t, h.browser(), "gitea", "bob", url.Values{"setup_code": {code.Reveal()}})
	if _, err := s.Commands().RemoveAccount(ctx, caller, "gitea", "8"); err != nil {
		t.Errorf("remove an account: %v", err)
	}
	if err := s.UpsertOperatorOAuth(ctx, robotToken("gitlab")); err != nil {
		t.Errorf("import: %v", err)
	}
	if a, err = b.do(ctx, http.MethodPost, "/logout", url.Values{}, nil); err != nil || a.StatusCode != http.StatusNoContent {
		t.Errorf("log out: %v %d %s", err, a.StatusCode, a.body)
	}
	conn := h.db.Conn(t)
	if _, err := conn.Exec(ctx, `UPDATE active_forge_type SET forge_type = 'x'; UPDATE projections SET version = version - 1`); err != nil {
		t.Fatal(err)
	}
	if err := s.Sign(ctx); err != nil {
		t.Errorf("sign: %v", err)
	}
	h.rotates()
	repairing := h.open(t, warned(&warnings))
	if appended, err := repairing.Commands().RotateKeys(ctx, caller); err != nil || len(appended) != 1 {
		t.Errorf("rotate the keys: %v", err)
	}
	cancel()
	if err := <-running; err != nil {
		t.Errorf("run: %v", err)
	}
	checkInvariants(t.Context(), t, repairing, h.db.Pool(t))
	for line := range strings.Lines(warnings.String()) {
		t.Errorf("a warning: %s", line)
	}
}

func runtimeRole(t *testing.T, db *pgtest.DB) string {
	t.Helper()
	name := "runtime_" + strings.ToLower(rand.Text()[:10])
	conn := db.Conn(t)
	if _, err := conn.Exec(t.Context(), "CREATE ROLE "+name+" LOGIN"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		defer cancel()
		for _, statement := range []string{"DROP OWNED BY " + name, "DROP ROLE " + name} {
			if _, err := conn.Exec(ctx, statement); err != nil {
				t.Error(err)
			}
		}
	})
	return name
}

// What every request needs to know, and what an adapter is made from, is read in one query.
func TestReadsAreOneQuery(t *testing.T) {
	t.Parallel()
	h, b, proxy := proxiedHouse(t)
	var count atomic.Int64
	proxy.Seen(func(m pgtest.Message) bool {
		if (m.Type == 'E' || m.Type == 'Q') && !strings.Contains(m.SQL, "ping") {
			count.Add(1)
		}
		return false
	})
	for name, read := range map[string]func() error{
		"GET /me": func() error {
			a, err := b.get(t.Context(), "/me")
			if err == nil && a.StatusCode != http.StatusOK {
				err = errors.New(a.body)
			}
			return err
		},
		"GET /me without a session": func() error {
			b := h.browser()
			b.header.Set("Cookie", "forgeauth_1=x")
			_, err := b.get(t.Context(), "/me")
			return err
		},
		"GetOperatorAdapter": func() error {
			_, err := h.service().GetOperatorAdapter(t.Context())
			return err
		},
		"GetActiveForge": func() error {
			_, err := h.service().GetActiveForge(t.Context())
			return err
		},
		"GetOperatorOAuth": func() error {
			_, err := h.service().GetOperatorOAuth(t.Context(), "gitlab")
			return err
		},
	} {
		const times = 5
		if err := read(); err != nil { // prepares
			t.Fatalf("%s: %v", name, err)
		}
		count.Store(0)
		for range times {
			if err := read(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		want := int64(times)
		if strings.HasSuffix(name, "without a session") {
			want = 0
		}
		if got := count.Load(); got != want {
			t.Errorf("%s: %d queries in %d times", name, got, times)
		}
	}
}

// A reader that does not come to its end keeps its connection, and nobody waiting.
func TestCloseWaitsNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea")
	s := h.open(t)
	h.claim(t, "gitea")
	for _, err := range s.Log().Read(t.Context(), events.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Close(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("close: %v", err)
		}
		break
	}
	closeService(t, s)
}
