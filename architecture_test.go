package forgeauth_test

import (
	"bytes"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const (
	modulePath = "github.com/forgeauth/forgeauth"

	// The house is built of few, deep packages in files that can be read in one go. Tables of test cases may be longer.
	maxLines     = 400
	maxTestLines = 600
)

// houseRules are the package directories of the module, "." being its root, each with the packages of ours that its
// non-test files may import. What is not in the table is refused: a new package, or a new edge, is a decision to be taken
// here. The direction is http → commands → projections → events; adapters see only forge.
var houseRules = map[string][]string{
	// The ground floor imports nothing of ours.
	"events":     {},
	"migrations": {},
	"secret":     {},

	// forge and vault know neither each other nor the log.
	"forge": {"secret"},
	"vault": {"secret"},

	"forge/github":    {"forge", "secret"},
	"forge/gitlab":    {"forge", "secret"},
	"forge/gitea":     {"forge", "secret"},
	"forge/bitbucket": {"forge", "secret"},

	"projections": {"events"},
	"proof":       {"events", "secret"},
	"archive":     {"events", "projections", "proof"},
	"history":     {"commands", "events", "projections"},
	"commands":    {"events", "forge", "internal/spelling", "projections", "secret", "vault"},
	"http":        {"commands", "events", "forge", "history", "projections", "proof", "secret"},

	// Out of the house: over the feed, and knowing nothing of who wrote the log.
	"relay":         {"events", "secret"},
	"relay/kafka":   {"events", "relay", "secret"},
	"relay/nats":    {"events", "relay", "secret"},
	"relay/webhook": {"events", "relay", "secret"},

	// For the programs on the other side.
	"consumer": {"events", "secret"},

	// The facade wires everything, once.
	".": {
		"archive", "commands", "events", "forge", "forge/bitbucket", "forge/gitea", "forge/github", "forge/gitlab", "history", "http", "internal/spelling",
		"migrations", "projections", "proof", "relay", "relay/kafka", "relay/nats", "relay/webhook", "secret", "vault",
	},

	"cmd/forgeauth": {
		".", "archive", "commands", "events", "forge", "history", "internal/localpg", "migrations", "projections", "proof", "secret", "vault",
	},

	"internal/localpg":  {},
	"internal/spelling": {},

	// Made-up histories, for tests and benchmarks.
	"internal/plausible": {"events"},

	// Only tests, which may import what they measure.
	"internal/benchmark": {},

	// For tests and the demo.
	"forge/forgetest": {"forge", "secret"},
	"relay/relaytest": {"events", "internal/pgtest", "migrations", "projections", "relay"},
	"internal/pgtest": {"internal/localpg"},
}

// demoOnly are packages that no program but the demo contains: the importing file must be named demo*.go.
var demoOnly = map[string][]string{
	"cmd/forgeauth": {"forge/forgetest"},
}

// thirdParties says, for modules that must stay in one place, in which directories non-test files may import them.
var thirdParties = map[string][]string{
	// SQL is written where a table is owned: the log and its tables, data keys, the setup code.
	"github.com/jackc/pgx": {
		".", "archive", "cmd/forgeauth", "commands", "consumer", "events", "internal/localpg", "internal/pgtest", "migrations", "projections", "proof", "relay",
		"relay/relaytest", "vault",
	},
	// The tree over the log is that of the transparency logs.
	"golang.org/x/mod":     {"proof"},
	"filippo.io/torchwood": {"proof"},
	// OAuth is spoken by forge alone.
	"golang.org/x/oauth2":                {"forge", "forge/forgetest"},
	"golang.org/x/crypto/nacl/secretbox": {"vault"},
	// A forge's own client has frequent majors and stays in the adapter.
	"github.com/google/go-github":         {"forge/github"},
	"gitlab.com/gitlab-org/api/client-go": {"forge/gitlab"},
	"code.gitea.io/sdk/gitea":             {"forge/gitea"},
	// The stand-in's OAuth server library is for tests and the demo.
	"github.com/go-oauth2/oauth2": {"forge/forgetest"},
	"github.com/ory/fosite":       {"forge/forgetest"},
	"github.com/zitadel/oidc":     {"forge/forgetest"},
	"github.com/go-chi":           {"http"},
	// The feed speaks Watermill, and who is on its other side.
	"github.com/ThreeDotsLabs/watermill": {
		"consumer", "events", "relay", "relay/kafka", "relay/nats", "relay/relaytest", "relay/webhook",
	},
	"github.com/ThreeDotsLabs/watermill-kafka":   {"relay/kafka"},
	"github.com/ThreeDotsLabs/watermill-nats":    {"relay/nats"},
	"github.com/IBM/sarama":                      {"relay/kafka"},
	"github.com/nats-io/nats.go":                 {"relay/nats"},
	"github.com/standard-webhooks":               {"consumer", "relay/webhook"},
	"github.com/prometheus/client_golang":        {".", "relay"},
	"github.com/pressly/goose":                   {"migrations"},
	"github.com/fergusstrange/embedded-postgres": {"internal/localpg"},
	"github.com/spf13/cobra":                     {"cmd/forgeauth"},
}

// forbiddenNames are package names that say nothing about what is inside.
var forbiddenNames = []string{
	"base", "common", "core", "helper", "helpers", "lib", "manager", "managers", "misc", "model", "models", "shared", "types",
	"util", "utils",
}

func TestTheHouseIsBuiltAsItsTableSays(t *testing.T) {
	t.Parallel()
	faults, found, err := survey(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range faults {
		t.Error(fault)
	}
	for dir := range houseRules {
		if !found[dir] {
			t.Errorf("%s: package of houseRules has no Go file", dir)
		}
	}
}

func TestTheSurveyFindsWhatIsForbidden(t *testing.T) {
	t.Parallel()
	ours := func(name string) string { return `import "` + modulePath + "/" + name + `"` }
	for name, test := range map[string]struct {
		file, content string
		want          string // the one fault, "" for none
	}{
		"an edge of the table is free":    {"http/x.go", "package http\n" + ours("commands"), ""},
		"an edge upwards":                 {"events/x.go", "package events\n" + ours("projections"), "events/x.go:2: events must not import projections"},
		"an edge to the root":             {"http/x.go", "package http\nimport \"" + modulePath + "\"", "http/x.go:2: http must not import ."},
		"an adapter that sees the vault":  {"forge/gitea/x.go", "package gitea\n" + ours("vault"), "forge/gitea/x.go:2: forge/gitea must not import vault"},
		"an edge behind a build tag":      {"vault/x.go", "//go:build windows\n\npackage vault\n" + ours("forge"), "vault/x.go:4: vault must not import forge"},
		"a test may import what it needs": {"events/x_test.go", "package events_test\n" + ours("internal/pgtest"), ""},
		"the stand-in forge in the demo":  {"cmd/forgeauth/demo_steps.go", "package main\n" + ours("forge/forgetest"), ""},
		"the stand-in forge in serve":     {"cmd/forgeauth/serve.go", "package main\n" + ours("forge/forgetest"), "cmd/forgeauth/serve.go:2: cmd/forgeauth must not import forge/forgetest"},
		"a package that nobody decided on": {
			"cache/x.go", "package cache", "cache: package is missing from houseRules",
		},
		"a package of tests alone is no package": {"extra/x_test.go", "package extra", ""},
		"a name without meaning":                 {"vault/utils/x.go", "package utils", "vault/utils: a package named utils says nothing about what is inside"},
		"a directory's name is no excuse":        {"events/x.go", "package util", "events: a package named util says nothing about what is inside"},
		"OAuth in a handler":                     {"http/x.go", "package http\nimport _ \"golang.org/x/oauth2/github\"", "http/x.go:2: http must not import golang.org/x/oauth2/github, which belongs to forge, forge/forgetest"},
		"a name that only begins alike":          {"http/x.go", "package http\nimport _ \"golang.org/x/oauth2kit\"", ""},
		"a file nobody reads to its end":         {"events/x.go", "package events" + strings.Repeat("\n", maxLines) + "//", "events/x.go: 401 lines, more than 400"},
		"a file that just fits":                  {"events/x.go", "package events" + strings.Repeat("\n", maxLines), ""},
		"a long table of tests":                  {"events/x_test.go", "package events" + strings.Repeat("\n", maxTestLines-1) + "//", ""},
		"a longer one":                           {"events/x_test.go", "package events" + strings.Repeat("\n", maxTestLines) + "//", "events/x_test.go: 601 lines, more than 600"},
		"golden files are not code":              {"events/testdata/x.go", "package utils", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			faults, _, err := survey(fstest.MapFS{test.file: {Data: []byte(test.content)}})
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			if test.want != "" {
				want = []string{test.want}
			}
			if diff := cmp.Diff(want, faults); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

// survey returns what is wrong with the house in the directory tree, in the order of the tree, and the directories that
// hold packages. Every Go file counts, whatever its build constraints, but those in testdata, vendor and directories that
// the go command ignores.
func survey(house fs.FS) (faults []string, found map[string]bool, err error) {
	found = map[string]bool{}
	err = fs.WalkDir(house, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() {
			ignored := name != "." && (base[0] == '.' || base[0] == '_' || base == "testdata" || base == "vendor")
			if ignored {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(base) != ".go" || base[0] == '.' || base[0] == '_' {
			return nil
		}
		content, err := fs.ReadFile(house, name)
		if err != nil {
			return err
		}
		isTest := strings.HasSuffix(base, "_test.go")
		faults = append(faults, checkLength(name, content, isTest)...)
		if isTest {
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, name, content, parser.ImportsOnly|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		if !found[dir] {
			found[dir] = true
			faults = append(faults, checkPackage(dir, file.Name.Name)...)
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if fault := checkEdge(name, imported); fault != "" {
				faults = append(faults, fmt.Sprintf("%s:%d: %s", name, files.Position(spec.Pos()).Line, fault))
			}
		}
		return nil
	})
	return faults, found, err
}

func checkLength(name string, content []byte, isTest bool) []string {
	most := maxLines
	if isTest {
		most = maxTestLines
	}
	lines := bytes.Count(content, []byte("\n"))
	if !bytes.HasSuffix(content, []byte("\n")) {
		lines++
	}
	if lines <= most {
		return nil
	}
	return []string{fmt.Sprintf("%s: %d lines, more than %d", name, lines, most)}
}

func checkPackage(dir, name string) []string {
	if slices.Contains(forbiddenNames, name) {
		return []string{fmt.Sprintf("%s: a package named %s says nothing about what is inside", dir, name)}
	}
	if _, ok := houseRules[dir]; !ok {
		return []string{dir + ": package is missing from houseRules"}
	}
	return nil
}

// checkEdge judges one import of the file.
func checkEdge(file, imported string) string {
	dir := path.Dir(file)
	if within(imported, modulePath) {
		to := strings.TrimPrefix(strings.TrimPrefix(imported, modulePath), "/")
		if to == "" {
			to = "."
		}
		isDemo := strings.HasPrefix(path.Base(file), "demo")
		if slices.Contains(houseRules[dir], to) || isDemo && slices.Contains(demoOnly[dir], to) {
			return ""
		}
		return fmt.Sprintf("%s must not import %s", dir, to)
	}
	for module, homes := range thirdParties {
		if within(imported, module) && !slices.Contains(homes, dir) {
			return fmt.Sprintf("%s must not import %s, which belongs to %s", dir, imported, strings.Join(homes, ", "))
		}
	}
	return ""
}

// within reports whether an import path is that of the module or of a package in it.
func within(imported, module string) bool {
	return imported == module || strings.HasPrefix(imported, module+"/")
}
