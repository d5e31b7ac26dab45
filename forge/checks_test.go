package forge_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

func TestChecksRefuseWhatNoForgeCouldTake(t *testing.T) {
	t.Parallel()
	status := func(change func(*forge.Status)) error {
		s := forge.Status{Context: "ci/build", State: forge.StatusPending, TargetURL: "https://ci.example/1"}
		change(&s)
		return s.Check()
	}
	proposal := func(change func(*forge.NewChange)) error {
		c := forge.NewChange{Title: "Mend it", Source: "mend", Target: "main"}
		change(&c)
		return c.Check()
	}
	hook := func(change func(*forge.HookSpec)) error {
		h := forge.HookSpec{URL: "https://hooks.example/in", Secret: secret.New(strings.Repeat("s", 16)), Events: []forge.HookEvent{forge.HookPush}}
		change(&h)
		return h.Check()
	}
	for name, err := range map[string]error{
		"no reference":                    forge.RepositoryRef{}.Check(),
		"an id with a slash":              forge.RepositoryRef{ID: "1/2", Path: "a/b"}.Check(),
		"an id of sixty-five":             forge.CheckID(strings.Repeat("1", 65)),
		"no id":                           forge.CheckID(""),
		"an id in another script":         forge.CheckID("٣"),
		"a path of one name":              forge.RepositoryRef{Path: "a"}.Check(),
		"a path with an empty part":       forge.RepositoryRef{Path: "a//b"}.Check(),
		"a path with a slash before":      forge.RepositoryRef{Path: "/a/b"}.Check(),
		"a path with a slash behind":      forge.RepositoryRef{Path: "a/"}.Check(),
		"a path that climbs":              forge.RepositoryRef{Path: "a/../b"}.Check(),
		"a path that climbs by semicolon": forge.RepositoryRef{Path: "a/..;x/b"}.Check(),
		"a path with a line break":        forge.RepositoryRef{Path: "a/b\n"}.Check(),
		"a path that is not UTF-8":        forge.RepositoryRef{Path: "a/\xff"}.Check(),
		"a path that is too long":         forge.RepositoryRef{Path: "a/" + strings.Repeat("b", 4096)}.Check(),
		"no file":                         forge.CheckFilePath(""),
		"a file's path that climbs":       forge.CheckFilePath("a/../../b"),
		"a file's path that stays":        forge.CheckFilePath("./a"),
		"a file's path encoded":           forge.CheckFilePath("a/%2e%2e/b"),
		"a file's path with backslashes":  forge.CheckFilePath(`a\..\b`),
		"a file's path from the root":     forge.CheckFilePath("/etc/passwd"),
		"a file's path with NUL":          forge.CheckFilePath("a\x00b"),
		"a revision with a space":         forge.CheckRevision("a b"),
		"a revision that climbs":          forge.CheckRevision("a/../b"),
		"a range":                         forge.CheckRevision("main..mend"),
		"a reflog":                        forge.CheckRevision("main@{1}"),
		"a parent":                        forge.CheckRevision("main~1"),
		"an option":                       forge.CheckRevision("--help"),
		"a lock":                          forge.CheckRevision("main.lock"),
		"a hidden name":                   forge.CheckRevision("a/.b"),
		"a revision with a slash behind":  forge.CheckRevision("a/"),
		"a revision that is too long":     forge.CheckRevision(strings.Repeat("a", 256)),
		"a short commit":                  forge.CheckCommit("abc1234"),
		"a branch for a commit":           forge.CheckCommit("main"),
		"a commit in capitals":            forge.CheckCommit(strings.Repeat("A", 40)),
		"a commit of forty-one digits":    forge.CheckCommit(strings.Repeat("a", 41)),
		"number zero":                     forge.CheckNumber(0),
		"a negative number":               forge.CheckNumber(-1),
		"a blank text":                    forge.CheckText(" \n"),
		"a text that is not UTF-8":        forge.CheckText("a\xff"),
		"a text with NUL":                 forge.CheckText("a\x00"),
		"an endless text":                 forge.CheckText(strings.Repeat("é", 1_000_001)),
		"a status without a context":      status(func(s *forge.Status) { s.Context = "" }),
		"a status with a long context":    status(func(s *forge.Status) { s.Context = strings.Repeat("c", 256) }),
		"a status with a hidden context":  status(func(s *forge.Status) { s.Context = "ci\u202e" }),
		"a status without a state":        status(func(s *forge.Status) { s.State = "" }),
		"a status of another forge":       status(func(s *forge.Status) { s.State = "running" }),
		"a description not in UTF-8":      status(func(s *forge.Status) { s.Description = "\xff" }),
		"a script for an address":         status(func(s *forge.Status) { s.TargetURL = "javascript:alert(1)" }),
		"an address without a host":       status(func(s *forge.Status) { s.TargetURL = "https:///a" }),
		"an address on its own":           status(func(s *forge.Status) { s.TargetURL = "/a" }),
		"an address with credentials":     status(func(s *forge.Status) { s.TargetURL = "https://a:b@ci.example" }),
		"a change without a title":        proposal(func(c *forge.NewChange) { c.Title = " " }),
		"a change with a long title":      proposal(func(c *forge.NewChange) { c.Title = strings.Repeat("t", 256) }),
		"a change with two lines":         proposal(func(c *forge.NewChange) { c.Title = "a\nb" }),
		"a change without a source":       proposal(func(c *forge.NewChange) { c.Source = "" }),
		"a change to itself":              proposal(func(c *forge.NewChange) { c.Target = c.Source }),
		"a change to a bad branch":        proposal(func(c *forge.NewChange) { c.Target = "a b" }),
		"a change from a fork":            proposal(func(c *forge.NewChange) { c.Source = "bob:mend" }),
		"a change not in UTF-8":           proposal(func(c *forge.NewChange) { c.Body = "\xff" }),
		"a hook without an address":       hook(func(h *forge.HookSpec) { h.URL = "" }),
		"a hook by mail":                  hook(func(h *forge.HookSpec) { h.URL = "mailto:a@b" }),
		"a hook with credentials":         hook(func(h *forge.HookSpec) { h.URL = "https://a@hooks.example" }),
		"a hook with a space":             hook(func(h *forge.HookSpec) { h.URL = "https://hooks.example/a b" }),
		"a hook with a short secret":      hook(func(h *forge.HookSpec) { h.Secret = secret.New(strings.Repeat("s", 15)) }),
		"a hook with a long secret":       hook(func(h *forge.HookSpec) { h.Secret = secret.New(strings.Repeat("s", 256)) }),
		"a hook with a secret in UTF-8":   hook(func(h *forge.HookSpec) { h.Secret = secret.New(strings.Repeat("é", 16)) }),
		"a hook without a secret":         hook(func(h *forge.HookSpec) { h.Secret = secret.Text{} }),
		"a hook without events":           hook(func(h *forge.HookSpec) { h.Events = nil }),
		"a hook for pings":                hook(func(h *forge.HookSpec) { h.Events = []forge.HookEvent{forge.HookPing} }),
		"a hook for something":            hook(func(h *forge.HookSpec) { h.Events = []forge.HookEvent{"*"} }),
		"a hook with an event twice":      hook(func(h *forge.HookSpec) { h.Events = []forge.HookEvent{forge.HookPush, forge.HookPush} }),
	} {
		if !errors.Is(err, forge.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChecksPassWhatForgesTake(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"an id":                     forge.RepositoryRef{ID: "4711"}.Check(),
		"a UUID":                    forge.CheckID("{0b6a3c55-9d7e-4d6b-8c2f-3f1f3f3f3f3f}"),
		"a path":                    forge.RepositoryRef{Path: "a/b"}.Check(),
		"a group's path":            forge.RepositoryRef{Path: "a/b/c.d/e_f-g"}.Check(),
		"a path in another script":  forge.RepositoryRef{Path: "gruppe/Ünïcödé 漢字"}.Check(),
		"a file":                    forge.CheckFilePath("docs/Ünïcödé 100%/…/👩‍💻.md"),
		"a hidden file":             forge.CheckFilePath(".github/workflows/ci.yml"),
		"a file with marks":         forge.CheckFilePath("a?b#c&d+e;f"),
		"the default branch":        forge.CheckRevision(""),
		"a branch":                  forge.CheckRevision("feature/漢字+1"),
		"a tag":                     forge.CheckRevision("v1.0.0"),
		"a commit":                  forge.CheckCommit(strings.Repeat("0a", 20)),
		"a longer commit":           forge.CheckCommit(strings.Repeat("0a", 32)),
		"a number":                  forge.CheckNumber(1),
		"a text":                    forge.CheckText("Thanks 🙂\n\n* done"),
		"a status":                  forge.Status{Context: "ci/build", State: forge.StatusError, Description: "a\nb"}.Check(),
		"a change with nothing but": forge.NewChange{Title: "Mend 👩‍💻", Source: "mend"}.Check(),
		"a hook": forge.HookSpec{
			URL: "http://hooks.example:8080/in?forge=github", Secret: secret.New(strings.Repeat("~!", 127)),
			Events: []forge.HookEvent{forge.HookComment, forge.HookPush, forge.HookIssue, forge.HookChange},
		}.Check(),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAPathOfTwoNamesIsSplit(t *testing.T) {
	t.Parallel()
	if owner, name, err := (forge.RepositoryRef{Path: "a/b"}).OwnerAndName(); owner != "a" || name != "b" || err != nil {
		t.Errorf("%q, %q, %v", owner, name, err)
	}
	if _, _, err := (forge.RepositoryRef{Path: "a/b/c"}).OwnerAndName(); !errors.Is(err, forge.ErrInvalid) {
		t.Errorf("three names: %v", err)
	}
	if got, want := forge.EscapePath("a b/ü?#%/c"), "a%20b/%C3%BC%3F%23%25/c"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestASummaryIsOneShortLine(t *testing.T) {
	t.Parallel()
	long := forge.Status{Description: strings.Repeat("é", 139) + "\n" + strings.Repeat("x", 20)}.Summary()
	if []rune(long)[139] != '…' || len([]rune(long)) != 140 || strings.Contains(long, "\n") {
		t.Errorf("%q", long)
	}
	for description, want := range map[string]string{"": "", " two\n\tlines\u202e ": "two lines", strings.Repeat("a", 140): strings.Repeat("a", 140)} {
		if got := (forge.Status{Description: description}).Summary(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
