package forge

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/forgeauth/forgeauth/secret"
)

// DeviceGrantType is the grant_type of a poll (RFC 8628 §3.4).
const DeviceGrantType = "urn:ietf:params:oauth:grant-type:device_code"

// DeviceProvider is the part of [Provider] for sign-ins without a browser on this machine: the device authorization grant
// of RFC 8628.
type DeviceProvider interface {
	// StartDevice asks for a code that a person enters at the forge, in exactly one POST. It returns [ErrUnsupported],
	// without contacting anybody, where the kind has no device flow; [ErrDeviceFlowOff] where this instance or this
	// application has none; [ErrVerificationPage] where the forge would send the person elsewhere; *[ExchangeError]
	// for another refusal, *[RateLimitedError] and [ErrUnavailable].
	StartDevice(context.Context) (DeviceAuthorization, error)
	// PollDevice asks once, in exactly one POST, what has become of a device authorization. Wait for the interval that
	// it was started with, or that the poll before returned, before each call: forges punish haste. All five states are
	// answers and no errors. Errors are *[ExchangeError] (the code was used up, or is none), after which nothing is to
	// be hoped for, and *[RateLimitedError] and [ErrUnavailable], after which the next poll may succeed.
	PollDevice(context.Context, DeviceAuthorization) (DevicePoll, error)
}

// DeviceAuthorization is a device authorization response (RFC 8628 §3.2). Whoever holds DeviceCode gets the token once
// the person has agreed; the rest is for that person to see.
type DeviceAuthorization struct {
	DeviceCode secret.Text
	// UserCode is what the person enters: letters, digits, dashes and underscores, 40 at most.
	UserCode string
	// VerificationURI is where, on the connection's own origin.
	VerificationURI string
	// VerificationURIComplete has the code in it, on the same origin; empty where the forge gives none.
	VerificationURIComplete string
	ExpiresAt               time.Time
	// Interval is how long to wait before each poll, a second at least.
	Interval time.Duration
}

// DeviceState is what a forge says of a device authorization.
type DeviceState int

const (
	// DevicePending says that the person has not decided yet.
	DevicePending DeviceState = iota + 1
	// DeviceSlowDown is DevicePending by a forge that was asked too soon: the interval has grown.
	DeviceSlowDown
	// DeviceGranted says that the person agreed and the token is here. The code is used up.
	DeviceGranted
	// DeviceDenied says that the person said no.
	DeviceDenied
	// DeviceExpired says that nobody decided in time.
	DeviceExpired
)

// DevicePoll is the answer to one poll.
type DevicePoll struct {
	State DeviceState
	// Token is there in the state [DeviceGranted].
	Token Token
	// Interval is how long to wait before the next poll, in the states [DevicePending] and [DeviceSlowDown].
	Interval time.Duration
}

var (
	// ErrDeviceFlowOff says that the kind has a device flow and that this application cannot use it: GitHub has it
	// switched on in the application's settings, GitLab has it from 17.2 on, and an endpoint that does not know the
	// client id looks the same.
	ErrDeviceFlowOff = errors.New("the forge does not offer its device flow to this application: " +
		"enable it in the application's settings there, and check the client id")
	// ErrVerificationPage says that the forge names a page to enter the code at that is not its own, or is none.
	ErrVerificationPage = errors.New("the forge sends people to a page outside of its own address to enter the code: " +
		"check the connection's BASE_URL")
)

const (
	defaultInterval   = 5 * time.Second // RFC 8628 §3.2
	slowDownBy        = 5 * time.Second // RFC 8628 §3.5
	maxDeviceLifetime = time.Hour       // of a code, whatever the forge says
	maxUserCode       = 40
)

var userCodeShape = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_-]*$`)

// deviceStates are the error codes that are answers (RFC 8628 §3.5). GitHub documents expired_token and names
// token_expired in the same sentence.
var deviceStates = map[string]DeviceState{
	"authorization_pending": DevicePending,
	"slow_down":             DeviceSlowDown,
	"access_denied":         DeviceDenied,
	"expired_token":         DeviceExpired,
	"token_expired":         DeviceExpired,
}

// deviceAnswer is what both endpoints can say. The descriptions beside an error code are not read.
type deviceAnswer struct {
	Error string `json:"error"`

	DeviceCode              string   `json:"device_code"`
	UserCode                string   `json:"user_code"`
	VerificationURI         string   `json:"verification_uri"`
	VerificationURIComplete string   `json:"verification_uri_complete"`
	Interval                *float64 `json:"interval"`

	AccessToken  string  `json:"access_token"`
	TokenType    string  `json:"token_type"`
	RefreshToken string  `json:"refresh_token"`
	Scope        *string `json:"scope"`

	ExpiresIn any `json:"expires_in"` // of the codes or of the token
}

// StartDevice implements [Provider]. golang.org/x/oauth2 is not used for it: its errors hold the answer's body, and its
// polling keeps to itself when it asks and what it was told.
func (t *Transport) StartDevice(ctx context.Context) (DeviceAuthorization, error) {
	const op = "device"
	if t.dialect.DevicePath == "" {
		return DeviceAuthorization{}, t.fail(op, 0, ErrUnsupported)
	}
	form := url.Values{}
	if len(t.connection.Scopes) > 0 {
		form.Set("scope", strings.Join(t.connection.Scopes, " "))
	}
	asked := t.now()
	answer, status, err := t.postDevice(ctx, t.dialect.DevicePath, form)
	switch {
	case err != nil:
	case status == http.StatusNotFound, answer.Error == "device_flow_disabled", answer.Error == "unauthorized_client":
		// The last is what an Enterprise Server says whose device flow is off, for this application or altogether.
		err = ErrDeviceFlowOff
	case answer.Error != "":
		err = &ExchangeError{Code: reduceCode(answer.Error)}
	case status != http.StatusOK:
		err = unavailable("its device endpoint answered neither a code nor an error")
	}
	var authorization DeviceAuthorization
	if err == nil {
		authorization, err = t.readDevice(answer, asked)
	}
	if err != nil {
		return DeviceAuthorization{}, t.fail(op, status, err)
	}
	return authorization, nil
}

// PollDevice implements [Provider].
func (t *Transport) PollDevice(ctx context.Context, d DeviceAuthorization) (DevicePoll, error) {
	const op = "device"
	if t.dialect.DevicePath == "" {
		return DevicePoll{}, t.fail(op, 0, ErrUnsupported)
	}
	answer, status, err := t.postDevice(ctx, t.dialect.TokenPath, url.Values{
		"grant_type": {DeviceGrantType}, "device_code": {d.DeviceCode.Reveal()},
	})
	if err != nil {
		return DevicePoll{}, t.fail(op, status, err)
	}
	poll := DevicePoll{Interval: d.Interval}
	if answer.Error != "" {
		code := reduceCode(answer.Error)
		state, ok := deviceStates[code]
		if !ok {
			return DevicePoll{}, t.fail(op, status, &ExchangeError{Code: code})
		}
		if poll.State = state; state == DeviceSlowDown {
			// GitHub says by how much; it is never less than the RFC's five seconds.
			poll.Interval = max(d.Interval+slowDownBy, readInterval(answer.Interval))
		}
		return poll, nil
	}
	if status != http.StatusOK || answer.AccessToken == "" {
		return DevicePoll{}, t.fail(op, status, unavailable("its token endpoint answered neither a token nor an error"))
	}
	poll.State = DeviceGranted
	if poll.Token, err = answer.token(t.now()); err != nil {
		return DevicePoll{}, t.fail(op, status, err)
	}
	return poll, nil
}

// postDevice makes one request as the OAuth client and reads an answer that says something: a status that the protocol has,
// and JSON. A 404 may be any page.
func (t *Transport) postDevice(ctx context.Context, path string, form url.Values) (answer deviceAnswer, status int, err error) {
	ctx, cancel := t.withTimeout(ctx)
	defer cancel()
	form.Set("client_id", t.connection.ClientID)
	if t.dialect.DeviceSecret {
		form.Set("client_secret", t.connection.ClientSecret.Reveal())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.connection.BaseURL+path, strings.NewReader(form.Encode()))
	if err != nil {
		return answer, 0, ErrDestination
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json") // without it GitHub answers a form
	resp, body, err := t.once(req)               //nolint:bodyclose // once has closed it
	if resp != nil {
		status = resp.StatusCode
	}
	if err == nil {
		err = t.judgeTokenAnswer(resp, body)
	}
	if err != nil {
		return answer, status, err
	}
	// What is wrong with the JSON quotes it, and is not said.
	if json.Unmarshal(body, &answer) != nil && status != http.StatusNotFound {
		return deviceAnswer{}, status, unavailable("its answer is no JSON of the device flow")
	}
	return answer, status, nil
}

// readDevice checks what a person will be shown and the rest of a device authorization, whose life began when it was asked
// for.
func (t *Transport) readDevice(answer deviceAnswer, asked time.Time) (DeviceAuthorization, error) {
	if !IsToken(answer.DeviceCode) || len(answer.UserCode) > maxUserCode || !userCodeShape.MatchString(answer.UserCode) {
		return DeviceAuthorization{}, unavailable("it gave no code, or one that no person could enter")
	}
	lifetime, err := readLifetime(answer.ExpiresIn)
	if err != nil || lifetime == 0 {
		return DeviceAuthorization{}, unavailable("it gave a code without a lifetime")
	}
	d := DeviceAuthorization{
		DeviceCode: secret.New(answer.DeviceCode), UserCode: answer.UserCode,
		ExpiresAt: asked.Add(min(lifetime, maxDeviceLifetime)), Interval: readInterval(answer.Interval),
	}
	if d.VerificationURI, err = t.ownPage(answer.VerificationURI); err != nil {
		return DeviceAuthorization{}, err
	}
	if answer.VerificationURIComplete != "" {
		if d.VerificationURIComplete, err = t.ownPage(answer.VerificationURIComplete); err != nil {
			return DeviceAuthorization{}, err
		}
	}
	return d, nil
}

// ownPage returns an address that a person can be sent to: on the origin of the connection's web root, spelled in printable
// ASCII. The path prefix is not asked for: GitLab is known to leave it out.
func (t *Transport) ownPage(address string) (string, error) {
	page, err := url.Parse(address)
	if err != nil || !IsClean(address) || page.Opaque != "" || page.User != nil {
		return "", ErrVerificationPage
	}
	base, err := url.Parse(t.connection.BaseURL)
	if err != nil {
		return "", ErrVerificationPage // connections are validated before they come here
	}
	host, ok := comparableHost(page.Hostname())
	if !ok || page.Scheme != base.Scheme || host != base.Hostname() || portOf(page) != portOf(base) {
		return "", ErrVerificationPage
	}
	page.Fragment, page.RawFragment = "", ""
	if !isVisibleASCII(page.String()) {
		return "", ErrVerificationPage
	}
	return page.String(), nil
}

// readInterval reads seconds to wait, rounded up; five where the forge does not say. Absurd ones are as long as the code lives
// at most, so that it is polled for once.
func readInterval(raw *float64) time.Duration {
	if raw == nil || math.IsNaN(*raw) || *raw <= 0 {
		return defaultInterval
	}
	return time.Duration(min(math.Ceil(*raw), maxDeviceLifetime.Seconds())) * time.Second
}

// token reads what was granted by the rules of every other grant.
func (a deviceAnswer) token(now time.Time) (Token, error) {
	extra := map[string]any{"expires_in": a.ExpiresIn}
	if a.Scope != nil {
		extra["scope"] = *a.Scope
	}
	granted := &oauth2.Token{AccessToken: a.AccessToken, RefreshToken: a.RefreshToken, TokenType: a.TokenType}
	return readToken(granted.WithExtra(extra), now)
}
