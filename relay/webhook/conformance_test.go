package webhook_test

import (
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/relay"
	"github.com/forgeauth/forgeauth/relay/relaytest"
	"github.com/forgeauth/forgeauth/relay/webhook"
	"github.com/forgeauth/forgeauth/secret"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const tooLarge = 1 << 20

// receiver is an endpoint that keeps what it is sent.
type receiver struct {
	secret  string
	address string
	running *httptest.Server

	mu  sync.Mutex
	all []relaytest.Received
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, tooLarge))
	if err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	var event struct {
		Subject string `json:"subject"`
	}
	if err := json.Unmarshal(body, &event); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, relaytest.Received{
		Key: event.Subject, ID: request.Header.Get("webhook-id"), ContentType: request.Header.Get("content-type"), Body: string(body),
	})
}

func (r *receiver) Start(t *testing.T) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	r.address = listener.Addr().String()
	r.running = httptest.NewUnstartedServer(r)
	_ = r.running.Listener.Close()
	r.running.Listener = listener
	r.running.StartTLS()
}

func (r *receiver) Stop(*testing.T) { r.running.Close() }

func (r *receiver) Destination(t *testing.T) relay.Destination {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(r.running.Certificate())
	return relay.Destination{Publisher: publisher(t, webhook.Config{
		URL:          secret.New("https://" + r.address + "/hook?token=confidential"),
		Secrets:      []secret.Text{secret.New(r.secret)},
		AllowPrivate: true,
		RootCAs:      roots,
	})}
}

func (r *receiver) Received(*testing.T) []relaytest.Received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

func TestWebhooksConform(t *testing.T) {
	t.Parallel()
	relaytest.Exercise(t, relaytest.Suite{
		Start: func(t *testing.T) relaytest.Server {
			t.Helper()
			r := &receiver{secret: newSecret(), address: "127.0.0.1:0"}
			r.Start(t)
			t.Cleanup(func() { r.Stop(t) })
			return r
		},
		Address:  func(events.Stream) string { return "" },
		Key:      func(stream events.Stream) string { return string(stream) },
		TooLarge: tooLarge,
		Secret:   "confidential",
	})
}
