package history

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
)

// Switch is a change of the active forge.
type Switch struct {
	Position int64     `json:"position"`
	At       time.Time `json:"at"`
	// From and To are connections, empty for none.
	From string `json:"from"`
	To   string `json:"to"`
	// Until is when the next switch ended it, null for the one that still holds; Seconds is for how long it held, or has held by now.
	Until   *time.Time `json:"until"`
	Seconds float64    `json:"seconds"`
	// Actor is who did it. Session is set for one that was done in a session, and SignedInAs whose that was.
	Actor      string          `json:"actor"`
	Session    *uuid.UUID      `json:"session"`
	SignedInAs *events.Account `json:"signed_in_as"`
	// Command is what was asked for: sign_in, activate, or the reason of a deactivation (cleared, disconnected, rebound, forgotten);
	// CorrelationID is that of all its events.
	Command       string    `json:"command"`
	CorrelationID uuid.UUID `json:"correlation_id"`
	// Generation is that of the token that the forge was activated with, and TokenPosition that of the event that granted it; 0 for none.
	Generation    int64 `json:"token_generation"`
	TokenPosition int64 `json:"token_position"`
	// ActsAs is the account of that token.
	ActsAs *events.Account `json:"acts_as"`
}

// switchTypes are the types of events that say which forge is active.
var switchTypes = []string{events.TypeOf(events.ForgeActivated{}), events.TypeOf(events.ForgeDeactivated{})}

// Switches returns the changes of the active forge, only those from or to a forge if one is named. Each costs a few look-ups by index,
// however long the log is.
func (r *Reader) Switches(ctx context.Context, s Span, forge string) (Page[Switch], error) {
	after, through, err := r.bounds(ctx, s)
	if err != nil {
		return Page[Switch]{}, err
	}
	query := events.Query{After: after, Through: through, Types: switchTypes}
	ended := map[int64]time.Time{} // when the next switch was, by position: also those that the answer leaves out
	var before int64
	page, err := collect(ctx, r, query, s.Limit, func(e events.Event) (Switch, bool) {
		found, ok := switchOf(e)
		if ok {
			ended[before], before = e.OccurredAt, e.Position
		}
		return found, ok && (forge == "" || forge == found.From || forge == found.To)
	})
	if err != nil {
		return page, err
	}
	for i := range page.Items {
		if at, ok := ended[page.Items[i].Position]; ok {
			page.Items[i].Until = &at
		} else if err := r.untilNext(ctx, &page.Items[i]); err != nil {
			return page, err
		}
	}
	return page, r.explainSwitches(ctx, page.Items)
}

// switchOf reads a switch out of an event; false for one that leaves the active forge as it was.
func switchOf(e events.Event) (Switch, bool) {
	found := Switch{Position: e.Position, At: e.OccurredAt, Actor: e.Actor, CorrelationID: e.CorrelationID}
	switch fact := e.Fact.(type) { //nolint:gochecksumtype // the others say nothing of it
	case events.ForgeActivated:
		found.To, found.Command = fact.ForgeType, "activate"
		if fact.Previous != nil {
			found.From = *fact.Previous
		}
	case events.ForgeDeactivated:
		found.From, found.Command = fact.Previous, fact.Reason
	default:
		return found, false
	}
	return found, found.From != found.To
}

// explainSwitches adds what other events say of switches, in a few queries for all of them.
func (r *Reader) explainSwitches(ctx context.Context, switches []Switch) error {
	if len(switches) == 0 {
		return nil
	}
	asked := make([]events.Grantee, 0, len(switches))
	var beginnings []events.Stream
	for i := range switches {
		s := &switches[i]
		until := r.now()
		if s.Until != nil {
			until = *s.Until
		}
		s.Seconds = max(0, until.Sub(s.At).Seconds())
		asked = append(asked, events.Grantee{ForgeType: s.To, Position: s.Position})
		if id, ok := events.Stream(s.Actor).SessionID(); ok {
			s.Session = &id
			beginnings = append(beginnings, events.SessionStream(id))
		}
	}
	granted, err := r.log.GrantedBefore(ctx, asked...)
	if err != nil {
		return err
	}
	accounts, err := r.accountsOf(ctx, beginnings)
	if err != nil {
		return err
	}
	for i := range switches {
		s, grant := &switches[i], granted[i]
		if grant.Position > 0 {
			s.Generation, s.TokenPosition, s.ActsAs = grant.StreamVersion, grant.Position, accountIn(grant.Fact)
			if grant.CorrelationID == s.CorrelationID {
				s.Command = "sign_in"
			}
		}
		if s.Session != nil {
			s.SignedInAs = accounts[*s.Session]
		}
	}
	return nil
}

// untilNext finds the switch that follows one.
func (r *Reader) untilNext(ctx context.Context, s *Switch) error {
	query := events.Query{After: s.Position, Through: math.MaxInt64, Types: switchTypes}
	page, err := collect(ctx, r, query, 1, func(e events.Event) (time.Time, bool) {
		_, ok := switchOf(e)
		return e.OccurredAt, ok
	})
	if len(page.Items) > 0 {
		s.Until = &page.Items[0]
	}
	return err
}

// accountsOf returns whose sessions are, those that it finds.
func (r *Reader) accountsOf(ctx context.Context, sessions []events.Stream) (map[uuid.UUID]*events.Account, error) {
	accounts := map[uuid.UUID]*events.Account{}
	slices.Sort(sessions)
	first, err := r.log.First(ctx, slices.Compact(sessions))
	for _, e := range first {
		if id, ok := e.Stream.SessionID(); ok {
			accounts[id] = accountIn(e.Fact)
		}
	}
	return accounts, err
}

// accountIn returns the account that a fact is about, nil if it is about none.
func accountIn(fact events.Fact) *events.Account {
	switch fact := fact.(type) { //nolint:gochecksumtype // the others say nothing of it
	case events.TokenIssued:
		return &fact.Account
	case events.TokenRefreshed:
		return &fact.Account
	case events.SessionStarted:
		return &fact.Account
	case events.TokenRevocationRequested:
		return &fact.Account
	case events.LoginDenied:
		return &fact.Account
	default:
		return nil
	}
}
