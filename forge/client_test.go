package forge_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

func TestProfileReadsEveryAnswer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		header string
		body   string
		want   error // nil: fine
		until  time.Time
	}{
		"an account":                      {body: `{"id":7}`},
		"a body of 1 MiB":                 {body: `{"id":7}` + strings.Repeat(" ", forge.MaxTokenBody-8)},
		"a body longer than 1 MiB":        {body: `{"id":7}` + strings.Repeat(" ", forge.MaxTokenBody-7), want: forge.ErrUnavailable},
		"status 401":                      {status: 401, body: marker, want: forge.ErrNeedsReauth},
		"status 403":                      {status: 403, body: marker, want: forge.ErrForbidden},
		"status 404":                      {status: 404, body: marker, want: forge.ErrNotFound},
		"status 410":                      {status: 410, body: marker, want: forge.ErrNotFound},
		"status 400":                      {status: 400, body: marker, want: forge.ErrUnavailable},
		"status 500":                      {status: 500, body: marker, want: forge.ErrUnavailable},
		"status 503":                      {status: 503, header: "Retry-After: 7", body: marker, want: forge.ErrUnavailable},
		"a page":                          {header: "Content-Type: text/html", body: "<html>" + marker, want: forge.ErrUnavailable},
		"an empty body":                   {want: forge.ErrUnavailable},
		"white space":                     {body: " \n", want: forge.ErrUnavailable},
		"nothing in JSON":                 {body: " null\n", want: forge.ErrUnavailable},
		"status 204":                      {status: 204, want: forge.ErrUnavailable},
		"JSON of another shape":           {body: `{"id":"` + marker + `"}`, want: forge.ErrUnavailable},
		"JSON and more":                   {body: `{"id":7}` + marker, want: forge.ErrUnavailable},
		"a redirect within":               {status: 302, header: "Location: /api/v1/user2?" + marker, want: forge.ErrUnavailable},
		"a redirect elsewhere":            {status: 307, header: "Location: https://evil.example/" + marker, want: forge.ErrUnavailable},
		"a redirect nowhere":              {status: 302, header: "Location: http://[" + marker, want: forge.ErrUnavailable},
		"a redirect without Location":     {status: 302, want: forge.ErrUnavailable},
		"status 304":                      {status: 304, want: forge.ErrUnavailable},
		"status 429":                      {status: 429, body: marker, want: &forge.RateLimitedError{}},
		"status 429 with seconds":         {status: 429, header: "Retry-After: 90", want: &forge.RateLimitedError{}, until: clock.Add(90 * time.Second)},
		"status 429 with a year":          {status: 429, header: "Retry-After: 31536000", want: &forge.RateLimitedError{}, until: clock.Add(24 * time.Hour)},
		"status 429 with words":           {status: 429, header: "Retry-After: soon", want: &forge.RateLimitedError{}},
		"status 429 with a negative time": {status: 429, header: "Retry-After: -5", want: &forge.RateLimitedError{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				if r.URL.Path != "/api/v1/user" || r.Header.Get("Authorization") != "Bearer "+accessToken {
					t.Errorf("%s %q", r.URL.Path, r.Header.Get("Authorization"))
				}
				if name, value, ok := strings.Cut(test.header, ": "); ok {
					w.Header().Set(name, value)
				}
				if test.status != 0 {
					w.WriteHeader(test.status)
				}
				_, _ = io.WriteString(w, test.body)
			})
			got, err := forge.Profile[profile](t.Context(), s.caller(), "account", "/user")
			if n := requests.Load(); n != 1 {
				t.Errorf("%d requests", n)
			}
			if test.want == nil {
				if err != nil || got.ID != 7 {
					t.Fatalf("%v, %v", got, err)
				}
				return
			}
			var limited *forge.RateLimitedError
			if wantLimited := errors.As(test.want, &limited); wantLimited {
				if !errors.As(err, &limited) || !limited.Until.Equal(test.until) {
					t.Fatalf("%v, until %v", err, test.until)
				}
			} else if !errors.Is(err, test.want) {
				t.Fatalf("%v, want %v", err, test.want)
			}
			checkError(t, err, "account")
		})
	}
}

func TestRetryAfterMovesTheForgesClockToOurs(t *testing.T) {
	t.Parallel()
	for skew := -10 * time.Minute; skew <= 10*time.Minute; skew += 5 * time.Minute {
		theirs := clock.Add(skew)
		h := http.Header{}
		h.Set("Date", theirs.Format(http.TimeFormat))
		h.Set("X-Ratelimit-Reset", strconv.FormatInt(theirs.Add(time.Hour).Unix(), 10))
		if got := forge.RetryAfter(h, "X-Ratelimit-Reset", clock); !got.Equal(clock.Add(time.Hour)) {
			t.Errorf("reset with a skew of %v: %v", skew, got)
		}
		h.Set("Retry-After", theirs.Add(time.Minute).Format(http.TimeFormat))
		if got := forge.RetryAfter(h, "X-Ratelimit-Reset", clock); !got.Equal(clock.Add(time.Minute)) {
			t.Errorf("date with a skew of %v: %v", skew, got)
		}
	}
	for name, far := range map[string]http.Header{
		"more seconds than 32 bits hold":  {"Retry-After": {"99999999999"}},
		"more seconds than 64 bits hold":  {"Retry-After": {"99999999999999999999999"}},
		"a date in the year 9999":         {"Retry-After": {"Fri, 31 Dec 9999 23:59:59 GMT"}},
		"a reset that is the last number": {"X-Ratelimit-Reset": {"9223372036854775807"}},
		"a reset beyond all numbers":      {"X-Ratelimit-Reset": {"99999999999999999999999"}},
		"milliseconds for seconds":        {"X-Ratelimit-Reset": {strconv.FormatInt(clock.UnixMilli(), 10)}},
	} {
		if got := forge.RetryAfter(far, "X-Ratelimit-Reset", clock); !got.Equal(clock.Add(24 * time.Hour)) {
			t.Errorf("%s: %v", name, got)
		}
	}
	past := http.Header{"X-Ratelimit-Reset": {"1"}}
	if got := forge.RetryAfter(past, "X-Ratelimit-Reset", clock); !got.IsZero() {
		t.Errorf("a time that has passed: %v", got)
	}
}

// elsewhere is a server that no token may reach.
func elsewhere(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a request reached another server: %s %s, authorization %t", r.Method, r.URL.Path, r.Header.Get("Authorization") != "")
	}))
	t.Cleanup(s.Close)
	return s
}

func TestHTTPClientStaysOnItsForge(t *testing.T) {
	t.Parallel()
	other := elsewhere(t)
	var inside atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/git/") && r.URL.Path != "/git" {
			t.Errorf("a request left the prefix: %s", r.URL.Path)
		}
		if r.Header.Get("Authorization") != "Bearer "+accessToken {
			t.Errorf("authorization %q", r.Header.Get("Authorization"))
		}
		if to := r.URL.Query().Get("to"); to != "" {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
		inside.Add(1)
	}, func(c *forge.Connection, _ *forge.Options) { c.BaseURL += "/git" })
	client := s.caller().HTTPClient()
	base, port := s.URL, s.URL[strings.LastIndex(s.URL, ":")+1:]
	do := func(target string) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer another-token")
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	redirect := func(to string) string { return base + "/git/r?to=" + url.QueryEscape(to) }
	for _, target := range []string{
		base + "/git", base + "/git/api/v1/user", "HTTP://127.0.0.1:" + port + "/git/x",
		redirect("/git/y"), redirect(base + "/git/y"), redirect("y"),
	} {
		before := inside.Load()
		if err := do(target); err != nil || inside.Load() != before+1 {
			t.Errorf("%s: %v", target, err)
		}
	}
	virtual, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/git/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	virtual.Host = "another.example"
	if resp, err := client.Do(virtual); err == nil {
		_ = resp.Body.Close()
		t.Error("another virtual host was asked")
	} else if !errors.Is(err, forge.ErrDestination) {
		t.Errorf("another virtual host: %v", err)
	}
	for _, target := range []string{
		other.URL, other.URL + "/git/x", base + "/", base + "/gitx", base + "/git/../x", base + "/git/%2e%2e/x",
		"https://127.0.0.1:" + port + "/git", "http://localhost:" + port + "/git", "http://u:p@127.0.0.1:" + port + "/git",
		redirect(other.URL + "/git/x"), redirect("//" + other.Listener.Addr().String() + "/git"), redirect("/x"),
		redirect("../x"), redirect("https://127.0.0.1:" + port + "/git"), redirect("http://[broken"), redirect("javascript:x"),
	} {
		err := do(target)
		if !errors.Is(err, forge.ErrDestination) {
			t.Errorf("%s: %v", target, err)
		}
		if framed := new(forge.Error); !errors.As(err, &framed) || framed.Op != "request" {
			t.Errorf("%s: %v", target, err)
		}
	}
}

// TestAnAnswerDoesNotShowTheToken looks at the request that net/http puts beside an answer: programs log it, and client
// libraries print it in their errors.
func TestAnAnswerDoesNotShowTheToken(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/from" {
			w.Header().Set("Location", "to")
			w.WriteHeader(http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, "{}")
	})
	for name, client := range map[string]*http.Client{"HTTPClient": s.caller().HTTPClient(), "SDKClient": s.caller().SDKClient()} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/v1/from", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.Request.URL.Path != "/api/v1/to" || resp.Request.Response == nil {
			t.Errorf("%s: the answer is not that of the last request: %s", name, resp.Request.URL.Path)
		}
		for _, sent := range []*http.Request{resp.Request, resp.Request.Response.Request} {
			if _, shown := sent.Header["Authorization"]; shown {
				t.Errorf("%s: the request to %s holds the token", name, sent.URL.Path)
			}
		}
	}
}

func TestHTTPClientBoundsBodies(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("reads 64 MiB")
	}
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 1<<20)
		for range forge.MaxClientBody>>20 + 1 {
			_, _ = w.Write(chunk)
		}
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/v1/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.caller().HTTPClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	n, err := io.Copy(io.Discard, resp.Body)
	if n > forge.MaxClientBody || !errors.Is(err, forge.ErrUnavailable) {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

func TestTheKeeperIsAskedBeforeEachRequest(t *testing.T) {
	t.Parallel()
	var seen []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		_, _ = io.WriteString(w, `{"id":1}`)
	})
	asked := 0
	caller := s.transport.Caller(forge.Binding{}, keeper{token: func() (forge.Token, error) {
		asked++
		if asked == 3 {
			return forge.Token{}, fmt.Errorf("expired: %w", forge.ErrNeedsReauth)
		}
		return forge.Token{Access: secret.New("t" + strconv.Itoa(asked)), Refresh: secret.New("r"), ExpiresAt: clock}, nil
	}})
	for range 2 {
		if _, err := forge.Profile[profile](t.Context(), caller, "account", "/user"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := forge.Profile[profile](t.Context(), caller, "account", "/user")
	if !errors.Is(err, forge.ErrNeedsReauth) {
		t.Fatal(err)
	}
	checkError(t, err, "account")
	if diff := cmp.Diff([]string{"Bearer t1", "Bearer t2"}, seen); diff != "" {
		t.Fatal(diff)
	}
	token, err := caller.TokenSource(t.Context()).Token()
	if err != nil || token.AccessToken != "t4" || token.RefreshToken != "" || !token.Expiry.Equal(clock) || token.Type() != "Bearer" {
		t.Fatalf("%v, %v", token, err)
	}
}

func TestATokenThatWouldBreakTheHeaderIsNotSent(t *testing.T) {
	t.Parallel()
	s := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") })
	for _, value := range []string{"", "a\r\nX-Evil: 1", "a b", "tü", "\x00"} {
		caller := s.transport.Caller(forge.Binding{}, forge.StaticToken(forge.Token{Access: secret.New(value)}))
		_, err := forge.Profile[profile](t.Context(), caller, "account", "/user")
		if !errors.Is(err, forge.ErrNeedsReauth) {
			t.Errorf("%q: %v", value, err)
		}
		if _, err := caller.TokenSource(t.Context()).Token(); !errors.Is(err, forge.ErrNeedsReauth) {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	other := elsewhere(t)
	for name, test := range map[string]struct {
		link  func(page int, base string) string
		items int
		pages int32
		want  error
	}{
		"three pages": {
			link: func(page int, base string) string {
				if page == 3 {
					return fmt.Sprintf(`<%s/api/v1/l?page=1>; rel="first", <%s/api/v1/l?page=2>; rel="prev"`, base, base)
				}
				relation := map[int]string{1: "next", 2: `"last Next"`}[page]
				return fmt.Sprintf(`<%s/api/v1/l?a=b,c&page=1>; rel="prev",<%s/api/v1/l?a=b,c;d&page=%d>; title=x; rel=%s`, base, base, page+1, relation)
			},
			items: 6, pages: 3,
		},
		"a relative link": {
			link: func(page int, _ string) string {
				if page == 2 {
					return ""
				}
				return `</api/v1/l?page=2>; rel="next"`
			},
			items: 4, pages: 2,
		},
		"a link that repeats": {
			link:  func(_ int, base string) string { return "<" + base + `/api/v1/l?page=1>; rel="next"` },
			items: 4, pages: 2, want: forge.ErrEndlessPages,
		},
		"a link to another host": {
			link: func(int, string) string { return "<" + other.URL + `/api/v1/l?page=2>; rel="next"` },
			want: forge.ErrDestination, pages: 1,
		},
		"a link out of the API by climbing": {
			link: func(_ int, base string) string { return "<" + base + `/api/v1/%2e%2e/l?page=2>; rel="next"` },
			want: forge.ErrDestination, pages: 1,
		},
		"a link that is no URL": {
			link: func(int, string) string { return `<http://[` + marker + `>; rel="next"` },
			want: forge.ErrUnavailable, pages: 1,
		},
		"a link that is longer than any": {
			link: func(_ int, base string) string {
				return "<" + base + `/api/v1/l?page=2&x=` + strings.Repeat("x", 9<<10) + `>; rel="next"`
			},
			want: forge.ErrUnavailable, pages: 1,
		},
		"a link without brackets": {
			link: func(int, string) string { return `http://` + marker + `; rel="next"` },
			want: forge.ErrUnavailable, pages: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			var base string
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				page, _ := strconv.Atoi(r.URL.Query().Get("page"))
				w.Header().Set("Link", test.link(max(page, 1), base))
				_, _ = io.WriteString(w, `[{"id":1},{"id":2}]`)
			})
			base = s.URL
			items := 0
			var failed error
			for item, err := range forge.Pages[profile](t.Context(), s.caller(), "repositories", "/l") {
				if err != nil {
					failed = err
					continue
				}
				if items++; item.ID == 0 {
					t.Error("an empty item")
				}
			}
			if items != test.items || requests.Load() != test.pages || !errors.Is(failed, test.want) {
				t.Fatalf("%d items in %d requests, %v", items, requests.Load(), failed)
			}
			if failed != nil {
				checkError(t, failed, "repositories")
			}
		})
	}
}

func TestPagesAreAskedForAsTheyAreConsumed(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := requests.Add(1)
		w.Header().Set("Link", fmt.Sprintf(`<http://%s/api/v1/l?page=%d>; rel="next"`, r.Host, n+1))
		_, _ = io.WriteString(w, `[{"id":1},{"id":2}]`)
	})
	consumed := 0
	for _, err := range forge.Pages[profile](t.Context(), s.caller(), "repositories", "/l") {
		if err != nil {
			t.Fatal(err)
		}
		consumed++
		if want := (consumed + 1) / 2; int(requests.Load()) != want {
			t.Fatalf("%d requests for %d items", requests.Load(), consumed)
		}
		if consumed == 5 {
			break
		}
	}
}

func TestRevokeSendsNothingElsewhere(t *testing.T) {
	t.Parallel()
	other := elsewhere(t)
	s := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") })
	for _, target := range []string{other.URL + "/revoke", s.URL + "/a/../revoke", "http://[" + marker, "revoke"} {
		err := s.caller().Revoke(t.Context(), func(token forge.Token) forge.RevokeRequest {
			return forge.RevokeRequest{Method: http.MethodPost, URL: target, Body: token.Access.Reveal(), Basic: true, Done: []int{http.StatusOK}}
		})
		if !errors.Is(err, forge.ErrDestination) {
			t.Errorf("%s: %v", target, err)
		}
		checkError(t, err, "revoke")
	}
}
