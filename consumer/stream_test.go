package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/consumer"
)

// TestAStreamIsFollowedAcrossItsEnds has a server say a piece for each connection. That a real deployment's stream is followed is
// tested where there is one, beside the service.
func TestAStreamIsFollowedAcrossItsEnds(t *testing.T) {
	t.Parallel()
	data := func(position int64, forge string) string {
		return fmt.Sprintf("id: %d\r\nevent: ForgeActivated\ndata: %s\n\n", position, switched(position, forge).message(t).Payload)
	}
	first := data(3, "github")
	pieces := []string{
		"retry: 1\n\n: hello\n\n" + first + "id: 7\n\n" + data(9, "gitlab")[:40], // broken off
		"retry: 1\n\n" + data(9, "gitlab") + first,                               // one that fails, and then a duplicate
		"retry: 1\n\n" + data(9, "gitlab") + "data: {}\n\n",                      // and no event
		"retry: 1\n\n" + data(10, "gitea"),
	}
	var asked []string
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Last-Event-ID")+" "+r.URL.RawQuery+" "+r.Header.Get("Cookie"))
		if len(asked) > len(pieces) {
			cancel()
			return
		}
		_, _ = w.Write([]byte(pieces[len(asked)-1]))
	}))
	l := &log{}
	c := newConsumer(t, consumer.Config{}, l.handler())
	err := c.Follow(ctx, consumer.Stream{URL: server.URL + "/events?from=beginning", Header: http.Header{"Cookie": {"session=x"}}})
	server.Close()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	l.want(t, "handled", "3 github", "9 gitlab", "10 gitea")
	const tail = " from=beginning&type=ForgeActivated session=x"
	if diff := cmp.Diff([]string{tail, "7" + tail, "9" + tail, "9" + tail, "10" + tail}, asked); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}

func TestAStreamThatIsRefusedIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	status := http.StatusServiceUnavailable
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		status = http.StatusUnauthorized
	}))
	c := newConsumer(t, consumer.Config{}, (&log{}).handler())
	err := c.Follow(t.Context(), consumer.Stream{URL: server.URL})
	server.Close()
	refused, ok := errors.AsType[*consumer.StreamError](err)
	if !ok || refused.Status != http.StatusUnauthorized {
		t.Errorf("it ended with %v", err)
	}
}

func TestASilentStreamIsLeft(t *testing.T) {
	t.Parallel()
	connections := make(chan struct{}, 10)
	ends := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		connections <- struct{}{}
		_, _ = w.Write([]byte("retry: 1\n\n"))
		_ = http.NewResponseController(w).Flush()
		<-ends
	}))
	defer server.Close()
	defer close(ends)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := newConsumer(t, consumer.Config{}, (&log{}).handler())
	go func() { _ = c.Follow(ctx, consumer.Stream{URL: server.URL, Silence: 50 * time.Millisecond}) }()
	<-connections
	<-connections
}
