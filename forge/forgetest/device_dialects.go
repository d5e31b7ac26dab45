package forgetest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// GitHub, by docs.github.com: Authorizing OAuth apps, Device flow. It never asks for the secret, answers refusals with status
// 200 like its token endpoint, and 404 to whom it does not know.

func (g *github) deviceTraits() deviceTraits {
	return deviceTraits{path: "/login/device/code", page: "/login/device", ttl: 15 * time.Minute, optIn: true}
}

func (g *github) mintDevice() (deviceCode, userCode string) {
	raw := make([]byte, 20)
	_, _ = rand.Read(raw) // never fails
	code := drawn("BCDFGHJKLMNPQRSTVWXZ", 8)
	return hex.EncodeToString(raw), code[:4] + "-" + code[4:]
}

func drawn(alphabet string, n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails
	for i := range raw {
		raw[i] = alphabet[int(raw[i])%len(alphabet)]
	}
	return string(raw)
}

func (g *github) answerDevice(w http.ResponseWriter, r *http.Request, d device) {
	g.answer(w, r, [][2]string{
		{"device_code", d.code},
		{"user_code", d.userCode},
		{"verification_uri", g.f.root(r) + g.deviceTraits().page},
		{"expires_in", strconv.FormatInt(g.f.lifetime(d), 10)},
		{"interval", seconds(d.interval)},
	})
}

// lifetime is how many seconds a device code has.
func (f *Forge) lifetime(d device) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(d.expires.Sub(f.ledger.now()) / time.Second)
}

var githubDeviceRefusals = map[reason][2]string{
	deviceUndecided:   {"authorization_pending", "The authorization request is still pending."},
	polledTooSoon:     {"slow_down", "Too many requests have been made in the same timeframe."},
	expiredDeviceCode: {"expired_token", "This 'device_code' has expired."},
	badDeviceCode:     {"incorrect_device_code", "The device_code provided is not valid."},
	deniedByUser:      {"access_denied", "The authorization request was denied."},
	deviceFlowOff:     {"device_flow_disabled", "Device Flow must be explicitly enabled for this App"},
	unknownClient:     githubRefusals[unknownClient],
}

func (g *github) refuseDevice(w http.ResponseWriter, r *http.Request, why reason, interval time.Duration) {
	if why == unknownClient && r.URL.Path == g.deviceTraits().path {
		g.message(w, http.StatusNotFound, "Not Found")
		return
	}
	words := githubDeviceRefusals[why]
	values := [][2]string{
		{"error", words[0]},
		{"error_description", words[1]},
		{"error_uri", "https://docs.github.com/developers/apps/authorizing-oauth-apps#error-codes-for-the-device-flow"},
	}
	if why == polledTooSoon {
		values = append(values, [2]string{"interval", seconds(interval)})
	}
	g.answer(w, r, values)
}

// GitLab, by docs.gitlab.com: OAuth 2.0 identity provider API, Device authorization grant flow, and the Doorkeeper extension
// below it, which authenticates applications that are confidential.

func (g *gitlab) deviceTraits() deviceTraits {
	return deviceTraits{path: "/oauth/authorize_device", page: "/oauth/device", ttl: 5 * time.Minute, authenticates: true}
}

func (g *gitlab) mintDevice() (deviceCode, userCode string) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	return base64.RawURLEncoding.EncodeToString(raw), drawn("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", 8)
}

type gitlabDevice struct {
	DeviceCode              string `json:"device_code"`
	UserCode                string `json:"user_code"`
	VerificationURI         string `json:"verification_uri"`
	VerificationURIComplete string `json:"verification_uri_complete"`
	ExpiresIn               int64  `json:"expires_in"`
	Interval                int64  `json:"interval"`
}

func (g *gitlab) answerDevice(w http.ResponseWriter, r *http.Request, d device) {
	page := g.f.root(r) + g.deviceTraits().page
	noStore(w)
	writeJSON(w, http.StatusOK, gitlabJSON, gitlabDevice{
		DeviceCode: d.code, UserCode: d.userCode, VerificationURI: page,
		VerificationURIComplete: page + "?" + url.Values{"user_code": {d.userCode}}.Encode(),
		ExpiresIn:               g.f.lifetime(d), Interval: int64(d.interval / time.Second),
	})
}

var gitlabDeviceRefusals = map[reason][2]string{
	deviceUndecided:   {"authorization_pending", "The authorization request is still pending."},
	polledTooSoon:     {"slow_down", "You are polling too fast."},
	expiredDeviceCode: {"expired_token", "The device code has expired."},
	badDeviceCode:     {"invalid_grant", gitlabInvalidGrant},
	deniedByUser:      {"access_denied", "The resource owner or authorization server denied the request."},
	badScope:          {"invalid_scope", "The requested scope is invalid, unknown, or malformed."},
}

func (g *gitlab) refuseDevice(w http.ResponseWriter, r *http.Request, why reason, _ time.Duration) {
	words, ok := gitlabDeviceRefusals[why]
	if !ok {
		g.refuseGrant(w, r, refusal{reason: why})
		return
	}
	noStore(w)
	writeJSON(w, http.StatusBadRequest, gitlabJSON, gitlabError{Error: words[0], Description: words[1]})
}

// SlowDown answers one poll as if it had come too soon, and lengthens the interval as that does. Elsewhere it changes nothing.
func SlowDown() Fault {
	return Fault{"slow down", func(f *Forge, w http.ResponseWriter, r *http.Request) {
		dialect, ok := f.dialect.(deviceDialect)
		if !ok || r.URL.Path != f.traits.tokenPath {
			f.serve(w, r)
			return
		}
		code, interval := bodyValues(r).Get("device_code"), time.Duration(0)
		f.mu.Lock()
		if d := f.ledger.device(func(d *device) bool { return d.code == code }); d != nil {
			d.polled = f.ledger.now()
			d.interval += slowDownBy
			interval = d.interval
		}
		f.mu.Unlock()
		dialect.refuseDevice(w, r, polledTooSoon, interval)
	}}
}

// VerificationElsewhere answers a device authorization as usual, but sends the person to another address.
func VerificationElsewhere(address string) Fault {
	return altered(fmt.Sprintf("verification at %s", address), func(answer *captured) {
		body := answer.body.String()
		for _, field := range []string{`"verification_uri":"`, `"verification_uri_complete":"`} {
			body = replaceField(body, field, rawJSONString(address))
		}
		answer.body.Reset()
		answer.body.WriteString(strings.TrimSpace(body))
	})
}
