package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
)

// loginHouse is a database and a stand-in forge, and the environment of a deployment with both.
type loginHouse struct {
	*forgetest.Forge

	environ []string
	address string // of serve, and of the callback URL that is registered
}

func newLoginHouse(t *testing.T, dialect forgetest.Dialect, change ...func(*forgetest.Config)) *loginHouse {
	t.Helper()
	h := &loginHouse{address: freeAddress(t)}
	name := string(dialect.Kind())
	config := forgetest.Config{
		Dialect: dialect, RequirePKCE: true, DeviceInterval: time.Second,
		Users: []forgetest.User{{ID: 7, Login: "ada"}, {ID: 8, Login: "bob"}},
		Clients: []forgetest.Client{{
			ID: "client", Secret: testClientSecret, DeviceFlow: true, RedirectURIs: []string{h.callbackURL(name)},
		}},
	}
	for _, apply := range change {
		apply(&config)
	}
	h.Forge = forgetest.Start(t, config)
	prefix := "FORGEAUTH_FORGE_" + strings.ToUpper(name)
	h.environ = []string{
		"OAUTH_ENCRYPTION_KEY=" + testKey, "DATABASE_URL=" + pgtest.Migrated(t, migrations.Up).URL, "FORGEAUTH_PUBLIC_URL=http://" + h.address,
		prefix + "_BASE_URL=" + h.URL(), prefix + "_CLIENT_ID=client", prefix + "_CLIENT_SECRET=" + testClientSecret,
	}
	return h
}

func (h *loginHouse) callbackURL(name string) string {
	return "http://" + h.address + "/oauth/" + name + "/callback"
}

// login starts the command; what is written to keyboard is typed. When it has ended, nothing that the forge issued may have been
// printed.
func (h *loginHouse) login(t *testing.T, args ...string) (p *process, keyboard *os.File) {
	t.Helper()
	in, keyboard, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keyboard.Close() })
	p = startTyping(t, in, h.environ, append([]string{"login"}, args...)...)
	_ = in.Close() // the process has its own
	t.Cleanup(func() { h.clean(t, p.output()) })
	return p, keyboard
}

// clean fails the test if a text holds a secret of the forge's.
func (h *loginHouse) clean(t *testing.T, text string) {
	t.Helper()
	for _, issue := range h.Issued() {
		if value := issue.Value.Reveal(); strings.Contains(text, value) || strings.Contains(text, url.QueryEscape(value)) {
			t.Errorf("a secret (%s) was printed", issue.Kind)
		}
	}
}

var (
	userCode   = regexp.MustCompile(`enter the code  (\S+)\n`)
	authorized = regexp.MustCompile(`\n  (http\S+)\n`)
)

// shown waits for what the command asks a person to do.
func (p *process) shown(t *testing.T, what *regexp.Regexp) string {
	t.Helper()
	p.waitFor(t, &p.stderr, "Waiting until")
	p.mu.Lock()
	defer p.mu.Unlock()
	found := what.FindStringSubmatch(p.stderr.String())
	if found == nil {
		t.Fatalf("nothing to do was shown:\n%s", p.stderr.String())
	}
	return found[1]
}

// ends expects an exit code and texts on both outputs.
func (p *process) ends(t *testing.T, code exitCode, stdout, stderr string) {
	t.Helper()
	got := p.end(t)
	result{got, p.stdout.String(), p.stderr.String()}.expect(t, code, stdout, stderr)
}

func TestLoginByDeviceClaimsBesideARunningServe(t *testing.T) {
	t.Parallel()
	h := newLoginHouse(t, forgetest.GitHub)
	running := serve(t, h.environ)
	p, _ := h.login(t, "github", "--json")
	code := p.shown(t, userCode)
	if !strings.Contains(p.output(), "Open "+h.URL()+"/login/device in any browser") {
		t.Errorf("where to enter it is not shown:\n%s", p.output())
	}
	if err := h.ApproveDevice(t.Context(), code, "ada"); err != nil {
		t.Fatal(err)
	}
	p.ends(t, exitOK, `"account": "github:7"`, "")
	golden(t, "login.json.golden", steady(p.banner(), h.URL(), "https://github.com"))
	if !json.Valid([]byte(p.banner())) {
		t.Error("not JSON")
	}
	running.get(t, "/readyz")
	run(t, h.environ, "setup-code").expect(t, exitFailure, "", "this deployment is claimed")
	run(t, h.environ, "accounts", "list").expect(t, exitOK, "github:7", "")
	run(t, h.environ, "connections", "list").expect(t, exitOK, "active", "")
	run(t, h.environ, "verify").expect(t, exitOK, "equal the fold of the log up to position 3", "")

	// The same account again, for eyes: its former token is revoked.
	p, _ = h.login(t, "github")
	if err := h.ApproveDevice(t.Context(), p.shown(t, userCode), "ada"); err != nil {
		t.Fatal(err)
	}
	p.ends(t, exitOK, "github is connected as ada (github:7) and active (events 4–8)\n", "Waiting until ")
	living := 0
	for _, token := range h.Tokens() {
		if token.Live {
			living++
		}
	}
	if living != 1 {
		t.Errorf("%d tokens live", living)
	}
}

func TestLoginByDeviceAsksAboutAStranger(t *testing.T) {
	t.Parallel()
	h := newLoginHouse(t, forgetest.GitLab)
	signIn := func(login string, args ...string) *process {
		t.Helper()
		p, _ := h.login(t, append([]string{"gitlab"}, args...)...)
		code := p.shown(t, userCode)
		if !strings.Contains(p.output(), "or open "+h.URL()+"/oauth/device?user_code="+code) {
			t.Errorf("the address with the code is not shown:\n%s", p.output())
		}
		if err := h.ApproveDevice(t.Context(), code, login); err != nil {
			t.Fatal(err)
		}
		return p
	}
	signIn("ada").ends(t, exitOK, "This deployment now belongs to that account.\n", "")
	signIn("bob").ends(t, exitFailure, "", "gitlab:8 is not known here, and nobody can be asked about it: say --yes to let it in")
	run(t, h.environ, "accounts", "list", "--json").expect(t, exitOK, `"gitlab:7"`, "")
	signIn("bob", "--yes").ends(t, exitOK, "That account may sign in here from now on.\n", "")
	run(t, h.environ, "accounts", "list").expect(t, exitOK, "gitlab:8", "")
	run(t, h.environ, "verify").expect(t, exitOK, "equal the fold", "")
	h.environ = append(h.environ, "FORGEAUTH_OPERATORS=gitlab:7")
	signIn("bob", "--yes").ends(t, exitFailure, "", "gitlab:8 may not sign in: FORGEAUTH_OPERATORS decides alone, so add it there")
	for i, token := range h.Tokens() {
		if last := i >= len(h.Tokens())-2; token.Live && last {
			t.Errorf("what was turned away is alive: %s of %s", token.Kind, token.Login)
		}
	}

	// At a terminal the question is asked, and shows who it is about.
	h.environ = h.environ[:len(h.environ)-1]
	run(t, h.environ, "accounts", "remove", "gitlab:8").expect(t, exitOK, "", "")
	for _, answer := range []string{"no\n", "yes\n"} {
		want := map[string]exitCode{"no\n": exitFailure, "yes\n": exitOK}[answer]
		var stdout bytes.Buffer
		told := &watched{written: make(chan struct{}, 1)}
		p := &program{environ: h.environ, in: strings.NewReader(answer), out: &stdout, err: told, canAsk: true}
		ended := make(chan exitCode, 1)
		go func() { ended <- p.run(t.Context(), []string{"login", "gitlab"}) }()
		if err := h.ApproveDevice(t.Context(), told.find(t, userCode), "bob"); err != nil {
			t.Fatal(err)
		}
		code, printed := <-ended, stdout.String()+told.String()
		if code != want || !strings.Contains(printed, "gitlab:8, which is bob at "+strings.TrimPrefix(h.URL(), "http://")) {
			t.Errorf("answered %q: exit code %d\n%s", answer, code, printed)
		}
		if want == exitFailure && !strings.Contains(printed, "gitlab:8 was not let in") {
			t.Error(printed)
		}
		h.clean(t, printed)
	}
}

func TestLoginByDeviceThatComesToNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		decide func(*testing.T, *loginHouse, string)
		stderr string
	}{
		"denied": {func(t *testing.T, h *loginHouse, code string) {
			t.Helper()
			if err := h.DenyDevice(t.Context(), code, "ada"); err != nil {
				t.Error(err)
			}
		}, "gitlab: you did not consent there, so nothing was changed"},
		"expired": {func(_ *testing.T, h *loginHouse, _ string) { h.ExpireDevices() }, "gitlab: nobody consented in time: run `forgeauth login gitlab` again"},
		"the application is gone": {
			func(_ *testing.T, h *loginHouse, _ string) { h.DeleteApp("client") },
			"gitlab: the forge refused to complete the sign-in (gitlab: device: HTTP 401: the forge refused the exchange: invalid_client)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newLoginHouse(t, forgetest.GitLab)
			p, _ := h.login(t, "gitlab")
			test.decide(t, h, p.shown(t, userCode))
			p.ends(t, exitFailure, "", test.stderr)
			run(t, h.environ, "verify").expect(t, exitOK, "up to position 0", "")
		})
	}
}

func TestLoginByDeviceKeepsToThePaceOfTheForge(t *testing.T) {
	t.Parallel()
	h := newLoginHouse(t, forgetest.GitLab)
	h.Next(forgetest.PollEndpoint, forgetest.SlowDown())
	p, _ := h.login(t, "gitlab")
	code := p.shown(t, userCode)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.Await(ctx, forgetest.PollEndpoint, 1); err != nil {
		t.Fatal(err)
	}
	if err := h.ApproveDevice(t.Context(), code, "ada"); err != nil {
		t.Fatal(err)
	}
	p.ends(t, exitOK, "gitlab is connected as ada", "")
	if n := h.Count(forgetest.PollEndpoint); n != 2 { // had it come too soon, it would have been told so
		t.Errorf("%d polls", n)
	}
}

func TestLoginSaysThatTheDeviceFlowIsOff(t *testing.T) {
	t.Parallel()
	h := newLoginHouse(t, forgetest.GitHub, func(c *forgetest.Config) { c.Clients[0].DeviceFlow = false })
	r := run(t, h.environ, "login", "github")
	r.expect(t, exitFailure, "", "enable it in the application's settings there")
	r.expect(t, exitFailure, "", "or sign in with `forgeauth login github --browser`")
	r = run(t, h.environ, "login", "gitlab")
	r.expect(t, exitFailure, "", "\"gitlab\": no forge of that name is configured: `forgeauth connections list` names those that are")
	if n := h.Count(forgetest.AnyEndpoint); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestLoginIsInterrupted(t *testing.T) {
	t.Parallel()
	for _, dialect := range []forgetest.Dialect{forgetest.GitLab, forgetest.Gitea} {
		t.Run(dialect.String(), func(t *testing.T) {
			t.Parallel()
			h := newLoginHouse(t, dialect)
			p, _ := h.login(t, dialect.String())
			p.waitFor(t, &p.stderr, "Waiting until")
			p.signal(t, syscall.SIGINT)
			p.ends(t, exitInterrupted, "", "interrupted")
			run(t, h.environ, "verify").expect(t, exitOK, "up to position 0", "")
		})
	}
}

// visit gets an address as a browser does, under the name of another host if one is given.
func visit(t *testing.T, address string, host ...string) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	r.Host = strings.Join(host, "")
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range []string{"Content-Security-Policy", "Referrer-Policy", "Cache-Control"} {
		if response.Header.Get(header) == "" {
			t.Errorf("no %s", header)
		}
	}
	return response.StatusCode, string(content)
}

func TestLoginThroughABrowserOnThisMachine(t *testing.T) {
	t.Parallel()
	h := newLoginHouse(t, forgetest.Gitea)
	p, keyboard := h.login(t, "gitea")
	_ = keyboard.Close() // nobody is there
	callback, err := h.Consent(t.Context(), p.shown(t, authorized), "ada")
	if err != nil {
		t.Fatal(err)
	}
	// It answers the callback of this sign-in, and nothing else.
	for _, address := range []string{
		"http://" + h.address + "/", "http://" + h.address + "/login", h.callbackURL("gitea"), h.callbackURL("github") + "?code=c&state=s",
		h.callbackURL("gitea") + "?code=stolen&state=cli.another", callback + "&code=twice",
	} {
		if status, body := visit(t, address); status != http.StatusNotFound && status != http.StatusBadRequest {
			t.Errorf("%s: %d\n%s", strings.SplitN(address, "?", 2)[0], status, body)
		}
	}
	if status, body := visit(t, callback, "evil.example"); status != http.StatusNotFound {
		t.Errorf("under another name: %d\n%s", status, body)
	}
	status, body := visit(t, callback)
	if status != http.StatusOK || !strings.Contains(body, "Return to the terminal") {
		t.Errorf("%d\n%s", status, body)
	}
	h.clean(t, body)
	p.ends(t, exitOK, "This deployment now belongs to that account.\n", "comes back by itself")
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", h.address); err == nil {
		_ = conn.Close()
		t.Error("it still listens")
	}
}

func TestLoginThroughABrowserElsewhere(t *testing.T) {
	t.Parallel()
	h := newLoginHouse(t, forgetest.Gitea)
	// A running serve has the callback's address: its page says what to do, and does nothing.
	serve(t, append(slices.Clone(h.environ), "FORGEAUTH_LISTEN="+h.address))
	other, _ := h.login(t, "gitea")
	p, keyboard := h.login(t, "gitea")
	elsewhere, err := h.Consent(t.Context(), other.shown(t, authorized), "ada")
	if err != nil {
		t.Fatal(err)
	}
	authorize := p.shown(t, authorized)
	callback, err := h.Consent(t.Context(), authorize, "ada")
	if err != nil {
		t.Fatal(err)
	}
	status, body := visit(t, callback)
	if status != http.StatusOK || !strings.Contains(body, "paste it into the terminal") {
		t.Errorf("%d\n%s", status, body)
	}
	h.clean(t, body)
	exchanged := h.Count(forgetest.TokenEndpoint)
	for _, mistake := range []string{"", "ada", authorize, "https://auth.example.org/?error=", elsewhere, strings.SplitN(callback, "?", 2)[0]} {
		if _, err := fmt.Fprintln(keyboard, mistake); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fmt.Fprintf(keyboard, "  %q  \n", callback); err != nil {
		t.Fatal(err)
	}
	p.ends(t, exitOK, "gitea is connected as ada (gitea:7) and active", "that address belongs to another sign-in")
	if n := strings.Count(p.output(), "forgeauth: that "); n != 5 {
		t.Errorf("%d mistakes were named:\n%s", n, p.output())
	}
	if n := h.Count(forgetest.TokenEndpoint); n != exchanged+1 {
		t.Errorf("%d exchanges", n-exchanged)
	}
}

// watched is standard error as somebody reads it.
type watched struct {
	mu      sync.Mutex
	text    strings.Builder
	written chan struct{} // holds one when there is more
}

// Write implements [io.Writer].
func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.written <- struct{}{}:
	default:
	}
	return w.text.Write(b)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// find waits for something to be printed.
func (w *watched) find(t *testing.T, what *regexp.Regexp) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		if found := what.FindStringSubmatch(w.String()); found != nil {
			return found[1]
		}
		select {
		case <-w.written:
		case <-deadline:
			t.Fatalf("not printed:\n%s", w.String())
		}
	}
}
