package forge_test

import (
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

// briefly is the caller of a forge that is waited for no longer than that.
func briefly(t *testing.T, base string, wait time.Duration) *forge.Caller {
	t.Helper()
	s := &server{transport: newTransport(t, base, &lockedBuffer{}, func(_ *forge.Connection, o *forge.Options) { o.Timeout = wait })}
	return s.caller()
}

func TestAProgramsOwnClientSaysThatTheForgeIsUnavailable(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"nothing":            "",
		"half a header":      "HTTP/1.1 200 OK\r\nContent-Type: appl",
		"half a body":        "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"id\":7",
		"a body without end": "HTTP/1.1 200 OK\r\n\r\n{\"id\":7}",
	} {
		base := stalled(t, answer)
		err := read(t, briefly(t, base, 50*time.Millisecond).HTTPClient(), base+"/api/v1/x")
		if !errors.Is(err, forge.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		var framed interface{ Timeout() bool }
		if outer, ok := errors.AsType[*url.Error](err); ok && (!errors.As(outer, &framed) || !framed.Timeout()) {
			t.Errorf("%s: %v does not pass for a timeout", name, err)
		}
	}
}

// TestRedirectsShareOneTimeout redirects a program's client and has it keep to the deadline of its first request.
func TestRedirectsShareOneTimeout(t *testing.T) {
	t.Parallel()
	var deadlines []time.Time
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if len(r.URL.RawQuery) < 3 {
			w.Header().Set("Location", "?"+r.URL.RawQuery+"x")
			w.WriteHeader(http.StatusFound)
		}
	})
	client := s.caller().HTTPClient()
	client.CheckRedirect = func(_ *http.Request, _ []*http.Request) error { return nil }
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/v1/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	for at := resp; at != nil; at = at.Request.Response {
		deadline, ok := at.Request.Context().Deadline()
		if !ok {
			t.Fatal("a request without a deadline")
		}
		deadlines = append(deadlines, deadline)
	}
	if len(deadlines) != 4 {
		t.Fatalf("%d requests", len(deadlines))
	}
	for _, deadline := range deadlines {
		if !deadline.Equal(deadlines[0]) {
			t.Errorf("%v and %v", deadline, deadlines[0])
		}
	}
}
