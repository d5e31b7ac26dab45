package forgeauth_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	natsclient "github.com/nats-io/nats.go"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/secret"
)

const webhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// runService does a service's background work until the test ends.
func runService(t *testing.T, s *forgeauth.Service) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && ctx.Err() == nil {
			t.Errorf("run: %v", err)
		}
	})
}

// switched is what a receiver reads of a ForgeActivated.
type switched struct {
	Type string `json:"type"`
	Data struct {
		ForgeType string  `json:"forge_type"`
		Previous  *string `json:"previous"`
	} `json:"data"`
}

func readSwitch(t *testing.T, body []byte) string {
	t.Helper()
	var event switched
	if err := json.Unmarshal(body, &event); err != nil || event.Type != "ForgeActivated" {
		t.Errorf("received %s: %v", body, err)
	}
	return event.Data.ForgeType
}

func TestAWebhookHearsOfSwitchesUntilItIsGoneAndAgainWhenItIsEnabled(t *testing.T) {
	t.Parallel()
	verifier, err := standardwebhooks.NewWebhook(webhookSecret)
	if err != nil {
		t.Fatal(err)
	}
	var gone atomic.Bool
	heard := make(chan string, 10)
	endpoint := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := verifier.Verify(body, r.Header); err != nil {
			t.Errorf("the signature: %v", err)
		}
		if gone.Load() {
			w.WriteHeader(http.StatusGone)
			return
		}
		heard <- readSwitch(t, body)
	}))
	defer endpoint.Close()
	roots := x509.NewCertPool()
	roots.AddCert(endpoint.Certificate())

	h := newHouse(t, "github", "gitlab")
	s := h.open(t, func(c *forgeauth.Config) {
		c.Relays = []forgeauth.RelayConfig{{
			Name: "hooks", URL: secret.New(endpoint.URL), Secrets: []secret.Text{secret.New(webhookSecret)},
			Types: []string{"ForgeActivated"}, Start: events.FromBeginning(), AllowPrivate: true, RootCAs: roots,
		}}
	})
	b := h.claim(t, "github")
	runService(t, s)
	if got := receive(t, heard); got != "github" {
		t.Errorf("heard of %s", got)
	}
	gone.Store(true)
	mustSignIn(t, b, "gitlab", "ada", nil)
	disabled := waitForFact[events.RelayDisabled](t, s)
	if disabled.Group != "hooks" || disabled.Reason != "gone" {
		t.Errorf("disabled: %+v", disabled)
	}
	gone.Store(false)
	if _, err := s.Commands().EnableRelay(t.Context(), commands.EnableRelay{Caller: commands.Caller{Actor: "cli"}, Group: "hooks"}); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, heard); got != "gitlab" {
		t.Errorf("after it was enabled it heard of %s", got)
	}
}

// waitForFact waits for the first fact of a type.
func waitForFact[F events.Fact](t *testing.T, s *forgeauth.Service) F {
	t.Helper()
	var none F
	follower := s.Feed().Follow(0, events.TypeOf(none))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	page, err := follower.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	event, err := page[0].Decode()
	if err != nil {
		t.Fatal(err)
	}
	return event.Fact.(F) //nolint:forcetypeassert // of that type
}

func TestBrokersHearOfSwitches(t *testing.T) {
	t.Parallel()
	broker, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	broker.Start()
	defer broker.Shutdown()
	if !broker.ReadyForConnections(30 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "forgeauth"))
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()

	h := newHouse(t, "github", "gitlab")
	s := h.open(t, func(c *forgeauth.Config) {
		c.Relays = []forgeauth.RelayConfig{
			{Name: "nats", URL: secret.New("nats://" + broker.Addr().String()), Types: []string{"ForgeActivated"}, Start: events.FromBeginning()},
			{Name: "kafka", URL: secret.New("kafka://" + kafka.ListenAddrs()[0]), Types: []string{"ForgeActivated"}, Start: events.FromBeginning()},
		}
	})
	b := h.claim(t, "github")
	runService(t, s)
	mustSignIn(t, b, "gitlab", "ada", nil)

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	records, err := kgo.NewClient(kgo.SeedBrokers(kafka.ListenAddrs()...), kgo.ConsumeTopics("forgeauth"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer records.Close()
	var got []string
	for len(got) < 2 {
		fetched := records.PollFetches(ctx)
		if err := fetched.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetched.Records() {
			got = append(got, readSwitch(t, r.Value))
		}
	}
	if strings.Join(got, " ") != "github gitlab" {
		t.Errorf("kafka has %v", got)
	}

	conn, err := natsclient.Connect("nats://" + broker.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := conn.JetStream(natsclient.Context(ctx))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.After(30 * time.Second); ; {
		if info, err := js.StreamInfo("FORGEAUTH"); err == nil && info.State.Msgs == 2 {
			break
		}
		select {
		case <-deadline:
			t.Fatal("NATS does not get both")
		case <-time.After(10 * time.Millisecond):
		}
	}
	for seq, want := range map[uint64]string{1: "github", 2: "gitlab"} {
		msg, err := js.GetMsg("FORGEAUTH", seq)
		if err != nil {
			t.Fatal(err)
		}
		if name := readSwitch(t, msg.Data); name != want || msg.Subject != "forgeauth.active-forge" {
			t.Errorf("message %d is %s on %s", seq, name, msg.Subject)
		}
	}
}

func TestADestinationThatIsAwayKeepsNobodyFromStarting(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	h := newHouse(t, "github")
	s := h.open(t, func(c *forgeauth.Config) {
		for i, scheme := range []string{"nats", "kafka", "https"} {
			r := forgeauth.RelayConfig{Name: "r" + strconv.Itoa(i), URL: secret.New(scheme + "://" + address), Start: events.FromBeginning(), AllowPrivate: true}
			if scheme == "https" {
				r.Secrets = []secret.Text{secret.New(webhookSecret)}
			}
			c.Relays = append(c.Relays, r)
		}
	})
	runService(t, s)
	h.claim(t, "github")
	for deadline := time.After(30 * time.Second); ; {
		groups, err := s.Subscriptions().List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		failing := 0
		for _, g := range groups {
			if g.Attempts > 0 && len(g.Parked) == 0 && g.Error != "" {
				failing++
			}
		}
		if failing == 3 {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("the groups stand so: %+v", groups)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
