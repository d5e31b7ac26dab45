package forge_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"

	"github.com/forgeauth/forgeauth/forge"
)

// TestExchangeIsPostedOnce cuts the connection after the request has been read: on the first connection, and on one that
// was used before, which is where net/http repeats what it holds to be repeatable.
func TestExchangeIsPostedOnce(t *testing.T) {
	t.Parallel()
	var posts atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			_, _ = io.WriteString(w, `{"id":1}`)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		posts.Add(1)
		panic(http.ErrAbortHandler)
	})
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	for range 3 {
		if _, err := forge.Profile[profile](t.Context(), s.caller(), "account", "/user"); err != nil {
			t.Fatal(err)
		}
		before := posts.Load()
		_, err := s.exchange(t.Context())
		if !errors.Is(err, forge.ErrUnavailable) || posts.Load() != before+1 {
			t.Fatalf("%d posts, %v", posts.Load()-before, err)
		}
		checkError(t, err, "exchange")
	}
}

// TestExchangeDoesNotMeetAClosingConnection answers once per connection and cuts it when a second request comes, as a forge
// does that was about to close it: a transport that kept connections for exchanges would lose the code.
func TestExchangeDoesNotMeetAClosingConnection(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		const body = `{"access_token":"t","token_type":"bearer"}`
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				buffer := make([]byte, 4096)
				_, _ = conn.Read(buffer)
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				_, _ = conn.Read(buffer)
			}()
		}
	}()
	s := &server{transport: newTransport(t, "http://"+listener.Addr().String(), io.Discard)}
	for range 3 {
		if _, err := s.exchange(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHTTP2 repeats over HTTP/2 what net/http treats differently there: a stream that the server resets.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	var posts atomic.Int32
	h2 := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("%s", r.Proto)
		}
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, `{"id":1}`)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if posts.Add(1)%2 == 1 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"t","token_type":"bearer"}`)
	}))
	h2.EnableHTTP2 = true
	h2.StartTLS()
	t.Cleanup(h2.Close)
	pool := x509.NewCertPool()
	pool.AddCert(h2.Certificate())
	s := &server{transport: newTransport(t, h2.URL, io.Discard, func(c *forge.Connection, _ *forge.Options) { c.RootCAs = pool })}
	if _, err := forge.Profile[profile](t.Context(), s.caller(), "account", "/user"); err != nil {
		t.Fatal(err)
	}
	_, err := s.exchange(t.Context())
	if !errors.Is(err, forge.ErrUnavailable) || posts.Load() != 1 {
		t.Fatalf("%d posts, %v", posts.Load(), err)
	}
	checkError(t, err, "exchange")
	if _, err := s.exchange(t.Context()); err != nil || posts.Load() != 2 {
		t.Fatalf("%d posts, %v", posts.Load(), err)
	}
}

// TestExchangeIsNotRepeatedWhereHTTP2Permits reads each request whole and then says, in one of the two ways that HTTP/2
// has (RFC 9113 §8.7), that nothing was done and that it can be sent again. Whoever believes that trusts the forge, or a
// proxy, not to have spent the code.
func TestExchangeIsNotRepeatedWhereHTTP2Permits(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(*http2.Framer, uint32) error{
		"REFUSED_STREAM": func(f *http2.Framer, stream uint32) error {
			return f.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
		},
		"GOAWAY": func(f *http2.Framer, _ uint32) error { return f.WriteGoAway(0, http2.ErrCodeNo, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var posts atomic.Int32
			h2 := httptest.NewUnstartedServer(nil)
			h2.TLS = &tls.Config{NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}
			h2.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
				"h2": func(_ *http.Server, conn *tls.Conn, _ http.Handler) {
					serveFrames(conn, func(f *http2.Framer, stream uint32) error {
						if posts.Add(1) > 3 {
							return io.EOF
						}
						return refuse(f, stream)
					})
				},
			}
			h2.StartTLS()
			t.Cleanup(h2.Close)
			pool := x509.NewCertPool()
			pool.AddCert(h2.Certificate())
			s := &server{transport: newTransport(t, h2.URL, io.Discard, func(c *forge.Connection, _ *forge.Options) { c.RootCAs = pool })}
			_, err := s.exchange(t.Context())
			if !errors.Is(err, forge.ErrUnavailable) || posts.Load() != 1 {
				t.Fatalf("%d posts, %v", posts.Load(), err)
			}
			checkError(t, err, "exchange")
		})
	}
}

// serveFrames answers each request on an HTTP/2 connection by what answer writes, until that fails.
func serveFrames(conn net.Conn, answer func(f *http2.Framer, stream uint32) error) {
	_, _ = io.ReadFull(conn, make([]byte, len(http2.ClientPreface)))
	framer := http2.NewFramer(conn, conn)
	err := framer.WriteSettings()
	for err == nil {
		var frame http2.Frame
		if frame, err = framer.ReadFrame(); err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = framer.WriteSettingsAck()
			}
		case *http2.DataFrame:
			if frame.StreamEnded() {
				err = answer(framer, frame.StreamID)
			}
		}
	}
}
