package forgeauth_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/history"
)

// lived is what was answered at a time.
type lived struct {
	at       time.Time
	me       *commands.Me
	forges   []commands.ForgeStatus
	sessions []history.SessionState
}

// TestTimeTravelSaysWhatWasAnswered: for random histories and a time after each command, the state of that time is what GET /me, GET
// /forges and the table of sessions answered when it was lived through.
func TestTimeTravelSaysWhatWasAnswered(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(drawStep), 1, 12).Draw(r, "steps")
		w := newWorld(t)
		defer w.close(t)
		var moments []lived
		for _, s := range steps {
			if s.What == "jump" && s.Jump < 0 {
				continue // the log's time never goes back, so that a time of its own would be found too early
			}
			w.do(t.Context(), s)
			w.rest(t.Context())
			moments = append(moments, w.live(t))
		}
		for _, m := range moments {
			w.travel(t, m)
		}
	})
}

// live asks what there is to ask now. Reading by a session may extend it, so the time is taken afterwards.
func (w *world) live(t *testing.T) (m lived) {
	t.Helper()
	for _, b := range w.browsers {
		if a, err := b.get(t.Context(), "/me"); err == nil && a.StatusCode == http.StatusOK {
			if err := json.Unmarshal([]byte(a.body), &m.me); err != nil {
				t.Fatal(err)
			}
		} else if err != nil || a.StatusCode != http.StatusPreconditionFailed {
			continue // no session
		}
		a, err := b.get(t.Context(), "/forges")
		if err != nil || a.StatusCode != http.StatusOK {
			t.Fatalf("/forges: %v %d", err, a.StatusCode)
		}
		var list struct {
			Forges []commands.ForgeStatus `json:"forges"`
		}
		if err := json.Unmarshal([]byte(a.body), &list); err != nil {
			t.Fatal(err)
		}
		m.forges = list.Forges
		break
	}
	sessions, err := w.service().Reader().Sessions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.at = w.clock.Now()
	for _, s := range sessions {
		m.sessions = append(m.sessions, history.SessionState{
			ID: s.ID, Account: s.Account, StartedAt: s.StartedAt, IdleUntil: s.IdleUntil, ExpiresAt: s.ExpiresAt, Live: s.Live(m.at),
		})
	}
	return m
}

// travel compares a time that was lived through with what is said of it now.
func (w *world) travel(t *testing.T, m lived) {
	t.Helper()
	moment, err := events.ParseMoment(m.at.UTC().Format(time.RFC3339Nano), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	then, err := w.service().History().At(t.Context(), moment)
	if err != nil {
		t.Fatal(err)
	}
	if m.forges != nil { // somebody was signed in to ask
		if diff := cmp.Diff(m.me, then.Me); diff != "" {
			t.Errorf("/me at %s (-lived +said):\n%s", m.at, diff)
		}
		said := roundTrip(t, then.Forges)
		if diff := cmp.Diff(m.forges, said); diff != "" {
			t.Errorf("/forges at %s (-lived +said):\n%s", m.at, diff)
		}
	}
	if diff := cmp.Diff(append([]history.SessionState{}, m.sessions...), then.Sessions); diff != "" {
		t.Errorf("sessions at %s (-lived +said):\n%s", m.at, diff)
	}
}

// roundTrip is what a client makes of a document.
func roundTrip[T any](t *testing.T, document T) (read T) {
	t.Helper()
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	return read
}
