package history

import (
	"context"
	"slices"
	"time"

	"github.com/forgeauth/forgeauth/events"
)

// Timeline is what a picture of a part of the log shows, oldest first.
type Timeline struct {
	Start, End time.Time
	// Forges are the connections that are in it, by name.
	Forges []string
	// Switches begin with the one that held at Start, if any did.
	Switches []Switch
	Grants   []Grant
	Denials  []Denial
	// Cut says that there is more of something than is shown.
	Cut bool
}

// Grant is a new generation of a connection's token, or its end.
type Grant struct {
	Position   int64
	At         time.Time
	ForgeType  string
	Generation int64
	// What is issued, refreshed or ended.
	What string
}

// mostOfEach is how many marks of a kind a timeline has.
const mostOfEach = 1000

// Timeline returns what happened between two moments: of each kind the first mostOfEach.
func (r *Reader) Timeline(ctx context.Context, s Span) (Timeline, error) {
	s.Limit = mostOfEach
	after, through, err := r.bounds(ctx, s)
	if err != nil {
		return Timeline{}, err
	}
	t := Timeline{End: r.now().UTC()}
	if s.To != nil {
		if _, t.End, err = s.To.Through(ctx, r.log, r.now()); err != nil {
			return Timeline{}, err
		}
	}
	if err := r.held(ctx, &t, after, through); err != nil {
		return Timeline{}, err
	}
	switches, err := r.Switches(ctx, s, "")
	if err != nil {
		return Timeline{}, err
	}
	t.Switches = append(t.Switches, switches.Items...)
	query := events.Query{After: after, Through: through, Types: []string{
		events.TypeOf(events.TokenIssued{}), events.TypeOf(events.TokenRefreshed{}), events.TypeOf(events.TokenRevocationRequested{}),
		events.TypeOf(events.ConnectionRebound{}),
	}}
	grants, err := collect(ctx, r, query, mostOfEach, func(e events.Event) (Grant, bool) {
		forge, ok := e.Stream.ForgeType()
		g := Grant{Position: e.Position, At: e.OccurredAt, ForgeType: forge, What: "ended"}
		switch e.Fact.(type) { //nolint:gochecksumtype // the others say nothing of it
		case events.TokenIssued:
			g.What, g.Generation = "issued", e.StreamVersion
		case events.TokenRefreshed:
			g.What, g.Generation = "refreshed", e.StreamVersion
		}
		return g, ok
	})
	if err != nil {
		return Timeline{}, err
	}
	t.Grants = grants.Items
	denials, err := r.Denied(ctx, s)
	if err != nil {
		return Timeline{}, err
	}
	t.Denials = denials.Items
	t.Cut = switches.Next != nil || grants.Next != nil || denials.Next != nil
	for _, held := range t.Switches {
		t.Forges = append(t.Forges, held.From, held.To)
	}
	for _, grant := range t.Grants {
		t.Forges = append(t.Forges, grant.ForgeType)
	}
	slices.Sort(t.Forges)
	t.Forges = slices.DeleteFunc(slices.Compact(t.Forges), func(name string) bool { return name == "" })
	return t, nil
}

// held finds when the part begins and which forge was active then.
func (r *Reader) held(ctx context.Context, t *Timeline, after, through int64) error {
	t.Start = t.End
	if after >= through {
		return nil
	}
	first, err := r.log.At(ctx, after+1)
	if err != nil {
		return err
	}
	t.Start = first.OccurredAt
	if after == 0 {
		return nil
	}
	for e, err := range r.log.Read(ctx, events.Query{Through: after, Stream: events.StreamActiveForge, Latest: 1}) {
		if err != nil {
			return err
		}
		before, ok := switchOf(e)
		if !ok || before.To == "" {
			return nil
		}
		if err := r.untilNext(ctx, &before); err != nil {
			return err
		}
		t.Switches = append(t.Switches, before)
		if err := r.explainSwitches(ctx, t.Switches); err != nil {
			return err
		}
	}
	return nil
}
