package events_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
)

func TestEventsAreCountedByType(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.writer(t, b.db.URL)
	mustAppend(t, w, activate("a"))
	mustAppend(t, w, deny(2))
	mustAppend(t, w, activate("b"))
	mustAppend(t, w, activate("c"))
	all := b.all(t)
	of := func(typeName string, count int64, first, last int64) events.TypeCount {
		return events.TypeCount{
			Type: typeName, Count: count, First: first, Last: last, From: all[first-1].OccurredAt, Until: all[last-1].OccurredAt,
		}
	}
	for name, test := range map[string]struct {
		query events.Query
		want  []events.TypeCount
	}{
		"all":              {events.Query{}, []events.TypeCount{of("ForgeActivated", 3, 1, 5), of("LoginDenied", 2, 2, 3)}},
		"of a type":        {events.Query{Types: []string{"LoginDenied"}}, []events.TypeCount{of("LoginDenied", 2, 2, 3)}},
		"of a part":        {events.Query{After: 2, Through: 4}, []events.TypeCount{of("ForgeActivated", 1, 4, 4), of("LoginDenied", 1, 3, 3)}},
		"not only the end": {events.Query{Latest: 1}, []events.TypeCount{of("ForgeActivated", 3, 1, 5), of("LoginDenied", 2, 2, 3)}},
		"none":             {events.Query{After: 5}, nil},
	} {
		got, err := b.log.Count(t.Context(), test.query)
		if diff := cmp.Diff(test.want, got); err != nil || len(got)+len(test.want) > 0 && diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestAReplayThatThereIsNotIsSaidToBeNone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if r, err := events.NewSubscriptions(b.pool).Replay(t.Context(), uuid.Must(uuid.NewV7())); !errors.Is(err, events.ErrNoReplay) {
		t.Errorf("got %+v, %v", r, err)
	}
}
