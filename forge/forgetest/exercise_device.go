package forgetest

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

// exerciseDevice is the device flow of RFC 8628, or that there is none.
func exerciseDevice(t *testing.T, x *exercise) {
	t.Helper()
	if !x.hasDeviceFlow() {
		t.Run("a kind without a device flow says so and contacts nobody", func(t *testing.T) {
			t.Parallel()
			b := x.bench(t)
			_, err := b.provider.StartDevice(t.Context())
			b.fails(t, "device", err, forge.ErrUnsupported)
			_, err = b.provider.PollDevice(t.Context(), forge.DeviceAuthorization{DeviceCode: secret.New("code")})
			b.fails(t, "device", err, forge.ErrUnsupported)
			if b.Count(AnyEndpoint) != 0 {
				t.Error("the forge was contacted")
			}
		})
		return
	}
	t.Run("a person agrees on the forge's page", x.deviceGranted)
	t.Run("a person says no", x.deviceDenied)
	t.Run("nobody decides in time", x.deviceExpired)
	t.Run("who asks too soon is told to slow down, for good", x.deviceSlowedDown)
	t.Run("one code is one token", x.deviceOnce)
	t.Run("the client is refused", x.deviceClientRefused)
	t.Run("the person is sent nowhere else", x.deviceElsewhere)
	t.Run("a forge that answers nonsense decides nothing", x.deviceFaults)
}

func (x *exercise) hasDeviceFlow() bool {
	d := x.config.Dialect
	return d.isGitHub() || d == GitLab
}

// deviceBench is a bench on a clock that is moved.
type deviceBench struct {
	*bench

	mu  sync.Mutex
	now time.Time
}

func (d *deviceBench) advance(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = d.now.Add(by)
}

func (x *exercise) deviceBench(t *testing.T) *deviceBench {
	t.Helper()
	d := &deviceBench{now: exerciseClock}
	d.bench = x.bench(t, func(c *Config, _ *forge.Connection) {
		c.Clients[0].DeviceFlow = true
		c.Now = func() time.Time {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.now
		}
	})
	return d
}

func (d *deviceBench) start(t *testing.T) forge.DeviceAuthorization {
	t.Helper()
	authorization, err := d.provider.StartDevice(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return authorization
}

// poll waits for the interval and expects the state.
func (d *deviceBench) poll(t *testing.T, authorization forge.DeviceAuthorization, want forge.DeviceState) forge.DevicePoll {
	t.Helper()
	d.advance(authorization.Interval)
	return d.pollAtOnce(t, authorization, want)
}

func (d *deviceBench) pollAtOnce(t *testing.T, authorization forge.DeviceAuthorization, want forge.DeviceState) forge.DevicePoll {
	t.Helper()
	before := d.Count(AnyEndpoint)
	poll, err := d.provider.PollDevice(t.Context(), authorization)
	if err != nil || poll.State != want {
		t.Fatalf("state %d, %v; want %d", poll.State, err, want)
	}
	if n := d.Count(AnyEndpoint) - before; n != 1 {
		t.Errorf("%d requests for one poll", n)
	}
	return poll
}

func (x *exercise) deviceGranted(t *testing.T) {
	t.Parallel()
	d := x.deviceBench(t)
	authorization := d.start(t)
	if n := d.Count(AnyEndpoint); n != 1 {
		t.Errorf("%d requests to start", n)
	}
	page, err := url.Parse(authorization.VerificationURI)
	if err != nil || page.Scheme+"://"+page.Host != d.URL() {
		t.Errorf("the person is sent to %s", authorization.VerificationURI)
	}
	complete := authorization.VerificationURIComplete
	if (x.config.Dialect == GitLab) != strings.HasSuffix(complete, "?user_code="+authorization.UserCode) {
		t.Errorf("with the code in it: %q", complete)
	}
	if authorization.Interval != 5*time.Second || len(authorization.UserCode) < 8 || !authorization.ExpiresAt.After(exerciseClock.Add(4*time.Minute)) {
		t.Errorf("%+v", authorization)
	}
	if got := d.poll(t, authorization, forge.DevicePending); got.Interval != authorization.Interval || !got.Token.Access.IsZero() {
		t.Errorf("%+v", got)
	}
	if err := d.ApproveDevice(t.Context(), authorization.UserCode, exerciseLogin); err != nil {
		t.Fatal(err)
	}
	token := d.poll(t, authorization, forge.DeviceGranted).Token
	if d.traits.accessTTL == 0 != token.ExpiresAt.IsZero() || d.traits.refreshTTL == 0 != token.Refresh.IsZero() {
		t.Errorf("expires at %v, refresh token %t", token.ExpiresAt, !token.Refresh.IsZero())
	}
	switch { // a GitHub App's token has none, which is not the same as none of them
	case x.config.Dialect == GitHubApp && token.Scopes != nil,
		x.config.Dialect != GitHubApp && !slices.Equal(token.Scopes, d.provider.Connection().Scopes):
		t.Errorf("scopes: %#v", token.Scopes)
	}
	account, err := d.bind(token).Account(t.Context())
	if diff := cmp.Diff(forge.Account{ID: "4711", Login: exerciseLogin}, account); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	// Both requests say no more than they have to, and the secret goes where it is asked for.
	for endpoint, want := range map[Endpoint][]string{
		DeviceEndpoint: {"client_id", "scope"}, PollEndpoint: {"client_id", "device_code", "grant_type"},
	} {
		if x.config.Dialect == GitLab {
			want = append(want, "client_secret")
			slices.Sort(want)
		}
		for _, sent := range d.requests(endpoint) {
			if diff := cmp.Diff(want, sent.Form); diff != "" || len(sent.Query) != 0 || sent.AuthScheme != "" || sent.Accept != "application/json" {
				t.Errorf("%s: query %v, authorization %q, Accept %q, form %s", endpoint, sent.Query, sent.AuthScheme, sent.Accept, diff)
			}
		}
	}
}

func (x *exercise) deviceDenied(t *testing.T) {
	t.Parallel()
	d := x.deviceBench(t)
	authorization := d.start(t)
	if err := d.DenyDevice(t.Context(), authorization.UserCode, exerciseLogin); err != nil {
		t.Fatal(err)
	}
	d.poll(t, authorization, forge.DeviceDenied)
	if err := d.ApproveDevice(t.Context(), authorization.UserCode, exerciseLogin); err == nil {
		t.Error("a code that was denied could be entered again")
	}
}

func (x *exercise) deviceExpired(t *testing.T) {
	t.Parallel()
	d := x.deviceBench(t)
	authorization := d.start(t)
	d.advance(authorization.ExpiresAt.Sub(exerciseClock))
	if err := d.ApproveDevice(t.Context(), authorization.UserCode, exerciseLogin); err == nil {
		t.Error("an expired code could be entered")
	}
	d.poll(t, authorization, forge.DeviceExpired)
}

func (x *exercise) deviceSlowedDown(t *testing.T) {
	t.Parallel()
	d := x.deviceBench(t)
	authorization := d.start(t)
	slower := d.pollAtOnce(t, authorization, forge.DeviceSlowDown)
	if want := authorization.Interval + 5*time.Second; slower.Interval != want {
		t.Fatalf("the interval is %v, want %v", slower.Interval, want)
	}
	if err := d.ApproveDevice(t.Context(), authorization.UserCode, exerciseLogin); err != nil {
		t.Fatal(err)
	}
	// The former interval is too short now, the new one is not.
	slowest := d.poll(t, authorization, forge.DeviceSlowDown)
	authorization.Interval = slowest.Interval + 5*time.Second // the forge's has grown twice, ours from the first answer once
	d.poll(t, authorization, forge.DeviceGranted)
}

func (x *exercise) deviceOnce(t *testing.T) {
	t.Parallel()
	d := x.deviceBench(t)
	first, second := d.start(t), d.start(t)
	if first.UserCode == second.UserCode || first.DeviceCode.Equal(second.DeviceCode) {
		t.Fatal("two devices have one code")
	}
	if err := d.ApproveDevice(t.Context(), second.UserCode, exerciseLogin); err != nil {
		t.Fatal(err)
	}
	d.poll(t, first, forge.DevicePending)
	d.poll(t, second, forge.DeviceGranted)
	d.advance(second.Interval)
	_, err := d.provider.PollDevice(t.Context(), second)
	used := map[bool]string{true: "invalid_grant", false: "incorrect_device_code"}[x.config.Dialect == GitLab]
	if refused := failsAs[*forge.ExchangeError](t, d.bench, "device", err); refused.Code != used {
		t.Errorf("a code that was used up: %s, want %s", refused.Code, used)
	}
	_, err = d.provider.PollDevice(t.Context(), forge.DeviceAuthorization{DeviceCode: secret.New(exerciseMark)})
	if refused := failsAs[*forge.ExchangeError](t, d.bench, "device", err); refused.Code != used {
		t.Errorf("a code that never was: %s, want %s", refused.Code, used)
	}
}

func (x *exercise) deviceClientRefused(t *testing.T) {
	t.Parallel()
	t.Run("an application that is unknown", func(t *testing.T) {
		t.Parallel()
		d := x.deviceBench(t)
		d.DeleteApp("exercise-client")
		_, err := d.provider.StartDevice(t.Context())
		if x.config.Dialect == GitLab {
			if refused := failsAs[*forge.ExchangeError](t, d.bench, "device", err); refused.Code != "invalid_client" {
				t.Errorf("code %s", refused.Code)
			}
			return
		}
		d.fails(t, "device", err, forge.ErrDeviceFlowOff)
	})
	if x.config.Dialect == GitLab {
		t.Run("a client secret that was replaced", func(t *testing.T) {
			t.Parallel()
			d := x.deviceBench(t)
			authorization := d.start(t)
			d.RotateClientSecret("exercise-client", "replaced")
			_, err := d.provider.StartDevice(t.Context())
			d.advance(authorization.Interval)
			_, pollErr := d.provider.PollDevice(t.Context(), authorization)
			for _, err := range []error{err, pollErr} {
				if refused := failsAs[*forge.ExchangeError](t, d.bench, "device", err); refused.Code != "invalid_client" {
					t.Errorf("code %s", refused.Code)
				}
			}
		})
		return
	}
	t.Run("an application without the flow", func(t *testing.T) {
		t.Parallel()
		b := x.bench(t)
		_, err := b.provider.StartDevice(t.Context())
		b.fails(t, "device", err, forge.ErrDeviceFlowOff)
	})
}

// deviceElsewhere: what a person is told to open is a page of the forge, whatever the forge says.
func (x *exercise) deviceElsewhere(t *testing.T) {
	t.Parallel()
	d := x.deviceBench(t)
	own := strings.TrimPrefix(d.URL(), "http://")
	for _, address := range []string{
		"https://evil.example/device", "https://" + own + "/device", "http://127.0.0.1:1/device", "http://" + own + "@evil.example/device",
		"http://ada@" + own + "/device", "javascript:alert(1)", "//evil.example/", "/login/device", "http://" + own + "/\u202edevice",
		"http://" + own + "/?" + strings.Repeat("a", 300), "http://" + own + ".evil.example/", "http://[", "http://" + own + "/?ü", " ",
	} {
		d.Next(DeviceEndpoint, VerificationElsewhere(address))
		_, err := d.provider.StartDevice(t.Context())
		d.fails(t, "device", err, forge.ErrVerificationPage)
	}
	d.Next(DeviceEndpoint, VerificationElsewhere("HTTP://"+own+"/enter/it#here"))
	authorization := d.start(t)
	if authorization.VerificationURI != "http://"+own+"/enter/it" {
		t.Errorf("sent to %s", authorization.VerificationURI)
	}
}

func (x *exercise) deviceFaults(t *testing.T) {
	t.Parallel()
	d := x.deviceBench(t)
	authorization := d.start(t)
	other := trap(t)
	answers := func(body string) Fault { return fixed("answers "+body, "application/json", []byte(body)) }
	const codes = `"device_code":"c","user_code":"`
	for endpoint, faults := range map[Endpoint][]Fault{
		DeviceEndpoint: {
			answers(`{}`), answers(`[]`), answers(`{` + codes + `AB","verification_uri":"` + d.URL() + `/x"}`),
			answers(`{` + codes + `A B","verification_uri":"` + d.URL() + `/x","expires_in":900}`),
			answers(`{` + codes + `","verification_uri":"` + d.URL() + `/x","expires_in":900}`),
			answers(`{` + codes + strings.Repeat("A", 41) + `","verification_uri":"` + d.URL() + `/x","expires_in":900}`),
			answers(`{` + codes + `A\u202eB","verification_uri":"` + d.URL() + `/x","expires_in":900}`),
		},
		PollEndpoint: {
			answers(`{}`), answers(`{"access_token":"with space","token_type":"bearer"}`), answers(`{"access_token":"t","token_type":"mac"}`),
			answers(`{"access_token":"t","token_type":"bearer","expires_in":-1}`), Status(404),
		},
	} {
		ask := func() error {
			if endpoint == DeviceEndpoint {
				_, err := d.provider.StartDevice(t.Context())
				return err
			}
			_, err := d.provider.PollDevice(t.Context(), authorization)
			return err
		}
		for _, fault := range append(
			faults, Status(500), Status(503), CutBefore(), CutMidway(), GarbageBody(), HTMLBody(), EmptyBody(), HugeBody(),
			RedirectElsewhere(302, other.URL+"/?"+exerciseMark), RedirectElsewhere(307, other.URL+"/?"+exerciseMark),
			marked(500, "application/json", `{"error":"MARK"}`), marked(200, "application/json", `{"MARK":`),
		) {
			before := d.Count(endpoint)
			d.Next(endpoint, fault)
			err := ask()
			d.fails(t, "device", err, forge.ErrUnavailable)
			if d.Count(endpoint) != before+1 {
				t.Errorf("%s: %d requests", fault, d.Count(endpoint)-before)
			}
			if t.Failed() {
				t.Fatalf("%s, %s: %v", endpoint, fault, err)
			}
		}
		d.Next(endpoint, TooManyRequests(7*time.Second))
		limited := failsAs[*forge.RateLimitedError](t, d.bench, "device", ask())
		if !limited.Until.Equal(exerciseClock.Add(7 * time.Second)) {
			t.Errorf("until %v", limited.Until)
		}
		d.Next(endpoint, marked(400, "application/json", `{"error":"some MARK","error_description":"MARK"}`))
		var refused *forge.ExchangeError
		if err := ask(); !errors.As(err, &refused) || refused.Code != "someplantedmark" {
			t.Errorf("%v", err)
		}
	}
}
