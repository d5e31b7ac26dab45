package projections

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/forgeauth/forgeauth/events"
)

var (
	// ErrNoActiveForge says that no forge is active: sign in to one, or activate one that is connected.
	ErrNoActiveForge = errors.New("no forge is active: sign in to a forge, or activate a connected one")
	// ErrNotConnected says that the connection holds no token: sign in to that forge first.
	ErrNotConnected = errors.New("this forge is not connected: sign in to it first")
	// ErrNoSession says that there is no session of that name, or not any more.
	ErrNoSession = errors.New("no such session: sign in")
)

// Reader answers from the tables. Each method is one query. Where the database cannot be asked they return
// [events.ErrUnreadable]. Safe for concurrent use.
type Reader struct {
	pool *pgxpool.Pool
}

// NewReader returns a reader over the pool.
func NewReader(pool *pgxpool.Pool) *Reader { return &Reader{pool: pool} }

// View is what a request with a session needs to know.
type View struct {
	Session Session
	// Active is nil if no forge is active.
	Active *ActiveForge
	// AccountLogin and BaseURL are of the active forge's connection; empty if there is none.
	AccountLogin string
	BaseURL      string
}

// viewSQL says with LIMIT that one forge at most is active: to the planner, who does not see that from the table, half of the
// rows it supposes would be, and it would hash all tokens to join them.
const viewSQL = `
SELECT s.session_id, s.secret_hash, s.forge_type, s.base_url, s.account_id, s.account_login, s.started_at, s.extended_at,
       s.idle_until, s.expires_at, s.version,
       a.forge_type, a.since, a.version, t.account_login, t.base_url
FROM operator_sessions s
LEFT JOIN (SELECT forge_type, since, version FROM active_forge_type LIMIT 1) a ON true
LEFT JOIN operator_oauth_tokens t ON t.forge_type = a.forge_type
WHERE s.secret_hash = $1`

// View returns the session of a cookie and what is active, or [ErrNoSession]. Whether the session is still live is for
// the caller to judge ([Session.Live]).
func (r *Reader) View(ctx context.Context, secretHash []byte) (View, error) {
	var (
		view             View
		forgeType        *string
		since            *time.Time
		version          *int64
		login, activeURL *string
	)
	fields := append(sessionsTable.fields(&view.Session), &forgeType, &since, &version, &login, &activeURL)
	err := r.pool.QueryRow(ctx, viewSQL, secretHash).Scan(fields...)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return View{}, ErrNoSession
	case err != nil:
		return View{}, events.ReadError("read session", err)
	}
	if forgeType != nil {
		view.Active = &ActiveForge{ForgeType: *forgeType, Since: *since, Version: *version}
	}
	if login != nil {
		view.AccountLogin, view.BaseURL = *login, *activeURL
	}
	return view, nil
}

// TokenInUse says which token is a connection's, and no more. A data key seals one token pair and no other, so DataKey names it.
type TokenInUse struct {
	ForgeType string
	BaseURL   string
	DataKey   uuid.UUID
	ExpiresAt *time.Time // nil for a token that does not expire
	// Refused is that of [Token.Refused].
	Refused bool
}

const tokenInUseSQL = `
SELECT forge_type, base_url, data_key, expires_at, needs_reauth_reason IN ('` + ReasonUnauthorized + `', '` + ReasonAccountChanged + `')
FROM operator_oauth_tokens
WHERE forge_type = `

// ActiveToken returns which token is the active forge's, or [ErrNoActiveForge]. A forge that is active is connected.
//
// It asks for little, and for the active forge in a subquery that runs once: this is what a program that acts on forges waits
// for each time.
func (r *Reader) ActiveToken(ctx context.Context) (TokenInUse, error) {
	return r.tokenInUse(ctx, ErrNoActiveForge, tokenInUseSQL+`(SELECT a.forge_type FROM active_forge_type a)`)
}

// TokenInUse returns which token is a connection's, or [ErrNotConnected].
func (r *Reader) TokenInUse(ctx context.Context, forgeType string) (TokenInUse, error) {
	return r.tokenInUse(ctx, ErrNotConnected, tokenInUseSQL+`$1`, forgeType)
}

func (r *Reader) tokenInUse(ctx context.Context, none error, sql string, args ...any) (TokenInUse, error) {
	var t TokenInUse
	err := r.pool.QueryRow(ctx, sql, args...).Scan(&t.ForgeType, &t.BaseURL, asUUID(&t.DataKey), &t.ExpiresAt, &t.Refused)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return TokenInUse{}, none
	case err != nil:
		return TokenInUse{}, events.ReadError("read token", err)
	}
	return t, nil
}

// TokenAndClock returns the living token of a connection, or [ErrNotConnected], and the time by the database's clock.
func (r *Reader) TokenAndClock(ctx context.Context, forgeType string) (token Token, now time.Time, err error) {
	err = r.pool.QueryRow(ctx, tokenAndClockSQL, forgeType).Scan(append(tokensTable.fields(&token), &now)...)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Token{}, time.Time{}, ErrNotConnected
	case err != nil:
		return Token{}, time.Time{}, events.ReadError("read token", err)
	}
	return token, now, nil
}

var tokenAndClockSQL = "SELECT " + strings.Join(tokensTable.columns, ", ") + `, clock_timestamp()
FROM operator_oauth_tokens WHERE forge_type = $1`

// Token returns the living token of a connection, or [ErrNotConnected].
func (r *Reader) Token(ctx context.Context, forgeType string) (Token, error) {
	found, err := list(ctx, r.pool, tokensTable, "WHERE forge_type = $1", forgeType)
	if err == nil && len(found) == 0 {
		err = ErrNotConnected
	}
	if err != nil {
		return Token{}, err
	}
	return found[0], nil
}

// TokenAndKey returns the living token of a connection, or [ErrNotConnected], and its data key as the vault has wrapped it,
// nil if that has been shredded. Both are of one moment: between two reads another sign-in could replace them.
func (r *Reader) TokenAndKey(ctx context.Context, forgeType string) (token Token, wrappedKey []byte, err error) {
	err = r.pool.QueryRow(ctx, tokenAndKeySQL, forgeType).Scan(append(tokensTable.fields(&token), &wrappedKey)...)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Token{}, nil, ErrNotConnected
	case err != nil:
		return Token{}, nil, events.ReadError("read token and key", err)
	}
	return token, wrappedKey, nil
}

var tokenAndKeySQL = "SELECT t." + strings.Join(tokensTable.columns, ", t.") + `, k.wrapped
FROM operator_oauth_tokens t LEFT JOIN data_keys k ON k.id = t.data_key WHERE t.forge_type = $1`

// Tokens returns the living tokens of all connections, by forge type.
func (r *Reader) Tokens(ctx context.Context) ([]Token, error) {
	return list(ctx, r.pool, tokensTable, "ORDER BY forge_type")
}

// Active returns the active forge, or [ErrNoActiveForge].
func (r *Reader) Active(ctx context.Context) (ActiveForge, error) {
	found, err := list(ctx, r.pool, activeTable, "")
	if err == nil && len(found) == 0 {
		err = ErrNoActiveForge
	}
	if err != nil {
		return ActiveForge{}, err
	}
	return found[0], nil
}

// Operator returns whose deployment this is; the zero value says that it is unclaimed.
func (r *Reader) Operator(ctx context.Context) (Operator, error) {
	found, err := list(ctx, r.pool, operatorTable, "")
	if err != nil || len(found) == 0 {
		return Operator{}, err
	}
	return found[0], nil
}

// Sessions returns the sessions that have not ended, oldest first. Some may have expired.
func (r *Reader) Sessions(ctx context.Context) ([]Session, error) {
	return list(ctx, r.pool, sessionsTable, "ORDER BY started_at, session_id")
}

// SessionsOf returns the sessions of an account that have not ended.
func (r *Reader) SessionsOf(ctx context.Context, account events.Account) ([]Session, error) {
	return list(ctx, r.pool, sessionsTable, "WHERE forge_type = $1 AND base_url = $2 AND account_id = $3",
		account.ForgeType, account.BaseURL, account.AccountID)
}

// QueueSessionsOf queues the same read on a decision's batch, under the lock; found is called with the result.
func QueueSessionsOf(batch *pgx.Batch, account events.Account, found func([]Session)) {
	batch.Queue(sessionsTable.selectSQL()+" WHERE forge_type = $1 AND base_url = $2 AND account_id = $3",
		account.ForgeType, account.BaseURL, account.AccountID).Query(func(result pgx.Rows) error {
		sessions, err := pgx.CollectRows(result, sessionsTable.scan)
		found(sessions)
		return err
	})
}

// ExpiredSessions returns up to limit sessions that were not ended by anybody but are past their time at now.
func (r *Reader) ExpiredSessions(ctx context.Context, now time.Time, limit int) ([]Session, error) {
	return list(ctx, r.pool, sessionsTable, "WHERE idle_until <= $1 OR expires_at <= $1 LIMIT $2", now, limit)
}

// Revocations returns the tokens that wait for their forge to hear that they are revoked, those first whose turn comes first.
func (r *Reader) Revocations(ctx context.Context) ([]Revocation, error) {
	return list(ctx, r.pool, revocationsTable, "ORDER BY next_attempt_at, data_key")
}

// Revocation returns the pending revocation of the token sealed under a data key. It reports false if there is none, which
// means that it has been settled.
func (r *Reader) Revocation(ctx context.Context, dataKey uuid.UUID) (revocation Revocation, ok bool, err error) {
	found, err := list(ctx, r.pool, revocationsTable, "WHERE data_key = $1", dataKey)
	if err != nil || len(found) == 0 {
		return Revocation{}, false, err
	}
	return found[0], true, nil
}

func list[K comparable, R any](ctx context.Context, pool *pgxpool.Pool, t table[K, R], where string, args ...any) ([]R, error) {
	result, err := pool.Query(ctx, t.selectSQL()+" "+where, args...)
	if err != nil {
		return nil, events.ReadError("read "+t.name, err)
	}
	found, err := pgx.CollectRows(result, t.scan)
	if err != nil {
		return nil, events.ReadError("read "+t.name, err)
	}
	return found, nil
}
