package http_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/commands"
	forgehttp "github.com/forgeauth/forgeauth/http"
)

// often is for tests that wait for heartbeats.
func often(s *settings) { s.streams.Heartbeat = 10 * time.Millisecond }

// rarely is for tests in which no heartbeat may help.
func rarely(s *settings) { s.streams.Heartbeat = time.Hour }

func TestHeartbeatsMoveThePositionPastWhatIsNotWanted(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, often)
	s := b.events(t, "/events?type=ForgeActivated")
	last := d.deny(t, 5, 1)
	for s.lastID != itoa(last) {
		event, err := s.block()
		check(t, err)
		if event.Data != "" {
			t.Fatalf("got %+v", event)
		}
	}
}

// ended reads a stream to its end, which has to be one that the server meant.
func (s *eventStream) ended(t *testing.T) {
	t.Helper()
	for {
		_, err := s.next()
		if errors.Is(err, io.EOF) {
			return
		}
		check(t, err)
	}
}

func TestStreamsEndWithTheirSession(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*settings)
		end    func(*testing.T, *deployment, *browser)
	}{
		"when it logs out": {rarely, func(t *testing.T, _ *deployment, b *browser) {
			t.Helper()
			wantStatus(t, b.json().post(t, "/logout", nil), http.StatusNoContent)
		}},
		"when another process ends it": {rarely, func(t *testing.T, d *deployment, _ *browser) {
			t.Helper()
			_, err := d.elsewhere(t).RemoveAccount(t.Context(), commands.Caller{Actor: "cli"}, "gitea", "7")
			check(t, err)
		}},
		"when its time is over": {often, func(_ *testing.T, d *deployment, _ *browser) {
			d.clock.advance(31 * 24 * time.Hour)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, b := claimed(t, c.change)
			first, second := b.events(t, "/events"), b.events(t, "/events?from=beginning&type=ForgeActivated")
			_, err := first.block()
			check(t, err)
			c.end(t, d, b)
			first.ended(t)
			second.ended(t)
			_, err = b.connect(t.Context(), "/events", "Last-Event-ID", first.lastID)
			if err == nil || !strings.Contains(err.Error(), "401") {
				t.Errorf("the session could connect again: %v", err)
			}
		})
	}
}

func TestStreamsOutliveTheSessionsOfOthers(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, rarely)
	other := d.browser(t)
	other.signIn(t, "gitea", "ada", nil)
	s := b.events(t, "/events")
	wantStatus(t, other.json().post(t, "/logout", nil), http.StatusNoContent)
	last := d.deny(t, 1, 1)
	got := s.collect(t, nil, last)
	if diff := cmp.Diff([]string{"SessionEnded", "LoginDenied"}, []string{got[0].Name, got[1].Name}); diff != "" {
		t.Error(diff)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	for name, bounds := range map[string]forgehttp.Streams{
		"by session": {PerSession: 2}, "in all": {InAll: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, b := claimed(t, func(s *settings) { s.streams = bounds })
			other := d.browser(t)
			other.signIn(t, "gitea", "ada", nil)
			s := b.events(t, "/events")
			b.events(t, "/events")
			a := b.json()
			a.accept = "text/event-stream"
			refused := a.get(t, "/events")
			wantProblem(t, refused, http.StatusTooManyRequests, "too_many_streams")
			wantHeader(t, refused, "Retry-After", "60")
			if third, err := other.connect(t.Context(), "/events"); (err == nil) != (bounds.InAll == 0) {
				t.Errorf("another session: %v", err)
			} else if err == nil {
				third.close()
			}
			s.close()
			for { // until the server has noticed
				again, err := b.connect(t.Context(), "/events")
				if err == nil {
					again.close()
					return
				}
				if t.Context().Err() != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// narrow is a listener whose connections hold little of what is written to them.
type narrow struct{ net.Listener }

func (l narrow) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(4 << 10)
	}
	return conn, err
}

// A client that does not read is dropped. Until then and after it, another misses nothing; and the one that was dropped goes on
// where it was, with what has left the memory of the process by then.
func TestASlowClientIsDroppedAndDelaysNobody(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, func(s *settings) {
		s.narrow = true
		s.streams = forgehttp.Streams{Heartbeat: time.Hour, WriteTimeout: 3 * time.Second}
	})
	start := d.head(t)
	dialer := &net.Dialer{}
	slowly := *b.client
	slowly.Transport = &http.Transport{
		ReadBufferSize: 1,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetReadBuffer(4 << 10)
			}
			return conn, err
		},
	}
	sleeper := *b
	sleeper.client = &slowly
	slow, quick := sleeper.events(t, "/events"), b.events(t, "/events")
	for _, s := range []*eventStream{slow, quick} {
		_, err := s.block()
		check(t, err)
	}
	var last int64
	for range 30 {
		last = d.deny(t, 100, 500)
	}
	got := quick.collect(t, nil, last)
	d.waitForLog(t, `i/o timeout"}`)
	var late []received
	for {
		event, err := slow.next()
		if err != nil {
			break
		}
		late = append(late, event)
	}
	if len(late) == len(got) {
		t.Fatal("the client that did not read has received everything; it should have been dropped")
	}
	late = b.events(t, "/events", "Last-Event-ID", slow.lastID).collect(t, late, last)
	want := d.expected(t, start)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the client that read (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, late); diff != "" {
		t.Errorf("the client that was dropped (-want +got):\n%s", diff)
	}
}

// A server's limits of time are for requests that have an end; and where it shuts down, streams end as they should.
func TestAStreamOutlivesTheServersTimesButNotTheServer(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, often)
	server := httptest.NewUnstartedServer(d.handler)
	server.Config.ReadTimeout, server.Config.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
	server.Config.RegisterOnShutdown(func() { close(d.draining) })
	server.Start()
	t.Cleanup(server.Close)
	there := *b.client
	there.Transport = &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
	}}
	visitor := *b
	visitor.client = &there
	s := visitor.events(t, "/events")
	for range 40 { // each a heartbeat later than the one before
		_, err := s.block()
		check(t, err)
	}
	shutting, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	check(t, server.Config.Shutdown(shutting))
	s.ended(t)
}

func TestAStreamGoesOnAfterTheDatabaseWasLost(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, often, func(s *settings) { s.proxied = true })
	s := b.events(t, "/events")
	_, err := s.block()
	check(t, err)
	d.reads.Refuse()
	d.reads.CutNow()
	for range 5 { // it goes on saying where it is
		_, err := s.block()
		check(t, err)
	}
	d.reads.Accept()
	last := d.deny(t, 3, 1)
	if got := s.collect(t, nil, last); len(got) != 3 {
		t.Errorf("got %d events, want 3", len(got))
	}
}

// A database that was restored from a backup ends before what clients have. They are not left waiting for its next events, which are
// not what follows theirs.
func TestAStreamEndsWhenTheLogHasBecomeShorter(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, often, func(s *settings) { s.proxied = true })
	s := b.events(t, "/events")
	last := d.deny(t, 5, 1)
	s.collect(t, nil, last)
	for _, restore := range []string{
		`ALTER TABLE events DISABLE TRIGGER events_append_only`, fmt.Sprintf(`DELETE FROM events WHERE position > %d`, last-3),
	} {
		_, err := d.pool.Exec(t.Context(), restore)
		check(t, err)
	}
	d.reads.CutNow()
	s.ended(t)
	_, err := b.connect(t.Context(), "/events", "Last-Event-ID", s.lastID)
	if err == nil || !strings.Contains(err.Error(), "position_ahead") {
		t.Errorf("it could go on: %v", err)
	}
}
