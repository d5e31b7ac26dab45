package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/relay"
)

// wire is a destination of a test's: fail decides what becomes of each message.
type wire struct {
	fail func(try int) error

	mu     sync.Mutex
	tries  int
	sent   []string // topic, id
	bodies []string
	closed chan struct{}
}

func newWire(fail func(int) error) *wire { return &wire{fail: fail, closed: make(chan struct{})} }

func (w *wire) Publish(topic string, messages ...*message.Message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, msg := range messages {
		w.tries++
		if err := w.fail(w.tries); err != nil {
			return err
		}
		w.sent = append(w.sent, topic+" "+msg.Metadata.Get(events.MetadataPosition))
		w.bodies = append(w.bodies, string(msg.Payload))
	}
	return nil
}

func (w *wire) Close() error {
	close(w.closed)
	return nil
}

func (w *wire) got() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.sent...)
}

var errDown = fmt.Errorf("%w: connection refused", events.ErrDestinationDown)

func TestAPublisherGetsEachEventAsACloudEvent(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	w := newWire(func(int) error { return nil })
	ctx, end := context.WithCancel(t.Context())
	err := l.relay.Publish(ctx, events.GroupConfig{Name: "out"}, events.TopicAll, relay.Destination{
		Publisher: w, Address: func(msg *message.Message) string { return "to." + msg.Metadata.Get(events.MetadataStream) },
	})
	if err != nil {
		t.Fatal(err)
	}
	l.activate(t, "github")
	appended := l.append(t, events.StreamDenials, events.LoginDenied{Reason: "x"})
	eventually(t, "both are sent", func() bool { return len(w.got()) == 2 })
	if diff := cmp.Diff([]string{"to.active-forge 1", "to.denials 2"}, w.got()); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	want, err := l.feed.Structured(t.Context(), appended[0].Record)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), w.bodies[1]); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	end()
	receive(t, w.closed)
}

func TestABlinkIsNoFailure(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	w := newWire(func(try int) error {
		if try <= 2 {
			return errDown
		}
		return nil
	})
	failed := make(chan int, 10)
	err := l.relay.Publish(t.Context(), events.GroupConfig{Name: "out"}, "ForgeActivated", relay.Destination{
		Publisher: w, Failed: func(_ context.Context, d events.Delivery, _ error) { failed <- d.Attempt },
	})
	if err != nil {
		t.Fatal(err)
	}
	l.activate(t, "github")
	eventually(t, "it is sent", func() bool { return len(w.got()) == 1 })
	if a, b := receive(t, failed), receive(t, failed); a != 1 || b != 1 {
		t.Errorf("the feed counted attempts %d and %d", a, b)
	}
	eventually(t, "the cursor moves", func() bool { return l.subscription(t, "out").Position == 1 })
}

func TestAnOutageHoldsEverythingAndParksNothing(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	w := newWire(func(try int) error {
		if try <= 12 {
			return errDown
		}
		return nil
	})
	policy := events.Policy{Waits: []time.Duration{}, OutageWaits: []time.Duration{time.Millisecond}}
	if err := l.relay.Publish(t.Context(), events.GroupConfig{Name: "out", Policy: policy}, events.TopicAll, relay.Destination{Publisher: w}); err != nil {
		t.Fatal(err)
	}
	l.activate(t, "github", "gitlab")
	eventually(t, "both are sent", func() bool { return len(w.got()) == 2 })
	if s := l.subscription(t, "out"); len(s.Parked) != 0 || w.got()[0] != " 1" {
		t.Errorf("sent %q, parked %v", w.got(), s.Parked)
	}
}

func TestAGroupsMetricsSayHowItStands(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	l.registry.MustRegister(relay.NewCollector(events.NewSubscriptions(l.pool)))
	poison := fmt.Errorf("%w: too large", events.ErrPoison)
	w := newWire(func(int) error { return poison })
	if err := l.relay.Publish(t.Context(), events.GroupConfig{Name: "out"}, events.TopicAll, relay.Destination{Publisher: w}); err != nil {
		t.Fatal(err)
	}
	l.activate(t, "github")
	want := map[string]float64{
		"forgeauth_subscription_parked_streams": 1, "forgeauth_subscription_degraded": 1, "forgeauth_subscription_lag_events": 0,
		"forgeauth_subscription_live": 1, "forgeauth_subscriptions_up": 1, "forgeauth_relay_handler_execution_time_seconds false": 1,
	}
	eventually(t, "the metrics say so", func() bool {
		got := l.gather(t)
		for name, value := range want {
			if v, ok := got[name]; !ok || v != value {
				return false
			}
		}
		return true
	})
}

// gather reads each metric by its name, and that of the handlers by name and success; of a histogram the count.
func (l *line) gather(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := l.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				if label.GetName() == "success" {
					name += " " + label.GetValue()
				}
			}
			values[name] = valueOf(m)
		}
	}
	return values
}

func valueOf(m *dto.Metric) float64 {
	if h := m.GetHistogram(); h != nil {
		return float64(h.GetSampleCount())
	}
	return m.GetGauge().GetValue()
}

func TestAPublisherIsClosedWhateverBecomesOfItsGroup(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	for _, name := range []string{"a b", "fine"} {
		if name == "fine" { // but the relay is closed
			if err := l.relay.Close(); err != nil {
				t.Fatal(err)
			}
		}
		w := newWire(func(int) error { return io.EOF })
		err := l.relay.Publish(t.Context(), events.GroupConfig{Name: name}, events.TopicAll, relay.Destination{Publisher: w})
		if !errors.Is(err, events.ErrGroupName) && !errors.Is(err, events.ErrFeedClosed) {
			t.Errorf("%s: %v", name, err)
		}
		receive(t, w.closed)
	}
}
