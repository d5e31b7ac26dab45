package forge

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"
)

// The bounds of what a forge may answer, in bytes after decompression. What is longer is an answer that says nothing:
// [ErrUnavailable].
const (
	MaxTokenBody  = 1 << 20  // of the token, revoke and profile endpoints
	MaxAPIBody    = 8 << 20  // of one page of the API
	MaxClientBody = 64 << 20 // of what a program reads through [Port.HTTPClient]
)

// MaxAPIValues bounds the JSON values in an answer of the API: what is made of them takes up to five hundred times the
// room that they take in the body. A full page of any forge holds a tenth of that.
const MaxAPIValues = 1 << 17

const (
	defaultTimeout  = 30 * time.Second
	dialTimeout     = 10 * time.Second
	maxHeaderBytes  = 256 << 10
	maxIdlePerForge = 8
	idleTimeout     = 90 * time.Second
)

// Options are what a provider is given beside its connection. The zero value is fit for production.
type Options struct {
	// UserAgent is sent with every request, "forgeauth" if empty. GitHub refuses requests without one.
	UserAgent string
	// Now is the clock by which lifetimes and rate limits become times.
	Now func() time.Time
	// Timeout bounds one request from dialling to the last byte of the answer, 30 s if zero.
	Timeout time.Duration
	// Logger gets one debug line per request: method, host, path, status, duration. Never a query, header or body.
	Logger *slog.Logger
	// Proxy says how to reach the forge; nil is directly. Environment variables are not looked at: where a token goes
	// is decided by this program's own configuration. Pass [http.ProxyFromEnvironment] to have them honoured.
	Proxy func(*http.Request) (*url.URL, error)
}

// Dialect is how a kind of forge speaks where the common protocol leaves it open. Adapters fill one in.
type Dialect struct {
	// AuthorizePath and TokenPath are below the web root.
	AuthorizePath, TokenPath string
	// DevicePath is where a device authorization is asked for (RFC 8628 §3.1), below the web root; empty where the kind has
	// none. DeviceSecret says that the client authenticates with its secret there and when it polls.
	DevicePath   string
	DeviceSecret bool
	// ClientBasic says that the client authenticates at the token endpoint by HTTP Basic, its id and secret form-encoded
	// (RFC 6749 §2.3.1); else by parameters.
	ClientBasic bool
	// Accept is sent with API requests, "application/json" if empty.
	Accept string
	// SpentRefresh are the error codes with which the token endpoint says that a refresh token is no good: used, revoked,
	// expired, or of somebody else. All other codes are about the client or the request. ["invalid_grant"] if empty.
	SpentRefresh []string
	// Reason reads what an answer 3xx or 4xx says beyond its status; nil never reads any. It returns an error of this package,
	// such as [ErrUnsupported] for an issue tracker that is switched off or [ErrConflict] for a 422 about what is there already,
	// or nil for what the status says. It is not asked about 401, 403 and 429, and may not keep the body.
	Reason func(status int, body []byte) error
	// Refusal reads what the common rules leave undecided: an answer 403, 404 or 429, of which header and body are given. It
	// returns *[RateLimitedError], *[ScopeMissingError], [ErrTooLarge], [ErrForbidden] with a reason, or nil; now is the
	// clock's time. Of a 404, which says ErrNotFound, too, only a missing scope is kept. None may keep what it got.
	Refusal func(status int, header http.Header, body []byte, now time.Time) error
}

// Transport is the one way by which this module talks to a forge. Adapters embed it: it is the part of [Provider] that
// is the same everywhere. Safe for concurrent use.
type Transport struct {
	connection Connection
	dialect    Dialect
	api        string
	allowed    destinations
	agent      string
	now        func() time.Time
	timeout    time.Duration
	log        *slog.Logger

	// kept reuses connections. fresh dials for every request and serves those that must arrive at most once: a request
	// on a kept connection can fail because the forge was just closing it, and a single-use code would be lost to that.
	kept, fresh *http.Transport
}

// NewTransport checks the connection (see [Connection.Validate]) and returns its transport. It does no I/O.
func NewTransport(c Connection, d Dialect, o Options) (*Transport, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	api := APIBaseURL(c)
	allowed, err := newDestinations(api, c.BaseURL)
	if err != nil {
		return nil, err
	}
	t := &Transport{
		connection: c, dialect: d, api: api, allowed: allowed,
		agent:   cmp.Or(o.UserAgent, "forgeauth"),
		now:     o.Now,
		timeout: cmp.Or(o.Timeout, defaultTimeout),
		log:     o.Logger,
	}
	if t.now == nil {
		t.now = time.Now
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.dialect.Accept = cmp.Or(d.Accept, "application/json")
	t.kept = &http.Transport{
		Proxy:                  o.Proxy,
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dialTimeout,
		ResponseHeaderTimeout:  t.timeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConnsPerHost:    maxIdlePerForge,
		IdleConnTimeout:        idleTimeout,
		ForceAttemptHTTP2:      true,
	}
	t.fresh = t.kept.Clone()
	t.fresh.DisableKeepAlives = true
	// Whoever uses it bounds the wait, and Refresh does so by another measure of time.
	t.fresh.ResponseHeaderTimeout = 0
	return t, nil
}

// Connection implements [Provider].
func (t *Transport) Connection() Connection { return t.connection }

// APIBase is where the connection's API lives, without a trailing slash.
func (t *Transport) APIBase() string { return t.api }

// send makes one request over rt and logs it. Errors are what [unreachable] makes of them.
func (t *Transport) send(rt http.RoundTripper, req *http.Request) (*http.Response, error) {
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", t.agent)
	}
	start := t.now()
	resp, err := rt.RoundTrip(req)
	status := 0
	if err == nil {
		status = resp.StatusCode
	}
	t.log.LogAttrs(req.Context(), slog.LevelDebug, "forge request",
		slog.String("connection", t.connection.Name), slog.String("method", req.Method), slog.String("host", req.URL.Host),
		slog.String("path", req.URL.EscapedPath()), slog.Int("status", status), slog.Duration("took", t.now().Sub(start)))
	if err != nil {
		return nil, unreachable(err)
	}
	if status == http.StatusSwitchingProtocols {
		// net/http hands out the bare connection, whose reads no context ends. Nobody here asks to switch.
		closeBody(resp.Body)
		return nil, unavailable("it switched to another protocol")
	}
	return resp, nil
}

// once makes a request that must arrive at most once, follows nothing, and reads the answer whole. A request without
// GetBody is never sent again by net/http once a byte of it has been written.
func (t *Transport) once(req *http.Request) (*http.Response, []byte, error) {
	if !t.allowed.admitsRequest(req) {
		return nil, nil, ErrDestination
	}
	req.GetBody = nil
	resp, err := t.send(t.fresh, req)
	if err != nil {
		return nil, nil, err
	}
	body, err := readAll(resp, MaxTokenBody)
	return resp, body, err
}

// readAll reads and closes a body of at most limit bytes.
func readAll(resp *http.Response, limit int64) ([]byte, error) {
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, unreachable(err)
	case int64(len(body)) > limit:
		return nil, errTooLong
	}
	return body, nil
}

// withTimeout bounds one operation of our own.
func (t *Transport) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, t.timeout)
}

// fail names the connection and the operation in an error.
func (t *Transport) fail(op string, status int, err error) error {
	return &Error{Connection: t.connection.Name, Op: op, Status: status, Err: err}
}
