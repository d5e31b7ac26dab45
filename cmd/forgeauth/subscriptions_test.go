package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
)

// knownGroups are groups in every state there is.
func knownGroups() []events.Subscription {
	at := func(seconds int) time.Time { return time.Date(2026, 1, 2, 3, 4, seconds, 0, time.UTC) }
	group := func(name string, edit ...func(*events.Subscription)) events.Subscription {
		s := events.Subscription{Name: name, Types: []string{}, Position: 1204, Owner: "forge-1/4711", SeenAt: at(5), Live: true, Epoch: 3, MovedAt: at(5)}
		for _, e := range edit {
			e(&s)
		}
		return s
	}
	held := func(stream events.Stream, position int64, typeName string) events.ParkedStream {
		return events.ParkedStream{
			Stream: stream, Position: position, Type: typeName, Waiting: 3, Attempts: 5, ParkedAt: at(1),
			Error: "the handler did not take it: chat.example.org answered 422 Unprocessable Entity to this event, and says that the room is unknown",
		}
	}
	return []events.Subscription{
		group("audit"),
		group("chat", func(s *events.Subscription) {
			s.Types = []string{"ForgeActivated", "ForgeDeactivated", "TokenIssued"}
			s.Lag, s.Behind = 3, 12*time.Second
			s.Parked = []events.ParkedStream{held("active-forge", 1190, "ForgeActivated"), held("token/gitea", 1201, "TokenIssued")}
			s.Parked[1].Request = "retry"
			s.Replays = []events.Replay{
				{
					ID: uuid.MustParse("0193a7c0-0000-7000-8000-000000000001"), Types: []string{}, Through: 80, Position: 41, RequestedAt: at(0), RequestedBy: "cli",
					EndedAt: at(2), Error: "the handler did not answer in time: 30s",
				},
				{
					ID: uuid.MustParse("0193a7c0-0000-7000-8000-000000000002"), Types: []string{"ForgeActivated"}, After: 1000, Through: 1200, Position: 1100,
					RequestedAt: at(3), RequestedBy: "cli",
				},
			}
		}),
		group("clone-workers", func(s *events.Subscription) {
			s.Types, s.Owner, s.Live, s.SeenAt = []string{"ForgeActivated"}, "", false, time.Time{}
			s.Lag, s.Behind = 41, 26*time.Hour
		}),
		group("kafka", func(s *events.Subscription) {
			s.Lag, s.Behind, s.Attempts, s.FailingSince, s.RetryAt, s.Error = 7, 3*time.Minute, 4, at(1), at(35), "dial tcp 10.0.0.7:9092: connect: connection refused"
			s.FailingAt = events.FailingEvent{Stream: "token/gitea", Position: 1205, Type: "TokenIssued"}
		}),
		group("mirror", func(s *events.Subscription) {
			s.Lag, s.Behind, s.Attempts, s.FailingSince, s.Error, s.Paused = 1, 5*time.Hour, 1, at(1), "the handler panicked: no such repository", true
			s.FailingAt = events.FailingEvent{Stream: "active-forge", Position: 1205, Type: "ForgeActivated"}
		}),
		group("webhook-of-the-tracker", func(s *events.Subscription) {
			s.Lag, s.Behind, s.DisabledAt, s.DisabledFor = 900, 9*24*time.Hour, at(4), "gone"
		}),
	}
}

// screen is what a part of the program prints, at a terminal of so many columns; 0 is none.
func screen(t *testing.T, columns int, show func(*program) error) string {
	t.Helper()
	var out, notes bytes.Buffer
	if err := show(&program{out: &out, err: &notes, columns: columns}); err != nil {
		t.Fatal(err)
	}
	return out.String() + notes.String()
}

func TestSubscriptionsAreListed(t *testing.T) {
	t.Parallel()
	list := func(asJSON bool) func(*program) error {
		return func(p *program) error { return p.printSubscriptions(knownGroups(), asJSON) }
	}
	golden(t, "subscriptions.golden", screen(t, 0, list(false)))
	golden(t, "subscriptions.json.golden", screen(t, 0, list(true)))
	for _, columns := range []int{80, 100, 120} {
		shown := screen(t, columns, list(false))
		if columns == 80 {
			golden(t, "subscriptions_80.golden", shown)
		}
		for line := range strings.SplitSeq(shown, "\n") {
			if !strings.HasPrefix(line, "forgeauth: ") && utf8.RuneCountInString(line) > columns {
				t.Errorf("a row is wider than %d columns: %s", columns, line)
			}
		}
	}
	none := screen(t, 0, func(p *program) error { return p.printSubscriptions(nil, true) })
	if none != "[]\n" {
		t.Errorf("no groups as JSON: %q", none)
	}
}

func TestAGroupIsShown(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, s := range knownGroups() {
		all.WriteString(screen(t, 80, func(p *program) error {
			p.showSubscription(s)
			return nil
		}) + "\n---\n\n")
	}
	golden(t, "subscriptions_show.golden", all.String())
}

func TestAReplayIsPrinted(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	document := newReplayDocument(
		events.ReplayRequested{Group: "chat", After: 2, Through: 40, Types: []string{}},
		[]events.TypeCount{
			{Type: "ForgeActivated", Count: 12, First: 3, Last: 40, From: at, Until: at.Add(time.Hour)},
			{Type: "TokenIssued", Count: 1, First: 7, Last: 7, From: at, Until: at},
		})
	document.DryRun = true
	golden(t, "replay_dry_run.golden", screen(t, 80, func(p *program) error { return p.printReplay(document, false) }))
	golden(t, "replay_dry_run.json.golden", screen(t, 80, func(p *program) error { return p.printReplay(document, true) }))
	id := uuid.MustParse("0193a7c0-0000-7000-8000-000000000001")
	document.DryRun, document.Replay = false, &id
	document.Events = []appended{{Position: 41, Type: "ReplayRequested", Stream: "relay/chat"}}
	golden(t, "replay.golden", screen(t, 80, func(p *program) error { return p.printReplay(document, false) }))
}

func TestProgressOfAReplayIsALineForEachTenth(t *testing.T) {
	t.Parallel()
	shown := screen(t, 0, func(p *program) error {
		report := p.progressLines()
		for _, done := range []int64{0, 5, 9, 10, 19, 50, 50, 99, 100, 100} {
			report(done, 100)
		}
		return nil
	})
	if want := []string{"10 %", "50 %", "99 %", "100 %"}; strings.Count(shown, "\n") != len(want) ||
		slices.ContainsFunc(want, func(s string) bool { return !strings.Contains(shown, "replayed "+s) }) {
		t.Errorf("got\n%s", shown)
	}
}

func TestAMisspeltTypeIsWrongUsage(t *testing.T) {
	t.Parallel()
	if got := codeOf(misspelt(&commands.UnknownTypeError{Type: "x"})); got != exitUsage {
		t.Errorf("exit code %d", got)
	}
	if got := codeOf(misspelt(events.ErrNoGroup)); got != exitFailure {
		t.Errorf("exit code %d", got)
	}
}
