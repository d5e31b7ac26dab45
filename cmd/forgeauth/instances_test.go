package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
)

// Two GitLabs and two GitHubs, each with an account 7 called ada: every command that takes or shows a connection means one of them.
func TestCommandsTellInstancesOfAKindApart(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	environ := []string{
		"OAUTH_ENCRYPTION_KEY=" + testKey, "DATABASE_URL=" + pgtest.Migrated(t, migrations.Up).URL,
		"FORGEAUTH_LISTEN=" + address, "FORGEAUTH_PUBLIC_URL=http://" + address,
	}
	names := []string{"github", "github-work", "gitlab", "gitlab-work"}
	forges := map[string]*forgetest.Forge{}
	for name, dialect := range map[string]forgetest.Dialect{
		"gitlab": forgetest.GitLab, "gitlab-work": forgetest.GitLab, "github": forgetest.GitHub, "github-work": forgetest.GitHubEnterprise,
	} {
		forges[name] = forgetest.Start(t, forgetest.Config{
			Dialect: dialect, RequirePKCE: true, DeviceInterval: time.Second, Users: []forgetest.User{{ID: 7, Login: "ada"}},
			Clients: []forgetest.Client{{
				ID: "client", Secret: testClientSecret, DeviceFlow: true, RedirectURIs: []string{"http://" + address + "/oauth/" + name + "/callback"},
			}},
		})
		prefix := "FORGEAUTH_FORGE_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		environ = append(
			environ, prefix+"_KIND="+string(dialect.Kind()), prefix+"_BASE_URL="+forges[name].URL(), prefix+"_CLIENT_ID=client",
			prefix+"_CLIENT_SECRET="+testClientSecret,
		)
	}

	p := serve(t, environ)
	for _, name := range names {
		want := fmt.Sprintf("\n    %-11s  http://%s/oauth/%s/callback  (at %s)\n", name, address, name, forges[name].URL())
		if !strings.Contains(p.banner(), want) {
			t.Errorf("serve does not print %q:\n%s", want, p.banner())
		}
	}

	// Signing in to one contacts that one alone.
	login := func(name string, args ...string) *process {
		t.Helper()
		before := map[string]int{}
		for other, f := range forges {
			before[other] = f.Count(forgetest.AnyEndpoint)
		}
		p := start(t, environ, append([]string{"login", name}, args...)...)
		code := p.shown(t, userCode)
		if !strings.Contains(p.output(), forges[name].URL()+"/") {
			t.Errorf("%s sends people elsewhere:\n%s", name, p.output())
		}
		if err := forges[name].ApproveDevice(t.Context(), code, "ada"); err != nil {
			t.Fatal(err)
		}
		p.end(t)
		for other, f := range forges {
			if other != name && f.Count(forgetest.AnyEndpoint) != before[other] {
				t.Errorf("signing in to %s contacted %s", name, other)
			}
		}
		return p
	}
	login("gitlab").ends(t, exitOK, "gitlab is connected as ada (gitlab:7) and active", "")
	login("gitlab-work").ends(t, exitFailure, "", "gitlab-work:7 is not known here")
	for _, name := range []string{"gitlab-work", "github", "github-work"} {
		login(name, "--yes").ends(t, exitOK, name+" is connected as ada ("+name+":7) and active", "")
	}

	listed := run(t, environ, "accounts", "list").stdout
	for _, name := range names {
		if !slices.ContainsFunc(strings.Split(listed, "\n"), func(line string) bool {
			return strings.HasPrefix(line, name+":7 ") && strings.Contains(line, forges[name].URL())
		}) {
			t.Errorf("%s:7 is not listed with its forge:\n%s", name, listed)
		}
	}
	connections := run(t, environ, "connections", "list").stdout
	for _, name := range names {
		if !slices.ContainsFunc(strings.Split(connections, "\n"), func(line string) bool {
			active := strings.Contains(line, " active ")
			return strings.HasPrefix(line, name+" ") && strings.Contains(line, forges[name].URL()+" ") && active == (name == "github-work") &&
				strings.Contains(line, "/oauth/"+name+"/callback")
		}) {
			t.Errorf("%s is not listed as itself:\n%s", name, connections)
		}
	}

	run(t, environ, "accounts", "remove", "gitlab-work:7").expect(t, exitOK, "gitlab-work:7 may no longer sign in", "")
	run(t, environ, "accounts", "list").expect(t, exitOK, "gitlab:7", "")
	run(t, environ, "accounts", "remove", "gitlab-work:7").expect(t, exitFailure, "", "gitlab-work:7: no such account")

	// One of them moves; the others are served as before.
	moved := append(slices.Clone(environ), "FORGEAUTH_FORGE_GITLAB_BASE_URL=https://gitlab.example.org")
	r := run(t, moved, "login", "gitlab")
	r.expect(t, exitFailure, "", "run `forgeauth connections rebind gitlab`")
	if forges["gitlab-work"].Count(forgetest.DeviceEndpoint) != 2 {
		t.Error("the namesake was contacted")
	}
	run(t, moved, "connections", "rebind", "gitlab-work").expect(t, exitOK, "gitlab-work: the configuration agrees with the history", "")
	run(t, moved, "connections", "rebind", "gitlab", "--yes").expect(t, exitOK, "gitlab is bound to its new base URL", "")
	left := run(t, moved, "accounts", "list").stdout
	if strings.Contains(left, "gitlab:7") || !strings.Contains(left, "github:7") || !strings.Contains(left, "github-work:7") {
		t.Errorf("left are:\n%s", left)
	}

	// An allow-list names one of them.
	environ = append(environ, "FORGEAUTH_OPERATORS=github-work:7")
	login("github").ends(t, exitFailure, "", "github:7 may not sign in: FORGEAUTH_OPERATORS decides alone, so add it there")
	login("github-work").ends(t, exitOK, "github-work is connected as ada", "")
	run(t, environ, "verify").expect(t, exitOK, "equal the fold", "")
}
