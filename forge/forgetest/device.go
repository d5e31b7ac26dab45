package forgetest

import (
	"cmp"
	"crypto/rand"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-oauth2/oauth2/v4/models"
)

// deviceGrantType is the grant_type of a poll (RFC 8628 §3.4).
const deviceGrantType = "urn:ietf:params:oauth:grant-type:device_code"

// slowDownBy is what a poll that comes too soon adds to the interval for good (RFC 8628 §3.5).
const slowDownBy = 5 * time.Second

// deviceDialect is a [dialect] with a device flow (RFC 8628). Its methods are called without the ledger being locked.
type deviceDialect interface {
	dialect
	deviceTraits() deviceTraits
	// mintDevice returns a device code and a user code.
	mintDevice() (deviceCode, userCode string)
	// answerDevice and refuseDevice write what the device endpoint and polls say; interval is the present one.
	answerDevice(w http.ResponseWriter, r *http.Request, d device)
	refuseDevice(w http.ResponseWriter, r *http.Request, why reason, interval time.Duration)
}

type deviceTraits struct {
	// path is where a device asks, page where a person enters the code.
	path, page string
	ttl        time.Duration
	// authenticates: the client has to show its secret, at both endpoints.
	authenticates bool
	// optIn: the application's owner has to enable the flow ([Client.DeviceFlow]).
	optIn bool
}

// device is a device authorization.
type device struct {
	code, userCode, client, scope string
	expires, polled               time.Time
	interval                      time.Duration
	state                         deviceState
	user                          int64 // who agreed
	// asked is the page on which a person is asked, and whose that page is.
	asked, session string
	asks           int64
}

type deviceState int

const (
	devicePending deviceState = iota
	deviceApproved
	deviceDenied
	deviceGone // used up, or told that it has expired
)

// devicePages are where this forge's device flow meets a person; empty where it has none.
func (f *Forge) devicePages() (enter, decide string) {
	if d, ok := f.dialect.(deviceDialect); ok {
		enter = d.deviceTraits().page
		return enter, enter + "/decision"
	}
	return "", ""
}

func (f *Forge) deviceRoutes() {
	dialect, ok := f.dialect.(deviceDialect)
	if !ok {
		return
	}
	enter, decide := f.devicePages()
	f.mux.HandleFunc("POST "+dialect.deviceTraits().path, f.serveDevice)
	f.mux.HandleFunc("GET "+enter, f.serveDevicePage)
	f.mux.HandleFunc("POST "+enter, f.serveUserCode)
	f.mux.HandleFunc("POST "+decide, f.serveDeviceDecision)
}

// deviceClient finds the application of a request to either endpoint and says why not. f.mu is held.
func (f *Forge) deviceClient(g grantRequest, traits deviceTraits) (*Client, reason) {
	client := f.ledger.clients[g.client]
	switch {
	case client == nil:
		return nil, unknownClient
	case traits.authenticates && g.secret == "":
		return nil, emptySecret
	case traits.authenticates && g.secret != client.Secret:
		return nil, wrongSecret
	case traits.optIn && !client.DeviceFlow:
		return nil, deviceFlowOff
	}
	return client, noReason
}

// serveDevice is the device authorization endpoint.
func (f *Forge) serveDevice(w http.ResponseWriter, r *http.Request) {
	dialect, _ := f.dialect.(deviceDialect)
	traits, asked := dialect.deviceTraits(), f.readGrant(r)
	f.mu.Lock()
	client, why := f.deviceClient(asked, traits)
	scope, known := f.dialect.grantScope(bodyValues(r).Get("scope"))
	if why == noReason && !known {
		why = badScope
	}
	var issued device
	if why == noReason {
		now := f.ledger.now()
		issued = device{
			client: client.ID, scope: scope, polled: now, expires: now.Add(cmp.Or(f.config.DeviceTTL, traits.ttl)),
			interval: cmp.Or(f.config.DeviceInterval, 5*time.Second),
		}
		issued.code, issued.userCode = dialect.mintDevice()
		f.ledger.devices = append(f.ledger.devices, &issued)
		f.ledger.record(DeviceCodeIssue, issued.code)
	}
	f.mu.Unlock()
	if why != noReason {
		dialect.refuseDevice(w, r, why, 0)
		return
	}
	dialect.answerDevice(w, r, issued)
}

// servePoll is the token endpoint for the device grant.
func (f *Forge) servePoll(w http.ResponseWriter, r *http.Request, dialect deviceDialect) {
	f.mu.Lock()
	p, why, interval := f.poll(r, dialect.deviceTraits())
	f.mu.Unlock()
	if why != noReason {
		dialect.refuseDevice(w, r, why, interval)
		return
	}
	f.dialect.answerGrant(w, r, p)
}

// poll answers one poll. Stricter than RFC 8628, it counts the interval from the beginning, and raises it for good where it is
// not kept; a code that was told to have expired is not known any more. f.mu is held.
func (f *Forge) poll(r *http.Request, traits deviceTraits) (*pair, reason, time.Duration) {
	client, why := f.deviceClient(f.readGrant(r), traits)
	if why != noReason {
		return nil, why, 0
	}
	d := f.ledger.device(func(d *device) bool { return d.code == bodyValues(r).Get("device_code") })
	if d == nil || d.client != client.ID || d.state == deviceGone {
		return nil, badDeviceCode, 0
	}
	now := f.ledger.now()
	early := now.Sub(d.polled) < d.interval
	d.polled = now
	switch {
	case !now.Before(d.expires):
		d.state = deviceGone
		return nil, expiredDeviceCode, 0
	case early:
		d.interval += slowDownBy
		return nil, polledTooSoon, d.interval
	case d.state == devicePending:
		return nil, deviceUndecided, d.interval
	case d.state == deviceDenied:
		return nil, deniedByUser, 0
	}
	d.state = deviceGone
	return f.grantDevice(r, d), noReason, 0
}

// grantDevice issues the pair of a device that was approved. The library has no device grant, so the pair goes into its store
// directly.
func (f *Forge) grantDevice(r *http.Request, d *device) *pair {
	access, refresh := f.dialect.mint(&pair{client: d.client, user: d.user, scope: d.scope, issuedAt: f.ledger.now()})
	info := models.NewToken()
	info.SetClientID(d.client)
	info.SetUserID(strconv.FormatInt(d.user, 10))
	info.SetScope(d.scope)
	info.SetAccess(access)
	info.SetRefresh(refresh)
	if err := (library{f}).Create(r.Context(), info); err != nil {
		panic("forgetest: storing a pair: " + err.Error()) // the user id is a number
	}
	return f.ledger.tokens[access].pair
}

func (l *ledger) device(is func(*device) bool) *device {
	for _, d := range l.devices {
		if is(d) {
			return d
		}
	}
	return nil
}

// enterable returns the device whose code a person enters; nil if it was decided, has expired or never was. f.mu is held.
func (f *Forge) enterable(userCode string) *device {
	userCode = strings.ToUpper(strings.TrimSpace(userCode))
	return f.ledger.device(func(d *device) bool {
		return d.userCode == userCode && d.state == devicePending && f.ledger.now().Before(d.expires)
	})
}

// settleDevice takes a person's decision. f.mu is held.
func (f *Forge) settleDevice(d *device, user int64, approved bool) {
	if !approved {
		d.state = deviceDenied
		return
	}
	d.state, d.user = deviceApproved, user
	key := consentKey{user, d.client}
	switch agreed := f.ledger.consents[key]; {
	case agreed == nil:
		f.ledger.consents[key] = &consent{id: f.ledger.nextID(), scope: d.scope}
	case !f.dialect.covers(agreed.scope, d.scope):
		agreed.scope = d.scope
	}
}

// devicePage is where a person enters a code, and learns what became of it.
type devicePage struct {
	frame
	Action, UserCode, Sentence string
	Done                       bool
}

func (f *Forge) showDevice(w http.ResponseWriter, status int, page devicePage) {
	page.frame = f.frame()
	enter, _ := f.devicePages()
	page.Action = f.local(enter)
	render(w, status, "device", page)
}

func (f *Forge) serveDevicePage(w http.ResponseWriter, r *http.Request) {
	if _, user := f.session(r); user == 0 {
		f.sendToLoginPage(w, r.URL.RequestURI())
		return
	}
	f.showDevice(w, http.StatusOK, devicePage{UserCode: r.URL.Query().Get("user_code")})
}

func (f *Forge) serveUserCode(w http.ResponseWriter, r *http.Request) {
	session, user := f.session(r)
	if user == 0 {
		f.sendToLoginPage(w, r.URL.Path)
		return
	}
	f.mu.Lock()
	d := f.enterable(bodyValues(r).Get("user_code"))
	var page consentPage
	if d != nil {
		d.asked, d.session, d.asks = rand.Text(), session, user
		account := f.ledger.userByID(user)
		_, decide := f.devicePages()
		page = consentPage{
			Client: f.ledger.clients[d.client].Name, Account: account.Login, AccountName: account.Name,
			Scopes: splitScopes(d.scope), Action: f.local(decide), Consent: d.asked,
		}
	}
	f.mu.Unlock()
	if d == nil {
		f.showDevice(w, http.StatusUnprocessableEntity, devicePage{Sentence: "That code is unknown, or no longer valid."})
		return
	}
	page.frame = f.frame()
	f.showConsent(w, page)
}

func (f *Forge) serveDeviceDecision(w http.ResponseWriter, r *http.Request) {
	session, user := f.session(r)
	form := bodyValues(r)
	f.mu.Lock()
	d := f.ledger.device(func(d *device) bool { return d.asked != "" && d.asked == form.Get(consentField) })
	mine := d != nil && d.session == session && d.asks == user && d.state == devicePending
	approved := form.Get("decision") == "authorize"
	if mine {
		f.settleDevice(d, user, approved)
	}
	f.mu.Unlock()
	switch {
	case !mine:
		f.showError(w, http.StatusBadRequest, "This page is no longer current. Start again on your device.")
	case approved:
		f.showDevice(w, http.StatusOK, devicePage{Done: true, Sentence: "Your device is connected. You can return to it."})
	default:
		f.showDevice(w, http.StatusOK, devicePage{Done: true, Sentence: "Your device was not connected."})
	}
}

// isDevicePage reports whether a path is one of those that a person meets.
func (f *Forge) isDevicePage(path string) bool {
	enter, decide := f.devicePages()
	return enter != "" && (path == enter || path == decide)
}

// isDevicePath reports whether a path is that of the device authorization endpoint.
func (f *Forge) isDevicePath(path string) bool {
	d, ok := f.dialect.(deviceDialect)
	return ok && path == d.deviceTraits().path
}

// ExpireDevices makes every device code that is out expire now.
func (f *Forge) ExpireDevices() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.ledger.devices {
		d.expires = f.ledger.now()
	}
}
