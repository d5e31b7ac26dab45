package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
)

const (
	// watchEvery is how often a forge is asked at least what it says about a token; each process does, and the first time at
	// some moment of firstWatch, so that those that start together do not ask together.
	watchEvery = 24 * time.Hour
	firstWatch = time.Hour
	// probeTimeout bounds one question, which is two requests at most.
	probeTimeout = time.Minute
)

// watched are connections whose forge is to be asked soon. Safe for concurrent use.
type watched struct {
	wake chan struct{}

	mu    sync.Mutex
	names map[string]struct{}
}

func newWatched() watched {
	return watched{wake: make(chan struct{}, 1), names: map[string]struct{}{}}
}

// take returns the connections and forgets them.
func (w *watched) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	names := make([]string, 0, len(w.names))
	for name := range w.names {
		names = append(names, name)
	}
	clear(w.names)
	return names
}

// grantChanged has a connection's forge asked in the background what it says about its token: one that is new has just been
// committed. It never waits.
func (c *Commands) grantChanged(forgeType string) {
	c.watched.mu.Lock()
	c.watched.names[forgeType] = struct{}{}
	c.watched.mu.Unlock()
	select {
	case c.watched.wake <- struct{}{}:
	default:
	}
}

// watchGrants asks forges about tokens that have come, and about all once a day, until ctx ends. Any number of processes do
// so; what one has recorded is nothing new to the next.
func (c *Commands) watchGrants(ctx context.Context) {
	round := c.after(time.Duration(c.share(uuid.Nil) * float64(firstWatch)))
	for {
		select {
		case <-c.watched.wake:
			c.askForges(ctx, c.watched.take())
		case <-round:
			tokens, err := c.reader.Tokens(ctx)
			c.try(ctx, "read the tokens", err)
			var names []string
			for _, token := range tokens {
				names = append(names, token.ForgeType)
			}
			c.askForges(ctx, names)
			round = c.after(watchEvery)
		case <-ctx.Done():
			return
		}
	}
}

// askForges asks the forges of connections, side by side. That one does not answer says nothing about its token, and is asked
// again another day.
func (c *Commands) askForges(ctx context.Context, names []string) {
	var forges sync.WaitGroup
	for _, name := range names {
		forges.Go(func() {
			if _, err := c.watchGrant(ctx, name); err != nil && ctx.Err() == nil {
				c.logger.InfoContext(ctx, "a forge does not say what a token may do",
					slog.String("forge_type", name), slog.Any("error", err))
			}
		})
	}
	forges.Wait()
}

// watchGrant asks a connection's forge, once, whose its token is and what it may do, and records what has changed. It returns
// no event where nothing has, where the connection has no token that could be asked about, or another one by then. An error
// says nothing about the token; only a refusal of the token itself leaves a doubt, which is settled like one in use.
func (c *Commands) watchGrant(ctx context.Context, forgeType string) ([]events.Event, error) {
	if _, ok := c.providers[forgeType]; !ok {
		return nil, nil // it holds a token and is configured no more: there is nobody to ask
	}
	row, provider, key, err := c.living(ctx, forgeType)
	switch {
	case errors.Is(err, projections.ErrNotConnected):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if row.Refused() || row.Expired(c.now()) {
		return nil, nil
	}
	access, err := key.Open(accessContext(row.Account, row.DataKey), row.AccessToken)
	if err != nil {
		return nil, fmt.Errorf("watch grant: %w", err)
	}
	// Not through the connection's keeper, which would refresh at once what it is only asked about.
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	grant, err := bindFresh(provider, forge.Token{Access: access}).Grant(ctx)
	if errors.Is(err, forge.ErrNeedsReauth) {
		c.doubt(row) // withdrawn at the forge, it may be, and nobody has used it since
	}
	if err != nil {
		return nil, err
	}
	connection := provider.Connection()
	appended, err := c.append(ctx, Caller{Actor: actorWatcher}, decision{
		Streams: []events.Stream{events.TokenStream(forgeType), events.StreamOperator},
		Decide: watchGrant{
			forgeType: forgeType, dataKey: row.DataKey, kind: connection.Kind, asked: connection.Scopes, grant: grant,
		}.decide,
	})
	c.warnOfGrant(ctx, appended)
	return appended, err
}

// warnOfGrant tells whoever reads the logs what an operator should look at.
func (c *Commands) warnOfGrant(ctx context.Context, appended []events.Event) {
	for _, e := range appended {
		if changed, ok := e.Fact.(events.AccountChanged); ok {
			c.logger.WarnContext(ctx, "a token acts for another account than the one that signed in, and is not used any more: sign in again",
				slog.String("forge_type", changed.ForgeType), slog.String("account_id", changed.AccountID), slog.String("found_id", changed.FoundID))
		}
		if changed, ok := e.Fact.(events.ScopesChanged); ok && len(changed.Missing)+len(changed.Excess) > 0 {
			c.logger.WarnContext(ctx, "a token may do other things than were asked for",
				slog.String("forge_type", changed.ForgeType), slog.String("missing", strings.Join(changed.Missing, " ")),
				slog.String("excess", strings.Join(changed.Excess, " ")))
		}
	}
}

// watchGrant is the decision about what a forge says of a token.
type watchGrant struct {
	forgeType string
	dataKey   uuid.UUID
	kind      forge.Kind
	asked     []string
	grant     forge.Grant
}

func (w watchGrant) decide(state *projections.State, _ time.Time) (events.Outcome, error) {
	var out events.Outcome
	row, ok := state.Token(w.forgeType)
	if !ok || row.DataKey != w.dataKey || row.Refused() {
		return out, nil
	}
	add := func(stream events.Stream, fact events.Fact) {
		out.Drafts = append(out.Drafts, events.Draft{Stream: stream, Fact: fact})
	}
	stream := events.TokenStream(w.forgeType)
	if w.grant.Account.ID != row.AccountID {
		add(stream, events.AccountChanged{
			Account: row.Account, DataKey: row.DataKey, FoundID: w.grant.Account.ID, FoundLogin: w.grant.Account.Login,
		})
		return out, nil // and what it may do is that one's
	}
	account := row.Account
	account.AccountLogin = w.grant.Account.Login
	if account.AccountLogin != row.AccountLogin {
		add(stream, events.AccountRenamed{Account: account, PreviousLogin: row.AccountLogin})
	}
	if renamed, ok := renamedOperator(state.Operator(), account); ok {
		add(events.StreamOperator, renamed)
	}
	if w.grant.Scopes != nil && !sameScopes(w.grant.Scopes, row.Scopes) {
		add(stream, events.ScopesChanged{
			ForgeType: w.forgeType, DataKey: row.DataKey, Scopes: w.grant.Scopes,
			Missing: forge.MissingScopes(w.kind, w.asked, w.grant.Scopes), Excess: forge.ExcessScopes(w.kind, w.asked, w.grant.Scopes),
		})
	}
	return out, nil
}

// renamedOperator is the fact that an account that may sign in is called otherwise than it was when that was last said; false
// if it is not, or may not.
func renamedOperator(operator projections.Operator, account events.Account) (events.AccountRenamed, bool) {
	for _, known := range operator.Accounts {
		if known.Same(account) && known.AccountLogin != account.AccountLogin {
			return events.AccountRenamed{Account: account, PreviousLogin: known.AccountLogin}, true
		}
	}
	return events.AccountRenamed{}, false
}

// sameScopes reports whether two lists hold the same scopes; one that is not known is no list.
func sameScopes(a, b []string) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	a, b = slices.Compact(slices.Sorted(slices.Values(a))), slices.Compact(slices.Sorted(slices.Values(b)))
	return slices.Equal(a, b)
}
