package commands

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

func TestDecisionsAboutGroups(t *testing.T) {
	t.Parallel()
	type decide func(*projections.State, time.Time) (events.Outcome, error)
	const chat = "chat"
	replay := numbered(0x77)
	group := func(edit ...func(*events.GroupState)) events.GroupState {
		state := events.GroupState{Exists: true, Position: 12}
		for _, e := range edit {
			e(&state)
		}
		return state
	}
	unknown := events.GroupState{}
	disabled := func(g *events.GroupState) { g.Disabled = true }
	failing := func(g *events.GroupState) { g.FailingSince = &noon }
	live := func(g *events.GroupState) { g.Live = true }
	replaying := func(g *events.GroupState) { g.Replaying = replay }
	types := func(names ...string) func(*events.GroupState) {
		return func(g *events.GroupState) { g.Types = names }
	}
	holding := func(held events.HeldEvent) func(*events.GroupState) {
		return func(g *events.GroupState) {
			g.Held = map[events.Stream]events.HeldEvent{events.StreamActiveForge: held}
		}
	}
	disable := func(reason string, state events.GroupState) decide {
		return (&disableRelay{group: chat, reason: reason, state: state}).decide
	}
	enable := func(state events.GroupState) decide { return (&enableRelay{group: chat, state: state}).decide }
	skip := func(position int64, state events.GroupState) decide {
		return (&skipDelivery{group: chat, stream: events.StreamActiveForge, position: position, state: state}).decide
	}
	again := func(after, through int64, state events.GroupState, types ...string) decide {
		req := RequestReplay{Group: chat, After: after, Through: through, Types: types}
		return (&requestReplay{RequestReplay: req, by: "cli", id: replay, state: state}).decide
	}
	remove := func(state events.GroupState) decide { return (&removeSubscription{group: chat, state: state}).decide }
	skipped := events.DeliverySkipped{Group: chat, Stream: "active-forge", Position: 5}
	replayed := func(after, through int64, types ...string) (events.Fact, events.Effect) {
		return events.ReplayRequested{Group: chat, Replay: replay, After: after, Through: through, Types: append([]string{}, types...)},
			events.StartReplay{ID: replay, Group: chat, Types: strings.Join(types, ","), After: after, Through: through, By: "cli"}
	}
	all, allEffect := replayed(0, 12)
	part, partEffect := replayed(3, 9, "ForgeActivated", "ForgeDeactivated")

	for name, test := range map[string]struct {
		when    decide
		then    events.Fact
		effect  events.Effect
		refusal error
	}{
		"disable: a group that fails": {
			when:   disable(DisabledUnreachable, group(failing)),
			then:   events.RelayDisabled{Group: chat, Reason: "unreachable", FailingSince: &noon},
			effect: events.DisableGroup{Group: chat, Reason: "unreachable", At: then},
		},
		"disable: a group that does not": {
			when:   disable(DisabledRequested, group()),
			then:   events.RelayDisabled{Group: chat, Reason: "requested"},
			effect: events.DisableGroup{Group: chat, Reason: "requested", At: then},
		},
		"disable: a disabled group is nothing new": {when: disable(DisabledGone, group(disabled, failing))},
		"disable: no such group":                   {when: disable(DisabledGone, unknown), refusal: events.ErrNoGroup},

		"enable: a disabled group": {
			when: enable(group(disabled)), then: events.RelayEnabled{Group: chat}, effect: events.EnableGroup{Group: chat},
		},
		"enable: an enabled group is nothing new": {when: enable(group())},
		"enable: no such group":                   {when: enable(unknown), refusal: events.ErrNoGroup},

		"skip: a parked event": {
			when: skip(5, group(holding(events.HeldEvent{Position: 5, Parked: true}))), then: skipped,
			effect: events.SkipParked{Group: chat, Stream: "active-forge", Position: 5},
		},
		"skip: the event that a group is paused at": {
			when: skip(5, group(holding(events.HeldEvent{Position: 5}))), then: skipped,
			effect: events.ParkAndSkip{Group: chat, Stream: "active-forge", Position: 5},
		},
		"skip: asked already is nothing new": {
			when: skip(5, group(holding(events.HeldEvent{Position: 5, Parked: true, Skipped: true}))),
		},
		"skip: another position": {
			when:    skip(6, group(holding(events.HeldEvent{Position: 5, Parked: true}))),
			refusal: &NotHeldError{Group: chat, Stream: "active-forge", Position: 6, Held: 5},
		},
		"skip: nothing is held there": {
			when: skip(5, group()), refusal: &NotHeldError{Group: chat, Stream: "active-forge", Position: 5},
		},
		"skip: position 0 is no event": {
			when: skip(0, group()), refusal: &NotHeldError{Group: chat, Stream: "active-forge"},
		},
		"skip: no such group": {when: skip(5, unknown), refusal: events.ErrNoGroup},

		"replay: everything that was given":     {when: again(0, 0, group()), then: all, effect: allEffect},
		"replay: no further than the cursor":    {when: again(0, 99, group()), then: all, effect: allEffect},
		"replay: to a group that is disabled":   {when: again(0, 0, group(disabled)), then: all, effect: allEffect},
		"replay: a part, of types, sorted once": {when: again(3, 9, group(), "ForgeDeactivated", "ForgeActivated", "ForgeActivated"), then: part, effect: partEffect},
		"replay: types that the group gets": {
			when: again(3, 9, group(types("ForgeActivated", "ForgeDeactivated", "TokenIssued")), "ForgeActivated", "ForgeDeactivated"),
			then: part, effect: partEffect,
		},
		"replay: a type that the group never gets": {
			when:    again(3, 9, group(types("TokenIssued")), "ForgeActivated"),
			refusal: &NotSubscribedError{Group: chat, Type: "ForgeActivated", Types: []string{"TokenIssued"}},
		},
		"replay: an unknown type": {
			when: again(3, 9, group(), "ForgeActivate"), refusal: &UnknownTypeError{Type: "ForgeActivate", Near: []string{"ForgeActivated", "ForgeDeactivated"}},
		},
		"replay: behind the cursor":          {when: again(12, 0, group()), refusal: ErrNothingToReplay},
		"replay: bounds that hold nothing":   {when: again(9, 9, group()), refusal: ErrNothingToReplay},
		"replay: while another goes on":      {when: again(0, 0, group(replaying)), refusal: &ReplayRunningError{Group: chat, Replay: replay}},
		"replay: to no such group":           {when: again(0, 0, unknown), refusal: events.ErrNoGroup},
		"remove: a group that nobody runs":   {when: remove(group()), then: events.RelayRemoved{Group: chat, Position: 12}, effect: events.RemoveGroup{Group: chat}},
		"remove: a group that somebody runs": {when: remove(group(live)), refusal: ErrGroupLive},
		"remove: no such group":              {when: remove(unknown), refusal: events.ErrNoGroup},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := test.when(given(t), then)
			if test.refusal != nil && !errors.Is(err, test.refusal) {
				if diff := cmp.Diff(test.refusal, err); diff != "" {
					t.Errorf("refused otherwise (-want +got):\n%s", diff)
				}
				return
			}
			var want events.Outcome
			if test.then != nil {
				want.Drafts = []events.Draft{{Stream: "relay/chat", Fact: test.then}}
				want.Effects = []events.Effect{test.effect}
			}
			expect(t, got, err, want, test.refusal)
		})
	}
}

func TestTypesThatMayBeMeantAreNamed(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"forgeactivated":  {"ForgeActivated", "ForgeDeactivated"},
		"TokenRefresh":    {"TokenRefreshed", "TokenRefreshFailed", "TokenRefreshStarted"},
		"OperatorClaimd":  {"OperatorClaimed"},
		"sessions":        {"SessionStarted"},
		"":                nil,
		"nothing of that": nil,
	} {
		if diff := cmp.Diff(want, nearTypes(name)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", name, diff)
		}
	}
}

// parkedGroup makes a group that nobody runs, with one parked stream and a pause at the event after its cursor.
func (d *deployment) parkedGroup(name string, position int64, types ...string) {
	d.t.Helper()
	if types == nil {
		types = []string{}
	}
	for _, statement := range []string{
		`INSERT INTO subscriptions (name, types, position, attempts, failing_since, retry_at, error)
		 VALUES ($1, $2, $3, 3, '2026-05-04 11:00:00Z', 'infinity', 'no')`,
		`INSERT INTO parked (subscription, stream, position, attempts, error, unknown)
		 SELECT $1, stream, position, 5, 'no', false FROM events WHERE position <= $3 AND (cardinality($2::text[]) = 0 OR type = ANY($2)) ORDER BY position DESC LIMIT 1`,
	} {
		if _, err := d.pool.Exec(d.t.Context(), statement, name, types, position); err != nil {
			d.t.Fatal(err)
		}
	}
}

func TestCommandsAboutGroupsChangeThemInOneTransaction(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.claim() // TokenIssued, OperatorClaimed, ForgeActivated, SessionStarted
	var activated, sessions int64
	var session string
	if err := d.pool.QueryRow(t.Context(), `SELECT
		(SELECT position FROM events WHERE type = 'ForgeActivated'), position, stream FROM events WHERE type = 'SessionStarted'`).
		Scan(&activated, &sessions, &session); err != nil {
		t.Fatal(err)
	}
	d.parkedGroup("chat", activated, "ForgeActivated", "SessionStarted") // parked at ForgeActivated, paused at SessionStarted
	ctx := t.Context()
	caller := Caller{Actor: "cli"}
	want := func(what string, query string, args ...any) {
		t.Helper()
		if n := d.count(query, args...); n != 1 {
			t.Errorf("%s: %d rows", what, n)
		}
	}
	one := func(written []events.Event, err error) events.Event {
		t.Helper()
		if err != nil || len(written) != 1 {
			t.Fatalf("wrote %v, %v", written, err)
		}
		if written[0].Stream != "relay/chat" || written[0].Actor != "cli" || written[0].CorrelationID == uuid.Nil {
			t.Errorf("wrote %+v", written[0].Record)
		}
		return written[0]
	}

	one(d.DisableRelay(ctx, DisableRelay{Caller: caller, Group: "chat", Reason: DisabledUnreachable}))
	want("disabled", `SELECT count(*) FROM subscriptions WHERE disabled_at = $1 AND disabled_for = 'unreachable'`, d.clock.Now())
	if written, err := d.DisableRelay(ctx, DisableRelay{Caller: caller, Group: "chat", Reason: DisabledGone}); err != nil || len(written) != 0 {
		t.Errorf("disabling twice wrote %v, %v", written, err)
	}

	one(d.SkipDelivery(ctx, SkipDelivery{Caller: caller, Group: "chat", Stream: events.StreamActiveForge, Position: activated}))
	want("asked to skip", `SELECT count(*) FROM parked WHERE stream = 'active-forge' AND request = 'skip'`)
	one(d.SkipDelivery(ctx, SkipDelivery{Caller: caller, Group: "chat", Stream: events.Stream(session), Position: sessions}))
	want("parked to be skipped", `SELECT count(*) FROM parked WHERE stream = $1 AND position = $2 AND request = 'skip'`, session, sessions)
	want("failing no more", `SELECT count(*) FROM subscriptions WHERE attempts = 0 AND failing_since IS NULL AND retry_at IS NULL AND error = ''`)
	if written, err := d.SkipDelivery(ctx, SkipDelivery{Group: "chat", Stream: events.Stream(session), Position: sessions}); err != nil || len(written) != 0 {
		t.Errorf("skipping twice wrote %v, %v", written, err)
	}

	one(d.EnableRelay(ctx, EnableRelay{Caller: caller, Group: "chat"}))
	want("enabled", `SELECT count(*) FROM subscriptions WHERE disabled_at IS NULL AND attempts = 0 AND retry_at IS NULL`)

	plan, err := d.PlanReplay(ctx, RequestReplay{Group: "chat", Types: []string{"ForgeActivated"}})
	if err != nil {
		t.Fatal(err)
	}
	want("no replay yet", `SELECT 1 - count(*) FROM replays`)
	fact := one(d.RequestReplay(ctx, RequestReplay{Caller: caller, Group: "chat", Types: []string{"ForgeActivated"}})).Fact.(events.ReplayRequested)
	want("the replay", `SELECT count(*) FROM replays WHERE id = $1 AND after = 0 AND position = 0 AND through = $2 AND types = '{ForgeActivated}' AND requested_by = 'cli'`,
		[16]byte(fact.Replay), activated)
	if plan.Replay = fact.Replay; !cmp.Equal(plan, fact) {
		t.Errorf("planned %+v and wrote %+v", plan, fact)
	}
	var running *ReplayRunningError
	if _, err := d.RequestReplay(ctx, RequestReplay{Group: "chat"}); !errors.As(err, &running) || running.Replay != fact.Replay {
		t.Errorf("a second replay: %v", err)
	}

	if _, err := d.pool.Exec(ctx, `UPDATE subscriptions SET owner = 'host', seen_at = clock_timestamp()`); err != nil {
		t.Fatal(err)
	}
	if _, err := d.RemoveSubscription(ctx, RemoveSubscription{Caller: caller, Group: "chat"}); !errors.Is(err, ErrGroupLive) {
		t.Errorf("removing a group that runs: %v", err)
	}
	if _, err := d.pool.Exec(ctx, `UPDATE subscriptions SET owner = '', seen_at = NULL`); err != nil {
		t.Fatal(err)
	}
	one(d.RemoveSubscription(ctx, RemoveSubscription{Caller: caller, Group: "chat"}))
	want("removed", `SELECT 1 - (SELECT count(*) FROM subscriptions) - (SELECT count(*) FROM parked) - (SELECT count(*) FROM replays)`)
	if _, err := d.EnableRelay(ctx, EnableRelay{Caller: caller, Group: "chat"}); !errors.Is(err, events.ErrNoGroup) {
		t.Errorf("enabling a group that is gone: %v", err)
	}
}
