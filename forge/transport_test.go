package forge_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

// marker stands in every body and Location of these servers; it must show up in no error and no log line.
const (
	marker      = "bodymarker7391"
	accessToken = "gho_accesstoken4471"
	codeSecret  = "codesecret5512"
)

type server struct {
	*httptest.Server
	transport *forge.Transport
	log       *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

var clock = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// serve starts a server and a transport to it, and checks in the end that nothing leaked into the log.
func serve(t *testing.T, handler http.HandlerFunc, options ...func(*forge.Connection, *forge.Options)) *server {
	t.Helper()
	s := &server{Server: httptest.NewServer(handler), log: &lockedBuffer{}}
	t.Cleanup(s.Close)
	s.transport = newTransport(t, s.URL, s.log, options...)
	t.Cleanup(func() { checkClean(t, s.log.String()) })
	return s
}

func newTransport(t *testing.T, base string, log io.Writer, options ...func(*forge.Connection, *forge.Options)) *forge.Transport {
	t.Helper()
	c := forge.Connection{
		Name: "work", Kind: forge.Gitea, BaseURL: base, ClientID: "client-1",
		ClientSecret: secret.New("clientsecret8823"), Scopes: []string{"read:user", "write:repository"},
	}
	o := forge.Options{
		Now:    func() time.Time { return clock },
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, option := range options {
		option(&c, &o)
	}
	transport, err := forge.NewTransport(c, forge.Dialect{AuthorizePath: "/authorize", TokenPath: "/token"}, o)
	if err != nil {
		t.Fatal(err)
	}
	return transport
}

func checkClean(t *testing.T, text string) {
	t.Helper()
	for _, hidden := range []string{marker, accessToken, codeSecret, "clientsecret8823", "verifier6634", "state=", "?"} {
		if strings.Contains(text, hidden) {
			t.Errorf("%q shows up in %q", hidden, text)
		}
	}
}

func (s *server) exchange(ctx context.Context) (forge.Token, error) {
	return s.transport.Exchange(ctx, forge.ExchangeRequest{Code: codeSecret, RedirectURI: "http://127.0.0.1/cb", Verifier: "verifier6634"})
}

func (s *server) caller() *forge.Caller {
	return s.transport.Caller(forge.Binding{Connection: "work"}, forge.StaticToken(forge.Token{Access: secret.New(accessToken)}))
}

type profile struct {
	ID int64 `json:"id"`
}

func TestExchangeSendsOneForm(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/token" || r.Header.Get("Accept") != "application/json" ||
			r.Header.Get("User-Agent") != "forgeauth" || r.Header.Get("Authorization") != "" {
			t.Errorf("%s %s %v", r.Method, r.URL.Path, r.Header)
		}
		want := url.Values{
			"grant_type": {"authorization_code"}, "code": {codeSecret}, "redirect_uri": {"http://127.0.0.1/cb"},
			"code_verifier": {"verifier6634"}, "client_id": {"client-1"}, "client_secret": {"clientsecret8823"},
		}
		if _ = r.ParseForm(); r.PostForm.Encode() != want.Encode() || r.URL.RawQuery != "" {
			t.Errorf("form %v", r.PostForm)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"`+accessToken+`","token_type":"Bearer","expires_in":"3600","refresh_token":"r1","scope":"a,b"}`)
	})
	token, err := s.exchange(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if token.Access.Reveal() != accessToken || token.Refresh.Reveal() != "r1" || !token.ExpiresAt.Equal(clock.Add(time.Hour)) ||
		len(token.Scopes) != 2 {
		t.Fatalf("%+v", token)
	}
}

func TestExchangeReadsEveryAnswer(t *testing.T) {
	t.Parallel()
	const ok = `"token_type":"bearer"`
	for name, test := range map[string]struct {
		status      int
		contentType string
		header      string
		body        string
		code        string // of an ExchangeError
		limited     bool
		fine        bool
	}{
		"a token":                             {body: `{"access_token":"t",` + ok + `}`, fine: true},
		"a token of 16 KiB":                   {body: `{"access_token":"` + strings.Repeat("t", 16<<10) + `",` + ok + `}`, fine: true},
		"a token in a form":                   {contentType: "application/x-www-form-urlencoded", body: "access_token=t&token_type=bearer&scope=repo", fine: true},
		"unknown fields":                      {body: `{"access_token":"t","x":[{"y":1}],` + ok + `}`, fine: true},
		"an error with status 400":            {status: 400, body: `{"error":"invalid_grant","error_description":"` + marker + `"}`, code: "invalid_grant"},
		"an error with status 401":            {status: 401, body: `{"error":"invalid_client"}`, code: "invalid_client"},
		"an error with status 200":            {body: `{"error":"bad_verification_code","error_description":"` + marker + `"}`, code: "bad_verification_code"},
		"an error in a form":                  {contentType: "application/x-www-form-urlencoded", body: "error=bad_verification_code", code: "bad_verification_code"},
		"an error beside a token":             {body: `{"error":"invalid_grant","access_token":"t",` + ok + `}`, code: "invalid_grant"},
		"an error that quotes":                {status: 400, body: `{"error":"1<2> 3"}`, code: "unrecognised"},
		"status 400 without an error":         {status: 400, body: `{"message":"` + marker + `"}`},
		"status 404 with a page":              {status: 404, contentType: "text/html", body: "<html>" + marker},
		"status 403":                          {status: 403, body: marker},
		"status 429":                          {status: 429, header: "Retry-After: 60", body: marker, limited: true},
		"status 500":                          {status: 500, body: `{"error":"invalid_grant"}`},
		"status 503 with a page":              {status: 503, contentType: "text/html", body: marker},
		"status 201":                          {status: 201, body: `{"access_token":"t",` + ok + `}`, fine: true},
		"a redirect":                          {status: 302, header: "Location: https://evil.example/?" + marker, body: marker},
		"a redirect that keeps the method":    {status: 307, header: "Location: /token?" + marker},
		"a redirect with a broken Location":   {status: 302, header: "Location: http://[" + marker},
		"a page with status 200":              {contentType: "text/html", body: "<html>" + marker},
		"JSON cut off":                        {body: `{"access_token":"t` + marker},
		"JSON of another shape":               {body: `["` + marker + `"]`},
		"no token":                            {body: `{"token_type":"bearer","expires_in":1}`},
		"an empty body":                       {body: ""},
		"a token that is a number":            {body: `{"access_token":5,` + ok + `}`},
		"a token with a line break":           {body: `{"access_token":"t\nX-Evil: 1",` + ok + `}`},
		"a token with a space":                {body: `{"access_token":"t t",` + ok + `}`},
		"a token that is not ASCII":           {body: `{"access_token":"tü",` + ok + `}`},
		"a token longer than 16 KiB":          {body: `{"access_token":"` + strings.Repeat("t", 16<<10+1) + `",` + ok + `}`},
		"a refresh token with a line break":   {body: `{"access_token":"t","refresh_token":"r\r\n",` + ok + `}`},
		"no token type":                       {body: `{"access_token":"t"}`},
		"a MAC token":                         {body: `{"access_token":"t","token_type":"mac"}`},
		"a negative lifetime":                 {body: `{"access_token":"t","expires_in":-1,` + ok + `}`},
		"a lifetime below all integers":       {body: `{"access_token":"t","expires_in":-99999999999999999999,` + ok + `}`},
		"a lifetime just below 32 bits":       {body: `{"access_token":"t","expires_in":-2147483649,` + ok + `}`},
		"a lifetime in words":                 {body: `{"access_token":"t","expires_in":"soon",` + ok + `}`},
		"a body longer than 1 MiB":            {body: `{"access_token":"t",` + ok + `,"x":"` + strings.Repeat("x", forge.MaxTokenBody) + `"}`},
		"a body of a compressed bomb's shape": {body: `{"access_token":"t",` + ok + `}` + strings.Repeat(" ", forge.MaxTokenBody)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var posts atomic.Int32
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				posts.Add(1)
				if name, value, ok := strings.Cut(test.header, ": "); ok {
					w.Header().Set(name, value)
				}
				w.Header().Set("Content-Type", "application/json")
				if test.contentType != "" {
					w.Header().Set("Content-Type", test.contentType)
				}
				if test.status != 0 {
					w.WriteHeader(test.status)
				}
				_, _ = io.WriteString(w, test.body)
			})
			token, err := s.exchange(t.Context())
			if n := posts.Load(); n != 1 {
				t.Errorf("%d requests", n)
			}
			if test.fine {
				if err != nil || token.Access.IsZero() {
					t.Fatal(err)
				}
				return
			}
			var refused *forge.ExchangeError
			var limited *forge.RateLimitedError
			switch {
			case err == nil:
				t.Fatal("no error")
			case test.code != "":
				if !errors.As(err, &refused) || refused.Code != test.code || errors.Is(err, forge.ErrUnavailable) {
					t.Fatalf("%v", err)
				}
			case test.limited:
				if !errors.As(err, &limited) || !limited.Until.Equal(clock.Add(time.Minute)) {
					t.Fatalf("%v", err)
				}
			case !errors.Is(err, forge.ErrUnavailable):
				t.Fatalf("%v", err)
			}
			if !token.Access.IsZero() {
				t.Fatal("a token beside an error")
			}
			checkError(t, err, "exchange")
		})
	}
}

// checkError checks the frame of an error and that it holds nothing of body or secrets, however printed.
func checkError(t *testing.T, err error, op string) {
	t.Helper()
	var framed *forge.Error
	if !errors.As(err, &framed) || framed.Connection != "work" || framed.Op != op {
		t.Errorf("%v does not name connection and operation", err)
	}
	checkClean(t, fmt.Sprintf("%v %+v %q", err, err, err))
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		checkClean(t, inner.Error())
	}
}

func TestWhatNeverBecomesAnAnswer(t *testing.T) {
	t.Parallel()
	raw := func(answer string) func(net.Conn) {
		return func(conn net.Conn) { _, _ = io.WriteString(conn, answer) }
	}
	for name, test := range map[string]struct {
		behave func(net.Conn)
		says   string
	}{
		"a connection cut at once":          {func(net.Conn) {}, "cut"},
		"what is not HTTP":                  {raw(marker + "\r\n\r\n"), "not HTTP"},
		"a broken header":                   {raw("HTTP/1.1 200 OK\r\n" + marker + "\r\n\r\n"), "not HTTP"},
		"a broken status":                   {raw("HTTP/1.1 " + marker + " OK\r\n\r\n"), "not HTTP"},
		"a body shorter than announced":     {raw("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"id\":1}" + marker), "cut"},
		"a broken chunk":                    {raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + marker + "\r\n"), "not HTTP"},
		"headers without end":               {raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat(marker, 40_000)), "not HTTP"},
		"a compressed body that is not one": {raw("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 14\r\n\r\n" + marker), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = listener.Close() })
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					buffer := make([]byte, 4096)
					_, _ = conn.Read(buffer)
					test.behave(conn)
					_ = conn.Close()
				}
			}()
			log := &lockedBuffer{}
			s := &server{transport: newTransport(t, "http://"+listener.Addr().String(), log)}
			_, exchangeErr := s.exchange(t.Context())
			_, profileErr := forge.Profile[profile](t.Context(), s.caller(), "account", "/user")
			for op, err := range map[string]error{"exchange": exchangeErr, "account": profileErr} {
				if !errors.Is(err, forge.ErrUnavailable) || !strings.Contains(err.Error(), test.says) {
					t.Errorf("%s: %v", op, err)
				}
				checkError(t, err, op)
			}
			checkClean(t, log.String())
		})
	}
}

func TestACallerWhoGivesUpCanTell(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	arrived := make(chan struct{}, 4)
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	for op, call := range map[string]func(context.Context) error{
		"exchange": func(ctx context.Context) error { _, err := s.exchange(ctx); return err },
		"account": func(ctx context.Context) error {
			_, err := forge.Profile[profile](ctx, s.caller(), "account", "/user")
			return err
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-arrived; cancel() }()
		err := call(ctx)
		if !errors.Is(err, context.Canceled) || !errors.Is(err, forge.ErrUnavailable) {
			t.Errorf("%s: %v", op, err)
		}
		checkError(t, err, op)
	}
}

func TestOurOwnTimeoutIsTheForgesSilence(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}, func(_ *forge.Connection, o *forge.Options) { o.Timeout = 50 * time.Millisecond })
	t.Cleanup(func() { close(release) })
	_, exchangeErr := s.exchange(t.Context())
	_, profileErr := forge.Profile[profile](t.Context(), s.caller(), "account", "/user")
	for op, err := range map[string]error{"exchange": exchangeErr, "account": profileErr} {
		if !errors.Is(err, forge.ErrUnavailable) || errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", op, err)
		}
		checkError(t, err, op)
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	forgeServer := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"id":1}`)
	}))
	t.Cleanup(forgeServer.Close)
	forgeServer.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	pool := x509.NewCertPool()
	pool.AddCert(forgeServer.Certificate())
	ask := func(base string, roots *x509.CertPool) error {
		s := &server{transport: newTransport(t, base, io.Discard, func(c *forge.Connection, _ *forge.Options) { c.RootCAs = roots })}
		_, err := forge.Profile[profile](t.Context(), s.caller(), "account", "/user")
		return err
	}
	if err := ask(forgeServer.URL, pool); err != nil {
		t.Error(err)
	}
	_, port, _ := net.SplitHostPort(forgeServer.Listener.Addr().String())
	for says, err := range map[string]error{
		"CA_FILE":         ask(forgeServer.URL, nil),
		"for another":     ask("https://localhost:"+port, pool),
		"HTTP 400":        ask("http://127.0.0.1:"+port, pool),
		"nothing answers": ask("https://127.0.0.1:1", pool),
	} {
		if !errors.Is(err, forge.ErrUnavailable) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v does not say %q", err, says)
		}
	}
	outdated := httptest.NewUnstartedServer(forgeServer.Config.Handler)
	outdated.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} //nolint:gosec // this is what is refused
	outdated.Config.ErrorLog = forgeServer.Config.ErrorLog
	outdated.StartTLS()
	t.Cleanup(outdated.Close)
	if err := ask(outdated.URL, pool); !errors.Is(err, forge.ErrUnavailable) {
		t.Errorf("TLS 1.1: %v", err)
	}
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	if err := ask(strings.Replace(plain.URL, "http:", "https:", 1), pool); !strings.Contains(err.Error(), "does not speak TLS") {
		t.Error(err)
	}
}

//nolint:paralleltest // it sets the environment
func TestEnvironmentProxiesAreNotUsed(t *testing.T) {
	var proxied atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied.Add(1) }))
	t.Cleanup(proxy.Close)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	// A host that the rule "no proxy for loopback" does not cover, and that does not resolve.
	ask := func(options ...func(*forge.Connection, *forge.Options)) {
		s := &server{transport: newTransport(t, "http://forge.invalid", io.Discard, options...)}
		_, _ = s.exchange(t.Context())
		_, _ = forge.Profile[profile](t.Context(), s.caller(), "account", "/user")
	}
	ask()
	if n := proxied.Load(); n != 0 {
		t.Errorf("%d requests went to the environment's proxy", n)
	}
	to, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	ask(func(_ *forge.Connection, o *forge.Options) { o.Proxy = http.ProxyURL(to) })
	if n := proxied.Load(); n != 2 {
		t.Errorf("%d of 2 requests went to the configured proxy", n)
	}
}
