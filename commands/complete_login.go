package commands

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/secret"
)

// completeTimeout bounds a callback from the exchange on: three requests to the forge at most, and one append.
const completeTimeout = 2 * time.Minute

// maxCode bounds an authorization code; real ones have less than a hundred characters.
const maxCode = 4096

// CallbackQuery is what the forge sent the browser back with (RFC 6749 §4.1.2, RFC 9207).
type CallbackQuery struct {
	State, Code string
	// Error is the forge's error code; empty if there is none.
	Error string
	// Issuer is iss; empty where the forge does not send it.
	Issuer string
}

// CompleteLogin is a browser that comes back from a forge.
type CompleteLogin struct {
	// ForgeType is the one in the path.
	ForgeType string
	Query     CallbackQuery
	// Attempts are the values of all attempt cookies that the browser sent.
	Attempts []string
	// Session is the live session that it sent along, nil if there is none.
	Session *projections.Session
	// Correlation is the correlation id of the events; drawn if zero.
	Correlation uuid.UUID
}

// LoginCompleted is a sign-in that is durable.
type LoginCompleted struct {
	// SessionSecret is the value of the session's cookie: 43 characters of base64url. It exists nowhere else.
	SessionSecret secret.Text
	Session       projections.Session
	ReturnTo      string
	// AttemptID says whose cookie to delete.
	AttemptID string
	// Carried are the attempts to link of other tabs, which were begun within the session that this one replaces and go on
	// in it: set their cookies anew.
	Carried []Attempt
	Events  []events.Event
}

// CompleteLogin signs an operator in. It checks, in this order, what needs no forge: the state, that the path's forge is
// the attempt's, the issuer, the forge's error, the code, and whether anybody could be let in at all. Then it exchanges
// the code and asks whose token that is, seals the token, and takes one decision, which lets the account in or not. When
// it returns, all its events are durable in one transaction, or none is.
//
// Errors are [*LoginError], or [ErrAlreadySignedIn] for a callback that is replayed by a browser with a live session. A
// token that was granted and not stored is revoked at the forge in one attempt. From the exchange on the command no
// longer listens to ctx ending: the code is used up, so the sign-in is carried through even if the browser has left.
func (c *Commands) CompleteLogin(ctx context.Context, req CompleteLogin) (LoginCompleted, error) {
	a, code := c.findAttempt(req.Attempts, req.Query.State)
	if code != "" {
		if code == CodeStateMismatch && req.Session != nil {
			return LoginCompleted{}, ErrAlreadySignedIn
		}
		return LoginCompleted{}, &LoginError{Code: code}
	}
	completed, err := c.completeAttempt(ctx, a, req)
	if failed, ok := errors.AsType[*LoginError](err); ok {
		failed.AttemptID = a.ID
	}
	return completed, err
}

func (c *Commands) completeAttempt(ctx context.Context, a attempt, req CompleteLogin) (LoginCompleted, error) {
	provider, err := c.checkCallback(a, req)
	if err != nil {
		return LoginCompleted{}, err
	}
	if err := c.couldEnter(ctx, a, provider.Connection(), req.Session); err != nil {
		return LoginCompleted{}, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), completeTimeout)
	defer cancel()
	token, err := provider.Exchange(ctx, forge.ExchangeRequest{
		Code: req.Query.Code, RedirectURI: a.RedirectURI, Verifier: a.Verifier,
	})
	if err != nil {
		_, refused := errors.AsType[*forge.ExchangeError](err)
		if refused && req.Session != nil && req.Session.ID != a.Session {
			return LoginCompleted{}, ErrAlreadySignedIn // the session is what this code was used for
		}
		return LoginCompleted{}, forgeFailure(CodeExchangeFailed, err)
	}
	completed, keepToken, err := c.enter(ctx, a, provider, token, req)
	if err != nil && !keepToken {
		c.revokeUnstored(ctx, provider, token)
	}
	return completed, err
}

// checkCallback is what can be said about a callback without asking anybody.
func (c *Commands) checkCallback(a attempt, req CompleteLogin) (forge.Provider, error) {
	if a.ForgeType != req.ForgeType {
		return nil, &LoginError{Code: CodeWrongForge}
	}
	provider, err := c.provider(a.ForgeType)
	if err != nil {
		return nil, &LoginError{Code: CodeWrongForge, Err: err}
	}
	query := req.Query
	switch {
	case query.Issuer != "" && !isIssuer(provider.Connection(), query.Issuer):
		return nil, &LoginError{Code: CodeWrongIssuer}
	case query.Error == "access_denied":
		return nil, &LoginError{Code: CodeAccessDenied}
	case query.Error == "server_error", query.Error == "temporarily_unavailable":
		return nil, &LoginError{Code: CodeForgeUnavailable}
	case query.Error != "", query.Code == "", len(query.Code) > maxCode:
		return nil, &LoginError{Code: CodeExchangeFailed}
	}
	return provider, nil
}

// isIssuer compares iss by RFC 9207 §2.4: byte by byte with what identifies the forge's authorization server. That is
// the base URL; for GitHub also the one that its metadata names, and for Gitea and Forgejo also the base URL as they
// write it themselves, with a slash at the end.
func isIssuer(connection forge.Connection, issuer string) bool {
	if issuer == connection.BaseURL {
		return true
	}
	switch connection.Kind {
	case forge.GitHub:
		return issuer == connection.BaseURL+"/login/oauth"
	case forge.Gitea, forge.Forgejo:
		return issuer == connection.BaseURL+"/"
	case forge.GitLab, forge.Bitbucket:
	}
	return false
}

// couldEnter spares the forge a code that nobody could be let in with. The decision judges again under the lock.
func (c *Commands) couldEnter(ctx context.Context, a attempt, connection forge.Connection, session *projections.Session) error {
	if !connection.Login {
		if a.Intent != intentLink || a.Session != sessionID(session) || !session.Live(c.now()) {
			return &LoginError{Code: CodeNotAllowed, Err: ErrLoginDisabled}
		}
		return nil
	}
	if c.policy.allowList {
		return nil
	}
	operator, err := c.reader.Operator(ctx)
	if err != nil {
		return &LoginError{Code: CodeInternal, Err: err}
	}
	if operator.Claimed() {
		return nil
	}
	if a.Code == nil {
		return &LoginError{Code: CodeSetupCodeWrong, Err: ErrSetupCodeRequired}
	}
	switch err := c.checkCode(ctx, *a.Code); {
	case errors.Is(err, ErrSetupCodeWrong):
		return &LoginError{Code: CodeSetupCodeWrong, Err: err}
	case err != nil:
		return &LoginError{Code: CodeInternal, Err: err}
	}
	return nil
}

// forgeFailure tells a forge that is down from one that says no.
func forgeFailure(code string, err error) *LoginError {
	_, limited := errors.AsType[*forge.RateLimitedError](err)
	if limited || errors.Is(err, forge.ErrUnavailable) {
		code = CodeForgeUnavailable
	}
	return &LoginError{Code: code, Err: err}
}

// enter finds out whose token it is and decides. keepToken says that the token must not be revoked: it is stored, or
// may be.
func (c *Commands) enter(
	ctx context.Context, a attempt, provider forge.Provider, token forge.Token, req CompleteLogin,
) (completed LoginCompleted, keepToken bool, err error) {
	granted, err := c.identify(ctx, provider, token, grantAuthorizationCode)
	if err != nil {
		return LoginCompleted{}, false, err
	}
	cookie, err := c.random(sessionSecretBytes)
	if err != nil {
		return LoginCompleted{}, false, &LoginError{Code: CodeInternal, Err: err}
	}
	hash := c.vault.SessionHash(cookie)
	l := &login{
		policy: c.policy,
		who: candidate{
			account: granted.fact.Account, link: a.Session, presented: sessionID(req.Session), code: a.Code,
		},
		token: granted, session: c.newID(), hash: hash[:],
	}
	carried, err := c.carryOver(req.Attempts, a, l.who.presented, l.session)
	if err != nil {
		return LoginCompleted{}, false, &LoginError{Code: CodeInternal, Err: err}
	}
	caller := SessionCaller(l.session)
	caller.Correlation = req.Correlation
	caller = c.identified(caller)
	denier := Caller{Actor: actorAnonymous, Correlation: caller.Correlation}
	if req.Session != nil {
		denier.Actor = SessionCaller(req.Session.ID).Actor
	}
	appended, keepToken, err := c.decideLogin(ctx, caller, denier, l)
	if err != nil {
		return LoginCompleted{}, keepToken, err
	}
	if !replaced(appended, l.who.presented) {
		carried = nil // that session had ended before, and what it had begun with it
	}
	return LoginCompleted{
		SessionSecret: secret.New(base64.RawURLEncoding.EncodeToString(cookie)),
		Session:       startedSession(appended),
		ReturnTo:      a.ReturnTo,
		AttemptID:     a.ID,
		Carried:       carried,
		Events:        appended,
	}, true, nil
}

// decideLogin takes the decision and records, on behalf of denier, if it was to turn somebody away. keepToken says that the
// token must not be revoked: it is stored, or may be.
func (c *Commands) decideLogin(ctx context.Context, caller, denier Caller, l *login) (appended []events.Event, keepToken bool, err error) {
	appended, err = c.appendLogin(ctx, caller, l)
	denied, isDenied := errors.AsType[*deniedError](err)
	switch {
	case isDenied:
		c.denyLogin(ctx, denier, events.LoginDenied{Account: l.who.account, Reason: denied.reason})
		return nil, denied.keepToken, &LoginError{
			Code: denied.code(), Account: l.who.account.ForgeType + ":" + l.who.account.AccountID, Err: err,
		}
	case err != nil:
		return nil, errors.Is(err, events.ErrCommitUnknown), &LoginError{Code: CodeInternal, Err: err}
	}
	c.revocationRequested(appended)
	if l.token.fact.Scopes == nil {
		c.grantChanged(l.token.fact.ForgeType) // its forge may know them
	}
	return appended, true, nil
}

// bindFresh is the port of a token that is not stored.
func bindFresh(provider forge.Provider, token forge.Token) forge.Port {
	connection := provider.Connection()
	return provider.Bind(forge.Binding{
		Connection: connection.Name, Kind: connection.Kind, BaseURL: connection.BaseURL,
	}, forge.StaticToken(token))
}

// revokeUnstored tells the forge, once, that a token is not wanted. Where it cannot, the token lives until it expires.
func (c *Commands) revokeUnstored(ctx context.Context, provider forge.Provider, token forge.Token) {
	ctx, cancel := context.WithTimeout(ctx, revokeTimeout)
	defer cancel()
	if err := bindFresh(provider, token).Revoke(ctx); err != nil && !errors.Is(err, forge.ErrUnsupported) {
		c.logger.WarnContext(ctx, "could not revoke a token that was not stored",
			slog.String("forge_type", provider.Connection().Name), slog.Any("error", err))
	}
}

// login is a prepared sign-in: everything that the decision is about.
type login struct {
	policy policy
	who    candidate
	token  issue
	// session is the one to begin, and hash that of its secret; none at a sign-in on the host.
	session uuid.UUID
	hash    []byte
}

func (c *Commands) appendLogin(ctx context.Context, caller Caller, l *login) ([]events.Event, error) {
	d := decision{
		Streams: []events.Stream{
			events.StreamOperator, events.TokenStream(l.token.fact.ForgeType), events.StreamActiveForge,
		},
		Decide: l.decide,
	}
	if l.session != uuid.Nil {
		d.Fresh = []events.Stream{events.SessionStream(l.session)}
	}
	for _, id := range []uuid.UUID{l.who.presented, l.who.link} {
		if id != uuid.Nil {
			d.Streams = append(d.Streams, events.SessionStream(id))
		}
	}
	if l.who.code != nil {
		d.Query = func(batch *pgx.Batch) {
			queueCodes(batch, func(codes []issuedCode) { l.who.codes = codes })
		}
	}
	return c.append(ctx, caller, d)
}

// decide lets the candidate in, with everything that follows, or refuses with a [*deniedError].
func (l *login) decide(state *projections.State, now time.Time) (events.Outcome, error) {
	forgeType := l.token.fact.ForgeType
	admitted, err := l.policy.admit(state, now, l.who)
	if err != nil {
		before, _ := state.Token(forgeType)
		return events.Outcome{}, &deniedError{
			reason: err.reason, keepToken: sameToken(before.Fingerprint, l.token.fingerprint),
		}
	}
	var out events.Outcome
	if admitted.fact != nil {
		out.Drafts = append(out.Drafts, events.Draft{Stream: events.StreamOperator, Fact: admitted.fact})
	}
	issued := l.token.decide(state)
	out.Drafts = append(out.Drafts, issued.Drafts...)
	out.Effects = append(out.Effects, issued.Effects...)
	out.Drafts = append(out.Drafts, events.Draft{Stream: events.StreamActiveForge, Fact: activation(state, forgeType)})
	if _, ok := state.Session(l.who.presented); ok {
		out.Drafts = append(out.Drafts, events.Draft{
			Stream: events.SessionStream(l.who.presented), Fact: events.SessionEnded{Reason: endedReplaced},
		})
	}
	if l.session != uuid.Nil {
		out.Drafts = append(out.Drafts, events.Draft{
			Stream: events.SessionStream(l.session), Fact: admitted.session(now), Sealed: l.hash,
		})
	}
	if admitted.spent != nil {
		out.Effects = append(out.Effects, spendCode{admitted.spent.purpose, admitted.spent.hash})
	}
	return out, nil
}

// session is the session that an admission begins at now.
func (a admission) session(now time.Time) events.SessionStarted {
	started := events.SessionStarted{Account: a.holder, ExpiresAt: now.Add(sessionAbsolute)}
	if a.until != nil {
		started.ExpiresAt = *a.until
	}
	started.IdleUntil = earlier(now.Add(sessionIdle), started.ExpiresAt)
	return started
}

// replaced reports whether an append ended that session.
func replaced(appended []events.Event, session uuid.UUID) bool {
	return slices.ContainsFunc(appended, func(e events.Event) bool {
		_, ended := e.Fact.(events.SessionEnded)
		return ended && e.Stream == events.SessionStream(session)
	})
}

// startedSession is the session that an append began, as its row shows it.
func startedSession(appended []events.Event) projections.Session {
	for _, e := range appended {
		fact, ok := e.Fact.(events.SessionStarted)
		if !ok {
			continue
		}
		id, _ := e.Stream.SessionID()
		return projections.Session{
			ID: id, SecretHash: e.Sealed, Account: fact.Account, StartedAt: e.OccurredAt, ExtendedAt: e.OccurredAt,
			IdleUntil: fact.IdleUntil, ExpiresAt: fact.ExpiresAt, Version: e.StreamVersion,
		}
	}
	return projections.Session{}
}
