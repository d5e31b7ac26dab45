package forge_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

func TestDefaultsOfEveryKindPassTheirOwnChecks(t *testing.T) {
	t.Parallel()
	for _, info := range forge.Kinds() {
		t.Run(string(info.Kind), func(t *testing.T) {
			t.Parallel()
			if kind, err := forge.ParseKind(string(info.Kind)); kind != info.Kind || err != nil {
				t.Fatalf("ParseKind = %q, %v", kind, err)
			}
			c := forge.Connection{
				Name: string(info.Kind), Kind: info.Kind, BaseURL: info.BaseURL, ClientID: "id",
				ClientSecret: secret.New("s"), Scopes: info.Scopes,
			}
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestParseKindListsTheKnownOnes(t *testing.T) {
	t.Parallel()
	_, err := forge.ParseKind("GitHub")
	var setting *forge.SettingError
	if !errors.As(err, &setting) || setting.Setting != "KIND" || setting.Remedy != "use one of github, gitlab, gitea, forgejo, bitbucket" {
		t.Fatalf("%v", err)
	}
}

func TestValidName(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"github": true, "gitlab-work": true, "g": true, "7": true, "a-b-c9": true, strings.Repeat("a", 40): true,
		"": false, "active": false, "-a": false, "a-": false, "a--b": false, "GitHub": false, "a_b": false, "a/b": false,
		"a b": false, "a\n": false, "ä": false, strings.Repeat("a", 41): false,
	} {
		if err := forge.ValidName(name); (err == nil) != ok {
			t.Errorf("ValidName(%q) = %v", name, err)
		}
	}
}

func TestCheckScopes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kind   forge.Kind
		scopes string
		want   string // part of the error; empty: accepted
	}{
		"GitHub's own":                               {forge.GitHub, "repo read:org workflow", ""},
		"no scope on GitHub is public data":          {forge.GitHub, "", ""},
		"an unknown name on GitHub":                  {forge.GitHub, "repo:all", `"repo:all"`},
		"GitLab's own":                               {forge.GitLab, "read_user write_repository", ""},
		"no scope on GitLab is everything":           {forge.GitLab, "", "everything"},
		"GitLab without the account":                 {forge.GitLab, "read_repository", "nobody could sign in"},
		"an unknown name on GitLab":                  {forge.GitLab, "api read:user", `"read:user"`},
		"Gitea's own":                                {forge.Gitea, "read:user write:repository", ""},
		"Forgejo's own":                              {forge.Forgejo, "write:user public-only", ""},
		"no scope on Gitea is everything":            {forge.Gitea, "", "everything"},
		"no scope on Forgejo is everything":          {forge.Forgejo, "", "everything"},
		"one unknown name on Gitea is everything":    {forge.Gitea, "read:user bogus:thing", `"bogus:thing"`},
		"all on Forgejo is everything":               {forge.Forgejo, "all", `"all"`},
		"identity alone on Gitea is everything":      {forge.Gitea, "openid", "nobody could sign in"},
		"Gitea without the account":                  {forge.Gitea, "write:repository", "nobody could sign in"},
		"names are compared as the forge does":       {forge.Gitea, "Read:User", `"Read:User"`},
		"a name with a comma is two names in one":    {forge.GitHub, "repo,read:org", `"repo,read:org"`},
		"a kind that is none":                        {forge.Kind("svn"), "x", `"svn"`},
		"GitHub's names do not pass on Gitea":        {forge.Gitea, "read:user repo", `"repo"`},
		"Gitea's plain user scope does not exist":    {forge.Gitea, "user", `"user"`},
		"a name that GitLab knows twice is harmless": {forge.GitLab, strings.Repeat("api ", 2), ""},
		"Bitbucket's own":                            {forge.Bitbucket, "account:write repository:admin pipeline", ""},
		"no scope on Bitbucket names no account":     {forge.Bitbucket, "", "nobody could sign in"},
		"Bitbucket without the account":              {forge.Bitbucket, "email pullrequest:write webhook", "nobody could sign in"},
		"an API token's name on Bitbucket":           {forge.Bitbucket, "read:user:bitbucket", `"read:user:bitbucket"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := forge.CheckScopes(test.kind, strings.Fields(test.scopes))
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("CheckScopes = %v, want %q", err, test.want)
			}
		})
	}
}

func TestValidateReportsEveryFault(t *testing.T) {
	t.Parallel()
	err := forge.Connection{
		Name: "Git Hub", Kind: "gitbub", BaseURL: "https://GitHub.com/", ClientID: "a b", ClientSecret: secret.New("tops3cret\n"),
	}.Validate()
	var got []string
	for _, fault := range err.(interface{ Unwrap() []error }).Unwrap() {
		var setting *forge.SettingError
		if !errors.As(fault, &setting) {
			t.Fatalf("%v is no SettingError", fault)
		}
		got = append(got, setting.Setting)
	}
	if diff := cmp.Diff([]string{"NAME", "KIND", "BASE_URL", "CLIENT_ID", "CLIENT_SECRET"}, got); diff != "" {
		t.Fatal(diff)
	}
	if strings.Contains(err.Error(), "tops3cret") {
		t.Fatal("the error shows the client secret")
	}
}

func TestValidateCatchesWhatIsNotGitHubsWebRoot(t *testing.T) {
	t.Parallel()
	for base, ok := range map[string]bool{
		"https://github.com": true, "https://octo.ghe.com": true, "https://ghe.example": true, "https://ghe.example/git": true,
		"https://api.github.com": false, "https://www.github.com": false, "https://github.com/octo": false,
		"http://github.com": false, "https://github.com:8443": false, "https://api.octo.ghe.com": false,
		"https://octo.ghe.com/x": false, "https://ghe.example/api/v3": false,
	} {
		c := forge.Connection{Name: "github", Kind: forge.GitHub, BaseURL: base, ClientID: "id", ClientSecret: secret.New("s")}
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("%s: %v", base, err)
		}
	}
}

func TestValidateTakesBitbucketCloudAndLoopback(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"https://bitbucket.org": "", "http://127.0.0.1:7990": "", "http://localhost/forge": "", "http://[::1]:1": "", "https://127.0.0.2": "",
		"https://api.bitbucket.org": "web root", "https://www.bitbucket.org": "web root", "https://bitbucket.org/team": "web root",
		"http://bitbucket.org": "web root", "https://bitbucket.org:8443": "web root",
		"https://bitbucket.example.org": "Data Center", "https://notbitbucket.org": "Data Center",
	} {
		c := forge.Connection{
			Name: "bitbucket", Kind: forge.Bitbucket, BaseURL: base, ClientID: "id", ClientSecret: secret.New("s"), Scopes: []string{"account"},
		}
		err := c.Validate()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", base, err, want)
		}
	}
}

func TestAccountIDs(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"1": "number", "583231": "number", "9223372036854775807": "number",
		"557058:6b1a2f3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c": "Atlassian", "5b10ac8d82e05b22cc7d4ef5": "Atlassian", strings.Repeat("a1", 64): "Atlassian",
		"": "", "0": "", "-1": "", "007": "", "+1": "", " 1": "", "1\n": "", "9223372036854775808": "", "octocat": "", "some-nickname-of-somebody": "",
		"{6b1a2f3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c}": "", ":557058:6b1a2f3c-0d4e-4f5a-8b6c": "", "557058:6b1a2f3c-0d4e-4f5a,8b6c": "",
		"557058:6b1a2f3c-0d4e-4f5a/8b6c": "", "557058:6b1a2f3c-0d4e-4f5a-é": "", strings.Repeat("a1", 64) + "a": "",
	} {
		for _, info := range forge.Kinds() {
			form := "number"
			if info.Kind == forge.Bitbucket {
				form = "Atlassian"
			}
			if got := info.Kind.IsAccountID(id); got != (want == form) {
				t.Errorf("%s: IsAccountID(%q) = %t", info.Kind, id, got)
			}
		}
	}
}

func TestCleanString(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ raw, want string }{
		"letters of all scripts stay":      {"Ünïcödé 漢字 🙂", "Ünïcödé 漢字 🙂"},
		"control characters go":            {"a\x00b\r\nc\x1b[31m\x7f\u0085", "abc[31m"},
		"bidirectional overrides go":       {"a\u202eb\u2066c\u200f", "abc"},
		"zero-width characters go":         {"ad\u200bmin\ufeff", "admin"},
		"line and paragraph separators go": {"a\u2028b\u2029c", "abc"},
		"invalid UTF-8 goes":               {"a\xff\xc3b", "ab"},
		"white space around goes":          {"  a b ", "a b"},
		"255 characters are the most":      {strings.Repeat("漢", 300), strings.Repeat("漢", 255)},
		"nothing may be left":              {"\u202e\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := forge.CleanString(test.raw)
			if got != test.want {
				t.Fatalf("CleanString = %q, want %q", got, test.want)
			}
			if !forge.IsClean(got) {
				t.Fatalf("%q is not clean", got)
			}
		})
	}
}
