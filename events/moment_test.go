package events_test

import (
	"errors"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/events"
)

func TestMomentsAreRead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	for range 3 {
		mustAppend(t, w, activate("x"))
	}
	log := b.all(t)
	second, now := log[1].OccurredAt, log[2].OccurredAt.Add(time.Hour)
	for text, want := range map[string]struct{ before, through int64 }{
		"now":                           {3, 3},
		"beginning":                     {0, 0},
		"1":                             {0, 1},
		"3":                             {2, 3},
		second.Format(time.RFC3339Nano): {1, 2},
		second.Add(-time.Microsecond).Format(time.RFC3339Nano): {1, 1},
		"2000-01-01":           {0, 0},
		"2099-12-31T00:00:00Z": {3, 3},
		"7d":                   {0, 0},
		"1ms":                  {3, 3},
	} {
		m, err := events.ParseMoment(text, now)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		before, err := m.Before(t.Context(), b.log)
		if err != nil || before != want.before {
			t.Errorf("%s begins after %d, want %d: %v", text, before, want.before, err)
		}
		through, _, err := m.Through(t.Context(), b.log, now)
		if err != nil || through != want.through {
			t.Errorf("%s ends with %d, want %d: %v", text, through, want.through, err)
		}
	}
	ahead, err := events.ParseMoment("4", now)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ahead.Through(t.Context(), b.log, now); !errors.Is(err, events.ErrAhead) {
		t.Errorf("a position ahead: %v", err)
	}
	for _, bad := range []string{"", "0", "-1", "+1", " 1", "9223372036854775808", "yesterday", "2026-13-01", "1h", "-2h", "d", "7dd"} {
		if m, err := events.ParseMoment(bad, time.Time{}); !errors.Is(err, events.ErrBadMoment) {
			t.Errorf("%q is read as %+v: %v", bad, m, err)
		}
	}
}

func FuzzParseMoment(f *testing.F) {
	for _, seed := range []string{"now", "12", "2026-11-26T15:00:00Z", "2026-11-26", "7d", "90s", "99999d"} {
		f.Add(seed)
	}
	now := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := events.ParseMoment(text, now); err != nil && !errors.Is(err, events.ErrBadMoment) {
			t.Errorf("an error of no type: %v", err)
		}
	})
}
