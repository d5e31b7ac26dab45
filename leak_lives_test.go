package forgeauth_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/secret"
)

func isRevocable(f *forgetest.Forge) bool {
	info, _ := forge.Info(kinds[f.Dialect()])
	return info.Revocable
}

// driveLives signs in again at every forge, lets tokens expire and be refreshed in spite of everything that can happen to that,
// puts up webhooks, and signs in by device code.
func (l *leakHunt) driveLives(t *testing.T) {
	t.Helper()
	ctx, s := t.Context(), l.services[0]
	for name, f := range l.forges {
		a, err := l.operator.signIn(ctx, name, "ada", nil)
		l.wants(t, a, err, http.StatusSeeOther, "/")
		port, err := s.AdapterFor(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		l.driveHooks(t, name, port)
		if stored, err := s.GetOperatorOAuth(ctx, name); err != nil || stored.RefreshToken.IsZero() {
			l.print(stored, err)
			continue
		}
		for _, fault := range []forgetest.Fault{
			forgetest.Status(http.StatusBadGateway), forgetest.CutBefore(), forgetest.GarbageBody(), forgetest.HTMLBody(),
			forgetest.TooManyRequests(time.Minute), forgetest.RedirectElsewhere(http.StatusTemporaryRedirect, f.URL()),
		} {
			l.clock.jump(9 * time.Hour)
			f.Next(forgetest.RefreshEndpoint, fault)
			_, err = port.Account(ctx)
			l.print(err)
		}
		l.clock.jump(9 * time.Hour)
		if _, err = port.Account(ctx); err != nil {
			t.Errorf("%s: the token is not refreshed: %v", name, err)
		}
		if left := f.Pending(); left > 0 {
			t.Errorf("%s: %d faults were ordered that nothing met", name, left)
		}
		l.snapshot(t)
		l.clock.jump(9 * time.Hour)
		f.Next(forgetest.RefreshEndpoint, forgetest.CutAfter()) // the new pair is lost, and the old one is spent where it can be
		_, err = port.Account(ctx)
		l.print(err)
		l.clock.jump(9 * time.Hour)
		_, err = port.Account(ctx)
		l.print(err)
		a, err = l.operator.signIn(ctx, name, "ada", nil)
		l.wants(t, a, err, http.StatusSeeOther, "/")
	}
	for _, name := range []string{"github", "gitlab"} {
		d, err := s.Commands().StartDeviceLogin(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		l.print(d)
		l.logger.DebugContext(ctx, "a device", "device", d)
		l.clock.jump(time.Minute)
		if err := l.forges[name].ApproveDevice(ctx, d.UserCode, "ada"); err != nil {
			t.Fatal(err)
		}
		done, err := s.Commands().CompleteDeviceLogin(ctx, d, commands.HostLogin{})
		l.print(done, err)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	l.snapshot(t)
}

// driveHooks puts up a webhook, and looks at deliveries that are signed and that are not.
func (l *leakHunt) driveHooks(t *testing.T, name string, port forge.Port) {
	t.Helper()
	ctx := t.Context()
	verifier, err := l.services[0].HookVerifier(name)
	if err != nil {
		t.Fatal(err)
	}
	for repository, err := range port.Repositories(ctx, forge.RepositoryQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		spec := forge.HookSpec{
			URL: "https://bot.example/" + name, Secret: secret.New("hook-" + rand.Text()), Events: []forge.HookEvent{forge.HookPush},
		}
		l.known.add("the secret of a webhook", spec.Secret.Reveal())
		hook, err := port.EnsureHook(ctx, repository.Ref(), spec)
		if err != nil {
			t.Fatal(err)
		}
		_, refused := verifier.Verify(http.Header{"X-Gitlab-Token": {spec.Secret.Reveal()}}, nil, secret.New("another-secret-0451"))
		l.print(spec, hook, refused)
		l.logger.DebugContext(ctx, "a webhook", "spec", spec, "hook", hook)
		return
	}
	t.Errorf("%s: no repository", name)
}

// follow keeps the whole log as GET /events gives it to the operator.
func (l *leakHunt) follow(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	mustSignIn(t, l.operator, "gitea", "ada", nil)
	head, err := l.services[0].Log().Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.server.URL+"/events?from=beginning", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = l.operator.header.Clone()
	response, err := l.operator.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var body strings.Builder
	lines := bufio.NewReader(response.Body)
	for last := fmt.Sprintf("\nid: %d\n", head.Position); !strings.Contains(body.String(), last) || !strings.HasSuffix(body.String(), "\n\n"); {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		body.WriteString(line)
	}
	l.keep(answer{response, body.String()})
	if n := strings.Count(body.String(), "\ndata: {"); int64(n) != head.Position {
		t.Errorf("%d events came, want %d", n, head.Position)
	}
}
