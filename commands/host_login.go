package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
)

// HostLogin is what a sign-in on the host needs besides the forge's answer. Whoever has the database and the encryption key is
// the operator's own administrator, as for [Commands.Recover] and [Commands.IssueSetupCode]: no code is asked for, and no session
// begins.
type HostLogin struct {
	Caller Caller
	// Vouch is asked, before anything is stored, whether an account that may not sign in here yet should be let in from now
	// on; nil is a no, and so is an error, which is passed on. It is not asked where an allow-list decides, where the
	// deployment is unclaimed, or for a connection that is no way in.
	Vouch func(context.Context, events.Account) error
}

// HostLoginCompleted is a sign-in on the host that is durable.
type HostLoginCompleted struct {
	Account events.Account
	Kind    forge.Kind
	Scopes  []string // as granted; nil where the forge does not say
	// ExpiresAt is nil for a token that does not expire.
	ExpiresAt *time.Time
	// Claimed says that the deployment now belongs to the account, Linked that the account may sign in from now on.
	Claimed, Linked bool
	Events          []events.Event
}

// ErrNotVouched says that an account that may not sign in here was not let in.
var ErrNotVouched = errors.New("nobody has vouched for this account, which may not sign in here yet")

// hostProvider is a configured forge that tokens may be had from: one whose history is of another base URL or kind may not, since
// here [Commands.CheckOrigins] has not kept the process from starting.
func (c *Commands) hostProvider(ctx context.Context, forgeType string) (forge.Provider, error) {
	provider, err := c.provider(forgeType)
	if err != nil {
		return nil, err
	}
	err = c.CheckOrigins(ctx)
	if rebound, ok := errors.AsType[*ReboundError](err); ok {
		for _, origin := range rebound.Connections {
			if origin.ForgeType == forgeType {
				return nil, &origin
			}
		}
		return provider, nil
	}
	if kind, ok := errors.AsType[*KindError](err); ok && kind.ForgeType != forgeType {
		return provider, nil
	}
	return provider, err
}

// enterFromHost makes a fresh token its connection's and that the active one, with everything that follows, in one transaction;
// or turns its account away and revokes it, in one attempt. The code is used up, so that ctx ends only the question whether to
// vouch, which is then a no.
func (c *Commands) enterFromHost(
	ctx context.Context, provider forge.Provider, token forge.Token, grant string, req HostLogin,
) (completed HostLoginCompleted, err error) {
	keepToken := false
	defer func() {
		if err != nil && !keepToken {
			c.revokeOnHost(ctx, provider, token)
		}
	}()
	granted, err := c.identifyOnHost(ctx, provider, token, grant)
	if err != nil {
		return HostLoginCompleted{}, err
	}
	l := &login{policy: c.policy, who: candidate{account: granted.fact.Account, host: true}, token: granted}
	declined, err := c.vouch(ctx, &l.who, req.Vouch)
	if err != nil {
		return HostLoginCompleted{}, &LoginError{Code: CodeInternal, Err: err}
	}
	deciding, cancel := context.WithTimeout(context.WithoutCancel(ctx), completeTimeout)
	defer cancel()
	caller := c.identified(req.Caller)
	appended, keepToken, err := c.decideLogin(deciding, caller, caller, l)
	if err != nil {
		if failed, ok := errors.AsType[*LoginError](err); ok && declined != nil {
			failed.Err = declined
		}
		return HostLoginCompleted{}, err
	}
	completed = HostLoginCompleted{
		Account: granted.fact.Account, Kind: forge.Kind(granted.fact.Kind), Scopes: granted.fact.Scopes, ExpiresAt: granted.fact.ExpiresAt,
		Events: slices.Concat(appended, c.settleReplaced(deciding, caller, appended)),
	}
	for _, e := range appended {
		_, claimed := e.Fact.(events.OperatorClaimed)
		_, linked := e.Fact.(events.AccountLinked)
		completed.Claimed, completed.Linked = completed.Claimed || claimed, completed.Linked || linked
	}
	return completed, nil
}

// identifyOnHost is identify, carried through.
func (c *Commands) identifyOnHost(ctx context.Context, provider forge.Provider, token forge.Token, grant string) (issue, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), completeTimeout)
	defer cancel()
	return c.identify(ctx, provider, token, grant)
}

// revokeOnHost is revokeUnstored, also when ctx has ended.
func (c *Commands) revokeOnHost(ctx context.Context, provider forge.Provider, token forge.Token) {
	c.revokeUnstored(context.WithoutCancel(ctx), provider, token)
}

// vouch has somebody asked about a stranger, and notes the answer in who; declined says why it was a no.
func (c *Commands) vouch(ctx context.Context, who *candidate, ask func(context.Context, events.Account) error) (declined, err error) {
	operator, err := c.reader.Operator(ctx)
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	if !c.policy.isStranger(operator, who.account) {
		return nil, nil
	}
	declined = ErrNotVouched
	if ask != nil {
		declined = ask(ctx, who.account)
	}
	who.vouched, who.declined = declined == nil, declined != nil
	return declined, nil
}

// settleReplaced tells the forge, in one bounded attempt, of the token that was replaced: no background work may be running. What
// is left is for [Commands.Run] of any process.
func (c *Commands) settleReplaced(ctx context.Context, caller Caller, appended []events.Event) []events.Event {
	pending, ok := pendingRevocation(appended)
	if !ok {
		return nil
	}
	settled, err := c.settleRevocation(ctx, Caller{Actor: actorRevoker, Correlation: caller.Correlation}, pending.DataKey)
	if err != nil {
		c.logger.WarnContext(ctx, "the forge has not been told of a revocation yet; it will be",
			slog.String("forge_type", pending.ForgeType), slog.Any("error", err))
	}
	return settled
}

// hostStatePrefix begins the states of sign-ins that were started on the host. No other state has a dot.
const hostStatePrefix = "cli."

// IsHostState reports whether a callback's state is that of a sign-in that was started on the host. Its answer is awaited there: a
// server has no attempt for it, and can only ask the person to take it there.
func IsHostState(state string) bool { return strings.HasPrefix(state, hostStatePrefix) }
