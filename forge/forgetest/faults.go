package forgetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault is one misbehaviour of the forge, for one request. Order it with [Forge.Next].
type Fault struct {
	name  string
	serve func(f *Forge, w http.ResponseWriter, r *http.Request)
}

// String names the fault, for test names and messages.
func (t Fault) String() string { return t.name }

// faultQueue holds the faults that wait, per endpoint, in the order in which they were ordered.
type faultQueue struct {
	mu      sync.Mutex
	waiting map[Endpoint][]Fault
}

// Next orders faults for the endpoint's next requests, one each, after those ordered before. Faults for an endpoint
// of its own come before those for [AnyEndpoint].
func (f *Forge) Next(endpoint Endpoint, faults ...Fault) {
	f.faults.mu.Lock()
	defer f.faults.mu.Unlock()
	f.faults.waiting[endpoint] = append(f.faults.waiting[endpoint], faults...)
}

// Pending returns how many ordered faults have not struck yet.
func (f *Forge) Pending() int {
	f.faults.mu.Lock()
	defer f.faults.mu.Unlock()
	n := 0
	for _, waiting := range f.faults.waiting {
		n += len(waiting)
	}
	return n
}

// Forget drops the ordered faults that have not struck yet.
func (f *Forge) Forget() {
	f.faults.mu.Lock()
	defer f.faults.mu.Unlock()
	clear(f.faults.waiting)
}

func (q *faultQueue) take(endpoint Endpoint) (Fault, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range []Endpoint{endpoint, AnyEndpoint} {
		if waiting := q.waiting[e]; len(waiting) > 0 {
			q.waiting[e] = waiting[1:]
			return waiting[0], true
		}
	}
	return Fault{}, false
}

// AsUsual answers as if no fault had been ordered: for the requests before the one that a fault is for.
func AsUsual() Fault {
	return Fault{"as usual", func(f *Forge, w http.ResponseWriter, r *http.Request) { f.serve(w, r) }}
}

// Slow holds the request until release is closed, then answers it as usual. It also ends, without an answer, when the
// client gives up or the forge is closed, so that a nil release holds for as long as the client waits.
func Slow(release <-chan struct{}) Fault {
	return Fault{"slow", func(f *Forge, w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
			f.serve(w, r)
		case <-r.Context().Done():
			cut()
		case <-f.closed:
			cut()
		}
	}}
}

// SlowAfter does the work, which spends codes and refresh tokens, and holds the answer until release is closed. It also ends,
// without an answer, when the client gives up or the forge is closed.
func SlowAfter(release <-chan struct{}) Fault {
	return Fault{"slow after the work", func(f *Forge, w http.ResponseWriter, r *http.Request) {
		answer := newCaptured()
		f.serve(answer, r)
		select {
		case <-release:
		case <-r.Context().Done():
			cut()
		case <-f.closed:
			cut()
		}
		maps.Copy(w.Header(), answer.header)
		w.WriteHeader(answer.status)
		_, _ = w.Write(answer.body.Bytes()) // fails only when the client has gone
	}}
}

// Status answers with the status, such as 500 or 503, and a page as a reverse proxy would write it.
func Status(status int) Fault {
	return Fault{fmt.Sprintf("status %d", status), func(_ *Forge, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, "<html><head><title>%[1]d %[2]s</title></head><body><h1>%[1]d %[2]s</h1></body></html>\n", status, http.StatusText(status))
	}}
}

// TooManyRequests answers 429 with Retry-After and the headers and body of the dialect.
func TooManyRequests(retryAfter time.Duration) Fault {
	return Fault{"too many requests", func(f *Forge, w http.ResponseWriter, r *http.Request) {
		f.dialect.throttle(w, r, http.StatusTooManyRequests, retryAfter)
	}}
}

// RateLimitForbidden answers a rate limit with 403, as GitHub may: the token is as good as before.
func RateLimitForbidden(retryAfter time.Duration) Fault {
	return Fault{"rate limit with 403", func(f *Forge, w http.ResponseWriter, r *http.Request) {
		f.dialect.throttle(w, r, http.StatusForbidden, retryAfter)
	}}
}

// CutBefore closes the connection without doing the work.
func CutBefore() Fault {
	return Fault{"connection cut before the work", func(*Forge, http.ResponseWriter, *http.Request) { cut() }}
}

// CutAfter does the work, which spends codes and refresh tokens, and closes the connection without the answer.
func CutAfter() Fault {
	return Fault{"connection cut after the work", func(f *Forge, _ http.ResponseWriter, r *http.Request) {
		f.serve(newCaptured(), r)
		cut()
	}}
}

// CutMidway does the work and closes the connection in the middle of the answer's body.
func CutMidway() Fault {
	return Fault{"connection cut midway", func(f *Forge, w http.ResponseWriter, r *http.Request) {
		answer := newCaptured()
		f.serve(answer, r)
		maps.Copy(w.Header(), answer.header)
		w.Header().Set("Content-Length", fmt.Sprint(answer.body.Len()))
		w.WriteHeader(answer.status)
		_, _ = w.Write(answer.body.Bytes()[:answer.body.Len()/2])
		_ = http.NewResponseController(w).Flush()
		cut()
	}}
}

// GarbageBody answers 200 with bytes that are no JSON, and a Content-Type that says they are.
func GarbageBody() Fault {
	return fixed("garbage body", "application/json", []byte("{\"access_token\":\x00\xff\xfe]]]not json"))
}

// HTMLBody answers 200 with a page, as a captive portal or a misrouted proxy does.
func HTMLBody() Fault {
	return fixed("HTML body", "text/html; charset=utf-8", []byte("<!DOCTYPE html><html><body><h1>Welcome</h1><form action=\"/login\"></form></body></html>"))
}

// EmptyBody answers 200 and nothing else.
func EmptyBody() Fault { return fixed("empty body", "application/json", nil) }

func fixed(name, contentType string, body []byte) Fault {
	return Fault{name, func(_ *Forge, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body) // fails only when the client has gone
	}}
}

// HugeBody answers 200 with a JSON string that never ends. It stops when the client does or the forge is closed.
func HugeBody() Fault {
	return Fault{"huge body", func(f *Forge, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if _, err := w.Write([]byte(`{"login":"`)); err != nil {
			return
		}
		block := bytes.Repeat([]byte("a"), 64<<10)
		for r.Context().Err() == nil {
			select {
			case <-f.closed:
				return
			default:
			}
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}}
}

// WrongContentType does the work and answers as usual, under a Content-Type that has nothing to do with it.
func WrongContentType() Fault {
	return altered("wrong content type", func(answer *captured) { answer.header.Set("Content-Type", "image/png") })
}

// ReplicaLag refuses one grant the way the dialect refuses an unknown code or refresh token, without touching it: the
// same request succeeds a moment later. Elsewhere than at the token endpoint it changes nothing.
func ReplicaLag() Fault {
	return Fault{"replica lag", func(f *Forge, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != f.traits.tokenPath {
			f.serve(w, r)
			return
		}
		g := f.readGrant(r)
		why := refusal{reason: badCode, client: g.client, refresh: g.grantType == "refresh_token"}
		if why.refresh {
			why.reason = badRefresh
		}
		f.dialect.refuseGrant(w, r, why)
	}}
}

// RedirectElsewhere redirects to target without doing the work. Status 302 makes a careless client GET it, and 307
// makes it send the body, secrets and all.
func RedirectElsewhere(status int, target string) Fault {
	return Fault{fmt.Sprintf("redirect %d elsewhere", status), func(_ *Forge, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", target)
		w.WriteHeader(status)
	}}
}

// NextPageElsewhere answers as usual, but the link to the next page leads to target, whether or not there is a next
// page. It is where the dialect has it: in the Link header, or in the body.
func NextPageElsewhere(target string) Fault {
	return Fault{"next page elsewhere", func(f *Forge, w http.ResponseWriter, r *http.Request) {
		altered("", func(answer *captured) {
			if !f.traits.bodyPages {
				answer.header.Set("Link", fmt.Sprintf("<%s>; rel=\"next\"", target))
				return
			}
			var page map[string]json.RawMessage
			if json.Unmarshal(answer.body.Bytes(), &page) != nil {
				return // no page, but a refusal perhaps
			}
			page["next"] = json.RawMessage(strconv.Quote(target))
			answer.body.Reset()
			answer.body.Write(encode(page))
		}).serve(f, w, r)
	}}
}

// HostileLogin answers as usual, except that every login name in the body is replaced by these bytes, which need not
// be valid UTF-8 or fit for a page, a log line or a database.
func HostileLogin(login string) Fault {
	return altered("hostile login", func(answer *captured) {
		body := answer.body.String()
		for _, field := range []string{`"login":"`, `"username":"`, `"preferred_username":"`, `"nickname":"`} {
			body = replaceField(body, field, rawJSONString(login))
		}
		answer.body.Reset()
		answer.body.WriteString(body)
	})
}

// HostileLogins returns login names that a careless program stores, prints or parses, by what is wrong with them.
func HostileLogins() map[string]string {
	return map[string]string{
		"control characters": "ali\x00ce\x1b[2J\r\nSet-Cookie: a=b\x7f",
		"bidi override":      "alice\u202egro.live\u2066\u2069",
		"invalid UTF-8":      "ali\xff\xfe\xc0\xafce",
		"one megabyte":       strings.Repeat("a", 1<<20),
		"markup":             `<script>alert(1)</script>"'&`,
		"line separators":    "ali\u2028ce\u2029\u0085",
		"zero width":         "ali\u200b\u200d\ufeffce",
		"path":               "../../alice%2f..\\",
		"template":           "{{.}}${jndi:x}%s%n",
		"spaces only":        " \t \u00a0",
		"empty":              "",
	}
}

// replaceField replaces the string value after each occurrence of field, which ends in the opening quote.
func replaceField(body, field, value string) string {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(body, field)
		out.WriteString(before)
		if !found {
			return out.String()
		}
		out.WriteString(field + value)
		end := 0
		for end < len(after) && after[end] != '"' {
			if after[end] == '\\' {
				end++
			}
			end++
		}
		body = after[end:]
	}
}

// rawJSONString escapes what would end or break a JSON string and leaves every other byte as it is.
func rawJSONString(s string) string {
	var out strings.Builder
	for _, b := range []byte(s) {
		switch {
		case b == '"' || b == '\\':
			out.WriteByte('\\')
			out.WriteByte(b)
		case b < ' ':
			fmt.Fprintf(&out, `\u%04x`, b)
		default:
			out.WriteByte(b)
		}
	}
	return out.String()
}

func altered(name string, alter func(*captured)) Fault {
	return Fault{name, func(f *Forge, w http.ResponseWriter, r *http.Request) {
		answer := newCaptured()
		f.serve(answer, r)
		alter(answer)
		maps.Copy(w.Header(), answer.header)
		w.WriteHeader(answer.status)
		_, _ = w.Write(answer.body.Bytes()) // fails only when the client has gone
	}}
}

// cut closes the connection under a request. net/http does that for a handler that aborts; a ResponseWriter that is
// not a server's sees the panic, as it would from any handler.
func cut() { panic(http.ErrAbortHandler) }

// captured is an answer that has not been sent.
type captured struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newCaptured() *captured { return &captured{header: http.Header{}, status: http.StatusOK} }

// Header implements [http.ResponseWriter].
func (c *captured) Header() http.Header { return c.header }

// WriteHeader implements [http.ResponseWriter].
func (c *captured) WriteHeader(status int) { c.status = status }

// Write implements [http.ResponseWriter].
func (c *captured) Write(b []byte) (int, error) { return c.body.Write(b) }
