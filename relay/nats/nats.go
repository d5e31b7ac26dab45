// Package nats publishes the events of a feed to NATS JetStream, by watermill-nats.
//
// An event goes to the subject <prefix>.<stream>, its slashes as dots: forgeauth.active-forge, forgeauth.token.github. Its message id
// (Nats-Msg-Id) is the CloudEvent's, so that JetStream drops what it is given twice within the window of its stream, two minutes
// unless that says otherwise; consumers that must not see the rest deduplicate. A message counts as published when JetStream has
// stored it.
//
// No broker keeps a process from starting, and none that goes ends it: publishing fails with [events.ErrDestinationDown], and the
// client connects again by itself, for ever.
package nats

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	watermillnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/relay"
	"github.com/forgeauth/forgeauth/secret"
)

// Config says where events are published.
type Config struct {
	Addresses []string // host:port
	// User and Password sign in, or User alone as a token, or the file Credentials (.creds, of a JWT and a seed).
	User        string
	Password    secret.Text
	Credentials string
	// TLS is asked for even where the server does not; RootCAs are the only authorities to trust, the system's if nil.
	TLS     bool
	RootCAs *x509.CertPool
	// Prefix begins every subject.
	Prefix string
	// Stream is what the JetStream stream is called that is made, with so many Replicas, where none takes the subjects; empty
	// where that is somebody else's business.
	Stream   string
	Replicas int
	Logger   *slog.Logger
}

// Scheme begins the URL.
const Scheme = "nats"

var (
	prefixForm = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	streamForm = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
)

// ParseURL reads nats://[<user>:<password>@|<token>@]<host>[:4222][,…]/[<prefix>], with the options tls=true, creds=<file>,
// stream=<name> (FORGEAUTH), replicas=<1 to 5> and create=false. The error is a *[relay.SettingError].
func ParseURL(raw secret.Text) (Config, error) {
	u, err := relay.ParseBrokerURL(raw, Scheme, "4222", "tls", "creds", "stream", "replicas", "create")
	if err != nil {
		return Config{}, err
	}
	c := Config{
		Addresses: u.Addresses, User: u.User, Password: u.Password, Credentials: u.Options["creds"],
		Prefix: u.Path, Stream: u.Options["stream"], Replicas: 1,
	}
	refuse := func(problem, remedy string) (Config, error) {
		return Config{}, &relay.SettingError{Setting: "URL", Problem: problem, Remedy: remedy}
	}
	if c.Prefix == "" {
		c.Prefix = "forgeauth"
	}
	if c.Stream == "" {
		c.Stream = "FORGEAUTH"
	}
	if c.TLS, err = u.Flag("tls", false); err != nil {
		return Config{}, err
	}
	create, err := u.Flag("create", true)
	if err != nil {
		return Config{}, err
	}
	if replicas := u.Options["replicas"]; replicas != "" {
		if c.Replicas, err = strconv.Atoi(replicas); err != nil || c.Replicas < 1 || c.Replicas > 5 {
			return refuse("has another number of replicas than 1 to 5", "write replicas=3 for a cluster of three")
		}
	}
	switch {
	case !prefixForm.MatchString(c.Prefix):
		return refuse("has a path that cannot begin a subject", "write letters, digits, - and _, in parts separated by dots")
	case !streamForm.MatchString(c.Stream):
		return refuse("has a stream whose name is none", "write letters, digits, - and _")
	case !create:
		c.Stream = ""
	}
	return c, nil
}

// Subject is what an event of a stream is published to, under a prefix.
func Subject(prefix string, stream events.Stream) string {
	return prefix + "." + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		case r == '/':
			return '.'
		default: // no name of ours holds it; it must not become a wildcard or another subject
			return '_'
		}
	}, string(stream))
}

// Address is the subject of a message of the feed.
func (c Config) Address(msg *message.Message) string {
	return Subject(c.Prefix, events.Stream(msg.Metadata.Get(events.MetadataStream)))
}

// How long things may take. The client goes on connecting in the background.
const (
	connectTime = 2 * time.Second
	ackTime     = 5 * time.Second
)

// Publisher publishes to JetStream. Safe for concurrent use.
type Publisher struct {
	config    Config
	conn      *nats.Conn
	stream    nats.JetStreamContext
	publisher *watermillnats.Publisher
}

var _ message.Publisher = (*Publisher)(nil)

// New returns a publisher, which connects in the background if the first try fails. The error is about the configuration: a
// file that cannot be read.
func New(config Config) (*Publisher, error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	logger := config.Logger
	options := []nats.Option{
		nats.Name("forgeauth"), nats.Timeout(connectTime), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, time.Second),
		nats.ReconnectBufSize(-1), // what cannot be sent fails, and is given to us again
		nats.PingInterval(10 * time.Second), nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { logger.Warn("the connection to NATS is lost", "error", err) }),
		nats.ReconnectHandler(func(*nats.Conn) { logger.Info("connected to NATS again") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			logger.Warn("NATS reports an error", "error", err)
		}),
	}
	switch {
	case config.Credentials != "":
		options = append(options, nats.UserCredentials(config.Credentials))
	case config.User != "" && config.Password.IsZero():
		options = append(options, nats.Token(config.User))
	case config.User != "":
		options = append(options, nats.UserInfo(config.User, config.Password.Reveal()))
	}
	if config.TLS || config.RootCAs != nil {
		options = append(options, nats.Secure(&tls.Config{RootCAs: config.RootCAs, MinVersion: tls.VersionTLS12}))
	}
	servers := make([]string, len(config.Addresses))
	for i, address := range config.Addresses {
		servers[i] = (&url.URL{Scheme: Scheme, Host: address}).String()
	}
	conn, err := nats.Connect(strings.Join(servers, ","), options...)
	if err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	p := &Publisher{config: config, conn: conn}
	p.stream, err = conn.JetStream(nats.MaxWait(ackTime))
	if err == nil {
		p.publisher, err = watermillnats.NewPublisherWithNatsConn(conn, watermillnats.PublisherPublishConfig{
			Marshaler:         marshaler{},
			SubjectCalculator: watermillnats.DefaultSubjectCalculator,
			JetStream:         watermillnats.JetStreamConfig{PublishOptions: []nats.PubOpt{nats.AckWait(ackTime)}},
		}, watermill.NewSlogLogger(logger))
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("nats: %w", err)
	}
	return p, nil
}

// Publish publishes messages, CloudEvents in structured mode, to a subject. It returns when JetStream has stored them, or an error
// that wraps [events.ErrDestinationDown], or [events.ErrPoison] for a message that is too large.
func (p *Publisher) Publish(subject string, messages ...*message.Message) error {
	if !p.conn.IsConnected() {
		return classify(errors.Join(errNotConnected, p.conn.LastError()))
	}
	for _, msg := range messages {
		err := p.publisher.Publish(subject, msg)
		if errors.Is(err, nats.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
			// Nobody takes the subject: there is no stream yet, or its leader is being elected.
			if err = p.ensureStream(msg.Context(), subject); err == nil {
				err = p.publisher.Publish(subject, msg)
			}
		}
		if err != nil {
			return classify(err)
		}
	}
	return nil
}

var errNotConnected = errors.New("not connected to NATS")

// ErrNoStream says that JetStream has no stream for the subjects, and that this program is not to make one.
var ErrNoStream = errors.New("no JetStream stream takes the subject: make one, or allow forgeauth to")

func (p *Publisher) ensureStream(ctx context.Context, subject string) error {
	ctx, cancel := context.WithTimeout(ctx, ackTime)
	defer cancel()
	_, err := p.stream.StreamNameBySubject(subject, nats.Context(ctx))
	switch {
	case err == nil || !errors.Is(err, nats.ErrNoMatchingStream):
		return err //nolint:wrapcheck // classify does
	case p.config.Stream == "":
		return fmt.Errorf("%w: %s", ErrNoStream, subject)
	}
	_, err = p.stream.AddStream(&nats.StreamConfig{
		Name: p.config.Stream, Description: "Events of forgeauth", Subjects: []string{p.config.Prefix + ".>"},
		Storage: nats.FileStorage, Replicas: p.config.Replicas, Retention: nats.LimitsPolicy,
	}, nats.Context(ctx))
	if err != nil {
		return fmt.Errorf("make the stream %s: %w", p.config.Stream, err)
	}
	p.config.Logger.InfoContext(ctx, "made a JetStream stream", "stream", p.config.Stream, "subjects", p.config.Prefix+".>")
	return nil
}

// messageTooLarge is JetStream's error for what exceeds its stream's limit (max_msg_size).
const messageTooLarge nats.ErrorCode = 10054

func classify(err error) error {
	var api *nats.APIError
	if errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &api) && api.ErrorCode == messageTooLarge {
		return fmt.Errorf("%w: %w", events.ErrPoison, err)
	}
	return fmt.Errorf("%w: %w", events.ErrDestinationDown, err)
}

// Close closes the connection.
func (p *Publisher) Close() error {
	return p.publisher.Close() //nolint:wrapcheck // it has no error
}

// marshaler writes the NATS Protocol Binding for CloudEvents, in structured mode.
type marshaler struct{}

func (marshaler) Marshal(subject string, msg *message.Message) (*nats.Msg, error) {
	out := nats.NewMsg(subject)
	out.Data = msg.Payload
	out.Header.Set("content-type", "application/cloudevents+json; charset=utf-8")
	out.Header.Set(nats.MsgIdHdr, msg.UUID)
	out.Header.Set(watermillnats.WatermillUUIDHdr, msg.UUID) // what its subscribers take the id from
	return out, nil
}
