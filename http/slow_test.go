package http_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// impatient is a writer whose connection runs out of time at once whenever it is given a deadline, and which tells what
// deadline that was.
type impatient struct {
	http.ResponseWriter

	asked chan<- time.Duration
}

// SetReadDeadline is what http.ResponseController calls.
func (w impatient) SetReadDeadline(at time.Time) error {
	if !at.IsZero() {
		w.asked <- time.Until(at)
		at = time.Now()
	}
	return http.NewResponseController(w.ResponseWriter).SetReadDeadline(at)
}

func TestABodyHasBoundedTime(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	public, err := url.Parse(d.url)
	check(t, err)
	session := "Cookie: " + d.sessionCookie() + "=" + b.cookies(t)[d.sessionCookie()] + "\r\n"
	asked := make(chan time.Duration, 1)
	server := d.handler
	d.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		server.ServeHTTP(impatient{w, asked}, r)
	})
	before := d.facts(t)
	for _, request := range []string{
		"PUT /forges/active", "POST /forges/active", "DELETE /forges/active", "POST /forges/active/clear", "DELETE /forges/gitea",
		"POST /forges/gitea/disconnect", "POST /logout", "POST /oauth/gitea/init",
	} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", public.Host)
		check(t, err)
		check(t, conn.SetDeadline(time.Now().Add(time.Minute))) // for a server that would wait for ever
		_, err = fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\n%sContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", request, public.Host, session)
		check(t, err)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		check(t, err)
		body, err := io.ReadAll(response.Body)
		check(t, err)
		_ = response.Body.Close()
		_ = conn.Close()
		if response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), `"error":"timeout"`) {
			t.Errorf("%s: %d %s", request, response.StatusCode, body)
		}
		if got := <-asked; got > 15*time.Second || got < 5*time.Second {
			t.Errorf("%s: the body has %v, want 15 s", request, got)
		}
	}
	if after := d.facts(t); len(after) != len(before) {
		t.Errorf("half a request wrote %v", after[len(before):])
	}
}

func TestABodyThatBreaksOff(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	public, err := url.Parse(d.url)
	check(t, err)
	request := "PUT /forges/active HTTP/1.1\r\nHost: " + public.Host + "\r\nCookie: " + d.sessionCookie() + "=" + b.cookies(t)[d.sessionCookie()] +
		"\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n"
	if got := raw(t, public.Host, request); got != http.StatusBadRequest {
		t.Errorf("status %d, want 400", got)
	}
}
