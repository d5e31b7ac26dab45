package forgetest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
)

const manyRepositories = 1050

func withRepositories(n int) option {
	return func(c *Config, _ *forge.Connection) { c.Users[0].Repositories = Repositories(1, n) }
}

func exerciseRepositories(t *testing.T, x *exercise) {
	t.Helper()
	t.Run("more than a thousand come page by page, each once", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t, withRepositories(manyRepositories))
		all, err := collect(t.Context(), b.port(t))
		if err != nil || len(all) != manyRepositories {
			t.Fatalf("%d, %v", len(all), err)
		}
		got := map[string]forge.Repository{}
		for _, r := range all {
			got[r.ID] = r
		}
		want := map[string]forge.Repository{}
		for _, r := range Repositories(1, manyRepositories) {
			id := x.id(r.ID)
			web := b.URL() + "/" + exerciseLogin + "/" + r.Name
			want[id] = forge.Repository{
				ID: id, Path: exerciseLogin + "/" + r.Name, WebURL: web, CloneURL: web + ".git",
				Default: r.DefaultBranch, Private: r.Private, Archived: r.Archived && x.config.Dialect != Bitbucket, // which archives none
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if n := b.Count(RepositoriesEndpoint); n > (manyRepositories+49)/50 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("a page is asked for when the one before is used up", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t, withRepositories(manyRepositories))
		port := b.port(t)
		sequence := port.Repositories(t.Context(), forge.RepositoryQuery{})
		if b.Count(RepositoriesEndpoint) != 0 {
			t.Error("a page was asked for before anything was consumed")
		}
		seen := 0
		for _, err := range sequence {
			if err != nil {
				t.Fatal(err)
			}
			if seen++; seen == 50 {
				break
			}
		}
		if n := b.Count(RepositoriesEndpoint); n != 1 {
			t.Errorf("%d requests for one page", n)
		}
	})
	t.Run("none is none and no error", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t, withRepositories(0))
		if all, err := collect(t.Context(), b.port(t)); err != nil || len(all) != 0 {
			t.Errorf("%d, %v", len(all), err)
		}
	})
	t.Run("an error on a later page ends the sequence after what came before", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t, withRepositories(manyRepositories))
		port := b.port(t)
		errs, items := 0, 0
		for _, err := range port.Repositories(t.Context(), forge.RepositoryQuery{}) {
			if err != nil {
				b.fails(t, "repositories", err, forge.ErrUnavailable)
				errs++
				continue
			}
			if items++; items == 1 {
				b.Next(RepositoriesEndpoint, Status(502))
			}
		}
		if errs != 1 || items == 0 || b.Count(RepositoriesEndpoint) != 2 {
			t.Errorf("%d errors, %d items, %d requests", errs, items, b.Count(RepositoriesEndpoint))
		}
	})
	t.Run("a path in another script stays and its addresses are escaped", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t, withRepositories(1))
		port := b.port(t)
		b.Next(RepositoriesEndpoint, renamed("gruppe/Ünïcödé 漢字"))
		all, err := collect(t.Context(), port)
		if err != nil || len(all) != 1 {
			t.Fatalf("%d, %v", len(all), err)
		}
		if want := b.URL() + "/gruppe/%C3%9Cn%C3%AFc%C3%B6d%C3%A9%20%E6%BC%A2%E5%AD%97"; all[0].Path != "gruppe/Ünïcödé 漢字" || all[0].WebURL != want {
			t.Errorf("%q at %q", all[0].Path, all[0].WebURL)
		}
	})
	for what, path := range map[string]string{
		"climbing": "../../admin", "control characters": "a/b\x1b[2J\n", "bidi override": "a/b\u202e", "invalid UTF-8": "a/\xff\xfe",
		"backslash": `a\..\b`, "encoded climbing": "a/%2e%2e/b", "an address": "https://evil.example/x",
	} {
		t.Run("a hostile path is cleaned and has no address: "+what, func(t *testing.T) {
			t.Parallel()
			b := x.bench(t, withRepositories(1))
			port := b.port(t)
			b.Next(RepositoriesEndpoint, renamed(path))
			all, err := collect(t.Context(), port)
			if err != nil || len(all) != 1 || !forge.IsClean(all[0].Path) {
				t.Fatalf("%v, %v", all, err)
			}
			if all[0].WebURL != "" && !strings.HasPrefix(all[0].WebURL, b.URL()+"/a/") || strings.Contains(all[0].CloneURL, "..") {
				t.Errorf("%q", all[0].WebURL)
			}
		})
	}
	t.Run("a pagination link to another host is refused", func(t *testing.T) {
		t.Parallel()
		other := trap(t)
		b := x.bench(t, withRepositories(manyRepositories))
		port := b.port(t)
		for _, target := range []string{
			other.URL + "/user/repos?page=2&x=" + exerciseMark, "https" + strings.TrimPrefix(b.URL(), "http") + "/user/repos?page=2",
			"//" + other.Listener.Addr().String() + "/user/repos?page=2", strings.Replace(b.URL(), "//", "//x@", 1) + "/user/repos?page=2",
		} {
			b.Next(RepositoriesEndpoint, NextPageElsewhere(target))
			_, err := collect(t.Context(), port)
			b.fails(t, "repositories", err, forge.ErrDestination)
		}
	})
	t.Run("a pagination that repeats itself ends", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t, withRepositories(manyRepositories))
		port := b.port(t)
		again := b.APIURL() + "/user/repos?page=1"
		switch x.config.Dialect {
		case GitLab:
			again = b.APIURL() + "/projects?page=1"
		case Bitbucket:
			again = b.APIURL() + "/repositories/" + exerciseLogin + "?page=1"
		case GitHub, GitHubApp, GitHubEnterprise, Gitea, Forgejo:
		}
		for range 5 {
			b.Next(RepositoriesEndpoint, NextPageElsewhere(again))
		}
		_, err := collect(t.Context(), port)
		b.fails(t, "repositories", err, forge.ErrUnavailable)
	})
	if want, narrow := x.narrowScope(); narrow != nil {
		t.Run("a missing scope is named", func(t *testing.T) {
			t.Parallel()
			b := x.bench(t, func(config *Config, c *forge.Connection) { config.Clients[0].Scopes, c.Scopes = narrow, narrow })
			_, err := collect(t.Context(), b.port(t))
			missing := failsAs[*forge.ScopeMissingError](t, b, "repositories", err)
			if diff := cmp.Diff(want, missing.Want); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// narrowScope returns scopes that do not list repositories, and what would. GitHub lists what is public to any token.
func (x *exercise) narrowScope() (want, narrow []string) {
	switch x.config.Dialect {
	case GitLab:
		return []string{"api", "read_api"}, []string{"read_user"}
	case Gitea, Forgejo:
		return []string{"read:repository"}, []string{"read:user"}
	case Bitbucket:
		return []string{"repository"}, []string{"account"}
	case GitHub, GitHubApp, GitHubEnterprise:
	}
	return nil, nil
}

// renamed gives every repository in the answer another path.
func renamed(path string) Fault {
	return altered("renamed", func(answer *captured) {
		body := answer.body.String()
		for _, field := range []string{`"full_name":"`, `"path_with_namespace":"`} {
			body = replaceField(body, field, rawJSONString(path))
		}
		answer.body.Reset()
		answer.body.WriteString(body)
	})
}
