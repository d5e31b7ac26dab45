package forge_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

// stalled answers every request with the same bytes and then says nothing more, until its client hangs up. One that does
// not fails the test.
func stalled(t *testing.T, answer string) (base string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		open.Wait()
	})
	open.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer func() { _ = conn.Close() }()
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = io.WriteString(conn, answer)
				_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
				if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the client went on waiting")
				}
			})
		}
	})
	return "http://" + listener.Addr().String()
}

func TestAForgeThatStopsMidwayIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"nothing":                       "",
		"in the headers":                "HTTP/1.1 200 OK\r\nContent-Type: appl",
		"after an interim answer":       "HTTP/1.1 103 Early Hints\r\n\r\n",
		"in the body":                   "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"id\":7",
		"before the body's end":         "HTTP/1.1 200 OK\r\n\r\n{\"id\":7}",
		"in a chunk":                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"id\"",
		"in the trailer":                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"id\":7}\r\n0\r\nX: ",
		"in the body of an error":       "HTTP/1.1 401 Unauthorized\r\nContent-Length: 500\r\n\r\n{",
		"in another protocol":           "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + marker + "\r\n\r\n",
		"in the words of another":       "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" + marker,
		"in a switch to the same again": "HTTP/1.1 101 Switching Protocols\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := stalled(t, answer)
			log := &lockedBuffer{}
			s := &server{transport: newTransport(t, base, log, func(_ *forge.Connection, o *forge.Options) { o.Timeout = 50 * time.Millisecond })}
			for op, call := range map[string]func() error{
				"exchange": func() error { _, err := s.exchange(t.Context()); return err },
				"account": func() error {
					_, err := forge.Profile[profile](t.Context(), s.caller(), "account", "/user")
					return err
				},
				"repositories": func() error {
					for _, err := range forge.Pages[profile](t.Context(), s.caller(), "repositories", "/l") {
						return err
					}
					return nil
				},
				"revoke": func() error {
					return s.caller().Revoke(t.Context(), func(token forge.Token) forge.RevokeRequest {
						return forge.RevokeRequest{Method: http.MethodPost, URL: base + "/revoke", Body: token.Access.Reveal(), Done: []int{http.StatusOK}}
					})
				},
			} {
				err := call()
				if !errors.Is(err, forge.ErrUnavailable) {
					t.Errorf("%s: %v", op, err)
				}
				checkError(t, err, op)
			}
			if err := read(t, s.caller().HTTPClient(), base+"/api/v1/x"); err == nil {
				t.Error("a program's own client: no error")
			}
			checkClean(t, log.String())
		})
	}
}

// read makes one request with a program's own client and reads the answer whole.
func read(t *testing.T, client *http.Client, target string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
