package forgeauth_test

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	goodKey    = "q3J8vX0bN5mZ7rT2cW9yK4sH6dF1gA+eLpUoViEjRn0="
	goodSecret = "3f786850e387550fdab836ed7e6dc881de23001b"
)

// serving is an environment without a fault.
func serving() map[string]string {
	return map[string]string{
		"OAUTH_ENCRYPTION_KEY":                     goodKey,
		"HOME":                                     "/home/operator",
		"FORGEAUTH_FORGE_GITHUB_CLIENT_ID":         "Iv1.8a61f9b3a7aba766",
		"FORGEAUTH_FORGE_GITHUB_CLIENT_SECRET":     goodSecret,
		"FORGEAUTH_FORGE_GITEA_WORK_KIND":          "gitea",
		"FORGEAUTH_FORGE_GITEA_WORK_BASE_URL":      "https://git.example.com/code/",
		"FORGEAUTH_FORGE_GITEA_WORK_CLIENT_ID":     "b9b3c1c6-6e6d-4a57-8a2b-7f4c3a2f1e0d",
		"FORGEAUTH_FORGE_GITEA_WORK_CLIENT_SECRET": "gto_" + goodSecret,
	}
}

// with returns the environment changed: unset where a value is "-".
func with(environment map[string]string, changes ...string) []string {
	environment = maps.Clone(environment)
	for _, change := range changes {
		name, value, _ := strings.Cut(change, "=")
		if value == "-" {
			delete(environment, name)
		} else {
			environment[name] = value
		}
	}
	var list []string
	for name, value := range environment {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

func faultsOf(t *testing.T, err error) []forgeauth.Fault {
	t.Helper()
	var bad *forgeauth.ConfigError
	if err != nil && !errors.As(err, &bad) {
		t.Fatalf("err = %v, want a ConfigError", err)
	}
	if bad == nil {
		return nil
	}
	return bad.Faults
}

func writeFile(t *testing.T, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEveryFaultNamesItsVariableAndItsRemedy(t *testing.T) {
	t.Parallel()
	const (
		key, github = "OAUTH_ENCRYPTION_KEY", "FORGEAUTH_FORGE_GITHUB_"
		work        = "FORGEAUTH_FORGE_GITEA_WORK_"
	)
	missing := filepath.Join(t.TempDir(), "missing")
	empty := writeFile(t, "empty", "\n", 0o600)
	weak := writeFile(t, "weak", "changeme\n", 0o600)
	open := writeFile(t, "open", goodKey, 0o666)
	large := writeFile(t, "large", strings.Repeat("x", 1<<20+1), 0o600)
	damaged := writeFile(t, "damaged.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o644)
	for name, test := range map[string]struct {
		change  []string
		at      string // the fault's variable
		problem string
		remedy  string
	}{
		"a key that is missing":              {[]string{key + "=-"}, key, "is missing", "openssl rand -base64 32"},
		"a key that is empty":                {[]string{key + "="}, key, "is missing", key + "_FILE"},
		"a key that is short":                {[]string{key + "=" + goodKey[:31]}, key, "is 31 bytes long", "openssl"},
		"a key that is a placeholder":        {[]string{key + "=changeme-changeme-changeme-changeme"}, key, "is a placeholder", "openssl"},
		"a key with few distinct bytes":      {[]string{key + "=" + strings.Repeat("ab12", 10)}, key, "4 distinct bytes", "openssl"},
		"a key in both places":               {[]string{key + "_FILE=" + open}, key, "is set, and so is " + key + "_FILE", "unset one"},
		"a key file that does not exist":     {[]string{key + "=-", key + "_FILE=" + missing}, key + "_FILE", "does not exist", "name a file"},
		"a key file that is a folder":        {[]string{key + "=-", key + "_FILE=" + filepath.Dir(empty)}, key + "_FILE", "is a folder", "name a file"},
		"a key file that is empty":           {[]string{key + "=-", key + "_FILE=" + empty}, key + "_FILE", "is empty", "write the value"},
		"a key file that is weak":            {[]string{key + "=-", key + "_FILE=" + weak}, key, "is a placeholder", "openssl"},
		"a key file that others can change":  {[]string{key + "=-", key + "_FILE=" + open}, key + "_FILE", "can change", "chmod 600"},
		"a key file that is too large":       {[]string{key + "=-", key + "_FILE=" + large}, key + "_FILE", "larger than 1 MiB", "name a file"},
		"a database URL that is empty":       {[]string{"DATABASE_URL="}, "DATABASE_URL", "is set but empty", "unset it"},
		"a database URL that is space":       {[]string{"DATABASE_URL= "}, "DATABASE_URL", "is set but empty", "unset it"},
		"a database file that is empty text": {[]string{"DATABASE_URL_FILE="}, "DATABASE_URL_FILE", "is set but empty", "unset it"},
		"a database of another make":         {[]string{"DATABASE_URL=mysql://u:pw@db/x"}, "DATABASE_URL", "not one of Postgres", "postgres://"},
		"a database that is a bare name":     {[]string{"DATABASE_URL=forgeauth"}, "DATABASE_URL", "neither a URL nor", "postgres://"},
		"a database password with specials":  {[]string{"DATABASE_URL=postgres://u:p/w@db/x"}, "DATABASE_URL", "cannot be understood", "percent-encoded"},
		"a database in both places":          {[]string{"DATABASE_URL=postgres://db/x", "DATABASE_URL_FILE=" + weak}, "DATABASE_URL", "and so is", "unset one"},
		"a listen address without a port":    {[]string{"FORGEAUTH_LISTEN=127.0.0.1"}, "FORGEAUTH_LISTEN", "not an address and a port", "127.0.0.1:8080"},
		"a listen port that is a name":       {[]string{"FORGEAUTH_LISTEN=127.0.0.1:http"}, "FORGEAUTH_LISTEN", `the port "http"`, "127.0.0.1:8080"},
		"a listen port of zero":              {[]string{"FORGEAUTH_LISTEN=127.0.0.1:0"}, "FORGEAUTH_LISTEN", `the port "0"`, "127.0.0.1:8080"},
		"a listen host that is a name":       {[]string{"FORGEAUTH_LISTEN=auth.example.org:80"}, "FORGEAUTH_LISTEN", "not an address of this machine", ":8080"},
		"all addresses and no public URL":    {[]string{"FORGEAUTH_LISTEN=:8080"}, "FORGEAUTH_PUBLIC_URL", "is missing", "https://"},
		"a public URL over plain http":       {[]string{"FORGEAUTH_PUBLIC_URL=http://auth.example.org"}, "FORGEAUTH_PUBLIC_URL", "is http", "https://"},
		"a public URL with a path":           {[]string{"FORGEAUTH_PUBLIC_URL=https://x.example.org/auth"}, "FORGEAUTH_PUBLIC_URL", `has the path "/auth"`, "leave the path out"},
		"a public URL with a user":           {[]string{"FORGEAUTH_PUBLIC_URL=https://me:pw@x.example.org"}, "FORGEAUTH_PUBLIC_URL", "names a user", "https://"},
		"a public URL with a query":          {[]string{"FORGEAUTH_PUBLIC_URL=https://x.example.org/?a=b"}, "FORGEAUTH_PUBLIC_URL", "query or a fragment", "https://"},
		"a public URL without a scheme":      {[]string{"FORGEAUTH_PUBLIC_URL=auth.example.org"}, "FORGEAUTH_PUBLIC_URL", "not the URL", "https://"},
		"a public URL of another scheme":     {[]string{"FORGEAUTH_PUBLIC_URL=ftp://auth.example.org"}, "FORGEAUTH_PUBLIC_URL", `"ftp" is not https`, "https://"},
		"a proxy that is a name":             {[]string{"FORGEAUTH_TRUSTED_PROXIES=caddy"}, "FORGEAUTH_TRUSTED_PROXIES", `"caddy", which is neither`, "192.0.2.10"},
		"a proxy network with host bits":     {[]string{"FORGEAUTH_TRUSTED_PROXIES=10.0.0.1/8"}, "FORGEAUTH_TRUSTED_PROXIES", "at once", "10.0.0.0/8"},
		"a proxy network of everybody":       {[]string{"FORGEAUTH_TRUSTED_PROXIES=0.0.0.0/0"}, "FORGEAUTH_TRUSTED_PROXIES", "everybody", "proxies alone"},
		"a mapped proxy network":             {[]string{"FORGEAUTH_TRUSTED_PROXIES=::ffff:10.0.0.0/104"}, "FORGEAUTH_TRUSTED_PROXIES", "IPv4 network", "10.0.0.0/8"},
		"a relative data directory":          {[]string{"FORGEAUTH_DATA_DIR=data"}, "FORGEAUTH_DATA_DIR", "is relative", "absolute"},
		"a data directory in a tilde":        {[]string{"FORGEAUTH_DATA_DIR=~/forgeauth"}, "FORGEAUTH_DATA_DIR", "begins with ~", "home directory"},
		"no place for the data":              {[]string{"HOME=-"}, "FORGEAUTH_DATA_DIR", "no place", "absolute"},
		"a log level that is none":           {[]string{"FORGEAUTH_LOG_LEVEL=loud"}, "FORGEAUTH_LOG_LEVEL", `"loud"`, "debug, info, warn or error"},
		"a log format that is none":          {[]string{"FORGEAUTH_LOG_FORMAT=xml"}, "FORGEAUTH_LOG_FORMAT", `"xml"`, "text or json"},
		"operators that are nobody":          {[]string{"FORGEAUTH_OPERATORS="}, "FORGEAUTH_OPERATORS", "names nobody", "unset it"},
		"operators of commas":                {[]string{"FORGEAUTH_OPERATORS=, ,"}, "FORGEAUTH_OPERATORS", "names nobody", "unset it"},
		"an operator without a forge":        {[]string{"FORGEAUTH_OPERATORS=583231"}, "FORGEAUTH_OPERATORS", "not a forge and an account id", "github:583231"},
		"an operator of an unknown forge":    {[]string{"FORGEAUTH_OPERATORS=gitlab:1"}, "FORGEAUTH_OPERATORS", "no forge of that name", "use one of gitea-work, github"},
		"an operator of a misspelt forge":    {[]string{"FORGEAUTH_OPERATORS=Github:1"}, "FORGEAUTH_OPERATORS", "no forge of that name", "did you mean github?"},
		"an operator by login name":          {[]string{"FORGEAUTH_OPERATORS=github:octocat"}, "FORGEAUTH_OPERATORS", "not a number", "login name can change hands"},
		"an operator with a padded number":   {[]string{"FORGEAUTH_OPERATORS=github:007"}, "FORGEAUTH_OPERATORS", "not a number", "immutable number"},
		"an operator with a second colon":    {[]string{"FORGEAUTH_OPERATORS=github:1:2"}, "FORGEAUTH_OPERATORS", `"github:1:2", whose account id`, "number"},
		"an operator by nickname":            {append(bitbucketSettings(), "FORGEAUTH_OPERATORS=bitbucket:octocat"), "FORGEAUTH_OPERATORS", "not an Atlassian id", "immutable Atlassian id"},
		"an operator by a user's UUID":       {append(bitbucketSettings(), "FORGEAUTH_OPERATORS=bitbucket:{6b1a2f3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c}"), "FORGEAUTH_OPERATORS", "not an Atlassian id", "shows to whoever"},
		"a Bitbucket Data Center":            {append(bitbucketSettings(), "FORGEAUTH_FORGE_BITBUCKET_BASE_URL=https://bitbucket.example.org"), "FORGEAUTH_FORGE_BITBUCKET_BASE_URL", "Data Center", "https://bitbucket.org"},
		"a kind that is none":                {[]string{work + "KIND=svn"}, work + "KIND", `"svn"`, "github, gitlab, gitea, forgejo"},
		"a kind missing for a name":          {[]string{work + "KIND=-"}, work + "KIND", `the name "gitea-work" is no kind`, "github, gitlab, gitea, forgejo"},
		"a base URL over http":               {[]string{work + "BASE_URL=http://git.example.com"}, work + "BASE_URL", "over http", work + "ALLOW_HTTP=true"},
		"a base URL with a password":         {[]string{work + "BASE_URL=https://me:pw@git.example.com"}, work + "BASE_URL", "names a user", "leave out"},
		"a base URL that is GitHub's API":    {[]string{github + "BASE_URL=https://api.github.com"}, github + "BASE_URL", "not GitHub's web root", "https://github.com"},
		"a client id that is missing":        {[]string{github + "CLIENT_ID=-"}, github + "CLIENT_ID", "is missing", "OAuth application"},
		"a client id with a space":           {[]string{github + "CLIENT_ID=a b"}, github + "CLIENT_ID", "characters that no client id has", "copy it"},
		"a client secret that is missing":    {[]string{github + "CLIENT_SECRET=-"}, github + "CLIENT_SECRET", "is missing", github + "CLIENT_SECRET_FILE"},
		"a client secret in both places":     {[]string{github + "CLIENT_SECRET_FILE=" + weak}, github + "CLIENT_SECRET", "and so is", "unset one"},
		"a client secret with a newline":     {[]string{github + "CLIENT_SECRET=abc\n"}, github + "CLIENT_SECRET", "characters that no client secret has", "generate one"},
		"a client secret file that is empty": {[]string{github + "CLIENT_SECRET=-", github + "CLIENT_SECRET_FILE=" + empty}, github + "CLIENT_SECRET_FILE", "is empty", "write the value"},
		"a scope that the kind lacks":        {[]string{work + "SCOPES=read:user repo"}, work + "SCOPES", `"repo" is no scope`, "read:user"},
		"no scope where that is everything":  {[]string{work + "SCOPES=none"}, work + "SCOPES", "grants access to everything", "leave it unset"},
		"scopes in quotes":                   {[]string{github + `SCOPES="repo"`}, github + "SCOPES", "is no scope", "repo"},
		"a CA file that does not exist":      {[]string{work + "CA_FILE=" + missing}, work + "CA_FILE", "does not exist", "PEM"},
		"a CA file without a certificate":    {[]string{work + "CA_FILE=" + weak}, work + "CA_FILE", "holds no certificate", "PEM"},
		"a CA file that is damaged":          {[]string{work + "CA_FILE=" + damaged}, work + "CA_FILE", "damaged certificate", "PEM"},
		"a login that is neither":            {[]string{work + "LOGIN=maybe"}, work + "LOGIN", `"maybe"`, "true or false"},
		"http that is neither":               {[]string{work + "ALLOW_HTTP=1"}, work + "ALLOW_HTTP", `"1"`, "true or false"},
		"no forge that is a way in":          {[]string{work + "LOGIN=false", github + "LOGIN=false"}, work + "LOGIN", "nobody could ever sign in", "leave it unset"},
		"a name that is taken":               {[]string{"FORGEAUTH_FORGE_ACTIVE_KIND=gitea", "FORGEAUTH_FORGE_ACTIVE_CLIENT_ID=x", "FORGEAUTH_FORGE_ACTIVE_CLIENT_SECRET=x"}, "FORGEAUTH_FORGE_ACTIVE_…", `"active"`, "another name"},
		"a name with a double dash":          {[]string{"FORGEAUTH_FORGE_A__B_KIND=gitea", "FORGEAUTH_FORGE_A__B_CLIENT_ID=x", "FORGEAUTH_FORGE_A__B_CLIENT_SECRET=x"}, "FORGEAUTH_FORGE_A__B_…", "is no name", "single dashes"},
		"two spellings of one name":          {[]string{"FORGEAUTH_FORGE_github_LOGIN=true"}, "FORGEAUTH_FORGE_GITHUB_…", "are both the connection \"github\"", "in one way: GITHUB"},
		"a dash for an underscore":           {[]string{"FORGEAUTH_FORGE_GITEA-WORK_LOGIN=true"}, "FORGEAUTH_FORGE_GITEA-WORK_…", "are both the connection \"gitea-work\"", "GITEA_WORK"},
		"a misspelt setting":                 {[]string{"FORGEAUTH_OPERATOR=github:1"}, "FORGEAUTH_OPERATOR", "is not a setting", "did you mean FORGEAUTH_OPERATORS?"},
		"a setting of another prefix":        {[]string{"FORGEAUTH_ENCRYPTION_KEY=x"}, "FORGEAUTH_ENCRYPTION_KEY", "is not a setting", "did you mean OAUTH_ENCRYPTION_KEY?"},
		"another setting of another prefix":  {[]string{"FORGEAUTH_DATABASE_URL=x"}, "FORGEAUTH_DATABASE_URL", "is not a setting", "did you mean DATABASE_URL?"},
		"a setting that resembles none":      {[]string{"FORGEAUTH_COLOUR_SCHEME=x"}, "FORGEAUTH_COLOUR_SCHEME", "is not a setting", "unset it"},
		"a misspelt setting of a forge":      {[]string{work + "CLIENTSECRET=x"}, work + "CLIENTSECRET", "is not a setting of a forge", "did you mean " + work + "CLIENT_SECRET?"},
		"a setting that no forge has":        {[]string{work + "WEBHOOK=x"}, work + "WEBHOOK", "is not a setting of a forge", "_CLIENT_ID"},
		"a setting of a forge with no name":  {[]string{"FORGEAUTH_FORGE_KIND=gitea"}, "FORGEAUTH_FORGE_KIND", "is not a setting of a forge", "<NAME>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := forgeauth.ReadEnvironment(with(serving(), test.change...), forgeauth.Serving, false)
			faults := faultsOf(t, err)
			if len(faults) != 1 {
				t.Fatalf("faults = %q, want one", faults)
			}
			fault := faults[0]
			if fault.Name != test.at || !strings.Contains(fault.Problem, test.problem) || !strings.Contains(fault.Remedy, test.remedy) {
				t.Errorf("fault = %q,\nwant %s … %s … %s", fault, test.at, test.problem, test.remedy)
			}
		})
	}
}

func TestAnEnvironmentBecomesAConfig(t *testing.T) {
	t.Parallel()
	keyFile := writeFile(t, "key", goodKey+"\n", 0o600)
	e, err := forgeauth.ReadEnvironment(with(serving(),
		"OAUTH_ENCRYPTION_KEY=-", "OAUTH_ENCRYPTION_KEY_FILE="+keyFile,
		"FORGEAUTH_LISTEN=[::1]:09000", "FORGEAUTH_TRUSTED_PROXIES=10.0.0.0/8, ::ffff:192.0.2.1 2001:db8::1",
		"FORGEAUTH_OPERATORS=github:583231,gitea-work:7,github:583231",
		"FORGEAUTH_FORGE_MY_KIND_KIND=forgejo", "FORGEAUTH_FORGE_MY_KIND_CLIENT_ID=x", "FORGEAUTH_FORGE_MY_KIND_CLIENT_SECRET=y",
		"FORGEAUTH_FORGE_MY_KIND_LOGIN=FALSE", "FORGEAUTH_FORGE_MY_KIND_ALLOW_HTTP=true",
		"FORGEAUTH_FORGE_MY_KIND_BASE_URL=http://10.1.2.3:3000", "FORGEAUTH_FORGE_MY_KIND_SCOPES=write:repository,read:user read:user",
		"FORGEAUTH_FORGE_UNUSED_CLIENT_ID=", "FORGEAUTH_FORGE_GITHUB_SCOPES=none",
		"FORGEAUTH_LOG_LEVEL=Debug", "FORGEAUTH_LOG_FORMAT=json",
		"FORGEAUTH_SERVICE_HOST=10.0.0.1", "FORGEAUTH_PORT_8080_TCP_ADDR=10.0.0.1", "FORGEAUTH_DB_SERVICE_PORT_PG=5432", "FORGEAUTH_PORT=tcp://10.0.0.1:8080",
	), forgeauth.Serving, false)
	if err != nil {
		t.Fatal(err)
	}
	if e.Config.EncryptionKey.Reveal() != goodKey+"\n" {
		t.Error("the key is not what the file holds")
	}
	if got, want := e.Config.Listen+" "+e.Config.PublicURL, "[::1]:9000 http://[::1]:9000"; got != want {
		t.Errorf("listen and public URL = %s, want %s", got, want)
	}
	proxies := []string{"10.0.0.0/8", "192.0.2.1/32", "2001:db8::1/128"}
	if diff := cmp.Diff(proxies, texts(e.Config.TrustedProxies)); diff != "" {
		t.Errorf("proxies (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]commands.AllowedAccount{{ForgeType: "github", AccountID: "583231"}, {ForgeType: "gitea-work", AccountID: "7"}}, e.Config.Operators); diff != "" {
		t.Errorf("operators (-want +got):\n%s", diff)
	}
	if e.DataDir != "/home/operator/.local/share/forgeauth" || e.LogLevel != slog.LevelDebug || e.LogFormat != forgeauth.LogJSON {
		t.Errorf("data directory, level, format = %s, %s, %s", e.DataDir, e.LogLevel, e.LogFormat)
	}
	var connections []string
	for _, c := range e.Config.Connections {
		connections = append(connections, fmt.Sprintf("%s: %s %s %s login=%t ca=%t", c.Name, c.Kind, c.BaseURL, c.Scopes, c.Login, c.RootCAs != nil))
	}
	if diff := cmp.Diff([]string{
		"gitea-work: gitea https://git.example.com/code [read:user write:repository write:issue read:organization] login=true ca=false",
		"github: github https://github.com [] login=true ca=false",
		"my-kind: forgejo http://10.1.2.3:3000 [read:user write:repository] login=false ca=false",
	}, connections); diff != "" {
		t.Errorf("connections (-want +got):\n%s", diff)
	}
	if len(e.Warnings) != 0 {
		t.Errorf("warnings = %q", e.Warnings)
	}
}

func texts(prefixes []netip.Prefix) (list []string) {
	for _, p := range prefixes {
		list = append(list, p.String())
	}
	return list
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change []string
		root   bool
		want   string // data directory, listen, public URL, operators set
	}{
		"nothing set":                   {nil, false, "/home/operator/.local/share/forgeauth 127.0.0.1:8080 http://127.0.0.1:8080 false"},
		"as root":                       {nil, true, "/var/lib/forgeauth 127.0.0.1:8080 http://127.0.0.1:8080 false"},
		"with XDG_DATA_HOME":            {[]string{"XDG_DATA_HOME=/data"}, false, "/data/forgeauth 127.0.0.1:8080 http://127.0.0.1:8080 false"},
		"with a relative XDG_DATA_HOME": {[]string{"XDG_DATA_HOME=data"}, false, "/home/operator/.local/share/forgeauth 127.0.0.1:8080 http://127.0.0.1:8080 false"},
		"with a data directory":         {[]string{"FORGEAUTH_DATA_DIR=/srv/x/"}, true, "/srv/x 127.0.0.1:8080 http://127.0.0.1:8080 false"},
		"with a database":               {[]string{"DATABASE_URL=postgres://db/x", "HOME=-"}, false, " 127.0.0.1:8080 http://127.0.0.1:8080 false"},
		"on localhost":                  {[]string{"FORGEAUTH_LISTEN=localhost:80"}, false, "/home/operator/.local/share/forgeauth localhost:80 http://localhost false"},
		"behind a proxy": {
			[]string{"FORGEAUTH_LISTEN=:8080", "FORGEAUTH_PUBLIC_URL=HTTPS://Auth.Example.org:443/"},
			false,
			"/home/operator/.local/share/forgeauth :8080 https://auth.example.org false",
		},
		"with operators": {[]string{"FORGEAUTH_OPERATORS=github:1"}, true, "/var/lib/forgeauth 127.0.0.1:8080 http://127.0.0.1:8080 true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := forgeauth.ReadEnvironment(with(serving(), test.change...), forgeauth.Serving, test.root)
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%s %s %s %t", e.DataDir, e.Config.Listen, e.Config.PublicURL, e.Config.Operators != nil)
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestWhatMayNotBeMeantIsAWarning(t *testing.T) {
	t.Parallel()
	readable := writeFile(t, "readable", goodKey, 0o644)
	bare := map[string]string{"OAUTH_ENCRYPTION_KEY": goodKey, "HOME": "/home/operator"}
	for name, test := range map[string]struct {
		environ []string
		at      string
		problem string
	}{
		"no forge at all": {with(bare), "FORGEAUTH_FORGE_<NAME>_CLIENT_ID", "nobody can sign in yet"},
		"a key file that others can read": {
			with(serving(), "OAUTH_ENCRYPTION_KEY=-", "OAUTH_ENCRYPTION_KEY_FILE="+readable), "OAUTH_ENCRYPTION_KEY_FILE", "can read",
		},
		"an operator of a forge that is no way in": {
			with(serving(), "FORGEAUTH_OPERATORS=github:1", "FORGEAUTH_FORGE_GITHUB_LOGIN=false"), "FORGEAUTH_OPERATORS", "no way in",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := forgeauth.ReadEnvironment(test.environ, forgeauth.Serving, false)
			if err != nil {
				t.Fatal(err)
			}
			if len(e.Warnings) != 1 || e.Warnings[0].Name != test.at || !strings.Contains(e.Warnings[0].Problem, test.problem) {
				t.Errorf("warnings = %q", e.Warnings)
			}
		})
	}
}

func TestMaintainingTakesNoNoticeOfTheKey(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"OAUTH_ENCRYPTION_KEY=", "OAUTH_ENCRYPTION_KEY=short", "OAUTH_ENCRYPTION_KEY_FILE=/there/is/none"} {
		environ := with(serving(), "OAUTH_ENCRYPTION_KEY=", key)
		e, err := forgeauth.ReadEnvironment(environ, forgeauth.Maintaining, false)
		if err != nil || !e.Config.EncryptionKey.IsZero() {
			t.Errorf("%s: %v", key, err)
		}
		if _, err := forgeauth.ReadEnvironment(environ, forgeauth.Serving, false); len(faultsOf(t, err)) != 1 {
			t.Errorf("%s, to serve: %v", key, err)
		}
	}
}

func TestAPipeCanHoldASecret(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = read.Close() }()
	go func() {
		_, _ = write.WriteString(goodKey + "\n")
		_ = write.Close()
	}()
	e, err := forgeauth.ReadEnvironment(with(serving(), "OAUTH_ENCRYPTION_KEY=-",
		fmt.Sprintf("OAUTH_ENCRYPTION_KEY_FILE=/dev/fd/%d", read.Fd())), forgeauth.Serving, false)
	if err != nil || e.Config.EncryptionKey.Reveal() != goodKey+"\n" {
		t.Errorf("err = %v", err)
	}
}

// The same bytes are the same key, in a file and in the variable; and of another secret's file one newline is stripped,
// not two.
func TestOneNewlineOfAFileIsStripped(t *testing.T) {
	t.Parallel()
	hash := func(key secret.Text) [32]byte {
		master, err := vault.ParseKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return vault.New(master, nil).SessionHash(nil)
	}
	for _, end := range []string{"", "\n", "\r\n", "\n\n", "\r\n\r\n", "\r", "\n\r"} {
		file := writeFile(t, "key", goodKey+end, 0o600)
		e, err := forgeauth.ReadEnvironment(with(serving(), "OAUTH_ENCRYPTION_KEY=-", "OAUTH_ENCRYPTION_KEY_FILE="+file), forgeauth.Serving, false)
		if err != nil {
			t.Fatal(err)
		}
		direct, err := forgeauth.ReadEnvironment(with(serving(), "OAUTH_ENCRYPTION_KEY="+goodKey+end), forgeauth.Serving, false)
		if err != nil {
			t.Fatal(err)
		}
		want := hash(secret.New(goodKey + end))
		if hash(e.Config.EncryptionKey) != want || hash(direct.Config.EncryptionKey) != want {
			t.Errorf("a key that ends in %q is another one in a file or in the variable", end)
		}
		isBare := end == "" || end == "\n" || end == "\r\n"
		if bare := hash(secret.New(goodKey)); (bare == want) != isBare {
			t.Errorf("%q: stripped: %t", end, bare == want)
		}
		const name = "FORGEAUTH_FORGE_GITHUB_CLIENT_SECRET"
		_, err = forgeauth.ReadEnvironment(with(serving(), name+"=-", name+"_FILE="+file), forgeauth.Serving, false)
		if (err == nil) != isBare {
			t.Errorf("a client secret's file that ends in %q: %v", end, err)
		}
	}
}

func TestAFaultyEnvironmentIsListedAsAWhole(t *testing.T) {
	t.Parallel()
	_, err := forgeauth.ReadEnvironment([]string{
		"DATABASE_URL=postgres://forgeauth:hunter2!@db:port/forgeauth",
		"OAUTH_ENCRYPTION_KEY=too-short-a-key",
		"FORGEAUTH_LISTEN=0.0.0.0:8080",
		"FORGEAUTH_TRUSTED_PROXIES=caddy,10.0.0.1/8",
		"FORGEAUTH_OPERATOR=github:583231",
		"FORGEAUTH_OPERATORS=github:octocat,gitlab:1",
		"FORGEAUTH_FORGE_GITHUB_CLIENT_ID=Iv1.8a61f9b3a7aba766",
		"FORGEAUTH_FORGE_GITEA_WORK_BASE_URL=http://git.example.com",
		"FORGEAUTH_FORGE_GITEA_WORK_CLIENTSECRET=hunter2",
		"FORGEAUTH_FORGE_GITEA_WORK_SCOPES=all",
		"FORGEAUTH_LOG_LEVEL=verbose",
	}, forgeauth.Serving, false)
	if err == nil {
		t.Fatal("no fault was found")
	}
	golden(t, "faults.golden", err.Error()+"\n")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "environment", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path) //nolint:gosec // named by the tests of this package
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// TestNoFaultShowsASecret puts a secret into every setting, in forms that are at fault and in forms that are not.
func TestNoFaultShowsASecret(t *testing.T) {
	t.Parallel()
	const secretText = "gho_16C7e42F292c6912E7710c838347Ae178B4a"
	secretSettings := []string{
		"DATABASE_URL", "OAUTH_ENCRYPTION_KEY", "FORGEAUTH_FORGE_GITHUB_CLIENT_SECRET",
		"FORGEAUTH_FORGE_GITEA_WORK_CLIENT_SECRET", "FORGEAUTH_FORGE_NEW_CLIENT_SECRET",
	}
	for _, name := range secretSettings {
		for _, value := range []string{
			"%s", "%s\n", " %s", "postgres://u:%s@db:5432:1/x", "postgres://u:%s/@db/x", "host=db password=%s sslmode=no", "mysql://u:%s@db",
			"postgres://u:%%zz%s@db/x", "://%s", "postgres://u@db/x?sslrootcert=/none&password=%s", "host='%s", "postgres://%s:a:b",
		} {
			for _, purpose := range []forgeauth.Purpose{forgeauth.Serving, forgeauth.Maintaining} {
				value := fmt.Sprintf(value, secretText[4:])
				_, err := forgeauth.ReadEnvironment(with(serving(), name+"="+value), purpose, false)
				if err != nil && strings.Contains(err.Error(), secretText[4:]) {
					t.Errorf("%s=%q shows its value: %v", name, value, err)
				}
			}
		}
	}
	for _, setting := range forgeauth.Settings() {
		name := strings.ReplaceAll(setting.Name, "<NAME>", "GITHUB")
		_, err := forgeauth.ReadEnvironment(with(serving(), name+"="+secretText), forgeauth.Serving, false)
		if err != nil && strings.Contains(err.Error(), secretText[4:]) {
			t.Errorf("%s shows what looks like a token: %v", name, err)
		}
	}
}

func TestEverySettingIsReadAndDescribed(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range forgeauth.Settings() {
		if s.Group == "" || s.Help == "" || seen[s.Name] {
			t.Errorf("%s lacks a group or help, or is there twice", s.Name)
		}
		seen[s.Name] = true
	}
	for _, kind := range forge.Kinds() {
		name := "FORGEAUTH_FORGE_" + strings.ToUpper(string(kind.Kind)) + "_"
		e, err := forgeauth.ReadEnvironment(with(serving(), name+"CLIENT_ID=x", name+"CLIENT_SECRET=y"), forgeauth.Serving, false)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(e.Config.Connections, func(c forge.Connection) bool { return c.Name == string(kind.Kind) })
		if i < 0 || e.Config.Connections[i].Kind != kind.Kind || e.Config.Connections[i].BaseURL != kind.BaseURL {
			t.Errorf("a connection named %s does not default to that kind", kind.Kind)
		}
	}
}

func TestASecretFileThatMayNotBeReadIsAFault(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	closed := writeFile(t, "closed", goodKey, 0o200)
	_, err := forgeauth.ReadEnvironment(with(serving(), "OAUTH_ENCRYPTION_KEY=-", "OAUTH_ENCRYPTION_KEY_FILE="+closed), forgeauth.Serving, false)
	faults := faultsOf(t, err)
	if len(faults) != 1 || !strings.Contains(faults[0].Problem, "may not be read by the user who runs forgeauth") {
		t.Errorf("faults = %q", faults)
	}
}
