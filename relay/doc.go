// Package relay takes the feed of the log to those who depend on it: to typed Go handlers in this program, and, through any Watermill
// publisher, to brokers and webhooks. It is a Watermill Router over [events.Feed].
//
// Each consumer group has a router of its own, so that one that ends does not end the others. A message passes
//
//	feed → verdict → metrics → recoverer → (retry) → handler or publisher
//
// one at a time and in the order of the log; the next comes when the feed knows what became of the one before.
//
//   - verdict tells the feed why a message failed ([events.Fail]) and takes the ack or nack upon itself.
//   - metrics observes how long a message took and whether it was handled.
//   - recoverer makes a panic the failure of one message. Its stack goes to the log.
//   - retry is for publishers, and for blinks: two more tries within a fifth of a second while a destination does not answer.
//
// Everything longer than a blink is the feed's: it keeps attempts and the time of the next one in the database, holds nothing open
// while it waits, and parks or pauses as the group's policy says. That is why there is no poison queue and no throttling here, and
// why the long waits of a webhook are a policy and not a middleware.
//
// The correlation id of the command that caused an event reaches a handler with the message's context
// ([events.DeliveryFrom]); what the handler then has forgeauth do carries the same id.
package relay
