package projections

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
)

// State is a working set of rows of all projections, and the fold that keeps them. Decisions read it, the log's writer
// fills it, folds into it and writes it back ([events.Tables]), verification folds the whole log into one. It is not safe
// for concurrent use.
type State struct {
	tokens      rows[string, Token]
	revocations rows[uuid.UUID, Revocation]
	active      rows[bool, ActiveForge]
	operator    rows[bool, Operator]
	sessions    rows[uuid.UUID, Session]

	loaded map[events.Stream]struct{}
}

var _ events.Tables = (*State)(nil)

// NewState returns an empty working set.
func NewState() *State {
	return &State{
		tokens:      newRows(tokensTable),
		revocations: newRows(revocationsTable),
		active:      newRows(activeTable),
		operator:    newRows(operatorTable),
		sessions:    newRows(sessionsTable),
		loaded:      map[events.Stream]struct{}{},
	}
}

// Token returns the living token of a connection.
func (s *State) Token(forgeType string) (Token, bool) {
	return s.tokens.get(forgeType)
}

// Revocation returns the pending revocation of the token sealed under a data key.
func (s *State) Revocation(dataKey uuid.UUID) (Revocation, bool) {
	return s.revocations.get(dataKey)
}

// Pending returns the revocations of a connection's tokens that wait for the forge, by data key.
func (s *State) Pending(forgeType string) []Revocation {
	var pending []Revocation
	for _, row := range s.revocations.live {
		if row.ForgeType == forgeType {
			pending = append(pending, *row)
		}
	}
	slices.SortFunc(pending, func(a, b Revocation) int { return bytes.Compare(a.DataKey[:], b.DataKey[:]) })
	return pending
}

// Active returns the active forge.
func (s *State) Active() (ActiveForge, bool) {
	return s.active.get(only)
}

// Operator returns whose deployment this is.
func (s *State) Operator() Operator {
	row, _ := s.operator.get(only)
	return row
}

// Session returns a session that has not ended; it may have expired.
func (s *State) Session(id uuid.UUID) (Session, bool) {
	return s.sessions.get(id)
}

// Versions implements [events.Tables].
func (s *State) Versions() map[string]int {
	return map[string]int{
		s.tokens.name:      s.tokens.version,
		s.revocations.name: s.revocations.version,
		s.active.name:      s.active.version,
		s.operator.name:    s.operator.version,
		s.sessions.name:    s.sessions.version,
	}
}

// Apply folds one event. What an event does to the tables is said here and in the files of the tables, and nowhere else.
func (s *State) Apply(e events.Event) error {
	switch e.Fact.(type) {
	case events.TokenIssued, events.TokenRefreshStarted, events.TokenRefreshed, events.TokenRefreshFailed, events.TokenRefreshOvertaken, events.TokenRejected,
		events.TokenLost,
		events.TokenRevocationRequested, events.TokenRevocationAttempted, events.TokenRevocationsPostponed, events.TokenRevoked,
		events.ConnectionRebound, events.ScopesChanged, events.AccountChanged:
		applyRevocation(&s.revocations, e)
		return applyToken(&s.tokens, e)
	case events.AccountRenamed:
		if e.Stream == events.StreamOperator {
			applyOperator(&s.operator, e)
			return nil
		}
		return applyToken(&s.tokens, e)
	case events.ForgeActivated, events.ForgeDeactivated:
		applyActive(&s.active, e)
	case events.OperatorClaimed, events.AccountLinked, events.AccountRemoved, events.OperatorRecovered:
		applyOperator(&s.operator, e)
	case events.SessionStarted, events.SessionExtended, events.SessionEnded:
		return applySession(&s.sessions, e)
	case events.LoginDenied, events.LoginsDenied,
		events.RelayDisabled, events.RelayEnabled, events.DeliverySkipped, events.ReplayRequested, events.RelayRemoved,
		events.KeysRotated, events.KeysReset, events.RepairForced:
		// Facts for the reader of the log; no table shows them.
	default:
		return fmt.Errorf("event %d: %s: %w", e.Position, e.Type, events.ErrUnknownEvent)
	}
	return nil
}

// Has implements [events.Tables].
func (s *State) Has(stream events.Stream) bool {
	_, ok := s.loaded[stream]
	return ok
}

// Begin implements [events.Tables].
func (s *State) Begin(streams []events.Stream) {
	for _, stream := range streams {
		s.loaded[stream] = struct{}{}
	}
}

// Load implements [events.Tables].
func (s *State) Load(batch *pgx.Batch, streams []events.Stream) {
	var forgeTypes []string
	var sessions []uuid.UUID
	for _, stream := range streams {
		if name, ok := stream.ForgeType(); ok {
			forgeTypes = append(forgeTypes, name)
		} else if id, ok := stream.SessionID(); ok {
			sessions = append(sessions, id)
		} else if stream == events.StreamActiveForge {
			s.active.queueLoad(batch, []bool{only})
		} else if stream == events.StreamOperator {
			s.operator.queueLoad(batch, []bool{only})
		}
	}
	if len(forgeTypes) > 0 {
		s.tokens.queueLoad(batch, forgeTypes)
		s.revocations.queueLoad(batch, forgeTypes)
	}
	if len(sessions) > 0 {
		s.sessions.queueLoad(batch, sessions)
	}
	s.Begin(streams)
}

// Flush implements [events.Tables].
func (s *State) Flush(batch *pgx.Batch) {
	s.tokens.flush(batch)
	s.revocations.flush(batch)
	s.active.flush(batch)
	s.operator.flush(batch)
	s.sessions.flush(batch)
}

// Reset implements [events.Tables].
func (s *State) Reset() {
	s.tokens.reset()
	s.revocations.reset()
	s.active.reset()
	s.operator.reset()
	s.sessions.reset()
	clear(s.loaded)
}
