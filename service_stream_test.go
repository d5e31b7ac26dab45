package forgeauth_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/consumer"
	"github.com/forgeauth/forgeauth/events"
)

func TestAConsumerFollowsADeploymentAcrossRestartsUntilItsSessionEnds(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "github", "gitlab")
	first := h.open(t)
	b := h.claim(t, "github")
	path := filepath.Join(t.TempDir(), "position.json")
	heard := make(chan string, 10)
	follow := func(ctx context.Context) <-chan error {
		store, err := consumer.OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := consumer.New(consumer.Config{Store: store}, consumer.On(
			func(_ context.Context, _ consumer.Event, fact events.ForgeActivated) error {
				heard <- fact.ForgeType
				return nil
			}))
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		at, err := url.Parse(h.server.URL)
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{"Cookie": {"forgeauth_" + at.Port() + "=" + b.session()}, "X-Forwarded-For": {"198.51.100.77"}}
		go func() {
			ended <- c.Follow(ctx, consumer.Stream{URL: h.server.URL + "/events?from=beginning", Header: header})
		}()
		return ended
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := follow(ctx)
	if got := receive(t, heard); got != "github" {
		t.Errorf("heard of %s", got)
	}
	// The consumer ends, and the process that it listened to as well; another switches meanwhile.
	cancel()
	if err := receive(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	h.services = nil
	second := h.open(t)
	closeService(t, first)
	if err := second.UpsertOperatorOAuth(t.Context(), robotToken("gitlab")); err != nil {
		t.Fatal(err)
	}
	if err := second.SetActiveForge(t.Context(), "gitlab"); err != nil {
		t.Fatal(err)
	}
	ended = follow(t.Context())
	if got := receive(t, heard); got != "gitlab" {
		t.Errorf("after the restart it heard of %s", got)
	}
	// Signing out ends the stream, and asking again is refused.
	if _, err := b.do(t.Context(), http.MethodPost, "/logout", url.Values{}, nil); err != nil {
		t.Fatal(err)
	}
	refused, ok := errors.AsType[*consumer.StreamError](receive(t, ended))
	if !ok || refused.Status != http.StatusUnauthorized {
		t.Errorf("after the end of its session: %v", refused)
	}
	select {
	case again := <-heard:
		t.Errorf("it heard of %s again", again)
	case <-time.After(0):
	}
}
