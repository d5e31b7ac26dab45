package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// Why an account may no longer sign in.
const (
	removedByHand  = "removed"
	removedRebound = "rebound"
)

// Accounts returns the accounts that may sign in, in the order in which they were linked. With FORGEAUTH_OPERATORS set,
// that list decides instead.
func (c *Commands) Accounts(ctx context.Context) ([]projections.LinkedAccount, error) {
	operator, err := c.reader.Operator(ctx)
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	return operator.Accounts, nil
}

// RemoveAccount takes an account out of those that may sign in and ends its sessions, in one transaction. Tokens stay:
// disconnect the forge to drop them. The last account can be removed too; the deployment stays claimed, and only
// [Commands.Recover] lets somebody in then. An account that FORGEAUTH_OPERATORS names goes on signing in until it is
// taken out there. It fails with [ErrUnknownAccount].
func (c *Commands) RemoveAccount(ctx context.Context, caller Caller, forgeType, accountID string) ([]events.Event, error) {
	operator, err := c.reader.Operator(ctx)
	if err != nil {
		return nil, fmt.Errorf("remove account: %w", err)
	}
	var accounts []events.Account
	for _, known := range operator.Accounts {
		if known.ForgeType == forgeType && known.AccountID == accountID {
			accounts = append(accounts, known.Account)
		}
	}
	if len(accounts) == 0 {
		return nil, ErrUnknownAccount
	}
	r := &removeAccount{accounts: accounts}
	return c.appendWithSessions(ctx, caller, &r.sessions, accounts, decision{
		Streams: []events.Stream{events.StreamOperator},
		Decide:  r.decide,
	})
}

type removeAccount struct {
	accounts []events.Account
	sessions accountSessions
}

func (r *removeAccount) decide(state *projections.State, _ time.Time) (events.Outcome, error) {
	var out events.Outcome
	for _, account := range r.accounts {
		if state.Operator().Knows(account) {
			out.Drafts = append(out.Drafts, removal(account, removedByHand))
		}
	}
	if len(out.Drafts) == 0 {
		return events.Outcome{}, ErrUnknownAccount
	}
	ends, err := r.sessions.end(state)
	out.Drafts = append(out.Drafts, ends...)
	return out, err
}

func removal(account events.Account, reason string) events.Draft {
	return events.Draft{Stream: events.StreamOperator, Fact: events.AccountRemoved{Account: account, Reason: reason}}
}

// accountSessions are the sessions of accounts that a decision ends all of. Its streams have to be named before the
// lock is held, so they are read before; under the lock they are read again, and a decision that finds one it has not
// named is refused and made anew.
type accountSessions struct {
	named   []uuid.UUID
	current []uuid.UUID
}

// unnamedSessionError asks for another round.
type unnamedSessionError struct{ sessions []uuid.UUID }

func (*unnamedSessionError) Error() string { return "a session was started meanwhile" }

func (a *accountSessions) end(state *projections.State) ([]events.Draft, error) {
	var ends []events.Draft
	for _, id := range a.current {
		if !slices.Contains(a.named, id) {
			return nil, &unnamedSessionError{slices.Clone(a.current)}
		}
		if _, ok := state.Session(id); ok {
			ends = append(ends, sessionEnd(id, endedAccountRemoved))
		}
	}
	return ends, nil
}

// appendWithSessions executes a decision that ends the sessions of accounts.
func (c *Commands) appendWithSessions(
	ctx context.Context, caller Caller, sessions *accountSessions, accounts []events.Account, d decision,
) ([]events.Event, error) {
	caller = c.identified(caller)
	for _, account := range accounts {
		found, err := c.reader.SessionsOf(ctx, account)
		if err != nil {
			return nil, fmt.Errorf("sessions of the account: %w", err)
		}
		sessions.named = append(sessions.named, idsOf(found)...)
	}
	d.Query = func(batch *pgx.Batch) {
		sessions.current = nil
		for _, account := range accounts {
			projections.QueueSessionsOf(batch, account, func(found []projections.Session) {
				sessions.current = append(sessions.current, idsOf(found)...)
			})
		}
	}
	streams := d.Streams
	const mostRounds = 10 // each lost to a sign-in of that very account in the same moment
	for range mostRounds {
		d.Streams = slices.Clone(streams)
		for _, id := range sessions.named {
			d.Streams = append(d.Streams, events.SessionStream(id))
		}
		appended, err := c.append(ctx, caller, d)
		unnamed, again := errors.AsType[*unnamedSessionError](err)
		if !again {
			return appended, err
		}
		sessions.named = unnamed.sessions
	}
	return nil, ErrBusy
}

func idsOf(sessions []projections.Session) []uuid.UUID {
	ids := make([]uuid.UUID, len(sessions))
	for i, session := range sessions {
		ids[i] = session.ID
	}
	return ids
}
