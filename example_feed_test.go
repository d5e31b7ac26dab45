package forgeauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	watermillkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	watermillnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"
	natsserver "github.com/nats-io/nats-server/v2/server"
	natsclient "github.com/nats-io/nats.go"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/consumer"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/relay"
	"github.com/forgeauth/forgeauth/secret"
)

// The program that embeds forgeauth hears of a switch in a handler of its own. moveWebhooks is what it does about it: here it says
// so, elsewhere it asks for the adapter of the forge and calls EnsureHook there.
func Example_reactInTheSameProgram() {
	service, done := exampleRunning()
	defer done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	moved := make(chan string)
	err := service.OnForgeActivated(ctx, "webhook-mover", func(_ context.Context, fact events.ForgeActivated) error {
		moved <- "moving my webhooks to " + fact.ForgeType
		return nil
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	exampleSwitch(service, "gitea", "gitea-work")
	fmt.Println(<-moved)
	fmt.Println(<-moved)

	// Output:
	// moving my webhooks to gitea
	// moving my webhooks to gitea-work
}

// What a handler writes to the same database can commit together with the group's cursor: it is there exactly once, whatever happens.
func Example_exactlyOnceInTheSameDatabase() {
	service, done := exampleRunning()
	defer done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	counted := make(chan int)
	err := service.Subscribe(ctx, events.GroupConfig{Name: "switch-counter"},
		relay.OnTx(func(ctx context.Context, tx pgx.Tx, fact events.ForgeActivated) error {
			if _, err := tx.Exec(ctx, `CREATE TABLE IF NOT EXISTS switches (forge text)`); err != nil {
				return err
			}
			var n int
			err := tx.QueryRow(ctx, `WITH one AS (INSERT INTO switches VALUES ($1) RETURNING 1)
				SELECT (SELECT count(*) FROM switches) + (SELECT count(*) FROM one)`, fact.ForgeType).Scan(&n)
			if err == nil {
				counted <- n
			}
			return err
		}))
	if err != nil {
		fmt.Println(err)
		return
	}
	exampleSwitch(service, "gitea", "gitea-work")
	fmt.Println(<-counted, <-counted)

	// Output:
	// 1 2
}

// A program elsewhere is told by a webhook. What it does about it is behind a consumer, which checks the signature and drops what it
// has handled before.
func Example_reactToAWebhook() {
	signing := secret.New("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") // echo whsec_$(openssl rand -base64 32)
	watcher, moved := exampleWatcher()
	handler, err := watcher.Webhook(signing)
	if err != nil {
		fmt.Println(err)
		return
	}
	endpoint := httptest.NewServer(handler) // elsewhere, and https
	defer endpoint.Close()

	// FORGEAUTH_RELAY_MOVER_URL, _SECRET, _TYPES, and _ALLOW_PRIVATE because it is on this machine.
	service, done := exampleRunning(forgeauth.RelayConfig{
		Name: "mover", URL: secret.New(endpoint.URL), Secrets: []secret.Text{signing}, Types: []string{"ForgeActivated"}, AllowPrivate: true,
	})
	defer done()
	exampleSwitch(service, "gitea")
	fmt.Println(<-moved)

	// Output:
	// moving my webhooks to gitea
}

// Over NATS it subscribes to one subject. The broker keeps what the program has not seen yet.
func Example_reactOverNATS() {
	broker, stop := exampleNATS()
	defer stop()
	service, done := exampleRunning(forgeauth.RelayConfig{Name: "nats", URL: secret.New(broker)}) // FORGEAUTH_RELAY_NATS_URL=nats://…
	defer done()
	exampleSwitch(service, "gitea")

	subscriber, err := watermillnats.NewSubscriber(watermillnats.SubscriberConfig{
		URL: broker, Unmarshaler: &watermillnats.NATSMarshaler{}, QueueGroupPrefix: "mover",
		JetStream: watermillnats.JetStreamConfig{
			DurablePrefix: "mover", SubscribeOptions: []natsclient.SubOpt{natsclient.DeliverAll(), natsclient.AckExplicit()},
		},
		NatsOptions: []natsclient.Option{natsclient.RetryOnFailedConnect(true)},
	}, watermill.NopLogger{})
	if err != nil {
		fmt.Println(err)
		return
	}
	moved, stopRouter := exampleRouter(subscriber, "forgeauth.active-forge")
	defer stopRouter()
	fmt.Println(<-moved)

	// Output:
	// moving my webhooks to gitea
}

// Over Kafka it is the same with another subscriber.
func Example_reactOverKafka() {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "forgeauth"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer broker.Close()
	service, done := exampleRunning(forgeauth.RelayConfig{Name: "kafka", URL: secret.New("kafka://" + broker.ListenAddrs()[0])})
	defer done()
	exampleSwitch(service, "gitea")

	client := watermillkafka.DefaultSaramaSubscriberConfig()
	client.Consumer.Offsets.Initial = sarama.OffsetOldest // of a new group, which would else miss what is there already
	subscriber, err := watermillkafka.NewSubscriber(watermillkafka.SubscriberConfig{
		Brokers: broker.ListenAddrs(), Unmarshaler: watermillkafka.DefaultMarshaler{}, ConsumerGroup: "mover", OverwriteSaramaConfig: client,
	}, watermill.NopLogger{})
	if err != nil {
		fmt.Println(err)
		return
	}
	moved, stopRouter := exampleRouter(subscriber, "forgeauth")
	defer stopRouter()
	fmt.Println(<-moved)

	// Output:
	// moving my webhooks to gitea
}

// Without a broker and without an address of its own, a program follows the stream of a session.
func Example_reactToServerSentEvents() { //nolint:testableexamples // it needs a session of somebody who signed in
	store, err := consumer.OpenFile("/var/lib/mover/position.json")
	if err != nil {
		fmt.Println(err)
		return
	}
	watcher, err := consumer.New(consumer.Config{Store: store}, consumer.On(
		func(_ context.Context, _ consumer.Event, fact events.ForgeActivated) error {
			fmt.Println("moving my webhooks to", fact.ForgeType)
			return nil
		}))
	if err != nil {
		fmt.Println(err)
		return
	}
	err = watcher.Follow(context.Background(), consumer.Stream{
		URL: "https://auth.example.org/events", Header: http.Header{"Cookie": {"__Host-forgeauth=" + os.Getenv("FORGEAUTH_SESSION")}},
	})
	fmt.Println(err)
}

// exampleWatcher is a consumer that says on a channel what it does.
func exampleWatcher() (*consumer.Consumer, <-chan string) {
	moved := make(chan string, 10)
	watcher, err := consumer.New(consumer.Config{Store: consumer.NewMemory()}, consumer.On(
		func(_ context.Context, _ consumer.Event, fact events.ForgeActivated) error {
			moved <- "moving my webhooks to " + fact.ForgeType
			return nil
		}))
	if err != nil {
		panic(err)
	}
	return watcher, moved
}

// exampleRouter runs a consumer over any Watermill subscriber.
func exampleRouter(subscriber message.Subscriber, topic string) (moved <-chan string, stop func()) {
	watcher, moved := exampleWatcher()
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		panic(err)
	}
	router.AddConsumerHandler("mover", topic, subscriber, watcher.Message)
	go func() { _ = router.Run(context.Background()) }()
	return moved, func() { _ = router.Close() }
}

// exampleRunning is a running deployment with two connections that nobody has signed in to yet.
func exampleRunning(relays ...forgeauth.RelayConfig) (service *forgeauth.Service, done func()) {
	database, drop := exampleDatabase()
	config := forgeauth.Config{
		DatabaseURL: secret.New(database), MigrateOnOpen: true, Relays: relays,
		EncryptionKey: secret.New("q3J8vX0bN5mZ7rT2cW9yK4sH6dF1gA+eLpUoViEjRn0="),
	}
	for i := range relays {
		relays[i].Start = events.FromBeginning() // for the sake of the examples: the default is now
	}
	for _, name := range []string{"gitea", "gitea-work"} {
		config.Connections = append(config.Connections, forge.Connection{
			Name: name, Kind: forge.Gitea, BaseURL: "https://" + name + ".example.org", ClientID: "b9b3c1c6", ClientSecret: secret.New("gto_example"),
			Scopes: []string{"read:user", "write:repository", "write:issue", "read:organization"}, Login: true,
		})
	}
	service, err := forgeauth.Open(context.Background(), config)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = service.Run(ctx)
	}()
	return service, func() {
		cancel()
		<-ended
		_ = service.Close(context.Background())
		drop()
	}
}

// exampleSwitch makes one forge after the other active.
func exampleSwitch(service *forgeauth.Service, forges ...string) {
	ctx := context.Background()
	for _, name := range forges {
		err := service.UpsertOperatorOAuth(ctx, forgeauth.OperatorOAuth{
			ForgeType: name, AccountID: "7", AccountLogin: "ada", AccessToken: secret.New("an-access-token-for-" + name),
		})
		if err == nil {
			err = service.SetActiveForge(ctx, name)
		}
		if err != nil {
			panic(err)
		}
	}
}

// exampleNATS is a NATS server with JetStream, where somebody has made the stream:
// nats stream add FORGEAUTH --subjects 'forgeauth.>' --defaults.
func exampleNATS() (url string, stop func()) {
	directory, err := os.MkdirTemp("", "nats")
	if err != nil {
		panic(err)
	}
	server, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true, StoreDir: directory, NoLog: true, NoSigs: true,
	})
	if err != nil {
		panic(err)
	}
	server.Start()
	if !server.ReadyForConnections(30 * time.Second) {
		panic("the NATS server does not start")
	}
	url = "nats://" + server.Addr().String()
	conn, err := natsclient.Connect(url)
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	stream, err := conn.JetStream()
	if err == nil {
		_, err = stream.AddStream(&natsclient.StreamConfig{Name: "FORGEAUTH", Subjects: []string{"forgeauth.>"}})
	}
	if err != nil {
		panic(err)
	}
	return url, func() {
		server.Shutdown()
		_ = os.RemoveAll(directory)
	}
}
