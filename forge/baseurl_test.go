package forge_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth/forge"
)

func TestCanonicalBaseURL(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		raw       string
		allowHTTP bool
		want      string // empty: refused
	}{
		"a plain web root stays":                   {raw: "https://github.com", want: "https://github.com"},
		"a trailing slash goes":                    {raw: "https://github.com/", want: "https://github.com"},
		"scheme and host become lower case":        {raw: "HTTPS://Git.Example.COM", want: "https://git.example.com"},
		"the path keeps its case":                  {raw: "https://example.com/GitLab", want: "https://example.com/GitLab"},
		"the root's dot goes":                      {raw: "https://git.example.com./", want: "https://git.example.com"},
		"the default port goes":                    {raw: "https://git.example.com:443", want: "https://git.example.com"},
		"zeros before the port go":                 {raw: "https://git.example.com:0443", want: "https://git.example.com"},
		"another port stays":                       {raw: "https://git.example.com:8443/", want: "https://git.example.com:8443"},
		"port 80 stays on https":                   {raw: "https://git.example.com:80", want: "https://git.example.com:80"},
		"a path prefix stays":                      {raw: "https://example.com/dev/gitlab/", want: "https://example.com/dev/gitlab"},
		"doubled slashes become one":               {raw: "https://example.com//dev///gitlab", want: "https://example.com/dev/gitlab"},
		"an international name becomes punycode":   {raw: "https://git.Bücher.example", want: "https://git.xn--bcher-kva.example"},
		"a name with an underscore stays":          {raw: "https://my_gitea:3000", want: "https://my_gitea:3000"},
		"white space around goes":                  {raw: " https://github.com\n", want: "https://github.com"},
		"an IPv6 address gets its shortest form":   {raw: "https://[2001:DB8:0:0::1]:443/x", want: "https://[2001:db8::1]/x"},
		"http is taken on 127.0.0.1":               {raw: "http://127.0.0.1:3000", want: "http://127.0.0.1:3000"},
		"http is taken anywhere in 127.0.0.0/8":    {raw: "http://127.8.9.1", want: "http://127.8.9.1"},
		"http is taken on ::1":                     {raw: "http://[0:0:0:0:0:0:0:1]:80/", want: "http://[::1]"},
		"http is taken on localhost":               {raw: "http://LOCALHOST:3000", want: "http://localhost:3000"},
		"http is refused below localhost":          {raw: "http://git.localhost"},
		"http is taken elsewhere where allowed":    {raw: "http://gitea:3000", allowHTTP: true, want: "http://gitea:3000"},
		"http is refused elsewhere":                {raw: "http://gitea:3000"},
		"http is refused on a private address":     {raw: "http://10.0.0.1"},
		"a name that begins like loopback is not":  {raw: "http://127.0.0.1.example.com"},
		"a name that ends like localhost is not":   {raw: "http://notlocalhost"},
		"an empty text is refused":                 {raw: "  "},
		"a name without scheme is refused":         {raw: "github.com"},
		"a name with port but no scheme":           {raw: "github.com:443"},
		"another scheme is refused":                {raw: "ftp://github.com"},
		"another scheme is refused where http is":  {raw: "ssh://git@github.com", allowHTTP: true},
		"a user is refused":                        {raw: "https://hunter2@github.com"},
		"an empty user is refused":                 {raw: "https://@github.com"},
		"a query is refused":                       {raw: "https://github.com/?a=b"},
		"an empty query is refused":                {raw: "https://github.com/?"},
		"a fragment is refused":                    {raw: "https://github.com/#x"},
		"an empty fragment is refused":             {raw: "https://github.com/#"},
		"a path that climbs is refused":            {raw: "https://example.com/a/../b"},
		"an encoded climb is refused":              {raw: "https://example.com/a/%2e%2e/b"},
		"any percent-encoding is refused":          {raw: "https://example.com/a%2fb"},
		"a backslash is refused":                   {raw: `https://example.com\@evil.example`},
		"a host of dots is refused":                {raw: "https://..."},
		"no host is refused":                       {raw: "https:///x"},
		"an opaque URL is refused":                 {raw: "https:github.com"},
		"a label that begins with a dash":          {raw: "https://-git.example.com"},
		"a label of 64 letters":                    {raw: "https://" + strings.Repeat("a", 64) + ".example"},
		"a name of 300 letters":                    {raw: "https://" + strings.Repeat("abc.", 75) + "example"},
		"a shortened IPv4 address is refused":      {raw: "https://127.1"},
		"a hexadecimal IPv4 address is refused":    {raw: "https://0x7f000001"},
		"a decimal IPv4 address is refused":        {raw: "https://2130706433"},
		"an IPv4 address with zeros is refused":    {raw: "https://127.0.0.01"},
		"an IPv6 zone is refused":                  {raw: "https://[fe80::1%25eth0]"},
		"port 0 is refused":                        {raw: "https://github.com:0"},
		"port 65536 is refused":                    {raw: "https://github.com:65536"},
		"a colon without port is refused":          {raw: "https://github.com:"},
		"a line break inside is refused":           {raw: "https://git\nhub.com"},
		"an international name that is none":       {raw: "https://a\u202eb.example"},
		"a space inside is refused":                {raw: "https://git hub.com"},
		"an address with a percent-encoded letter": {raw: "https://%67ithub.com/"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := forge.CanonicalBaseURL(test.raw, test.allowHTTP)
			if got != test.want {
				t.Fatalf("CanonicalBaseURL(%q) = %q, %v; want %q", test.raw, got, err, test.want)
			}
			if test.want == "" {
				var setting *forge.SettingError
				if !errors.As(err, &setting) || setting.Setting != "BASE_URL" || setting.Problem == "" || setting.Remedy == "" {
					t.Fatalf("CanonicalBaseURL(%q): %#v is no SettingError with a remedy", test.raw, err)
				}
				if strings.Contains(err.Error(), "hunter2") {
					t.Fatalf("the error shows a password: %v", err)
				}
				return
			}
			if again, err := forge.CanonicalBaseURL(got, test.allowHTTP); again != got {
				t.Fatalf("the canonical form of %q is %q, %v", got, again, err)
			}
		})
	}
}

func FuzzCanonicalBaseURL(f *testing.F) {
	for _, seed := range []string{"https://github.com", "http://[::1]:80/a//b/", "https://Ünï.example:0443", "https://a%2eb"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := forge.CanonicalBaseURL(raw, true)
		if err != nil {
			return
		}
		again, err := forge.CanonicalBaseURL(got, true)
		if err != nil || again != got {
			t.Fatalf("%q → %q → %q, %v", raw, got, again, err)
		}
	})
}

func TestAPIBaseURL(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kind       forge.Kind
		base, want string
	}{
		"github.com has a host for its API":           {forge.GitHub, "https://github.com", "https://api.github.com"},
		"a data-resident enterprise has one, too":     {forge.GitHub, "https://octo.ghe.com", "https://api.octo.ghe.com"},
		"an Enterprise Server has a path":             {forge.GitHub, "https://ghe.example", "https://ghe.example/api/v3"},
		"a name that ends like github.com has a path": {forge.GitHub, "https://notgithub.com", "https://notgithub.com/api/v3"},
		"GitLab":                                 {forge.GitLab, "https://gitlab.com", "https://gitlab.com/api/v4"},
		"GitLab below a prefix":                  {forge.GitLab, "https://example.com/git", "https://example.com/git/api/v4"},
		"Gitea":                                  {forge.Gitea, "https://gitea.com", "https://gitea.com/api/v1"},
		"Forgejo on a port":                      {forge.Forgejo, "http://127.0.0.1:3000", "http://127.0.0.1:3000/api/v1"},
		"a loopback stand-in for github.com":     {forge.GitHub, "http://127.0.0.1:3000", "http://127.0.0.1:3000/api/v3"},
		"an enterprise's name is one label":      {forge.GitHub, "https://a.b.ghe.com", "https://a.b.ghe.com/api/v3"},
		"over http there is no data residency.":  {forge.GitHub, "http://octo.ghe.com", "http://octo.ghe.com/api/v3"},
		"Bitbucket Cloud has a host for its API": {forge.Bitbucket, "https://bitbucket.org", "https://api.bitbucket.org/2.0"},
		"a loopback stand-in for Bitbucket":      {forge.Bitbucket, "http://127.0.0.1:3000/bb", "http://127.0.0.1:3000/bb/2.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := forge.APIBaseURL(forge.Connection{Kind: test.kind, BaseURL: test.base}); got != test.want {
				t.Fatalf("APIBaseURL = %q, want %q", got, test.want)
			}
		})
	}
}
