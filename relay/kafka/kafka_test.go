package kafka_test

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/relay"
	"github.com/forgeauth/forgeauth/relay/kafka"
	"github.com/forgeauth/forgeauth/relay/relaytest"
	"github.com/forgeauth/forgeauth/secret"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const (
	password = "confidential/@:"
	topic    = "events.of-forgeauth"
)

// broker is a broker of Kafka's protocol, in this process: three of them that share their data.
type broker struct {
	dir     string
	ports   []int
	running *kfake.Cluster
}

func startBroker(t *testing.T) *broker {
	t.Helper()
	b := &broker{dir: t.TempDir(), ports: freePorts(t, 3)}
	b.Start(t)
	t.Cleanup(func() { b.Stop(t) })
	return b
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

func (b *broker) Start(t *testing.T) {
	t.Helper()
	running, err := kfake.NewCluster(
		kfake.NumBrokers(len(b.ports)), kfake.Ports(b.ports...), kfake.DataDir(b.dir), kfake.SyncWrites(), kfake.SeedTopics(4, topic),
		kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "relay", password),
	)
	if err != nil {
		t.Fatal(err)
	}
	b.running = running
}

func (b *broker) Stop(*testing.T) { b.running.Close() }

func (b *broker) addresses() []string {
	var all []string
	for _, port := range b.ports {
		all = append(all, "127.0.0.1:"+strconv.Itoa(port))
	}
	return all
}

func (b *broker) Destination(t *testing.T) relay.Destination {
	t.Helper()
	config, err := kafka.ParseURL(secret.New("kafka://relay:confidential%2F%40%3A@" + strings.Join(b.addresses(), ",") + "/" + topic + "?sasl=scram-sha-512"))
	if err != nil {
		t.Fatal(err)
	}
	publisher, err := kafka.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return relay.Destination{Publisher: publisher, Address: config.Address}
}

func (b *broker) Received(t *testing.T) []relaytest.Received {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addresses()...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SASL(scram.Auth{User: "relay", Pass: password}.AsSha512Mechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	var records []*kgo.Record
	for int64(len(records)) < left {
		fetched := client.PollFetches(ctx)
		if err := fetched.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(records), left, err)
		}
		records = append(records, fetched.Records()...)
	}
	slices.SortStableFunc(records, func(x, y *kgo.Record) int { return int(x.Partition - y.Partition) })
	var all []relaytest.Received
	partitions := map[string]int32{}
	for _, r := range records {
		if p, ok := partitions[string(r.Key)]; ok && p != r.Partition {
			t.Errorf("the stream %s is in two partitions", r.Key)
		}
		partitions[string(r.Key)] = r.Partition
		one := relaytest.Received{Address: r.Topic, Key: string(r.Key), Body: string(r.Value)}
		for _, h := range r.Headers {
			switch h.Key {
			case "ce_id":
				one.ID = string(h.Value)
			case "content-type":
				one.ContentType = string(h.Value)
			}
		}
		all = append(all, one)
	}
	return all
}

func TestKafkaConforms(t *testing.T) {
	t.Parallel()
	relaytest.Exercise(t, relaytest.Suite{
		Start:    func(t *testing.T) relaytest.Server { t.Helper(); return startBroker(t) },
		Address:  func(events.Stream) string { return topic },
		Key:      func(stream events.Stream) string { return string(stream) },
		TooLarge: 2 << 20,
		Secret:   password,
	})
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"kafka://h": "",
		"kafka://u:p@h1:1,h2,[::1]:3/my.topic?sasl=scram-sha-256&tls=true": "",
		"kafka://u:p@h/t":                 "",
		"nats://h":                        "does not begin",
		"kafka://h/a/b":                   "topic",
		"kafka://h/..":                    "topic",
		"kafka://u:p@h?sasl=gssapi":       "mechanism",
		"kafka://h?sasl=plain":            "mechanism",
		"kafka://u@h":                     "password",
		"kafka://u:confidential@h?acks=0": "option",
		"kafka://u:confidential@/t":       "address",
	} {
		_, err := kafka.ParseURL(secret.New(url))
		fault, ok := errors.AsType[*relay.SettingError](err)
		switch {
		case want == "" && err != nil, want != "" && (!ok || !strings.Contains(fault.Problem+fault.Remedy, want)):
			t.Errorf("%s: %v", url, err)
		case err != nil && strings.Contains(err.Error(), "confidential"):
			t.Errorf("%s: the error shows the password: %v", url, err)
		}
	}
}
