package nats_test

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	natsserver "github.com/nats-io/nats-server/v2/server"
	natsclient "github.com/nats-io/nats.go"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/relay/relaytest"
	"github.com/forgeauth/forgeauth/secret"
)

// startCluster runs three servers with JetStream that know each other.
func startCluster(t *testing.T) []*natsserver.Server {
	t.Helper()
	var servers []*natsserver.Server
	var routes []*url.URL
	ports := freePorts(t, 3)
	for _, port := range ports {
		routes = append(routes, &url.URL{Scheme: "nats", Host: "127.0.0.1:" + strconv.Itoa(port)})
	}
	for i, port := range ports {
		s, err := natsserver.NewServer(&natsserver.Options{
			ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
			NoLog: true, NoSigs: true, Routes: routes,
			Cluster: natsserver.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: port},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		servers = append(servers, s)
	}
	for _, s := range servers {
		if !s.ReadyForConnections(30 * time.Second) {
			t.Fatal("a server does not start")
		}
	}
	deadline := time.After(60 * time.Second)
	for tick := time.NewTicker(50 * time.Millisecond); !hasLeader(servers); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the cluster elects no leader")
		}
	}
	return servers
}

// freePorts returns ports that are free now.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	var listeners []net.Listener
	for range n {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, listener)
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port) //nolint:forcetypeassert // it listens on TCP
	}
	for _, listener := range listeners {
		_ = listener.Close()
	}
	return ports
}

func hasLeader(servers []*natsserver.Server) bool {
	for _, s := range servers {
		if s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == 3 {
			return true
		}
	}
	return false
}

func TestAClusterThatLosesItsLeaderLosesNothing(t *testing.T) {
	t.Parallel()
	const count, kill = 120, 40
	servers := startCluster(t)
	address := ""
	for i, s := range servers {
		if i > 0 {
			address += ","
		}
		address += s.Addr().String()
	}
	to := destination(t, secret.New("nats://"+address+"/forgeauth.test?stream=TEST&replicas=3"))
	defer func() { _ = to.Publisher.Close() }()
	var want []string
	for i := range count {
		msg := relaytest.Message(t, int64(i+1), events.StreamActiveForge, "x")
		relaytest.MustPublish(t, to, msg)
		want = append(want, msg.UUID)
		if i == kill {
			killLeader(t, servers)
		}
	}
	var living string
	for _, s := range servers {
		if s.Running() {
			living = "nats://" + s.Addr().String()
		}
	}
	var got []string
	for _, r := range received(t, living, "TEST") {
		got = append(got, r.ID)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}

// killLeader ends the server that leads the stream, without a word to the others.
func killLeader(t *testing.T, servers []*natsserver.Server) {
	t.Helper()
	conn, err := natsclient.Connect("nats://" + servers[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	info, err := js.StreamInfo("TEST")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(info.Cluster.Replicas); n != 2 {
		t.Fatalf("the stream has %d replicas beside its leader, want 2", n)
	}
	for i, s := range servers {
		if "n"+strconv.Itoa(i) == info.Cluster.Leader {
			s.Shutdown()
			s.WaitForShutdown()
			return
		}
	}
	t.Fatalf("nobody is called %s", info.Cluster.Leader)
}
