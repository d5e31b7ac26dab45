package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/relay"
	"github.com/forgeauth/forgeauth/secret"
)

// Config says where events are posted.
type Config struct {
	// URL is https://…, or with AllowPrivate http://…. It may hold a secret in its path or query, and is not shown.
	URL secret.Text
	// Secrets sign each request, one signature for each: the one that counts, and the one before it while receivers are being told.
	Secrets []secret.Text
	// AllowPrivate lets the endpoint be at an address that is not public.
	AllowPrivate bool
	// RootCAs are the only authorities to trust; the system's if nil.
	RootCAs   *x509.CertPool
	UserAgent string
	// Timeout bounds a request with its answer; 15 seconds if zero.
	Timeout time.Duration
	// Now is the clock of the signature; the system's if nil.
	Now func() time.Time
}

// Publisher posts messages. It is a Watermill [message.Publisher] whose topics mean nothing. Safe for concurrent use.
type Publisher struct {
	config  Config
	signers []*standardwebhooks.Webhook
	client  *http.Client
	// closing ends what is under way.
	closing context.Context //nolint:containedctx // ended by Close
	close   context.CancelFunc
}

var _ message.Publisher = (*Publisher)(nil)

const (
	maxSecrets  = 2
	minSecret   = 24       // bytes; Standard Webhooks: 24 to 64
	maxSecret   = 64       //
	maxAnswer   = 64 << 10 // bytes that are read of an answer, so that its connection can be used again
	contentType = "application/cloudevents+json; charset=utf-8"
)

// New returns a publisher, or a *[relay.SettingError]. It connects to nothing yet.
func New(config Config) (*Publisher, error) {
	target, err := url.Parse(config.URL.Reveal())
	const form = "write https://<host>/<path>"
	refuse := func(setting, problem, remedy string) (*Publisher, error) {
		return nil, &relay.SettingError{Setting: setting, Problem: problem, Remedy: remedy}
	}
	switch {
	case err != nil || target.Host == "" || target.Opaque != "":
		return refuse("URL", "is not a URL with a host", form)
	case target.User != nil:
		return refuse("URL", "holds a user name", "leave it out: the signature says who is calling")
	case target.Fragment != "":
		return refuse("URL", "holds a fragment, which is never sent", "leave out what begins with #")
	case target.Scheme == "http" && !config.AllowPrivate:
		return refuse("URL", "is http", form+", or, for an endpoint on a network of your own, set ALLOW_PRIVATE=true as well")
	case target.Scheme != "https" && target.Scheme != "http":
		return refuse("URL", "is neither https nor http", form)
	case len(config.Secrets) == 0:
		return refuse("SECRET", "is missing", "make one with `echo whsec_$(openssl rand -base64 32)` and give it to the receiver too")
	case len(config.Secrets) > maxSecrets:
		return refuse("SECRET", "holds more than two secrets", "write the new one and the one before, separated by a space")
	}
	p := &Publisher{config: config}
	for _, s := range config.Secrets {
		encoded, ok := strings.CutPrefix(s.Reveal(), "whsec_")
		key, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(key) < minSecret || len(key) > maxSecret {
			return refuse("SECRET", "is not whsec_ and 24 to 64 bytes in base64", "make one with `echo whsec_$(openssl rand -base64 32)`")
		}
		signer, err := standardwebhooks.NewWebhookRaw(key)
		if err != nil {
			return nil, fmt.Errorf("webhook: %w", err)
		}
		p.signers = append(p.signers, signer)
	}
	if p.config.Timeout == 0 {
		p.config.Timeout = 15 * time.Second
	}
	if p.config.Now == nil {
		p.config.Now = time.Now
	}
	p.client = newClient(p.config, target.Scheme == "http")
	p.closing, p.close = context.WithCancel(context.Background())
	return p, nil
}

func newClient(config Config, plain bool) *http.Client {
	dialer := &net.Dialer{Timeout: config.Timeout, Control: guard(plain, config.AllowPrivate)}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: config.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    config.Timeout,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: maxAnswer,
			DisableCompression:     true,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       config.Timeout,
	}
}

// Publish posts the messages, one after the other; each has to be a CloudEvent in structured mode whose UUID is its id. The topic is
// not used. The error wraps [events.ErrDestinationDown] or [events.ErrPoison], or neither, as the package's documentation
// says; it may be a *[StatusError], a *[GoneError] or an *[AddressError].
func (p *Publisher) Publish(_ string, messages ...*message.Message) error {
	for _, msg := range messages {
		if err := p.post(msg); err != nil {
			return err
		}
	}
	return nil
}

func (p *Publisher) post(msg *message.Message) error {
	ctx, cancel := context.WithCancel(msg.Context())
	defer cancel()
	stop := context.AfterFunc(p.closing, cancel)
	defer stop()
	now := p.config.Now()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.config.URL.Reveal(), bytes.NewReader(msg.Payload))
	if err != nil {
		return errors.New("the endpoint's URL cannot be requested")
	}
	signature, err := p.sign(msg.UUID, now, msg.Payload)
	if err != nil {
		return err
	}
	request.Header = http.Header{
		"Content-Type": {contentType},
		"User-Agent":   {p.config.UserAgent},
		http.CanonicalHeaderKey(standardwebhooks.HeaderWebhookID):        {msg.UUID},
		http.CanonicalHeaderKey(standardwebhooks.HeaderWebhookTimestamp): {strconv.FormatInt(now.Unix(), 10)},
		http.CanonicalHeaderKey(standardwebhooks.HeaderWebhookSignature): {signature},
	}
	response, err := p.client.Do(request)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // which does not hold the URL
		}
		return fmt.Errorf("%w: %w", events.ErrDestinationDown, err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer) // what it says is not of interest, that it ends is
	return judge(response, p.config.Now())
}

func (p *Publisher) sign(id string, now time.Time, body []byte) (string, error) {
	signatures := make([]string, len(p.signers))
	for i, signer := range p.signers {
		signature, err := signer.Sign(id, now, body)
		if err != nil {
			return "", fmt.Errorf("sign: %w", err)
		}
		signatures[i] = signature
	}
	return strings.Join(signatures, " "), nil
}

// Close ends requests that are under way.
func (p *Publisher) Close() error {
	p.close()
	p.client.CloseIdleConnections()
	return nil
}
