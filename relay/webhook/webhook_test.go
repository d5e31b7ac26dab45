package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/relay"
	"github.com/forgeauth/forgeauth/relay/webhook"
	"github.com/forgeauth/forgeauth/secret"
)

// newSecret is a webhook's secret, as text.
func newSecret() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return "whsec_" + base64.StdEncoding.EncodeToString(key)
}

// endpoint serves handle over TLS and returns a configuration that posts there.
func endpoint(t *testing.T, handle http.HandlerFunc) webhook.Config {
	t.Helper()
	server := httptest.NewTLSServer(handle)
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return webhook.Config{
		URL: secret.New(server.URL + "/hook?token=confidential"), Secrets: []secret.Text{secret.New(newSecret())},
		AllowPrivate: true, RootCAs: roots, UserAgent: "forgeauth/test",
	}
}

func publisher(t *testing.T, config webhook.Config) *webhook.Publisher {
	t.Helper()
	p, err := webhook.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func event(id, body string) *message.Message { return message.NewMessage(id, message.Payload(body)) }

func TestAnEventIsPostedAndSigned(t *testing.T) {
	t.Parallel()
	older, newer := newSecret(), newSecret()
	got := make(chan *http.Request, 1)
	bodies := make(chan string, 1)
	config := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r
		bodies <- string(body)
		w.WriteHeader(http.StatusAccepted)
	})
	config.Secrets = []secret.Text{secret.New(newer), secret.New(older)}
	config.Now = func() time.Time { return time.Unix(1_700_000_000, 0) }
	const id, sent = "0193/replay", `{"specversion":"1.0"}`
	if err := publisher(t, config).Publish("", event(id, sent)); err != nil {
		t.Fatal(err)
	}
	r, body := <-got, <-bodies
	if r.Method != http.MethodPost || r.URL.RequestURI() != "/hook?token=confidential" || body != sent {
		t.Errorf("%s %s with body %s", r.Method, r.URL, body)
	}
	want := map[string]string{
		"Content-Type": "application/cloudevents+json; charset=utf-8", "User-Agent": "forgeauth/test",
		"Webhook-Id": id, "Webhook-Timestamp": "1700000000", "Content-Length": fmt.Sprint(len(sent)),
		"Webhook-Signature": byHand(newer, id, 1_700_000_000, sent) + " " + byHand(older, id, 1_700_000_000, sent),
	}
	header := map[string]string{}
	for name := range r.Header {
		header[name] = r.Header.Get(name)
	}
	if diff := cmp.Diff(want, header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	// Who has either secret can verify it, by the library that the specification's authors keep; and nobody else.
	for name, s := range map[string]string{"the newer": newer, "the older": older, "another": newSecret()} {
		verifier, err := standardwebhooks.NewWebhook(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.VerifyIgnoringTimestamp([]byte(body), r.Header); (err == nil) != (name != "another") {
			t.Errorf("verified with %s secret: %v", name, err)
		}
		if err := verifier.VerifyIgnoringTimestamp([]byte(body+" "), r.Header); err == nil {
			t.Errorf("%s secret verifies another body", name)
		}
	}
}

// byHand signs as the specification says it.
func byHand(s, id string, timestamp int64, body string) string {
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "whsec_"))
	mac := hmac.New(sha256.New, key)
	mac.Write(fmt.Appendf(nil, "%s.%d.%s", id, timestamp, body))
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func TestTheSignatureIsThatOfThePublishedExample(t *testing.T) {
	t.Parallel()
	// https://github.com/standard-webhooks/standard-webhooks, the example of its libraries' tests.
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if got := byHand("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, `{"test": 2432232314}`); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTheStatusSaysWhoIsAtFault(t *testing.T) {
	t.Parallel()
	down, poison := events.ErrDestinationDown, events.ErrPoison
	for status, want := range map[int]error{
		200: nil, 204: nil, 299: nil, 301: down, 302: down, 307: down, 400: nil, 401: down, 403: down, 404: down, 405: down, 407: down,
		408: down, 409: nil, 410: down, 413: poison, 415: nil, 418: nil, 422: nil, 425: down, 429: down, 500: down, 501: down, 503: down, 599: down,
	} {
		config := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/hook" {
				t.Errorf("a redirect was followed to %s", r.URL.Path)
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "confidential")
		})
		err := publisher(t, config).Publish("", event("1", "{}"))
		if taken := status < 300; (err == nil) != taken {
			t.Errorf("%d: %v", status, err)
		} else if taken {
			continue
		}
		for _, class := range []error{down, poison} {
			if errors.Is(err, class) != (want == class) { //nolint:errorlint // it is the very one
				t.Errorf("%d is %v: want %v", status, err, want)
			}
		}
		if _, gone := errors.AsType[*webhook.GoneError](err); gone != (status == http.StatusGone) {
			t.Errorf("%d: gone is %v", status, gone)
		}
		if strings.Contains(err.Error(), "confidential") {
			t.Errorf("%d: the error tells what it must not: %v", status, err)
		}
	}
}

func TestRetryAfterIsReadAndBounded(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "-5": 0, "soon": 0, "99999999": 24 * time.Hour, "99999999999999999999": 0,
		now.Add(time.Hour).Format(http.TimeFormat): time.Hour, now.Add(-time.Hour).Format(http.TimeFormat): 0,
		now.AddDate(9, 0, 0).Format(http.TimeFormat): 24 * time.Hour,
	} {
		config := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", value)
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		config.Now = func() time.Time { return now }
		err := publisher(t, config).Publish("", event("1", "{}"))
		status, ok := errors.AsType[*webhook.StatusError](err)
		if !ok || status.RetryAfter() != want {
			t.Errorf("Retry-After %q: %v", value, err)
		}
	}
}

func TestAnEndpointThatDoesNotAnswerIsDown(t *testing.T) {
	t.Parallel()
	closed := httptest.NewTLSServer(http.NotFoundHandler())
	closed.Close()
	for name, change := range map[string]func(*webhook.Config){
		"nobody listens":          func(c *webhook.Config) { c.URL = secret.New(closed.URL + "/hook?token=confidential") },
		"it hangs":                func(c *webhook.Config) { c.Timeout = 100 * time.Millisecond },
		"another authority":       func(c *webhook.Config) { c.RootCAs = x509.NewCertPool() },
		"the connection is reset": func(c *webhook.Config) { c.UserAgent = "reset" },
	} {
		ends := make(chan struct{})
		config := endpoint(t, func(_ http.ResponseWriter, r *http.Request) {
			if r.UserAgent() == "reset" {
				panic(http.ErrAbortHandler)
			}
			<-ends
		})
		change(&config)
		err := publisher(t, config).Publish("", event("1", "{}"))
		close(ends)
		if !errors.Is(err, events.ErrDestinationDown) || strings.Contains(err.Error(), "confidential") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnEndlessAnswerIsNotReadToItsEnd(t *testing.T) {
	t.Parallel()
	config := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		for chunk := strings.Repeat("x", 1<<15); ; {
			if _, err := io.WriteString(w, chunk); err != nil {
				return
			}
		}
	})
	if err := publisher(t, config).Publish("", event("1", "{}")); err != nil {
		t.Error(err)
	}
}

func TestCloseAndTheMessagesContextEndARequest(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(context.CancelFunc, *webhook.Publisher){
		"close":   func(_ context.CancelFunc, p *webhook.Publisher) { _ = p.Close() },
		"context": func(cancel context.CancelFunc, _ *webhook.Publisher) { cancel() },
	} {
		under, ends := make(chan struct{}), make(chan struct{})
		p := publisher(t, endpoint(t, func(http.ResponseWriter, *http.Request) {
			close(under)
			<-ends
		}))
		ctx, cancel := context.WithCancel(t.Context())
		msg := event("1", "{}")
		msg.SetContext(ctx)
		result := make(chan error, 1)
		go func() { result <- p.Publish("", msg) }()
		<-under
		end(cancel, p)
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		close(ends)
	}
}

func TestOnlyPublicAddressesAreDialled(t *testing.T) {
	t.Parallel()
	reached := false
	config := endpoint(t, func(http.ResponseWriter, *http.Request) { reached = true })
	config.AllowPrivate = false
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(strings.TrimSuffix(config.URL.Reveal(), "/hook?token=confidential"), "https://"))
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"} {
		config.URL = secret.New("https://" + host + ":" + port)
		err := publisher(t, config).Publish("", event("1", "{}"))
		if _, refused := errors.AsType[*webhook.AddressError](err); !refused || !errors.Is(err, events.ErrDestinationDown) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if reached {
		t.Error("the endpoint was reached")
	}
}

func TestWhatCannotBePostedToIsRefused(t *testing.T) {
	t.Parallel()
	good := newSecret()
	for name, test := range map[string]struct {
		url     string
		secrets []string
		private bool
		setting string
	}{
		"a good one":                   {"https://example.org/hook?x=1", []string{good}, false, ""},
		"two secrets":                  {"https://example.org", []string{good, newSecret()}, false, ""},
		"http on a network of its own": {"http://10.0.0.7:8080/hook", []string{good}, true, ""},
		"http":                         {"http://example.org", []string{good}, false, "URL"},
		"another scheme":               {"ftp://example.org", []string{good}, true, "URL"},
		"no host":                      {"https:///hook", []string{good}, false, "URL"},
		"opaque":                       {"https:example.org", []string{good}, false, "URL"},
		"a user":                       {"https://confidential@example.org", []string{good}, false, "URL"},
		"a fragment":                   {"https://example.org/#x", []string{good}, false, "URL"},
		"damaged":                      {"https://example.org/%zz", []string{good}, false, "URL"},
		"no secret":                    {"https://example.org", nil, false, "SECRET"},
		"three secrets":                {"https://example.org", []string{good, good, good}, false, "SECRET"},
		"a secret without its prefix":  {"https://example.org", []string{strings.TrimPrefix(good, "whsec_")}, false, "SECRET"},
		"a short secret":               {"https://example.org", []string{"whsec_" + base64.StdEncoding.EncodeToString([]byte("confidential"))}, false, "SECRET"},
		"no base64":                    {"https://example.org", []string{"whsec_confidential!"}, false, "SECRET"},
	} {
		config := webhook.Config{URL: secret.New(test.url), AllowPrivate: test.private}
		for _, s := range test.secrets {
			config.Secrets = append(config.Secrets, secret.New(s))
		}
		_, err := webhook.New(config)
		fault, ok := errors.AsType[*relay.SettingError](err)
		switch {
		case test.setting == "" && err != nil, test.setting != "" && (!ok || fault.Setting != test.setting):
			t.Errorf("%s: %v", name, err)
		case err != nil && (strings.Contains(err.Error(), "confidential") || strings.Contains(err.Error(), good)):
			t.Errorf("%s: the error tells what it must not: %v", name, err)
		}
	}
}

func TestAnEndpointIsGivenUpWhenItIsGoneOrLongDown(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	down := fmt.Errorf("%w: refused", events.ErrDestinationDown)
	for name, test := range map[string]struct {
		err   error
		since time.Time
		want  bool
	}{
		"gone at once":          {&webhook.GoneError{}, time.Time{}, true},
		"down for the first":    {down, time.Time{}, false},
		"down for four days":    {down, now.Add(-96 * time.Hour), false},
		"down for five days":    {down, now.Add(-120 * time.Hour), true},
		"the event's own fault": {errors.New("422"), now.Add(-999 * time.Hour), false},
	} {
		reason, got := webhook.GiveUp{}.Decide(now, events.Delivery{FailingSince: test.since, Attempt: 31}, test.err)
		if got != test.want || got != (reason != "") {
			t.Errorf("%s: %v, %q", name, got, reason)
		}
	}
}
