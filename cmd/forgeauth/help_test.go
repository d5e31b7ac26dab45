package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
)

func TestHelpTeaches(t *testing.T) {
	t.Parallel()
	var walk func(command *cobra.Command)
	walk = func(command *cobra.Command) {
		if slices.Contains([]string{"help", "completion", "demo"}, command.Name()) { // not ours, or golden in tests of its own
			return
		}
		path := command.CommandPath()
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			if command.Short == "" || command.Long == "" && command.Name() != "version" && command.Name() != "list" {
				t.Error("there is no help text")
			}
			args := append(strings.Fields(path)[1:], "--help")
			if command.IsAdditionalHelpTopicCommand() {
				args = append([]string{"help"}, strings.Fields(path)[1:]...)
			}
			r := run(t, nil, args...)
			r.expect(t, exitOK, "", "")
			golden(t, "help/"+strings.ReplaceAll(path, " ", "-")+".golden", r.stdout)
			for line := range strings.SplitSeq(r.stdout, "\n") {
				if len([]rune(line)) > helpWidth && !strings.HasPrefix(line, `Use "forgeauth`) { // cobra's own

					t.Errorf("a line of help has more than %d characters: %s", helpWidth, line)
				}
			}
		})
		for _, sub := range command.Commands() {
			walk(sub)
		}
	}
	walk((&program{}).root())
}

func TestHelpNamesEverySetting(t *testing.T) {
	t.Parallel()
	text := environmentHelp()
	for _, s := range forgeauth.Settings() {
		if !strings.Contains(text, "  "+s.Name) {
			t.Errorf("%s is not explained", s.Name)
		}
	}
}

func TestWrongUsageExitsWith2AndNamesTheHelp(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args   []string
		stderr string
	}{
		"an unknown command":     {[]string{"server"}, "unknown command \"server\""},
		"an unknown flag":        {[]string{"verify", "--fix"}, "unknown flag: --fix: see `forgeauth verify --help`"},
		"an argument too many":   {[]string{"serve", "now"}, "see `forgeauth serve --help`"},
		"an argument too few":    {[]string{"connections", "rebind"}, "one NAME is needed, and there are 0 arguments: see `forgeauth connections rebind --help`"},
		"an unknown subcommand":  {[]string{"accounts", "delete"}, "see `forgeauth accounts --help`"},
		"an account with no id":  {[]string{"accounts", "remove", "github"}, "\"github\" is not FORGE:ACCOUNT_ID"},
		"a flag without a value": {[]string{"migrate", "--runtime-role"}, "see `forgeauth migrate --help`"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, configured(), test.args...)
			r.expect(t, exitUsage, "", test.stderr)
			if strings.Count(r.stderr, "\n") != 1 {
				t.Errorf("the error has more than one line: %s", r)
			}
		})
	}
}

func TestAFaultyConfigurationIsListedAndExitsWith2(t *testing.T) {
	t.Parallel()
	r := run(t, []string{
		"DATABASE_URL=postgres://forgeauth:" + testPassword + "@db:port/x", "FORGEAUTH_LISTEN=:80", "FORGEAUTH_OPERATORS=github:1",
		"FORGEAUTH_FORGE_GITEA_CLIENT_SECRET=" + testClientSecret,
	}, "serve")
	r.expect(t, exitUsage, "", "openssl rand -base64 32")
	golden(t, "serve_faults.golden", r.stderr)
}

func TestServeWithoutAKeyExitsWith2AndSaysHowToMakeOne(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"serve", "setup-code", "recover"} {
		r := run(t, nil, command)
		r.expect(t, exitUsage, "", "OAUTH_ENCRYPTION_KEY is missing")
	}
	run(t, []string{"OAUTH_ENCRYPTION_KEY=short"}, "serve").expect(t, exitUsage, "", "is 5 bytes long, and at least 32 are needed")
}

func TestVersion(t *testing.T) {
	t.Parallel()
	run(t, nil, "version").expect(t, exitOK, "forgeauth "+testVersion+" (go1.", "")
	r := run(t, nil, "version", "--json")
	for _, field := range []string{`"version": "` + testVersion + `"`, `"commit": "`, `"modified": `, `"go": "go1.`, `"platform": "`} {
		r.expect(t, exitOK, field, "")
	}
}
