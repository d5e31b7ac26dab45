package history

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
)

// TokenStep is one thing that happened to the token of a connection.
type TokenStep struct {
	Position int64     `json:"position"`
	At       time.Time `json:"at"`
	// What happened: linked (the connection's first token, or its first after it had none), replaced (by a sign-in while there was one),
	// refreshed, refresh_started, refresh_failed, refresh_overtaken, rejected, lost, revocation_requested, revocation_attempted,
	// revocations_postponed, revoked, rebound, scopes_changed, renamed or account_changed.
	What string `json:"what"`
	// Generation is that of the connection's token afterwards, 0 if it has none.
	Generation int64 `json:"generation"`
	// Account is who the token acts as afterwards, null if there is none.
	Account *events.Account `json:"account"`
	// DataKey is the key that seals the token, null for what is about none in particular.
	DataKey *uuid.UUID `json:"data_key"`
	// Detail says more: the code of a failure, the outcome of a revocation, the reason of a request.
	Detail    string     `json:"detail,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	Actor     string     `json:"actor"`
	// CorrelationID is that of the command.
	CorrelationID uuid.UUID `json:"correlation_id"`
}

// Tokens returns the lineage of a connection's token.
func (r *Reader) Tokens(ctx context.Context, forge string, s Span) (Page[TokenStep], error) {
	after, through, err := r.bounds(ctx, s)
	if err != nil {
		return Page[TokenStep]{}, err
	}
	var living living
	if after > 0 {
		granted, err := r.log.GrantedBefore(ctx, events.Grantee{ForgeType: forge, Position: after})
		if err != nil {
			return Page[TokenStep]{}, err
		}
		living.grant(granted[0])
		for e, err := range r.log.Read(ctx, events.Query{After: granted[0].Position, Through: after, Stream: events.TokenStream(forge)}) {
			if err != nil {
				return Page[TokenStep]{}, err
			}
			living.follow(e)
		}
	}
	query := events.Query{After: after, Through: through, Stream: events.TokenStream(forge)}
	return collect(ctx, r, query, s.Limit, func(e events.Event) (TokenStep, bool) {
		step := living.follow(e)
		step.Position, step.At, step.Actor, step.CorrelationID = e.Position, e.OccurredAt, e.Actor, e.CorrelationID
		step.Generation, step.Account = living.generation, living.account
		return step, true
	})
}

// living is a connection's token along its lineage.
type living struct {
	generation int64
	account    *events.Account
	key        uuid.UUID
}

func (l *living) grant(e events.Event) {
	if key, ok := dataKeyOf(e.Fact); ok {
		*l = living{e.StreamVersion, accountIn(e.Fact), key}
	}
}

func dataKeyOf(fact events.Fact) (uuid.UUID, bool) {
	switch fact := fact.(type) { //nolint:gochecksumtype // the others say nothing of it
	case events.TokenIssued:
		return fact.DataKey, true
	case events.TokenRefreshed:
		return fact.DataKey, true
	default:
		return uuid.Nil, false
	}
}

// follow goes one event on and says what it did.
func (l *living) follow(e events.Event) TokenStep {
	switch fact := e.Fact.(type) { //nolint:gochecksumtype // the others say nothing of it
	case events.TokenIssued:
		step := TokenStep{What: "linked", DataKey: &fact.DataKey, Detail: fact.Grant, ExpiresAt: fact.ExpiresAt}
		if l.generation > 0 {
			step.What = "replaced"
		}
		l.grant(e)
		return step
	case events.TokenRefreshed:
		l.grant(e)
		return TokenStep{What: "refreshed", DataKey: &fact.DataKey, ExpiresAt: fact.ExpiresAt}
	case events.TokenRefreshStarted:
		return TokenStep{What: "refresh_started", DataKey: &fact.DataKey}
	case events.TokenRefreshFailed:
		return TokenStep{What: "refresh_failed", DataKey: &fact.DataKey, Detail: fact.Verdict + " " + fact.Code}
	case events.TokenRefreshOvertaken:
		return TokenStep{What: "refresh_overtaken"}
	case events.TokenRejected:
		return TokenStep{What: "rejected", DataKey: &fact.DataKey}
	case events.TokenLost:
		return TokenStep{What: "lost", DataKey: &fact.DataKey}
	case events.TokenRevocationRequested:
		if fact.DataKey == l.key {
			*l = living{}
		}
		return TokenStep{What: "revocation_requested", DataKey: &fact.DataKey, Detail: fact.Reason}
	case events.TokenRevocationAttempted:
		return TokenStep{What: "revocation_attempted", DataKey: &fact.DataKey}
	case events.TokenRevocationsPostponed:
		return TokenStep{What: "revocations_postponed"}
	case events.TokenRevoked:
		return TokenStep{What: "revoked", DataKey: &fact.DataKey, Detail: fact.Outcome}
	case events.ConnectionRebound:
		*l = living{}
		return TokenStep{What: "rebound"}
	case events.ScopesChanged:
		return TokenStep{What: "scopes_changed"}
	case events.AccountRenamed:
		if l.account != nil {
			renamed := fact.Account
			l.account = &renamed
		}
		return TokenStep{What: "renamed"}
	case events.AccountChanged:
		return TokenStep{What: "account_changed"}
	default:
		return TokenStep{What: e.Type}
	}
}

// SessionSpan is a session from its beginning to its end.
type SessionSpan struct {
	Position  int64          `json:"position"` // of its beginning
	ID        uuid.UUID      `json:"id"`
	Account   events.Account `json:"account"`
	StartedAt time.Time      `json:"started_at"`
	// ExtendedAt is when it was last noted to be in use, at most once a day; null for never.
	ExtendedAt *time.Time `json:"extended_at"`
	// EndedAt and Reason say how it ended; null and empty for one that nobody ended, which lapses by itself at ExpiresAt or, unused, before.
	EndedAt   *time.Time `json:"ended_at"`
	Reason    string     `json:"reason"`
	ExpiresAt time.Time  `json:"expires_at"`
	Actor     string     `json:"actor"`
}

// Sessions returns the sessions that began in a part of the log, with what became of them since.
func (r *Reader) Sessions(ctx context.Context, s Span) (Page[SessionSpan], error) {
	after, through, err := r.bounds(ctx, s)
	if err != nil {
		return Page[SessionSpan]{}, err
	}
	query := events.Query{After: after, Through: through, Types: []string{events.TypeOf(events.SessionStarted{})}}
	page, err := collect(ctx, r, query, s.Limit, func(e events.Event) (SessionSpan, bool) {
		fact, ok := e.Fact.(events.SessionStarted)
		id, named := e.Stream.SessionID()
		return SessionSpan{
			Position: e.Position, ID: id, Account: fact.Account, StartedAt: e.OccurredAt, ExpiresAt: fact.ExpiresAt, Actor: e.Actor,
		}, ok && named
	})
	if err != nil {
		return page, err
	}
	for i := range page.Items {
		session := &page.Items[i]
		for e, err := range r.log.Read(ctx, events.Query{After: session.Position, Stream: events.SessionStream(session.ID)}) {
			if err != nil {
				return page, err
			}
			switch fact := e.Fact.(type) { //nolint:gochecksumtype // the others say nothing of it
			case events.SessionExtended:
				session.ExtendedAt = &e.OccurredAt
			case events.SessionEnded:
				session.EndedAt, session.Reason = &e.OccurredAt, fact.Reason
			}
		}
	}
	return page, nil
}
