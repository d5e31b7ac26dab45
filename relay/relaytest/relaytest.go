// Package relaytest is the conformance suite of destinations: what every publisher of a relay has to hold, shown against a real
// server. A destination passes by [Exercise].
package relaytest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/relay"
)

// Server is a destination that runs, on its own data, until its test ends.
type Server interface {
	// Destination returns a new publisher that leads to it.
	Destination(t *testing.T) relay.Destination
	// Received returns what it has stored, in its order; messages with the same Key in the order in which they came.
	Received(t *testing.T) []Received
	// Stop ends the server; what it has stored, it has stored. Start has it run again at the same address.
	Stop(t *testing.T)
	Start(t *testing.T)
}

// Received is a message as a server has it.
type Received struct {
	Address     string // subject or topic; empty where there is none
	Key         string // what keeps an order among themselves
	ID          string // by which duplicates are known, outside of the body
	ContentType string
	Body        string
}

// Suite is what differs between destinations.
type Suite struct {
	Start func(t *testing.T) Server
	// Address and Key are those of an event of a stream.
	Address func(events.Stream) string
	Key     func(events.Stream) string
	// DropsDuplicates says that the server itself stores a message once.
	DropsDuplicates bool
	// TooLarge is a size of body that the server refuses for good.
	TooLarge int
	// Secret is a part of the configuration that no error may show.
	Secret string
}

const patience = 60 * time.Second

// Exercise runs the suite.
func Exercise(t *testing.T, s Suite) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Suite){
		"an event arrives as a CloudEvent":                 arrives,
		"the order within a stream is kept":                keepsOrder,
		"a duplicate can be told":                          tellsDuplicates,
		"an outage is one, and ends":                       outlivesOutages,
		"what is too large is poison":                      refusesTooLarge,
		"a closed publisher fails":                         failsWhenClosed,
		"the feed loses nothing where the server restarts": losesNothing,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

// Message is an event of a stream as a relay hands it to a publisher.
func Message(t *testing.T, position int64, stream events.Stream, reason string) *message.Message {
	t.Helper()
	payload := `{"forge_type":"","reason":"` + reason + `"}`
	msg := message.NewMessage(uuid.Must(uuid.NewV7()).String(), message.Payload(payload))
	msg.Metadata = message.Metadata{
		events.MetadataSpecVersion: "1.0", events.MetadataID: msg.UUID, events.MetadataSource: events.Source(uuid.Max),
		events.MetadataType: "LoginDenied", events.MetadataSubject: string(stream), events.MetadataPartitionKey: string(stream),
		events.MetadataStream: string(stream), events.MetadataPosition: fmt.Sprint(position),
		events.MetadataTime: "2026-11-26T12:00:00Z", events.MetadataDataContentType: "application/json",
	}
	document, err := events.Structured(msg)
	if err != nil {
		t.Fatal(err)
	}
	msg.Payload = document
	return msg
}

func publish(to relay.Destination, msg *message.Message) error {
	address := ""
	if to.Address != nil {
		address = to.Address(msg)
	}
	return to.Publisher.Publish(address, msg)
}

func open(t *testing.T, server Server) relay.Destination {
	t.Helper()
	to := server.Destination(t)
	t.Cleanup(func() { _ = to.Publisher.Close() })
	return to
}

// MustPublish publishes as the feed does: again until it is taken.
func MustPublish(t *testing.T, to relay.Destination, msg *message.Message) {
	t.Helper()
	eventually(t, "the message is taken", func() bool {
		err := publish(to, msg)
		if err != nil && !errors.Is(err, events.ErrDestinationDown) {
			t.Fatal(err)
		}
		return err == nil
	})
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func arrives(t *testing.T, s Suite) {
	t.Helper()
	server := s.Start(t)
	to := open(t, server)
	for i, stream := range []events.Stream{events.StreamActiveForge, events.TokenStream("gitlab-work"), events.RelayStream("a_B-c")} {
		msg := Message(t, int64(i+1), stream, "<&\u2028>")
		MustPublish(t, to, msg)
		found := server.Received(t)
		j := slices.IndexFunc(found, func(r Received) bool { return r.ID == msg.UUID })
		if j < 0 {
			t.Fatalf("of %s nothing arrived", stream)
		}
		kind, _, _ := strings.Cut(found[j].ContentType, ";")
		found[j].ContentType = kind
		want := Received{s.Address(stream), s.Key(stream), msg.UUID, cloudevents.ApplicationCloudEventsJSON, string(msg.Payload)}
		if diff := cmp.Diff(want, found[j]); diff != "" {
			t.Errorf("of %s (-want +got):\n%s", stream, diff)
		}
		var event cloudevents.Event
		if err := event.UnmarshalJSON([]byte(found[j].Body)); err != nil {
			t.Fatalf("the CloudEvents SDK cannot read it: %v", err)
		}
		if err := event.Validate(); err != nil || event.ID() != msg.UUID || event.Subject() != string(stream) {
			t.Errorf("the CloudEvents SDK reads %v: %v", event, err)
		}
	}
}

func keepsOrder(t *testing.T, s Suite) {
	t.Helper()
	const each = 50
	streams := []events.Stream{events.StreamActiveForge, events.TokenStream("github"), events.TokenStream("gitlab")}
	server := s.Start(t)
	to := open(t, server)
	want, got := map[string][]string{}, map[string][]string{}
	for i := range each {
		for _, stream := range streams {
			msg := Message(t, int64(i+1), stream, "x")
			MustPublish(t, to, msg)
			want[s.Key(stream)] = append(want[s.Key(stream)], msg.UUID)
		}
	}
	for _, r := range server.Received(t) {
		got[r.Key] = append(got[r.Key], r.ID)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ids by key (-want +got):\n%s", diff)
	}
}

func tellsDuplicates(t *testing.T, s Suite) {
	t.Helper()
	server := s.Start(t)
	to := open(t, server)
	msg := Message(t, 1, events.StreamActiveForge, "x")
	MustPublish(t, to, msg)
	MustPublish(t, to, msg)
	found := server.Received(t)
	if want := map[bool]int{true: 1, false: 2}[s.DropsDuplicates]; len(found) != want {
		t.Fatalf("it stored %d messages, want %d", len(found), want)
	}
	if first, last := found[0], found[len(found)-1]; first != last {
		t.Errorf("two different messages: %+v and %+v", first, last)
	}
}

func outlivesOutages(t *testing.T, s Suite) {
	t.Helper()
	server := s.Start(t)
	to := open(t, server)
	before, after := Message(t, 1, events.StreamActiveForge, "before"), Message(t, 2, events.StreamActiveForge, "after")
	MustPublish(t, to, before)
	server.Stop(t)
	early := open(t, server) // as for a process that starts while the server is away
	for _, to := range []relay.Destination{to, early} {
		err := publish(to, after)
		if !errors.Is(err, events.ErrDestinationDown) || errors.Is(err, events.ErrPoison) {
			t.Fatalf("while the server is away: %v", err)
		}
		if s.Secret != "" && strings.Contains(err.Error(), s.Secret) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
	server.Start(t)
	MustPublish(t, to, after)
	MustPublish(t, early, Message(t, 3, events.StreamActiveForge, "early"))
	var ids []string
	for _, r := range server.Received(t) {
		if len(ids) == 0 || ids[len(ids)-1] != r.ID {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) != 3 || ids[0] != before.UUID || ids[1] != after.UUID {
		t.Errorf("it has %v, want %s, %s and one more", ids, before.UUID, after.UUID)
	}
}

func refusesTooLarge(t *testing.T, s Suite) {
	t.Helper()
	if s.TooLarge == 0 {
		t.Skip("this destination has no limit of its own")
	}
	server := s.Start(t)
	to := open(t, server)
	MustPublish(t, to, Message(t, 1, events.StreamActiveForge, "small"))
	err := publish(to, Message(t, 2, events.StreamActiveForge, strings.Repeat("x", s.TooLarge)))
	if !errors.Is(err, events.ErrPoison) || errors.Is(err, events.ErrDestinationDown) {
		t.Errorf("too large: %v", err)
	}
	MustPublish(t, to, Message(t, 3, events.StreamActiveForge, "small"))
	if n := len(server.Received(t)); n != 2 {
		t.Errorf("it has %d messages, want 2", n)
	}
}

func failsWhenClosed(t *testing.T, s Suite) {
	t.Helper()
	server := s.Start(t)
	to := server.Destination(t)
	MustPublish(t, to, Message(t, 1, events.StreamActiveForge, "x"))
	for range 2 {
		if err := to.Publisher.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if err := publish(to, Message(t, 2, events.StreamActiveForge, "x")); err == nil {
		t.Error("a closed publisher took a message")
	}
}
