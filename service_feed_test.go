package forgeauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/relay"
	"github.com/forgeauth/forgeauth/secret"
)

// receive waits for the next value.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func TestAHandlerHearsOfEverySwitchAndWhatItDoesBelongsToIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "github", "gitlab")
	s := h.open(t)
	heard := make(chan events.ForgeActivated, 10)
	// Whoever switches to gitlab is sent back, once: a command that a handler gives.
	err := s.OnForgeActivated(t.Context(), "watcher", func(ctx context.Context, fact events.ForgeActivated) error {
		heard <- fact
		if fact.ForgeType != "gitlab" {
			return nil
		}
		return s.SetActiveForge(ctx, "github")
	})
	if err != nil {
		t.Fatal(err)
	}
	b := h.claim(t, "github")
	mustSignIn(t, b, "gitlab", "ada", nil)
	for i, want := range []string{"github", "gitlab", "github"} {
		if got := receive(t, heard); got.ForgeType != want {
			t.Errorf("switch %d went to %s, want %s", i+1, got.ForgeType, want)
		}
	}
	var correlations []uuid.UUID
	for e, err := range s.Log().Read(t.Context(), events.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := e.Fact.(events.ForgeActivated); ok {
			correlations = append(correlations, e.CorrelationID)
		}
	}
	if len(correlations) != 3 || correlations[1] != correlations[2] || correlations[0] == correlations[1] {
		t.Errorf("the switches are of %v; what the handler did should be of the command it heard of", correlations)
	}
}

func TestReadinessTellsOfGroupsAndStaysReady(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "github")
	s := h.open(t)
	h.claim(t, "github")
	detail := func() (bool, string) {
		response := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.config.Listen+"/readyz", nil)
		s.Handler().ServeHTTP(response, r)
		var document struct {
			Ready  bool `json:"ready"`
			Checks []struct {
				Name   string `json:"name"`
				Detail string `json:"detail"`
			} `json:"checks"`
		}
		if err := json.Unmarshal(response.Body.Bytes(), &document); err != nil {
			t.Fatal(err)
		}
		for _, c := range document.Checks {
			if c.Name == "feed" {
				return document.Ready, c.Detail
			}
		}
		t.Fatalf("no check of the feed in %s", response.Body)
		return false, ""
	}
	err := s.Subscribe(t.Context(), events.GroupConfig{Name: "watcher", Policy: events.Policy{Then: events.Pause}},
		relay.On(func(context.Context, events.ForgeActivated) error { return events.ErrPoison }))
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(30 * time.Second)
	for {
		ready, got := detail()
		if !ready {
			t.Fatal("a group that is paused made the service unready")
		}
		if strings.Contains(got, "watcher is degraded") && strings.Contains(got, "watcher is paused") {
			break
		}
		h.clock.jump(2 * time.Second) // past what is remembered of the answer
		select {
		case <-deadline:
			t.Fatalf("the detail stays %q", got)
		case <-time.After(10 * time.Millisecond):
		}
	}
	metrics := httptest.NewRecorder()
	s.Metrics().ServeHTTP(metrics, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if want := `forgeauth_subscription_paused{group="watcher"} 1`; !strings.Contains(metrics.Body.String(), want) {
		t.Errorf("the metrics do not say %s:\n%s", want, metrics.Body)
	}
}

func TestAServiceThatEndsEndsItsHandlersFirst(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "github", "gitlab")
	s := h.open(t)
	h.claim(t, "github")
	under, ending, result := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	err := s.OnForgeActivated(t.Context(), "watcher", func(ctx context.Context, _ events.ForgeActivated) error {
		close(under)
		<-ending // Close has begun
		_, err := s.GetActiveForge(ctx)
		result <- err
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	receive(t, under)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		closeService(t, s)
	}()
	close(ending)
	if err := receive(t, result); err != nil {
		t.Errorf("the handler could not use the service while it ended: %v", err)
	}
	receive(t, closed)
	if err := s.OnForgeActivated(t.Context(), "late", func(context.Context, events.ForgeActivated) error { return nil }); !errors.Is(err, events.ErrFeedClosed) {
		t.Errorf("subscribing to what is closed: %v", err)
	}
}

func TestTheFeedTakesTheURLOfAPool(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "github")
	s := h.open(t, func(c *forgeauth.Config) {
		separator := "?"
		if strings.Contains(c.DatabaseURL.Reveal(), "?") {
			separator = "&"
		}
		c.DatabaseURL = secret.New(c.DatabaseURL.Reveal() + separator + "pool_max_conns=5")
	})
	heard := make(chan string, 1)
	err := s.OnForgeActivated(t.Context(), "watcher", func(_ context.Context, fact events.ForgeActivated) error {
		heard <- fact.ForgeType
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	h.claim(t, "github")
	if got := receive(t, heard); got != "github" {
		t.Errorf("heard of %s", got)
	}
}
