package nats_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	natsclient "github.com/nats-io/nats.go"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/relay/relaytest"
	"github.com/forgeauth/forgeauth/secret"
)

// TestTheDeployedServerLetsTheRelayPublishAndTheConsumerListen is about deploy/nats.conf, which docker-compose.yml uses.
func TestTheDeployedServerLetsTheRelayPublishAndTheConsumerListen(t *testing.T) {
	t.Parallel()
	template, err := os.ReadFile("../../deploy/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(
		"RELAY_PASSWORD", "one", "CONSUMER_PASSWORD", "two", "/data", t.TempDir(), "0.0.0.0:4222", "127.0.0.1:-1", "127.0.0.1:8222", "127.0.0.1:-1",
	).Replace(string(template))
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil { //nolint:gosec // a file of the test's own
		t.Fatal(err)
	}
	options, err := natsserver.ProcessConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	options.NoSigs, options.NoLog = true, true
	server, err := natsserver.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	server.Start()
	defer func() {
		server.Shutdown()
		server.WaitForShutdown()
	}()
	if !server.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not start")
	}
	address := server.Addr().String()
	to := destination(t, secret.New("nats://relay:one@"+address+"/forgeauth"))
	defer func() { _ = to.Publisher.Close() }()
	msg := relaytest.Message(t, 1, events.StreamActiveForge, "x")
	relaytest.MustPublish(t, to, msg)

	conn, err := natsclient.Connect("nats://consumer:two@" + address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := conn.JetStream(natsclient.MaxWait(2 * time.Second)) // for what is refused without a word
	if err != nil {
		t.Fatal(err)
	}
	durable, err := js.PullSubscribe("forgeauth.active-forge", "mover")
	if err != nil {
		t.Fatal(err)
	}
	batch, err := durable.Fetch(1, natsclient.MaxWait(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if string(batch[0].Data) != string(msg.Payload) {
		t.Errorf("the consumer got %s", batch[0].Data)
	}
	if err := batch[0].AckSync(); err != nil {
		t.Errorf("the consumer cannot say that it has it: %v", err)
	}
	if _, err := js.Publish("forgeauth.active-forge", nil); err == nil {
		t.Error("the consumer can publish")
	}
	if err := js.DeleteStream("FORGEAUTH"); err == nil {
		t.Error("the consumer can delete the stream")
	}
}
