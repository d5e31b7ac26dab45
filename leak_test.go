package forgeauth_test

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

// Every flow there is, at every kind of forge, with the faults that forges have: and no secret that a forge or we ever issued is
// in a log of any level and format, in the database at any time, or in an answer. Set-Cookie, by which browsers get theirs, and
// what goes to the forges is left out.
func TestNoSecretLeavesTheHouse(t *testing.T) {
	t.Parallel()
	l := newLeakHunt(t)
	l.driveSignIns(t)
	l.snapshot(t)
	l.driveFaults(t)
	l.driveStrangers(t)
	l.driveCustody(t)
	l.driveLives(t)
	l.driveOtherConfigurations(t)
	l.driveEnds(t)
	l.snapshot(t)

	for where, text := range l.places(t) {
		if len(text) == 0 {
			t.Errorf("%s: nothing was captured", where)
		}
		for _, found := range l.known.find(text) {
			t.Errorf("%s: %s", where, found)
		}
		if where == "answers" { // where a state goes to the forge by way of the browser
			continue
		}
		for _, found := range l.states.find(text) {
			t.Errorf("%s: %s", where, found)
		}
	}
	l.checkPayloads(t)
	l.checkItCanFail(t)
}

// leakHunt is a house whose every word is kept.
type leakHunt struct {
	*house

	key      string
	password string
	random   *recordingReader
	logs     map[string]*lockedBuffer
	logger   *slog.Logger
	out      lockedBuffer // reports and errors, as the command line prints them
	database strings.Builder
	operator *browser
	cookies  map[string]bool
	known    secrets
	states   secrets

	mu      sync.Mutex
	answers strings.Builder
}

func newLeakHunt(t *testing.T) *leakHunt {
	t.Helper()
	h := newHouse(t, slices.Sorted(slices.Values(keys(dialects)))...)
	h.signs(t)
	l := &leakHunt{
		house: h, key: h.config.EncryptionKey.Reveal(), password: "pw-" + rand.Text(), random: &recordingReader{source: rand.Reader},
		logs: map[string]*lockedBuffer{}, cookies: map[string]bool{},
	}
	options := &slog.HandlerOptions{Level: slog.LevelDebug}
	var handlers []slog.Handler
	for name, handler := range map[string]func(io.Writer) slog.Handler{
		"text log": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, options) },
		"JSON log": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, options) },
		"masked text log": func(w io.Writer) slog.Handler {
			return secret.NewLogHandler(slog.NewTextHandler(w, options))
		},
		"masked JSON log": func(w io.Writer) slog.Handler {
			return secret.NewLogHandler(slog.NewJSONHandler(w, options))
		},
	} {
		l.logs[name] = &lockedBuffer{}
		handlers = append(handlers, handler(l.logs[name]))
	}
	l.logger = slog.New(slog.NewMultiHandler(handlers...))
	l.server.Config.ErrorLog = slog.NewLogLogger(l.logger.Handler(), slog.LevelError)
	l.answered = l.keep
	l.config.Logger, l.config.Rand = l.logger, l.random
	l.config.DatabaseURL = secret.New(l.config.DatabaseURL.Reveal() + "&password=" + l.password)
	parts := strings.SplitN(h.config.Signing.Key.Reveal(), "+", 5) // the rest is the log's name, and a hash of the public key
	l.known.add("the signing key", parts[4])
	l.open(t)
	return l
}

// keep writes an answer down, but for the cookies it sets: those are the secrets.
func (l *leakHunt) keep(a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.answers, "%s\n", a.Status)
	for name, values := range a.Header {
		if name != "Set-Cookie" {
			fmt.Fprintf(&l.answers, "%s: %s\n", name, strings.Join(values, "\n"))
		}
	}
	l.answers.WriteString(a.body + "\n")
	for _, cookie := range a.Cookies() {
		l.cookies[cookie.Value] = true
	}
}

// wants fails the test unless a flow ended as it was meant to: a flow that ends early shows nothing.
func (l *leakHunt) wants(t *testing.T, a answer, err error, status int, location string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if a.StatusCode != status || location != "*" && a.Header.Get("Location") != location {
		t.Errorf("%s %s: status %d, Location %q; want %d, %q\n%s",
			a.Request.Method, a.Request.URL.Path, a.StatusCode, a.Header.Get("Location"), status, location, a.body)
	}
}

// snapshot keeps what is in the database now: what is used up, ended or shredded later is in no later one.
func (l *leakHunt) snapshot(t *testing.T) {
	t.Helper()
	l.database.WriteString(dump(t, l.db))
	if text, ok := pgDump(t, l.db); ok {
		l.database.WriteString(text)
	}
}

// print is what the command line does with a result or an error.
func (l *leakHunt) print(what ...any) { _, _ = fmt.Fprintf(&l.out, "%v %+v\n", what, what) }

// driveSignIns claims the deployment, links an account of every kind of forge, signs in a second time, uses each token,
// and switches.
func (l *leakHunt) driveSignIns(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	code, expires, needed, err := l.services[0].Commands().EnsureSetupCode(ctx)
	if err != nil || !needed {
		t.Fatalf("no setup code: %v", err)
	}
	l.print(code, expires)
	l.addCode("setup code", code)
	l.snapshot(t)
	b := l.browser()
	if _, err = b.start(ctx, "gitea", url.Values{"setup_code": {"WRONG-" + code.Reveal()[6:]}}); err == nil {
		t.Error("a wrong setup code was taken")
	}
	l.print(err)
	l.operator = b
	a, err := b.signIn(ctx, "gitea", "ada", url.Values{"setup_code": {strings.ToLower(code.Reveal())}})
	l.wants(t, a, err, http.StatusSeeOther, "/")
	for name := range l.forges {
		for range 2 { // the second time replaces the token of the first, which is revoked where it can be
			a, err = b.signIn(ctx, name, "ada", nil)
			l.wants(t, a, err, http.StatusSeeOther, "/")
		}
		for _, path := range []string{"/", "/me", "/forges", "/forge/repositories", "/login", "/readyz", "/healthz"} {
			for _, accept := range []string{"text/html", "application/json"} {
				a, err = b.do(ctx, http.MethodGet, path, nil, func(r *http.Request) { r.Header.Set("Accept", accept) })
				l.wants(t, a, err, http.StatusOK, "")
			}
		}
		port, err := l.services[0].GetOperatorAdapter(ctx)
		if err != nil {
			t.Fatal(err)
		}
		l.print(port.Binding(), port)
		l.logger.DebugContext(ctx, "a port", "port", port, "binding", port.Binding())
		stored, err := l.services[0].GetOperatorOAuth(ctx, name)
		l.print(stored, err)
		l.logger.DebugContext(ctx, "a token", "row", stored, "pointer", &stored)
	}
	for name := range l.forges {
		a, err = b.do(ctx, http.MethodPost, "/forges/active", url.Values{"forge_type": {name}}, nil)
		l.wants(t, a, err, http.StatusOK, "")
	}
	a, err = b.do(ctx, http.MethodPost, "/forges/active/clear", url.Values{}, nil)
	l.wants(t, a, err, http.StatusOK, "")
	a, err = b.get(ctx, "/me")
	l.wants(t, a, err, http.StatusPreconditionFailed, "")
}

// driveFaults lets sign-ins, uses and revocations fail in every way a forge can fail.
func (l *leakHunt) driveFaults(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	faults := func(f *forgetest.Forge) []forgetest.Fault {
		return []forgetest.Fault{
			forgetest.Status(500), forgetest.Status(503), forgetest.TooManyRequests(time.Minute), forgetest.RateLimitForbidden(time.Minute),
			forgetest.CutBefore(), forgetest.CutAfter(), forgetest.CutMidway(), forgetest.GarbageBody(), forgetest.HTMLBody(),
			forgetest.EmptyBody(), forgetest.WrongContentType(), forgetest.ReplicaLag(),
			forgetest.RedirectElsewhere(http.StatusTemporaryRedirect, f.URL()+"/elsewhere"), forgetest.RedirectElsewhere(http.StatusFound, f.URL()),
			forgetest.HostileLogin(forgetest.HostileLogins()["control characters"]),
		}
	}
	for name, f := range l.forges {
		a, err := l.operator.signIn(ctx, name, "ada", nil)
		l.wants(t, a, err, http.StatusSeeOther, "/")
		for _, endpoint := range []forgetest.Endpoint{forgetest.TokenEndpoint, forgetest.UserEndpoint, forgetest.RepositoriesEndpoint} {
			for _, fault := range faults(f) {
				if endpoint == forgetest.RepositoriesEndpoint {
					f.Next(endpoint, fault)
					_, err := l.operator.get(ctx, "/forge/repositories")
					l.print(err)
					continue
				}
				b := l.browser()
				callback, err := b.callback(ctx, name, "ada", nil)
				if err != nil {
					t.Fatal(err)
				}
				f.Next(endpoint, fault)
				a, err := b.get(ctx, callback)
				l.wants(t, a, err, http.StatusSeeOther, "*")
				a, err = b.get(ctx, a.Header.Get("Location"))
				l.wants(t, a, err, http.StatusOK, "")
				a, err = b.get(ctx, callback) // a replay
				l.wants(t, a, err, http.StatusSeeOther, "*")
			}
		}
		if left := f.Pending(); left > 0 {
			t.Errorf("%s: %d faults were ordered that nothing met", name, left)
		}
		b := l.browser()
		started, err := b.start(ctx, name, nil)
		if err != nil {
			t.Fatal(err)
		}
		state := queryOf(t, started).Get("state")
		for _, query := range []string{
			"state=" + state + "&error=access_denied", "state=" + state + "&code=wrong", "state=" + state, "code=x&state=other",
			"state=" + state + "&code=a&iss=https%3A%2F%2Felsewhere.example", "%zz", "state=a&state=b",
		} {
			a, err := b.get(ctx, "/oauth/"+name+"/callback?"+query)
			l.wants(t, a, err, http.StatusSeeOther, "*")
		}
	}
}

// driveStrangers turns somebody away at every kind of forge, whose fresh token is revoked, or cannot be.
func (l *leakHunt) driveStrangers(t *testing.T) {
	t.Helper()
	for name, f := range l.forges {
		for i, fault := range []*forgetest.Fault{nil, new(forgetest.Status(503)), new(forgetest.CutAfter())} {
			for _, accept := range []string{"text/html", "application/json"} {
				if fault != nil && isRevocable(f) {
					f.Next(forgetest.RevokeEndpoint, *fault)
				}
				b := l.browser()
				_, err := b.do(t.Context(), http.MethodPost, "/oauth/"+name+"/init", url.Values{}, func(r *http.Request) {
					r.Header.Set("Accept", accept) // a page may send the browser on
				})
				if err != nil {
					t.Fatal(err)
				}
				callback, err := b.callback(t.Context(), name, "bob", nil)
				if err != nil {
					t.Fatal(err)
				}
				b.header.Set("Accept", accept)
				a, err := b.get(t.Context(), callback)
				if accept != "application/json" { // a page says so, after a redirect
					l.wants(t, a, err, http.StatusSeeOther, "/login?error=not_allowed")
					a, err = b.get(t.Context(), a.Header.Get("Location"))
				}
				l.wants(t, a, err, http.StatusForbidden, "")
				l.print(i, a.Status)
			}
		}
	}
}

// driveCustody goes through what is done with the command line, and through imports.
func (l *leakHunt) driveCustody(t *testing.T) {
	t.Helper()
	ctx := forgeauth.WithActor(t.Context(), "leak hunt")
	s, caller := l.services[0], commands.Caller{Actor: "cli"}
	code, _, err := s.Commands().Recover(ctx, caller)
	if err != nil {
		t.Fatal(err)
	}
	l.print(code)
	l.addCode("recovery code", code)
	l.snapshot(t)
	b := l.browser()
	a, err := b.signIn(ctx, "gitlab", "bob", url.Values{"setup_code": {code.Reveal()}})
	l.wants(t, a, err, http.StatusSeeOther, "/")
	accounts, err := s.Commands().Accounts(ctx)
	l.print(accounts, err)
	removed, err := s.Commands().RemoveAccount(ctx, caller, "gitlab", "8")
	l.print(removed, err)
	_, _, err = s.Commands().IssueSetupCode(ctx, caller)
	l.print(err)
	for name, f := range l.forges {
		row := robotToken(name)
		l.known.add("an imported access token", row.AccessToken.Reveal())
		l.known.add("an imported refresh token", row.RefreshToken.Reveal())
		l.print(row, s.UpsertOperatorOAuth(ctx, row))
		row.AccountID = "\x00" + row.AccessToken.Reveal()
		l.print(s.UpsertOperatorOAuth(ctx, row))
		port, err := s.GetOperatorAdapter(ctx)
		l.print(port, err, s.SetActiveForge(ctx, name))
		a, err = l.operator.get(ctx, "/forge/repositories") // with a token that the forge does not know
		l.wants(t, a, err, http.StatusConflict, "")
		if port, err = s.GetOperatorAdapter(ctx); err != nil {
			t.Fatal(err)
		}
		_, err = port.Account(ctx)
		l.print(err, port.Revoke(ctx))
		_, err = port.HTTPClient().Get(f.URL() + "/nowhere?private=1") //nolint:bodyclose,noctx // what matters is what it prints
		l.print(err)
		_, err = port.HTTPClient().Get("http://192.0.2.1/elsewhere") //nolint:bodyclose,noctx // refused before it is sent
		l.print(err)
		token, err := port.TokenSource(ctx).Token()
		if err != nil || token.AccessToken == "" {
			t.Errorf("a token source without a token: %v", err)
		}
	}
	report, err := s.Verify(ctx, forgeauth.VerifyOptions{Repair: true})
	l.print(report, err)
	// A table that was changed by hand: the report shows what differs.
	pool := l.db.Pool(t)
	if _, err := pool.Exec(ctx, `UPDATE operator_oauth_tokens SET access_token = refresh_token, account_login = 'x'`); err != nil {
		t.Fatal(err)
	}
	_, err = s.GetOperatorAdapter(ctx)
	l.print(err)
	for _, repair := range []bool{false, true} {
		if report, err = s.Verify(ctx, forgeauth.VerifyOptions{Repair: repair}); err != nil || len(report.Tables.Differences) == 0 {
			t.Errorf("the change was not found: %v", err)
		}
		l.print(report)
	}
	l.tellHistory(t)
	wrong := l.config
	wrong.EncryptionKey = secret.New(randomKey())
	l.known.add("another key", wrong.EncryptionKey.Reveal())
	_, err = forgeauth.Open(ctx, wrong)
	l.print(err)
	wrong.DatabaseURL = secret.New(strings.Replace(wrong.DatabaseURL.Reveal(), "search_path=", "sslmode=nonsense&search_path=", 1))
	_, err = forgeauth.Open(ctx, wrong)
	l.print(err)
	wrong.DatabaseURL = secret.New("postgres://nobody:" + l.password + "@127.0.0.1:1/none")
	_, err = forgeauth.Open(ctx, wrong)
	l.print(err)
}

// driveEnds disconnects every forge, ends sessions by hand and by time, and lets the background work settle the rest.
func (l *leakHunt) driveEnds(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() { _ = l.services[0].Run(ctx) })
	mustSignIn(t, l.operator, "gitlab", "ada", nil)
	l.clock.jump(9 * time.Hour) // longer than any access token lives
	a, err := l.operator.get(ctx, "/forge/repositories")
	l.wants(t, a, err, http.StatusOK, "")
	for name, f := range l.forges {
		a, err := l.operator.signIn(ctx, name, "ada", nil)
		l.wants(t, a, err, http.StatusSeeOther, "/")
		f.Next(forgetest.RevokeEndpoint, forgetest.Status(http.StatusBadGateway), forgetest.CutMidway())
		a, err = l.operator.do(ctx, http.MethodDelete, "/forges/"+name, nil, nil)
		l.wants(t, a, err, http.StatusOK, "")
		a, err = l.operator.do(ctx, http.MethodDelete, "/forges/"+name, nil, nil)
		l.wants(t, a, err, http.StatusConflict, "")
	}
	l.follow(t)
	idle := l.browser()
	mustSignIn(t, idle, "gitea", "ada", nil)
	a, err = l.operator.do(ctx, http.MethodPost, "/logout", url.Values{}, nil)
	l.wants(t, a, err, http.StatusNoContent, "")
	l.clock.jump(25 * time.Hour)
	a, err = idle.get(ctx, "/me") // extends
	l.wants(t, a, err, http.StatusOK, "")
	l.clock.jump(40 * 24 * time.Hour)
	a, err = idle.get(ctx, "/me")
	l.wants(t, a, err, http.StatusUnauthorized, "")
	cancel()
	group.Wait()
	ctx = t.Context()
	l.open(t)
	background, stop := context.WithCancel(ctx)
	defer stop()
	group.Go(func() { _ = l.services[1].Run(background) })
	pool := l.db.Pool(t)
	for left := 1; left > 0; {
		err := pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM operator_sessions) + (SELECT count(*) FROM token_revocations)`).Scan(&left)
		if err != nil {
			t.Fatal(err)
		}
	}
	stop()
	group.Wait()
}

func queryOf(t *testing.T, raw string) url.Values {
	t.Helper()
	parsed, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Query()
}

func (l *leakHunt) addCode(what string, code secret.Text) {
	l.known.add(what, code.Reveal())
	l.known.add(what+" without dashes", strings.ReplaceAll(code.Reveal(), "-", ""))
	l.known.add(what+" in lower case", strings.ToLower(code.Reveal()))
}

// collect adds every secret that came into being meanwhile.
func (l *leakHunt) collect(t *testing.T) {
	t.Helper()
	l.known.add("the encryption key", l.key)
	l.known.add("the database's password", l.password)
	raw, err := base64.StdEncoding.DecodeString(l.key)
	if err != nil {
		t.Fatal(err)
	}
	l.known.add("the encryption key, decoded", string(raw))
	for _, label := range []string{"wrapping", "session", "cookie", "code", "token"} {
		derived, err := hkdf.Key(sha256.New, []byte(l.key), nil, "forgeauth v1 "+label, 32)
		if err != nil {
			t.Fatal(err)
		}
		l.known.add("the "+label+" key", string(derived))
	}
	count := map[string]int{}
	for name, f := range l.forges {
		for _, issued := range f.Issued() {
			l.known.add(fmt.Sprintf("%s of %s", issued.Kind, name), issued.Value.Reveal())
			count[string(issued.Kind)]++
		}
	}
	// What the attempts' cookies hold. A state goes through the browser in the open; everything else does not.
	master, err := vault.ParseKey(secret.New(l.key))
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]bool{}
	for value := range l.cookies {
		if value == "" {
			continue
		}
		l.known.add("a cookie", value)
		text, err := vault.New(master, nil).OpenCookie("sign-in attempt", value, time.Time{})
		if err != nil {
			count["session cookie"]++
			continue
		}
		count["attempt cookie"]++
		_, state, _ := bytes.Cut(text, []byte(`"state":"`))
		state, _, _ = bytes.Cut(state, []byte(`"`))
		states[string(state)] = true
		l.states.add("a state", string(state))
	}
	// Every 32 random bytes are a data key, a session's secret, a verifier or a state; every 16 are a code.
	for _, drawn := range slices.Concat(l.random.all(32), l.random.all(16)) {
		text := base64.RawURLEncoding.EncodeToString([]byte(drawn))
		if states[text] {
			continue
		}
		l.known.add("a data key, session secret, verifier or code", drawn)
		l.known.add("a session secret or verifier as text", text)
		count["random"]++
	}
	for _, what := range []string{
		"authorization code", "access token", "refresh token", "client secret", "session cookie", "attempt cookie", "random",
	} {
		if count[what] < 6 {
			t.Errorf("only %d of the kind %q: the flows do not go where they should", count[what], what)
		}
	}
	t.Logf("looking for %d parts of %v", len(l.known.windows), count)
}

// places is everything a secret could have got to.
func (l *leakHunt) places(t *testing.T) map[string]string {
	t.Helper()
	l.collect(t)
	places := map[string]string{"answers": l.answers.String(), "database": l.database.String(), "output": l.out.String()}
	for name, log := range l.logs {
		places[name] = log.String()
	}
	return places
}

// checkPayloads holds what leaves through the feed to what it may say: nobody's address, program or e-mail.
func (l *leakHunt) checkPayloads(t *testing.T) {
	t.Helper()
	for e, err := range l.services[0].Log().Read(t.Context(), events.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		public := fmt.Sprintf("%s %s %s %s %s", e.Stream, e.Type, e.Actor, e.CorrelationID, e.Payload)
		for _, private := range []string{"198.51.", "Lynx", "@"} {
			if strings.Contains(public, private) {
				t.Errorf("event %d holds %q: %s", e.Position, private, public)
			}
		}
		for _, found := range slices.Concat(l.known.find(public), l.states.find(public)) {
			t.Errorf("event %d holds %s: %s", e.Position, found, public)
		}
	}
}

// checkItCanFail plants a secret of each kind where one could get to, and sees it found there.
func (l *leakHunt) checkItCanFail(t *testing.T) {
	t.Helper()
	stored := l.forges["gitlab"].Tokens()[0].Value.Reveal()
	l.logger.DebugContext(t.Context(), "planted", slog.String("url", "https://forge.example/?token="+url.QueryEscape(stored)))
	l.logger.DebugContext(t.Context(), "planted in bytes", slog.Any("key", []byte(l.random.all(32)[2]))) // after a state and a verifier
	for _, name := range []string{"text log", "JSON log"} {
		if found := l.known.find(l.logs[name].String()); len(found) < 2 {
			t.Errorf("%s: planted two secrets, found %q", name, found)
		}
	}
	_, err := l.db.Pool(t).Exec(t.Context(), `INSERT INTO setup_code VALUES ('recovery', $1, now())
		ON CONFLICT (purpose) DO UPDATE SET code_hash = EXCLUDED.code_hash`, []byte("a prefix "+stored))
	if err != nil {
		t.Fatal(err)
	}
	if l.known.find(dump(t, l.db)) == nil {
		t.Error("a secret that was planted in a column of bytes was not found")
	}
	if text, ok := pgDump(t, l.db); ok && l.known.find(text) == nil {
		t.Error("a secret that was planted in the database was not found in its backup")
	}
}
