// Package consumer is for programs that hear of what happens in a forgeauth deployment from outside of it: over NATS JetStream, Kafka, a
// webhook, or Server-Sent Events. (A program that embeds forgeauth subscribes to the feed itself.) It checks what arrives, decodes it
// to the types of package events, drops what was handled before, and remembers how far it got.
//
//	store, err := consumer.OpenFile("/var/lib/watcher/position.json")
//	c, err := consumer.New(consumer.Config{Store: store},
//		consumer.On(func(ctx context.Context, e consumer.Event, fact events.ForgeActivated) error {
//			return moveWebhooks(ctx, fact.ForgeType)
//		}))
//
//	http.Handle("POST /forgeauth", c.Webhook(secret))           // a webhook
//	c.Follow(ctx, consumer.Stream{URL: …, Header: …})            // GET /events
//	router.AddConsumerHandler("watcher", topic, subscriber, c.Message) // NATS, Kafka: any Watermill subscriber
//
// # What can be relied on
//
// Every event arrives at least once, and those of one stream in order, whatever the way. An event that arrives again is told by its place
// in its stream and not handled again: it can only be repeated where the program ended after a handler was done and before the [Store]
// had remembered it. With [NewPostgres], whose transaction the handler can join, not even then.
//
// A handler that fails has the event sent again, by the broker or by forgeauth, with what follows it in its stream waiting. Replays
// (`forgeauth replay-to`) are marked: [Event.Replay]. They are handled once per replay, beside what happens now, so a handler has to do
// with history what is right for history.
//
// Types of events that no handler is for are passed over, so that a newer forgeauth with more of them disturbs nobody. A newer schema of
// a type that a handler is for is an error ([events.ErrUnknownEvent]): update this module.
package consumer
