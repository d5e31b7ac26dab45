// Package kafka publishes the events of a feed to Kafka, and to what speaks its protocol, by watermill-kafka.
//
// All events go to one topic, with the event's stream as key: one stream is in one partition, and so in order. A record counts as
// published when all replicas that are in sync have it. Kafka does not drop what it is given twice: consumers deduplicate by the
// CloudEvent's id, which is also the header ce_id.
//
// No broker keeps a process from starting, and none that goes ends it: publishing fails with [events.ErrDestinationDown].
package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	watermillkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/relay"
	"github.com/forgeauth/forgeauth/secret"
)

// Config says where events are published.
type Config struct {
	Addresses []string // host:port
	// User and Password sign in by Mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
	User      string
	Password  secret.Text
	Mechanism string
	// TLS is used; RootCAs are the only authorities to trust, the system's if nil.
	TLS     bool
	RootCAs *x509.CertPool
	Topic   string
	Logger  *slog.Logger
}

// Scheme begins the URL.
const Scheme = "kafka"

var topicForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

var mechanisms = map[string]string{
	"": sarama.SASLTypePlaintext, "plain": sarama.SASLTypePlaintext,
	"scram-sha-256": sarama.SASLTypeSCRAMSHA256, "scram-sha-512": sarama.SASLTypeSCRAMSHA512,
}

// ParseURL reads kafka://[<user>:<password>@]<host>[:9092][,…]/[<topic>], with the options tls=true and sasl=plain, scram-sha-256
// or scram-sha-512. The topic is forgeauth if there is none. The error is a *[relay.SettingError].
func ParseURL(raw secret.Text) (Config, error) {
	u, err := relay.ParseBrokerURL(raw, Scheme, "9092", "tls", "sasl")
	if err != nil {
		return Config{}, err
	}
	c := Config{Addresses: u.Addresses, User: u.User, Password: u.Password, Topic: u.Path}
	if c.Topic == "" {
		c.Topic = "forgeauth"
	}
	if c.TLS, err = u.Flag("tls", false); err != nil {
		return Config{}, err
	}
	refuse := func(problem, remedy string) (Config, error) {
		return Config{}, &relay.SettingError{Setting: "URL", Problem: problem, Remedy: remedy}
	}
	mechanism, known := mechanisms[strings.ToLower(u.Options["sasl"])]
	switch {
	case !topicForm.MatchString(c.Topic) || c.Topic == "." || c.Topic == "..":
		return refuse("has a path that is no topic", "write letters, digits, dots, - and _")
	case !known:
		return refuse("has a mechanism that is not known", "write sasl=plain, sasl=scram-sha-256 or sasl=scram-sha-512")
	case c.User == "" && u.Options["sasl"] != "":
		return refuse("names a mechanism and no user", "write kafka://<user>:<password>@…")
	case c.User != "" && c.Password.IsZero():
		return refuse("names a user and no password", "write kafka://<user>:<password>@…")
	}
	c.Mechanism = mechanism
	return c, nil
}

// Address is the topic of a message of the feed.
func (c Config) Address(*message.Message) string { return c.Topic }

// Publisher publishes to Kafka. Safe for concurrent use.
type Publisher struct {
	config Config
	client *sarama.Config

	mu       sync.Mutex
	closed   bool
	producer *watermillkafka.Publisher // nil until a broker has answered
}

var _ message.Publisher = (*Publisher)(nil)

// New returns a publisher. It connects when it is first used; the error is about the configuration.
func New(config Config) (*Publisher, error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	client := sarama.NewConfig()
	client.ClientID = "forgeauth"
	client.Version = sarama.V2_1_0_0
	client.ApiVersionsRequest = true
	client.Net.DialTimeout, client.Net.ReadTimeout, client.Net.WriteTimeout = 5*time.Second, 10*time.Second, 10*time.Second
	client.Net.MaxOpenRequests = 1 // a retry does not overtake
	client.Metadata.Retry.Max, client.Metadata.Retry.Backoff = 2, 100*time.Millisecond
	client.Metadata.Timeout = 10 * time.Second
	client.Producer.RequiredAcks = sarama.WaitForAll
	client.Producer.Timeout = 5 * time.Second
	client.Producer.Retry.Max, client.Producer.Retry.Backoff = 3, 100*time.Millisecond
	client.Producer.Partitioner = sarama.NewHashPartitioner
	client.Producer.Return.Successes = true
	if config.TLS || config.RootCAs != nil {
		client.Net.TLS.Enable = true
		client.Net.TLS.Config = &tls.Config{RootCAs: config.RootCAs, MinVersion: tls.VersionTLS12}
	}
	if config.User != "" {
		client.Net.SASL.Enable = true
		client.Net.SASL.Mechanism = sarama.SASLMechanism(config.Mechanism)
		client.Net.SASL.User, client.Net.SASL.Password = config.User, config.Password.Reveal()
		client.Net.SASL.SCRAMClientGeneratorFunc = newSCRAM(config.Mechanism)
	}
	if err := client.Validate(); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return &Publisher{config: config, client: client}, nil
}

var errClosed = errors.New("the publisher is closed")

// connected returns the producer, and makes it if no broker has answered yet.
func (p *Publisher) connected() (*watermillkafka.Publisher, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	if p.producer == nil {
		producer, err := watermillkafka.NewPublisher(watermillkafka.PublisherConfig{
			Brokers: p.config.Addresses, Marshaler: marshaler{}, OverwriteSaramaConfig: p.client,
		}, watermill.NewSlogLogger(p.config.Logger))
		if err != nil {
			return nil, fmt.Errorf("no broker answers: %w", err)
		}
		p.producer = producer
	}
	return p.producer, nil
}

// Publish publishes messages, CloudEvents in structured mode, to a topic. It returns when all replicas in sync have them, or an
// error that wraps [events.ErrDestinationDown], or [events.ErrPoison] for a message that is too large.
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	producer, err := p.connected()
	if err != nil {
		return classify(err)
	}
	if err := producer.Publish(topic, messages...); err != nil {
		return classify(err)
	}
	return nil
}

func classify(err error) error {
	// The client has a configured limit of its own, and says so before it sends anything.
	if _, own := errors.AsType[sarama.ConfigurationError](err); own || errors.Is(err, sarama.ErrMessageSizeTooLarge) {
		return fmt.Errorf("%w: %w", events.ErrPoison, err)
	}
	return fmt.Errorf("%w: %w", events.ErrDestinationDown, err)
}

// Close ends the connections.
func (p *Publisher) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.producer == nil {
		return nil
	}
	return p.producer.Close() //nolint:wrapcheck // it says what failed
}

// marshaler writes the Kafka Protocol Binding for CloudEvents, in structured mode, with those headers that a consumer may want to
// look at before the body.
type marshaler struct{}

func (marshaler) Marshal(topic string, msg *message.Message) (*sarama.ProducerMessage, error) {
	header := func(name, value string) sarama.RecordHeader {
		return sarama.RecordHeader{Key: []byte(name), Value: []byte(value)}
	}
	return &sarama.ProducerMessage{
		Topic: topic,
		Key:   sarama.StringEncoder(msg.Metadata.Get(events.MetadataPartitionKey)),
		Value: sarama.ByteEncoder(msg.Payload),
		Headers: []sarama.RecordHeader{
			header("content-type", "application/cloudevents+json; charset=UTF-8"),
			header(events.MetadataID, msg.UUID),
			header(events.MetadataType, msg.Metadata.Get(events.MetadataType)),
			header(watermillkafka.UUIDHeaderKey, msg.UUID), // what its subscribers take the id from
		},
	}, nil
}
