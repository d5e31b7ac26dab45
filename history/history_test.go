package history_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/history"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/internal/plausible"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/projections"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// made is a made-up log and who reads it.
type made struct {
	reader *history.Reader
	log    []events.Event
	now    time.Time
}

func newMade(t *testing.T, size int) *made {
	t.Helper()
	pool := pgtest.Migrated(t, migrations.Up).Pool(t)
	m := &made{}
	var records []events.Record
	for record := range plausible.History(size, 3) {
		records = append(records, record)
		event, err := record.Decode()
		if err != nil {
			t.Fatal(err)
		}
		m.log = append(m.log, event)
		m.now = record.OccurredAt.Add(time.Hour)
	}
	if err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return events.Import(t.Context(), tx, records) }); err != nil {
		t.Fatal(err)
	}
	log := events.NewLog(pool)
	m.reader = history.New(log, commands.New(commands.Config{Log: log, Reader: projections.NewReader(pool), Pool: pool}), func() time.Time { return m.now })
	return m
}

// switches tells them in the plainest way: one walk over all events that remembers everything.
func (m *made) switches(forge string) (found []history.Switch) {
	type grant struct {
		generation, position int64
		account              events.Account
		correlation          uuid.UUID
	}
	granted, sessions := map[string]grant{}, map[uuid.UUID]events.Account{}
	var all []history.Switch
	for _, e := range m.log {
		s := history.Switch{Position: e.Position, At: e.OccurredAt, Actor: e.Actor, CorrelationID: e.CorrelationID}
		switch fact := e.Fact.(type) {
		case events.TokenIssued:
			granted[fact.ForgeType] = grant{e.StreamVersion, e.Position, fact.Account, e.CorrelationID}
			continue
		case events.TokenRefreshed:
			granted[fact.ForgeType] = grant{e.StreamVersion, e.Position, fact.Account, e.CorrelationID}
			continue
		case events.SessionStarted:
			id, _ := e.Stream.SessionID()
			sessions[id] = fact.Account
			continue
		case events.ForgeActivated:
			s.To, s.Command = fact.ForgeType, "activate"
			if fact.Previous != nil {
				s.From = *fact.Previous
			}
			g := granted[fact.ForgeType]
			s.Generation, s.TokenPosition, s.ActsAs = g.generation, g.position, &g.account
			if g.correlation == e.CorrelationID {
				s.Command = "sign_in"
			}
		case events.ForgeDeactivated:
			s.From, s.Command = fact.Previous, fact.Reason
		default:
			continue
		}
		all = append(all, s)
	}
	for i := range all {
		s := &all[i]
		until := m.now
		if i+1 < len(all) {
			s.Until = &all[i+1].At
			until = *s.Until
		}
		s.Seconds = until.Sub(s.At).Seconds()
		if id, ok := events.Stream(s.Actor).SessionID(); ok {
			s.Session = &id
			if account, ok := sessions[id]; ok {
				s.SignedInAs = &account
			}
		}
		if forge == "" || s.From == forge || s.To == forge {
			found = append(found, *s)
		}
	}
	return found
}

func TestSwitchesAreThoseOfAWalkOverTheWholeLog(t *testing.T) {
	t.Parallel()
	m := newMade(t, 4000)
	for _, forge := range []string{"", "gitea", "nowhere"} {
		want := m.switches(forge)
		if len(want) < 50 && forge != "nowhere" {
			t.Fatalf("only %d switches of %q", len(want), forge)
		}
		for _, limit := range []int{0, 1, 7, 100} {
			var got []history.Switch
			span := history.Span{Limit: limit}
			for {
				page, err := m.reader.Switches(t.Context(), span, forge)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, page.Items...)
				if page.Next == nil {
					break
				}
				if len(page.Items) != limit {
					t.Fatalf("a page of %d, and more, of at most %d", len(page.Items), limit)
				}
				span.After = *page.Next
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%q in pages of %d (-want +got):\n%s", forge, limit, diff)
			}
		}
	}
}

func TestALineageIsTheSameInPages(t *testing.T) {
	t.Parallel()
	m := newMade(t, 3000)
	whole, err := m.reader.Tokens(t.Context(), "gitlab-work", history.Span{})
	if err != nil || len(whole.Items) < 200 {
		t.Fatalf("%d steps, %v", len(whole.Items), err)
	}
	var pieces []history.TokenStep
	span := history.Span{Limit: 13}
	for {
		page, err := m.reader.Tokens(t.Context(), "gitlab-work", span)
		if err != nil {
			t.Fatal(err)
		}
		if pieces = append(pieces, page.Items...); page.Next == nil {
			break
		}
		span.After = *page.Next
	}
	if diff := cmp.Diff(whole.Items, pieces); diff != "" {
		t.Errorf("(-whole +pages):\n%s", diff)
	}
	kinds := map[string]bool{}
	for _, step := range whole.Items {
		kinds[step.What] = true
		if gone := step.What == "revocation_requested"; gone && step.Generation != 0 || step.What == "refreshed" && step.Generation == 0 {
			t.Errorf("after %s at %d the generation is %d", step.What, step.Position, step.Generation)
		}
	}
	for _, what := range []string{"linked", "replaced", "refresh_started", "refreshed", "revocation_requested", "revoked"} {
		if !kinds[what] {
			t.Errorf("nothing was %s", what)
		}
	}
}

// TestReplayEndsInTheState: what the steps say they changed, put together, is the state at the end.
func TestReplayEndsInTheState(t *testing.T) {
	t.Parallel()
	m := newMade(t, 1500)
	rows := map[[3]string]string{}
	for step, err := range m.reader.Replay(t.Context(), history.ReplayQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range step.Changes {
			key := [3]string{c.Table, c.Key, c.Column}
			before, was := rows[key]
			if was != (c.Before != nil) || was && before != *c.Before {
				t.Fatalf("position %d: %v was %q, and is said to have been %v", step.Event.Position, key, before, c.Before)
			}
			if delete(rows, key); c.After != nil {
				rows[key] = *c.After
			}
		}
		if step.Committed != (step.Me != nil || rows[[3]string{"active_forge_type", "true", "forge_type"}] == "") && step.Committed {
			t.Fatalf("position %d: /me is %v", step.Event.Position, step.Me)
		}
	}
	end, err := m.reader.At(t.Context(), events.Moment{})
	if err != nil {
		t.Fatal(err)
	}
	if active := rows[[3]string{"active_forge_type", "true", "forge_type"}]; end.Me == nil && active != "" || end.Me != nil && active != end.Me.ForgeType {
		t.Errorf("the steps end with %q active, the state with %+v", active, end.Me)
	}
	for _, session := range end.Sessions {
		if rows[[3]string{"operator_sessions", session.ID.String(), "account_id"}] != session.Account.AccountID {
			t.Errorf("the steps do not end with session %s", session.ID)
		}
	}
}

func TestTimelinesOfEveryPart(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 900} {
		m := newMade(t, max(size, 1))
		if size == 0 {
			m = &made{reader: newMade(t, 1).reader}
		}
		for _, bounds := range [][2]string{{"", ""}, {"beginning", "now"}, {"1", "1"}, {"now", "now"}, {"now", "beginning"}, {strconv.Itoa(max(1, size/2)), ""}} {
			span := history.Span{}
			for i, to := range []**events.Moment{&span.From, &span.To} {
				if bounds[i] == "" {
					continue
				}
				moment, err := events.ParseMoment(bounds[i], time.Time{})
				if err != nil {
					t.Fatal(err)
				}
				*to = &moment
			}
			line, err := m.reader.Timeline(t.Context(), span)
			if err != nil {
				t.Errorf("%d events, %v: %v", size, bounds, err)
			}
			if line.End.Before(line.Start) && bounds != [2]string{"now", "beginning"} {
				t.Errorf("%d events, %v: from %s to %s", size, bounds, line.Start, line.End)
			}
		}
	}
}
