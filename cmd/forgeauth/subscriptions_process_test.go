package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/projections"
)

// house is a log with a program beside it that runs consumer groups.
type house struct {
	environ []string
	pool    *pgxpool.Pool
	writer  *events.Writer[*projections.State]
	feed    *events.Feed
}

func newHouse(t *testing.T) *house {
	t.Helper()
	db := pgtest.Migrated(t, migrations.Up)
	conn, err := pgx.ParseConfig(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	h := &house{environ: []string{"DATABASE_URL=" + db.URL}, pool: db.Pool(t)}
	h.writer = events.NewWriter(events.WriterConfig{Conn: conn, Logger: logger}, projections.NewState())
	h.feed = events.NewFeed(events.FeedConfig{Pool: h.pool, Conn: conn, Owner: "forge-1/4711", Poll: 200 * time.Millisecond, Logger: logger})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := h.feed.Close(); err != nil {
			t.Error(err)
		}
		if err := h.writer.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return h
}

// activate has forges become active, one event each, and returns the last position.
func (h *house) activate(t *testing.T, forges ...string) (position int64) {
	t.Helper()
	appended, err := h.writer.Append(t.Context(), events.Decision[*projections.State]{
		Actor: "test", Correlation: uuid.Must(uuid.NewV7()), Streams: []events.Stream{events.StreamActiveForge},
		Decide: func(*projections.State, time.Time) (out events.Outcome, _ error) {
			for _, name := range forges {
				out.Drafts = append(out.Drafts, events.Draft{Stream: events.StreamActiveForge, Fact: events.ForgeActivated{ForgeType: name}})
			}
			return out, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return appended[len(appended)-1].Position
}

// listener takes what a group is given.
type listener struct {
	group *events.Group
	heard chan string // "github", or "replay <id> github"

	mu      sync.Mutex
	refuses []string      // forges
	holds   chan struct{} // if not nil, replays wait for it to be closed
}

// listen runs the group chat, which hears of switches. An event that fails is parked, or has the group paused, at once.
func (h *house) listen(t *testing.T, then events.Exhausted, refuses ...string) *listener {
	t.Helper()
	group, err := h.feed.Group(events.GroupConfig{Name: "chat", Policy: events.Policy{Waits: []time.Duration{}, Then: then}})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := group.Subscribe(context.WithoutCancel(t.Context()), "ForgeActivated")
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{group: group, heard: make(chan string, 100), refuses: refuses}
	go func() {
		for msg := range messages {
			go l.handle(msg) // a replay must not keep this from what happens now
		}
	}()
	return l
}

func (l *listener) handle(msg *message.Message) {
	var fact events.ForgeActivated
	if err := json.Unmarshal(msg.Payload, &fact); err != nil {
		panic(err)
	}
	text := fact.ForgeType
	l.mu.Lock()
	refused, holds := slices.Contains(l.refuses, text), l.holds
	l.mu.Unlock()
	if id := msg.Metadata.Get("ce_replayid"); id != "" {
		text = "replay " + id + " " + text
		if holds != nil {
			<-holds
		}
	}
	if refused {
		events.Fail(msg, fmt.Errorf("no room for %s", fact.ForgeType))
		msg.Nack()
		return
	}
	l.heard <- text
	msg.Ack()
}

// takes has it refuse nothing but the forges from now on.
func (l *listener) takes(all ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuses = all
}

// expects waits for what is heard next.
func (l *listener) expects(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-l.heard:
			if got != w {
				t.Fatalf("heard %q, want %q", got, w)
			}
		case <-time.After(patience):
			t.Fatalf("did not hear %q", w)
		}
	}
}

// chat is the group as it stands.
func (h *house) chat(t *testing.T) events.Subscription {
	t.Helper()
	s, err := events.NewSubscriptions(h.pool).Get(t.Context(), "chat")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// awaits waits until chat is in a state.
func (h *house) awaits(t *testing.T, what string, holds func(events.Subscription) bool) {
	t.Helper()
	waitUntil(t, "chat "+what, func() bool {
		s, err := events.NewSubscriptions(h.pool).Get(t.Context(), "chat")
		return err == nil && holds(s)
	})
}

func TestWhatIsParkedIsSeenRetriedAndSkipped(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	run(t, h.environ, "subscriptions").expect(t, exitOK, "Nobody is given the log yet", "")
	run(t, h.environ, "subscriptions", "show", "chat").expect(t, exitFailure, "", `"chat": there is no consumer group of that name`)
	l := h.listen(t, events.Park, "gitlab")
	h.activate(t, "github", "gitlab", "gitea")
	l.expects(t, "github")
	h.awaits(t, "is parked", func(s events.Subscription) bool { return len(s.Parked) == 1 && s.Lag == 0 })
	run(t, h.environ, "subscriptions").expect(t, exitOK, "degraded", "chat: holds back 1 stream: `forgeauth subscriptions show chat`")
	run(t, h.environ, "__complete", "subscriptions", "show", "").expect(t, exitOK, "chat\tdegraded\n", "")
	run(t, h.environ, "__complete", "subscriptions", "skip", "chat", "--stream", "").expect(t, exitOK, "active-forge\n", "")
	run(t, nil, "__complete", "subscriptions", "show", "").expect(t, exitOK, ":4\n", "") // no database to ask, and none is made
	shown := run(t, h.environ, "subscriptions", "show", "chat")
	shown.expect(t, exitOK, "Holds back active-forge from position 2 on, 2 events", "")
	shown.expect(t, exitOK, "no room for gitlab", "")

	run(t, h.environ, "subscriptions", "retry", "chat", "--stream", "active-forge").expect(t, exitOK, "chat tries stream active-forge again", "")
	h.awaits(t, "failed again", func(s events.Subscription) bool {
		return len(s.Parked) == 1 && s.Parked[0].Attempts == 2 && s.Parked[0].Request == ""
	})
	l.takes()
	run(t, h.environ, "subscriptions", "retry", "chat").expect(t, exitOK, "chat tries what it holds back again", "")
	l.expects(t, "gitlab", "gitea")
	h.awaits(t, "goes on", func(s events.Subscription) bool { return len(s.Parked) == 0 })
	run(t, h.environ, "subscriptions", "retry", "chat").expect(t, exitFailure, "", "nothing is held back there")

	l.takes("forgejo")
	last := h.activate(t, "forgejo", "bitbucket")
	h.awaits(t, "is parked", func(s events.Subscription) bool { return len(s.Parked) == 1 })
	skip := []string{"subscriptions", "skip", "chat", "--stream", "active-forge", "--position"}
	run(t, h.environ, append(skip, fmt.Sprint(last))...).expect(t, exitUsage, "", "nobody can be asked here, so say --yes")
	run(t, h.environ, append(skip, fmt.Sprint(last), "--yes")...).expect(t, exitFailure, "", "chat stands still in stream active-forge at position 4, not 5")
	run(t, h.environ, append(skip, fmt.Sprint(last-1), "--yes")...).expect(t, exitOK, "chat skips event 4 of stream active-forge (event 6)", "")
	l.expects(t, "bitbucket")
	h.awaits(t, "goes on", func(s events.Subscription) bool { return len(s.Parked) == 0 })
}

func TestAGroupThatIsPausedOrDisabledGoesOnByCommand(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	l := h.listen(t, events.Pause, "gitlab")
	h.activate(t, "github", "gitlab", "gitea")
	l.expects(t, "github")
	h.awaits(t, "is paused", func(s events.Subscription) bool { return s.Paused })
	run(t, h.environ, "subscriptions").expect(t, exitOK, "paused", "chat: paused at an event that failed once")
	run(t, h.environ, "subscriptions", "show", "chat").
		expect(t, exitOK, "`forgeauth subscriptions skip chat --stream active-forge --position 2`", "")
	run(t, h.environ, "subscriptions", "skip", "chat", "--stream", "active-forge", "--position", "2", "-y").expect(t, exitOK, "chat skips event 2", "")
	l.expects(t, "gitea")

	run(t, h.environ, "subscriptions", "disable", "chat").expect(t, exitOK, "chat is given nothing until `forgeauth subscriptions enable chat` (event 5)", "")
	run(t, h.environ, "subscriptions", "disable", "chat").expect(t, exitOK, "chat is disabled already", "")
	h.activate(t, "bitbucket")
	run(t, h.environ, "subscriptions").expect(t, exitOK, "disabled", "chat: disabled since")
	enabled := run(t, h.environ, "subscriptions", "enable", "chat", "--json")
	enabled.expect(t, exitOK, `"type": "RelayEnabled"`, "")
	l.expects(t, "bitbucket")
	run(t, h.environ, "subscriptions", "enable", "chat").expect(t, exitOK, "chat is not disabled", "")

	run(t, h.environ, "subscriptions", "remove", "chat", "--yes").expect(t, exitFailure, "", "a process runs this group")
	if err := l.group.Close(); err != nil {
		t.Fatal(err)
	}
	h.awaits(t, "is run by nobody", func(s events.Subscription) bool { return s.Owner == "" })
	run(t, h.environ, "subscriptions").expect(t, exitOK, "waiting", "")
	run(t, h.environ, "subscriptions", "remove", "chat").expect(t, exitUsage, "", "This forgets chat, its cursor at ")
	run(t, h.environ, "subscriptions", "remove", "chat", "--yes").expect(t, exitOK, "chat is forgotten (event", "")
	run(t, h.environ, "subscriptions", "--json").expect(t, exitOK, "[]", "")
}

func TestAReplayIsGivenBesideWhatHappensNow(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	l := h.listen(t, events.Park)
	h.activate(t, "github", "gitlab", "gitea")
	l.expects(t, "github", "gitlab", "gitea")
	h.awaits(t, "has handled them", func(s events.Subscription) bool { return s.Position == 3 })

	planned := run(t, h.environ, "replay-to", "chat", "--from", "2", "--dry-run")
	planned.expect(t, exitOK, "2 events would be given to chat once more. Nothing was done", "")
	run(t, h.environ, "replay-to", "chat", "--from", "2h", "--to", "1h").expect(t, exitFailure, "", "there is nothing to replay")
	run(t, h.environ, "replay-to", "chat", "--from", "yesterday").expect(t, exitUsage, "", `--from "yesterday": it is now, beginning, a position`)
	run(t, h.environ, "replay-to", "chat").expect(t, exitUsage, "", `"from" not set`)
	run(t, h.environ, "replay-to", "chat", "--from", "1", "--type", "ForgeActivate").
		expect(t, exitUsage, "", `"ForgeActivate" is no type of event: did you mean ForgeActivated or ForgeDeactivated?`)
	run(t, h.environ, "replay-to", "chat", "--from", "1", "--type", "TokenIssued").
		expect(t, exitFailure, "", "chat is never given TokenIssued: it gets ForgeActivated")
	run(t, h.environ, "replay-to", "chats", "--from", "1").expect(t, exitFailure, "", "there is no consumer group of that name")

	held := make(chan struct{})
	l.mu.Lock()
	l.holds = held
	l.mu.Unlock()
	waiting := start(t, h.environ, "replay-to", "chat", "--from", "2h", "--wait")
	h.awaits(t, "is replaying", func(s events.Subscription) bool { return len(s.Replays) == 1 })
	id := h.chat(t).Replays[0].ID
	run(t, h.environ, "replay-to", "chat", "--from", "1").expect(t, exitFailure, "", "replay "+id.String()+" for chat goes on")
	h.activate(t, "bitbucket") // while the first event of the replay is under way
	l.expects(t, "bitbucket")
	close(held)
	l.expects(t, "replay "+id.String()+" github", "replay "+id.String()+" gitlab", "replay "+id.String()+" gitea")
	if code := waiting.end(t); code != exitOK || !strings.Contains(waiting.output(), "Replayed") || !strings.Contains(waiting.output(), "replayed 100 %") {
		t.Errorf("exit code %d\n%s", code, waiting.output())
	}
	if s := h.chat(t); s.Replays[0].EndedAt.IsZero() || s.Lag != 0 || len(s.Parked) != 0 {
		t.Errorf("afterwards it is %+v", s)
	}

	l.takes("gitlab")
	run(t, h.environ, "replay-to", "chat", "--from", "1", "--to", "3", "--wait").
		expect(t, exitFailure, "3 events to be given", "the replay ended early, behind position 1: no room for gitlab")
	if s := h.chat(t); len(s.Parked) != 0 || s.Attempts != 0 {
		t.Errorf("a replay that failed had consequences for what happens now: %+v", s)
	}
}

func TestRepairingTablesGivesSubscribersNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	l := h.listen(t, events.Park, "gitlab")
	h.activate(t, "github")
	l.expects(t, "github")
	h.activate(t, "gitlab")
	h.awaits(t, "is parked", func(s events.Subscription) bool { return len(s.Parked) == 1 })
	if _, err := h.pool.Exec(t.Context(), `UPDATE active_forge_type SET forge_type = 'evil'`); err != nil {
		t.Fatal(err)
	}
	// What the process that runs the group says of itself goes on meanwhile.
	given := func() (all []string) {
		t.Helper()
		rows, err := h.pool.Query(t.Context(), `
			SELECT (to_jsonb(s) - 'seen_at')::text FROM subscriptions s UNION ALL SELECT to_jsonb(p)::text FROM parked p
			UNION ALL SELECT to_jsonb(r)::text FROM replays r UNION ALL SELECT 'events ' || count(*) FROM events`)
		if err != nil {
			t.Fatal(err)
		}
		all, err = pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := given()
	run(t, h.environ, "verify", "--repair").expect(t, exitOK, "repaired", "")
	if diff := cmp.Diff(before, given()); diff != "" {
		t.Errorf("the repair changed what subscribers are given (-before +after):\n%s", diff)
	}
	l.takes()
	run(t, h.environ, "subscriptions", "retry", "chat").expect(t, exitOK, "", "")
	l.expects(t, "gitlab")
	h.activate(t, "gitea")
	l.expects(t, "gitea") // and nothing came between
}
