package forgeauth_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
)

// failer is what a check needs of a test, be it testing's or rapid's.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// checkInvariants holds a deployment to what must be so whatever happened before: the log is dense and says only what could be,
// the tables equal its fold, the active forge is connected, every token that may still be opened has its data key and no other
// key is left. Nobody may be at work but refreshes that nobody waits for any more: what one of them changes while this looks,
// is looked at again.
func checkInvariants(ctx context.Context, t failer, service *forgeauth.Service, pool *pgxpool.Pool) []events.Event {
	t.Helper()
	for {
		var found findings
		log := found.inspect(ctx, service, pool)
		head, err := service.Log().Head(ctx)
		if err == nil && head.Position != int64(len(log)) && log != nil {
			continue
		}
		for _, finding := range found {
			t.Errorf("%s", finding)
		}
		if err != nil || log == nil {
			t.Fatalf("the invariants could not be looked at: %v", err)
		}
		return log
	}
}

// findings are what a look at a deployment finds at fault.
type findings []string

// Helper implements [failer].
func (*findings) Helper() {}

// Errorf implements [failer].
func (f *findings) Errorf(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// Fatalf implements [failer].
func (f *findings) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	panic(f)
}

// inspect returns the log that it has looked at, nil if it had to stop.
func (f *findings) inspect(ctx context.Context, service *forgeauth.Service, pool *pgxpool.Pool) (log []events.Event) {
	defer func() {
		if stopped := recover(); stopped != nil {
			if stopped != any(f) {
				panic(stopped)
			}
			log = nil
		}
	}()
	return inspect(ctx, f, service, pool)
}

func inspect(ctx context.Context, t failer, service *forgeauth.Service, pool *pgxpool.Pool) []events.Event {
	t.Helper()
	log := readLog(ctx, t, service)
	oracle := newOracle()
	for _, e := range log {
		if problem := oracle.add(e); problem != "" {
			t.Errorf("event %d (%s on %s): %s", e.Position, e.Type, e.Stream, problem)
		}
	}
	if oracle.orphan != uuid.Nil {
		t.Errorf("the log ends with a forge active that is not connected")
	}
	report, err := service.Verify(ctx, forgeauth.VerifyOptions{})
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	if report.Tables.Through != int64(len(log)) || !report.Whole() {
		t.Errorf("through %d of %d: %+v", report.Tables.Through, len(log), report)
	}
	// The oracle is another reading of the log than the fold: what it says is compared with the tables themselves.
	checkSet(ctx, t, pool, "connected forges", keys(oracle.tokens), `SELECT forge_type FROM operator_oauth_tokens`)
	checkSet(ctx, t, pool, "sessions", keys(oracle.sessions), `SELECT session_id::text FROM operator_sessions`)
	checkSet(ctx, t, pool, "pending revocations", keys(oracle.revocations), `SELECT data_key::text FROM token_revocations`)
	var active []string
	if oracle.active != "" {
		active = append(active, oracle.active)
	}
	checkSet(ctx, t, pool, "active forges", active, `SELECT forge_type FROM active_forge_type`)
	var dataKeys []string
	for _, key := range oracle.tokens {
		dataKeys = append(dataKeys, key.String())
	}
	checkSet(ctx, t, pool, "data keys", append(dataKeys, keys(oracle.revocations)...), `SELECT id::text FROM data_keys`)
	for forgeType := range oracle.tokens {
		_, err := service.GetOperatorOAuth(ctx, forgeType)
		_, limited := errors.AsType[*forge.RateLimitedError](err)
		if err != nil && !limited && !errors.Is(err, forge.ErrUnavailable) { // that an expired one is not refreshed is the forge's doing
			t.Errorf("a living token does not open: %v", err)
		}
	}
	return log
}

func readLog(ctx context.Context, t failer, service *forgeauth.Service) []events.Event {
	t.Helper()
	var log []events.Event
	for e, err := range service.Log().Read(ctx, events.Query{}) {
		if err != nil {
			t.Fatalf("read the log: %v", err)
		}
		log = append(log, e)
	}
	return log
}

func keys[K comparable, V any](m map[K]V) []string {
	var list []string
	for key := range m {
		list = append(list, fmt.Sprint(key))
	}
	return list
}

func checkSet(ctx context.Context, t failer, pool *pgxpool.Pool, what string, want []string, sql string) {
	t.Helper()
	rows, err := pool.Query(ctx, sql)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	have, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	slices.Sort(want)
	slices.Sort(have)
	if !slices.Equal(want, have) {
		t.Errorf("%s: the log says %q, the table %q", what, want, have)
	}
}

// oracle reads the log event by event and says which ones cannot be: it knows what each fact presumes.
type oracle struct {
	position    int64
	at          time.Time
	ids         map[uuid.UUID]bool
	versions    map[events.Stream]int64
	tokens      map[string]uuid.UUID // by connection, the data key of its token
	refreshes   map[string]refreshes // of that token
	revocations map[uuid.UUID]string // of tokens that wait for their forge to hear of it, the connection
	attempts    map[uuid.UUID]events.TokenRevocationAttempted
	sessions    map[uuid.UUID]bool
	ended       map[uuid.UUID]bool
	accounts    map[events.Account]bool
	active      string
	claimed     bool
	orphan      uuid.UUID // the command that dropped the active forge's token and has to deactivate that forge
}

func newOracle() *oracle {
	return &oracle{
		ids: map[uuid.UUID]bool{}, versions: map[events.Stream]int64{}, tokens: map[string]uuid.UUID{},
		refreshes: map[string]refreshes{}, revocations: map[uuid.UUID]string{}, sessions: map[uuid.UUID]bool{}, ended: map[uuid.UUID]bool{},
		accounts: map[events.Account]bool{}, attempts: map[uuid.UUID]events.TokenRevocationAttempted{},
	}
}

// add takes the next event and returns what is wrong with it, if anything.
func (o *oracle) add(e events.Event) string {
	o.position++
	o.versions[e.Stream]++
	switch {
	case e.Position != o.position:
		return fmt.Sprintf("the position should be %d", o.position)
	case e.StreamVersion != o.versions[e.Stream]:
		return fmt.Sprintf("the version is %d and should be %d", e.StreamVersion, o.versions[e.Stream])
	case o.ids[e.ID]:
		return "its id is another event's"
	case e.OccurredAt.Before(o.at):
		return "the time goes backwards"
	case e.Actor == "" || e.CorrelationID == uuid.Nil:
		return "nobody did it"
	case o.orphan != uuid.Nil && e.CorrelationID != o.orphan:
		return "the command before has left a forge active that is not connected"
	}
	o.ids[e.ID], o.at = true, e.OccurredAt
	switch fact := e.Fact.(type) {
	case events.TokenIssued, events.TokenRevocationRequested, events.TokenRevocationAttempted, events.TokenRevocationsPostponed,
		events.TokenRevoked, events.ConnectionRebound:
		return o.token(e)
	case events.ScopesChanged:
		if connection, _ := e.Stream.ForgeType(); o.tokens[connection] != fact.DataKey {
			return "the token is not the connection's"
		}
	case events.AccountChanged:
		if connection, _ := e.Stream.ForgeType(); o.tokens[connection] != fact.DataKey || fact.FoundID == fact.AccountID {
			return "the token is not the connection's, or the account is the same"
		}
	case events.AccountRenamed:
		connection, isToken := e.Stream.ForgeType()
		if _, connected := o.tokens[connection]; isToken && !connected || !isToken && !o.accounts[identity(fact.Account)] ||
			fact.AccountLogin == fact.PreviousLogin {
			return "there was nothing to rename"
		}
	case events.TokenRefreshStarted, events.TokenRefreshed, events.TokenRefreshFailed, events.TokenRefreshOvertaken, events.TokenRejected, events.TokenLost:
		return o.refresh(e)
	case events.ForgeActivated, events.ForgeDeactivated:
		return o.activation(e.Fact)
	case events.SessionStarted, events.SessionExtended, events.SessionEnded:
		return o.session(e)
	case events.OperatorClaimed:
		if o.claimed {
			return "the deployment was claimed before"
		}
		o.claimed = true
		o.accounts[identity(fact.Account)] = true
	case events.AccountLinked:
		if !o.claimed || o.accounts[identity(fact.Account)] {
			return "there was nothing to link"
		}
		o.accounts[identity(fact.Account)] = true
	case events.AccountRemoved:
		if !o.accounts[identity(fact.Account)] {
			return "there was nothing to remove"
		}
		delete(o.accounts, identity(fact.Account))
	case events.OperatorRecovered:
		if !o.claimed {
			return "there was nothing to recover"
		}
	case events.LoginDenied, events.LoginsDenied,
		events.RelayDisabled, events.RelayEnabled, events.DeliverySkipped, events.ReplayRequested, events.RelayRemoved,
		events.KeysRotated, events.KeysReset, events.RepairForced:
	default:
		return "unknown to this test"
	}
	return ""
}

func identity(account events.Account) events.Account {
	account.AccountLogin = ""
	return account
}

func (o *oracle) token(e events.Event) string {
	connection, _ := e.Stream.ForgeType()
	switch fact := e.Fact.(type) {
	case events.TokenIssued:
		if len(e.Sealed) == 0 || fact.ForgeType != connection {
			return "it holds no token of its stream"
		}
		o.tokens[connection], o.refreshes[connection] = fact.DataKey, refreshes{}
	case events.TokenRevocationRequested:
		if o.tokens[connection] == fact.DataKey {
			delete(o.tokens, connection)
			if o.active == connection {
				o.orphan = e.CorrelationID
			}
		} else if fact.Reason != "replaced" {
			return "the token was not the connection's"
		}
		o.revocations[fact.DataKey] = connection
	case events.TokenRevocationAttempted:
		before := o.attempts[fact.DataKey]
		switch {
		case o.revocations[fact.DataKey] != connection:
			return "nobody had requested it"
		case fact.Attempt != before.Attempt+1 || e.OccurredAt.Before(before.NextAt) || !fact.NextAt.After(e.OccurredAt):
			return "it was not that attempt's turn"
		}
		o.attempts[fact.DataKey] = fact
	case events.TokenRevoked:
		if o.revocations[fact.DataKey] != connection {
			return "nobody had requested it"
		}
		if fact.Outcome == "confirmed" == (fact.Page != "") {
			return "it names a page that nobody needs, or none to somebody who does"
		}
		delete(o.revocations, fact.DataKey)
	case events.ConnectionRebound:
		delete(o.tokens, connection)
	}
	return ""
}

// refreshes is what was tried to refresh a connection's token.
type refreshes struct {
	attempts []uuid.UUID // all that were begun
	open     bool        // the last of them
	over     bool        // only a sign-in helps
	refused  bool        // and the token itself is of no use
}

func (o *oracle) refresh(e events.Event) string {
	connection, _ := e.Stream.ForgeType()
	current, r := o.tokens[connection], o.refreshes[connection]
	switch fact := e.Fact.(type) {
	case events.TokenRefreshStarted:
		switch {
		case fact.ForgeType != connection, fact.DataKey != current:
			return "the token is not the connection's"
		case r.over:
			return "only a sign-in could have helped"
		case r.open && !fact.Recovering:
			return "the outcome of the attempt before is not known"
		}
		r.attempts, r.open = append(r.attempts, fact.Attempt), true
	case events.TokenRefreshed:
		switch {
		case fact.ForgeType != connection, fact.Replaces != current, fact.DataKey == current, len(e.Sealed) == 0:
			return "it holds no token in place of the connection's"
		case !slices.Contains(r.attempts, fact.Attempt):
			return "it was not announced"
		}
		o.tokens[connection], r = fact.DataKey, refreshes{}
	case events.TokenRefreshFailed:
		if superseded := fact.Verdict == events.VerdictSuperseded; superseded || fact.DataKey != current {
			if !superseded || fact.DataKey == current || fact.NeedsReauth {
				return "it is about a token that the connection has no more"
			}
			return ""
		}
		if !r.open || r.attempts[len(r.attempts)-1] != fact.Attempt {
			return "no such attempt was open"
		}
		if fact.NeedsReauth && fact.Verdict != events.VerdictRejected || fact.NeedsReauth == (fact.RetryAt != nil) {
			return "nobody has rejected the token, or it is tried again all the same"
		}
		r.open, r.over = false, fact.NeedsReauth
	case events.TokenRefreshOvertaken:
		if fact.ForgeType != connection || fact.Replaces == current || fact.DataKey == current || len(e.Sealed) == 0 {
			return "the connection has the token that was traded, or it is not overtaken"
		}
		o.revocations[fact.DataKey] = connection
		return ""
	case events.TokenRejected:
		if fact.DataKey != current || r.refused {
			return "the token is not the connection's, or was known to be refused"
		}
		r.over, r.refused = true, true
	}
	o.refreshes[connection] = r
	return ""
}

func (o *oracle) activation(fact events.Fact) string {
	switch fact := fact.(type) {
	case events.ForgeActivated:
		previous := ""
		if fact.Previous != nil {
			previous = *fact.Previous
		}
		before := o.active
		o.active = fact.ForgeType
		if previous != before {
			return fmt.Sprintf("before was %q and not %q", before, previous)
		}
		if _, ok := o.tokens[fact.ForgeType]; !ok {
			return "that forge is not connected"
		}
	case events.ForgeDeactivated:
		before := o.active
		o.active, o.orphan = "", uuid.Nil
		if before == "" || fact.Previous != before {
			return fmt.Sprintf("before was %q and not %q", before, fact.Previous)
		}
	}
	return ""
}

func (o *oracle) session(e events.Event) string {
	id, ok := e.Stream.SessionID()
	if !ok {
		return "it is on no session's stream"
	}
	if _, starts := e.Fact.(events.SessionStarted); starts {
		if o.sessions[id] || o.ended[id] || len(e.Sealed) == 0 {
			return "the session had begun before, or has no secret"
		}
		o.sessions[id] = true
		return ""
	}
	if !o.sessions[id] {
		return "the session is not live"
	}
	if _, ends := e.Fact.(events.SessionEnded); ends {
		delete(o.sessions, id)
		o.ended[id] = true
	}
	return ""
}
