package nats_test

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	natsclient "github.com/nats-io/nats.go"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/relay"
	"github.com/forgeauth/forgeauth/relay/nats"
	"github.com/forgeauth/forgeauth/relay/relaytest"
	"github.com/forgeauth/forgeauth/secret"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const password = "confidential/@:"

// server is a NATS server with JetStream, in this process.
type server struct {
	options natsserver.Options
	running *natsserver.Server
}

func startServer(t *testing.T) *server {
	t.Helper()
	s := &server{options: natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
		Username: "relay", Password: password, NoLog: true, NoSigs: true, MaxPayload: 1 << 20,
	}}
	s.Start(t)
	t.Cleanup(func() { s.Stop(t) })
	return s
}

func (s *server) Start(t *testing.T) {
	t.Helper()
	options := s.options
	running, err := natsserver.NewServer(&options)
	if err != nil {
		t.Fatal(err)
	}
	running.Start()
	if !running.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not start")
	}
	s.running = running
	s.options.Port = running.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it listens on TCP
}

func (s *server) Stop(*testing.T) {
	s.running.Shutdown()
	s.running.WaitForShutdown()
}

func (s *server) url(tail string) secret.Text {
	return secret.New("nats://relay:confidential%2F%40%3A@127.0.0.1:" + strconv.Itoa(s.options.Port) + tail)
}

func (s *server) Destination(t *testing.T) relay.Destination {
	t.Helper()
	return destination(t, s.url("/forgeauth.test?stream=TEST"))
}

func destination(t *testing.T, url secret.Text) relay.Destination {
	t.Helper()
	config, err := nats.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	publisher, err := nats.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return relay.Destination{Publisher: publisher, Address: config.Address}
}

func (s *server) Received(t *testing.T) []relaytest.Received {
	t.Helper()
	return received(t, s.url("").Reveal(), "TEST")
}

// received reads a whole stream.
func received(t *testing.T, url, stream string) []relaytest.Received {
	t.Helper()
	conn, err := natsclient.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	info, err := js.StreamInfo(stream)
	if err != nil {
		t.Fatal(err)
	}
	var all []relaytest.Received
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		msg, err := js.GetMsg(stream, seq)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, relaytest.Received{
			Address: msg.Subject, Key: msg.Subject, ID: msg.Header.Get(natsclient.MsgIdHdr),
			ContentType: msg.Header.Get("content-type"), Body: string(msg.Data),
		})
	}
	return all
}

func subject(stream events.Stream) string { return nats.Subject("forgeauth.test", stream) }

func TestJetStreamConforms(t *testing.T) {
	t.Parallel()
	relaytest.Exercise(t, relaytest.Suite{
		Start:           func(t *testing.T) relaytest.Server { t.Helper(); return startServer(t) },
		Address:         subject,
		Key:             subject,
		DropsDuplicates: true,
		TooLarge:        2 << 20,
		Secret:          password,
	})
}

func TestAStreamThatIsNotOursToMakeIsAskedFor(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	to := destination(t, s.url("/elsewhere?create=false"))
	defer func() { _ = to.Publisher.Close() }()
	err := to.Publisher.Publish("elsewhere.denials")
	if err != nil {
		t.Fatalf("nothing to publish: %v", err)
	}
	msg := relaytest.Message(t, 1, events.StreamDenials, "x")
	err = to.Publisher.Publish(to.Address(msg), msg)
	if !errors.Is(err, nats.ErrNoStream) || !errors.Is(err, events.ErrDestinationDown) {
		t.Errorf("without a stream: %v", err)
	}
}

func TestSubjectsCannotBeEscaped(t *testing.T) {
	t.Parallel()
	for stream, want := range map[events.Stream]string{
		"active-forge": "p.active-forge", "token/gitlab-work": "p.token.gitlab-work", "token/*": "p.token._", "token/>": "p.token._",
		"a b\r\nPUB x": "p.a_b__PUB_x", "a.b": "p.a_b", "ä": "p._",
	} {
		if got := nats.Subject("p", stream); got != want {
			t.Errorf("%q: %s, want %s", stream, got, want)
		}
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"nats://h": "",
		"nats://u:p@h1:1,h2,[::1]:3/a.b?stream=S&replicas=3&tls=true": "",
		"nats://token@h?create=false&creds=/x.creds":                  "",
		"kafka://h":                  "does not begin",
		"nats://":                    "address",
		"nats://h,,i":                "address",
		"nats://h:":                  "address",
		"nats://h/a b":               "path",
		"nats://h/a.*":               "path",
		"nats://h?stream=a.b":        "stream",
		"nats://h?replicas=9":        "replicas",
		"nats://h?tls=yes":           "true or false",
		"nats://h?nonsense=1":        "option",
		"nats://h?tls=true&tls=true": "option",
		"nats://u:confidential%zz@h": "understood",
		"nats://h#x":                 "fragment",
	} {
		_, err := nats.ParseURL(secret.New(url))
		fault, ok := errors.AsType[*relay.SettingError](err)
		switch {
		case want == "" && err != nil, want != "" && (!ok || !strings.Contains(fault.Problem+fault.Remedy, want)):
			t.Errorf("%s: %v", url, err)
		case err != nil && strings.Contains(err.Error(), "confidential"):
			t.Errorf("%s: the error shows the password: %v", url, err)
		}
	}
}
