package forge

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestDestinations(t *testing.T) {
	t.Parallel()
	const github, prefixed, six = "https://api.github.com https://github.com", "https://example.com/git/api/v4 https://example.com/git", "http://[::1]:3000/api/v1 http://[::1]:3000"
	for name, test := range map[string]struct {
		bases, to string
		admitted  bool
	}{
		"the API":                             {github, "https://api.github.com/user", true},
		"the API's root without a slash":      {github, "https://api.github.com", true},
		"the web root":                        {github, "https://github.com/octo/hello.git/info/refs?service=git-upload-pack", true},
		"the default port written out":        {github, "https://api.github.com:443/user", true},
		"a host in upper case":                {github, "https://API.GitHub.com/user", true},
		"an encoded slash in a name":          {prefixed, "https://example.com/git/api/v4/projects/group%2Fproject", true},
		"dots that are part of a name":        {prefixed, "https://example.com/git/a..b/.../..c/.git", true},
		"an encoded percent sign in a name":   {prefixed, "https://example.com/git/100%25", true},
		"the prefix itself":                   {prefixed, "https://example.com/git", true},
		"an IPv6 address written out":         {six, "http://[0:0:0:0:0:0:0:1]:3000/api/v1/user", true},
		"another host":                        {github, "https://evil.example/user", false},
		"a host that begins alike":            {github, "https://api.github.com.evil.example/user", false},
		"a host that ends alike":              {github, "https://evilgithub.com/user", false},
		"a host below ours":                   {github, "https://raw.github.com/user", false},
		"a trailing dot":                      {github, "https://api.github.com./user", false},
		"a look-alike letter":                 {github, "https://api.gıthub.com/user", false},
		"the Kelvin sign, which folds to k":   {"https://kde.example", "https://\u212ade.example/user", false},
		"another scheme":                      {github, "http://api.github.com/user", false},
		"another scheme on our port":          {github, "http://api.github.com:443/user", false},
		"another port":                        {github, "https://api.github.com:8443/user", false},
		"user info":                           {github, "https://api.github.com@evil.example/user", false},
		"user info before our host":           {github, "https://evil@api.github.com/user", false},
		"no host":                             {github, "/user", false},
		"an opaque URL":                       {github, "https:api.github.com/user", false},
		"beside the prefix":                   {prefixed, "https://example.com/other", false},
		"above the prefix":                    {prefixed, "https://example.com/", false},
		"a name that begins like the prefix":  {prefixed, "https://example.com/github", false},
		"the prefix in another case":          {prefixed, "https://example.com/Git/x", false},
		"the prefix encoded":                  {prefixed, "https://example.com/%67it/x", false},
		"a doubled slash before the prefix":   {prefixed, "https://example.com//git/x", false},
		"climbing out":                        {prefixed, "https://example.com/git/../other", false},
		"climbing and coming back":            {prefixed, "https://example.com/git/../git/x", false},
		"climbing at the end":                 {prefixed, "https://example.com/git/..", false},
		"climbing encoded":                    {prefixed, "https://example.com/git/%2e%2e/other", false},
		"climbing half encoded":               {prefixed, "https://example.com/git/.%2E/other", false},
		"climbing with an encoded slash":      {prefixed, "https://example.com/git/..%2fother", false},
		"climbing encoded twice":              {prefixed, "https://example.com/git/%252e%252e%252fother", false},
		"climbing encoded three times":        {prefixed, "https://example.com/git/%25252e%25252e/other", false},
		"climbing beside a percent sign":      {prefixed, "https://example.com/git/%252e%252e/100%25", false},
		"climbing beside what is no encoding": {prefixed, "https://example.com/git/%252e%252e/other/%25zz", false},
		"dots and what is no encoding":        {prefixed, "https://example.com/git/%252e%252e%25zz/100%25", true},
		"climbing by backslash":               {prefixed, "https://example.com/git/..%5cother", false},
		"climbing past a path parameter":      {prefixed, "https://example.com/git/..;x=y/other", false},
		"a dot segment":                       {prefixed, "https://example.com/git/./x", false},
		"encoded without end":                 {prefixed, "https://example.com/git/%" + strings.Repeat("25", 20) + "2e", false},
		"climbing on a host without a prefix": {github, "https://api.github.com/a/../b", false},
		"the IPv4 form of an IPv6 loopback":   {six, "http://127.0.0.1:3000/api/v1/user", false},
		"an IPv6 zone":                        {six, "http://[::1%25lo]:3000/api/v1/user", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := newDestinations(strings.Fields(test.bases)...)
			if err != nil {
				t.Fatal(err)
			}
			to, err := url.Parse(test.to)
			if err != nil {
				t.Fatal(err)
			}
			if got := d.admits(to); got != test.admitted {
				t.Fatalf("admits(%s) = %v", test.to, got)
			}
		})
	}
}

func TestDestinationsLookAtTheHostHeader(t *testing.T) {
	t.Parallel()
	d, err := newDestinations("https://git.example.com/api/v1")
	if err != nil {
		t.Fatal(err)
	}
	for host, admitted := range map[string]bool{
		"": true, "git.example.com": true, "GIT.example.com:443": true,
		"other.example.com": false, "git.example.com:8443": false, "a@git.example.com": false,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://git.example.com/api/v1/user", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		if got := d.admitsRequest(req); got != admitted {
			t.Errorf("Host %q: %v", host, got)
		}
	}
}

func TestWebPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"octo/hello":          "/octo/hello",
		"gruppe/über/projekt": "/gruppe/%C3%BCber/projekt",
		"a/b c?d#e":           "/a/b%20c%3Fd%23e",
		"a/.git":              "/a/.git",
		"":                    "",
		"a//b":                "",
		"/a":                  "",
		"a/../b":              "",
		"a/%2e%2e/b":          "",
		`a/..\b`:              "",
		`a/b\c`:               "",
		"a/b\u202e":           "",
		"javascript:alert(1)": "/javascript:alert%281%29",
	} {
		got, ok := webPath(path)
		if got != want || ok != (want != "") {
			t.Errorf("webPath(%q) = %q, %v; want %q", path, got, ok, want)
		}
	}
}
