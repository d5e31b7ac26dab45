package secret_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/forgeauth/forgeauth/secret"
)

const (
	jwt = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJnbnQiOjEsInR0IjowfQ.Kq7-zW_x9"
	jwe = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..48V1_ALb6US04U3b.5eym8TW_c8SuK0lt.XFBoMYUZodetZdvTiFvSkQ"
)

func TestMask(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ in, want string }{
		"nothing":                        {"", ""},
		"prose":                          {"signed in to github as octocat", "signed in to github as octocat"},
		"a GitHub OAuth token":           {"got gho_16C7e42F292c6912E7710c838347Ae178B4a.", "got gho_[redacted]."},
		"every GitHub prefix":            {"ghp_abcd1 ghr_abcd1 ghs_abcd1 ghu_abcd1 github_pat_11A_bcd1", "ghp_[redacted] ghr_[redacted] ghs_[redacted] ghu_[redacted] github_pat_[redacted]"},
		"GitLab tokens":                  {"glpat-a_b-c.d gloas-0123 glrt-t1_x", "glpat-[redacted].d gloas-[redacted] glrt-[redacted]"},
		"Gitea tokens":                   {"gta_abcdefgh/gto_abcdefgh", "gta_[redacted]/gto_[redacted]"},
		"glued behind percent-encoding":  {"%3Dgho_abcdefgh%26", "%3Dgho_[redacted]%26"},
		"a prefix alone":                 {"tokens that begin with gho_ or glpat-", "tokens that begin with gho_ or glpat-"},
		"a JSON Web Token":               {"bad token " + jwt + ", sorry", "bad token [redacted], sorry"},
		"an encrypted one":               {"<" + jwe + ">", "<[redacted]>"},
		"a word that begins like one":    {"eyJ is how JSON begins", "eyJ is how JSON begins"},
		"Bearer":                         {"Authorization: Bearer Kq7!", "Authorization: [redacted]"},
		"bearer in a sentence":           {`sent "bearer  Kq7/z+W=" twice`, `sent "bearer  [redacted]" twice`},
		"Bearer, percent-encoded":        {"h=Bearer%20Kq7zW&x=1", "h=Bearer%20[redacted]&x=1"},
		"Bearer in dumped headers":       {"map[Accept:[*/*] Authorization:[Bearer Kq7zW]] end", "map[Accept:[*/*] Authorization:[[redacted]]] end"},
		"the bearer token type":          {`{"token_type":"bearer","expires_in":3600}`, `{"token_type":"bearer","expires_in":3600}`},
		"Basic":                          {"sent Basic aWQ6c2VjcmV0 and", "sent Basic [redacted] and"},
		"basic in prose":                 {"basic authentication is off", "basic authentication is off"},
		"a callback":                     {"GET /oauth/github/callback?code=Kq7zW&state=s HTTP/1.1", "GET /oauth/github/callback?code=[redacted]&state=s HTTP/1.1"},
		"a form":                         {"grant_type=x&client_secret=a%2Fb&refresh_token=r1&client_id=i", "grant_type=x&client_secret=[redacted]&refresh_token=[redacted]&client_id=i"},
		"a form at its end":              {"x?access_token=Kq7zW", "x?access_token=[redacted]"},
		"a fragment":                     {"https://h/#access_token=Kq7zW&x=1", "https://h/#access_token=[redacted]&x=1"},
		"a URL within a URL":             {"return=%2Fcb%3Fcode%3DKq7zW&x", "return=%2Fcb%3Fcode%3D[redacted]&x"},
		"an error of net/http":           {`Get "https://h/api?private_token=Kq7zW": EOF`, `Get "https://h/api?private_token=[redacted]": EOF`},
		"a verifier":                     {"code_verifier=Kq7zW code_challenge=c", "code_verifier=[redacted] code_challenge=c"},
		"JSON":                           {`{"access_token":"Kq7","refresh_token" : "r\"x", "scope":"repo"}`, `{"access_token":"[redacted]","refresh_token" : "[redacted]\"x", "scope":"repo"}`},
		"JSON within JSON":               {`"{\"access_token\":\"Kq7zW\",\"n\":1}"`, `"{\"access_token\":\"[redacted]\",\"n\":1}"`},
		"a code in JSON":                 {`{"code": "Kq7zW"}`, `{"code": "[redacted]"}`},
		"a printed struct":               {"&{AccessToken:Kq7zW TokenType:bearer RefreshToken:r9 Expiry:never}", "&{AccessToken:[redacted] TokenType:bearer RefreshToken:[redacted] Expiry:never}"},
		"a struct in Go syntax":          {`oauth2.Token{AccessToken:"Kq7zW", Expiry:1}`, `oauth2.Token{AccessToken:"[redacted]", Expiry:1}`},
		"printed values":                 {"map[code:[Kq7zW] state:[s]]", "map[code:[[redacted]] state:[s]]"},
		"a hyphenated header":            {"Private-Token: Kq7zW", "Private-Token: [redacted]"},
		"cookies":                        {"Cookie: a=1; b=2\r\nHost: h", "Cookie: [redacted]\r\nHost: h"},
		"a Set-Cookie":                   {"set-cookie: __Host-forgeauth=Kq7zW; Path=/\nx", "set-cookie: [redacted]\nx"},
		"a __Host- cookie by itself":     {"have __Host-forgeauth=Kq7zW; next", "have __Host-forgeauth=[redacted]; next"},
		"a status code":                  {"status_code=404 exit-code=1 error_code=x", "status_code=404 exit-code=1 error_code=x"},
		"a code in prose":                {"code: 404, token: expected }, secret: none", "code: 404, token: expected }, secret: none"},
		"an empty value":                 {"code=&state=s access_token=", "code=&state=s access_token="},
		"what was masked before":         {"access_token=[redacted]&code=[redacted] gho_[redacted] Bearer [redacted]", "access_token=[redacted]&code=[redacted] gho_[redacted] Bearer [redacted]"},
		"a printed secret":               {"{AccessToken:[redacted] Authorization:[redacted]}", "{AccessToken:[redacted] Authorization:[redacted]}"},
		"several lines":                  {"one code=Kq7zW\ntwo gho_abcdefgh\nthree", "one code=[redacted]\ntwo gho_[redacted]\nthree"},
		"letters that are not ASCII":     {"naïve ünicode=ß code=Kq7zWé✓ end", "naïve ünicode=ß code=[redacted] end"},
		"an upper-case name":             {"CLIENT_SECRET=Kq7zW", "CLIENT_SECRET=[redacted]"},
		"a name in a longer variable":    {"FORGEAUTH_FORGE_GITHUB_CLIENT_SECRET=Kq7zW", "FORGEAUTH_FORGE_GITHUB_CLIENT_SECRET=[redacted]"},
		"a key's variable":               {"OAUTH_ENCRYPTION_KEY=Kq7zW", "OAUTH_ENCRYPTION_KEY=[redacted]"},
		"a URL with a password":          {`dial "postgres://forgeauth:Kq7%2Fz@db:5432/x": refused`, `dial "postgres://[redacted]@db:5432/x": refused`},
		"a URL with a token":             {"https://oauth2:Kq7zW@gitlab.com/a.git https://gho_abcdefgh:x@github.com", "https://[redacted]@gitlab.com/a.git https://[redacted]@github.com"},
		"a URL with a user alone":        {"ssh://git@host:22/a postgres://forgeauth@db/x", "ssh://git@host:22/a postgres://forgeauth@db/x"},
		"how to write a URL":             {"write postgres://<user>:<password>@<host>/x", "write postgres://<user>:<password>@<host>/x"},
		"a URL with a port and an at":    {"https://h:8080/@user http://h:80?a=b@c ://", "https://h:8080/@user http://h:80?a=b@c ://"},
		"a setup code":                   {"setup_code=Kq7zW", "setup_code=[redacted]"},
		"the refused exchange of oauth2": {`oauth2: cannot fetch token: 400 Bad Request`, `oauth2: cannot fetch token: 400 Bad Request`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := secret.Mask(test.in); got != test.want {
				t.Errorf("Mask(%q)\n got %q\nwant %q", test.in, got, test.want)
			}
		})
	}
}

func FuzzMask(f *testing.F) {
	f.Add("access_token=abc&code=[[", "x")
	f.Add(`{"access_token":"`, "Bearer ")
	f.Add("%3D__Host-=", "eyJ..")
	f.Fuzz(func(t *testing.T, before, after string) {
		const token = "gho_16C7e42F292c6912E7710c838347Ae178B4a"
		s := before + " " + token + " " + after
		masked := secret.Mask(s)
		if strings.Contains(strings.TrimPrefix(masked, before), token) && !strings.Contains(before, token) && !strings.Contains(after, token) {
			t.Errorf("Mask(%q) = %q", s, masked)
		}
		if again := secret.Mask(masked); again != masked {
			t.Errorf("masked twice: %q, then %q", masked, again)
		}
		if utf8.ValidString(s) && !utf8.ValidString(masked) {
			t.Errorf("Mask(%q) = %q is not UTF-8", s, masked)
		}
	})
}

func TestMaskingHostileInputStaysLinear(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"eyJ", "basic+", "bearer ", "code ", "__Host-", "a", "eyJ.", "code=[", "token\\", "gho_", `"code" : `, "://u:", "://@:"} {
		// Quadratic work on a megabyte would outlast the test's own time limit, not a stop-watch.
		_ = secret.Mask(strings.Repeat(part, 1<<20/len(part)))
	}
}

func BenchmarkMask(b *testing.B) {
	for name, s := range map[string]string{
		"nothing to mask": "GET /forge/repositories answered 200 in 12 ms for session 01920000-0000-7000-8000-000000000001",
		"a callback":      "GET /oauth/github/callback?code=0123456789abcdef&state=0123456789abcdef answered 302 in 212 ms",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(s)))
			for b.Loop() {
				secret.Mask(s)
			}
		})
	}
}
