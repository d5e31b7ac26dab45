package commands

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/vault"
)

// The cast of the decisions' tests. Given facts happened at noon, decisions are taken a minute later.
var (
	noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	then = noon.Add(time.Minute)

	alice      = events.Account{ForgeType: "github", BaseURL: "https://github.com", AccountID: "1", AccountLogin: "alice"}
	bob        = events.Account{ForgeType: "github", BaseURL: "https://github.com", AccountID: "2", AccountLogin: "bob"}
	aliceGitea = events.Account{ForgeType: "gitea", BaseURL: "https://git.example.org", AccountID: "7", AccountLogin: "alice"}
	robot      = events.Account{ForgeType: "forgejo", BaseURL: "https://bots.example.org", AccountID: "9", AccountLogin: "robot"}

	config = map[string]forge.Connection{
		"github":  {Name: "github", Kind: forge.GitHub, BaseURL: "https://github.com", Login: true},
		"gitea":   {Name: "gitea", Kind: forge.Gitea, BaseURL: "https://git.example.org", Login: true},
		"forgejo": {Name: "forgejo", Kind: forge.Forgejo, BaseURL: "https://bots.example.org"},
	}

	key1, key2     = numbered(0xa1), numbered(0xa2)
	session1       = numbered(0x51)
	session2       = numbered(0x52)
	freshSession   = numbered(0x5f)
	secretHash     = []byte("hash of the new session's secret")
	setupHash      = []byte("hash of the setup code")
	recoveryHash   = []byte("hash of the recovery code")
	openPolicy     = policy{connections: config}
	sessionsEnd    = noon.Add(sessionAbsolute)
	sessionsIdleAt = noon.Add(sessionIdle)
)

func numbered(n byte) uuid.UUID { return uuid.UUID{6: 0x70, 8: 0x80, 15: n} }

func listing(accounts ...events.Account) policy {
	p := policy{connections: config, allowList: true}
	for _, account := range accounts {
		p.operators = append(p.operators, AllowedAccount{account.ForgeType, account.AccountID})
	}
	return p
}

// given folds facts into the state that a decision reads.
func given(tb testing.TB, drafts ...events.Draft) *projections.State {
	tb.Helper()
	state := projections.NewState()
	fold(tb, state, noon, 0, drafts)
	return state
}

func fold(tb testing.TB, state *projections.State, at time.Time, position int64, drafts []events.Draft) {
	tb.Helper()
	versions := map[events.Stream]int64{}
	for _, draft := range drafts {
		position++
		versions[draft.Stream]++
		err := state.Apply(events.Event{Fact: draft.Fact, Record: events.Record{
			Position: position, Stream: draft.Stream, StreamVersion: versions[draft.Stream], Type: events.TypeOf(draft.Fact),
			OccurredAt: at, Sealed: draft.Sealed,
		}})
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// expect compares what a decision made of its state with what should follow.
func expect(t *testing.T, got events.Outcome, err error, want events.Outcome, refusal error) {
	t.Helper()
	if refusal != nil {
		if !sameRefusal(err, refusal) {
			t.Fatalf("refused with %v, want %v", err, refusal)
		}
		want = events.Outcome{}
	} else if err != nil {
		t.Fatalf("refused: %v", err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.AllowUnexported(putCode{}, spendCode{})); diff != "" {
		t.Errorf("unexpected outcome (-want +got):\n%s", diff)
	}
}

func sameRefusal(got, want error) bool {
	wanted, ok := errors.AsType[*deniedError](want)
	if !ok {
		return errors.Is(got, want)
	}
	denied, ok := errors.AsType[*deniedError](got)
	return ok && *denied == *wanted
}

// Facts, as drafts.

func claimed(account events.Account) events.Draft {
	return events.Draft{Stream: events.StreamOperator, Fact: events.OperatorClaimed{Account: account}}
}

func linked(account events.Account) events.Draft {
	return events.Draft{Stream: events.StreamOperator, Fact: events.AccountLinked{Account: account}}
}

func removed(account events.Account, reason string) events.Draft {
	return events.Draft{Stream: events.StreamOperator, Fact: events.AccountRemoved{Account: account, Reason: reason}}
}

func issued(account events.Account, key uuid.UUID, fingerprint string) events.Draft {
	return prepared(account, key, fingerprint).draft()
}

func requested(account events.Account, key uuid.UUID, issuedAt int64, reason string) events.Draft {
	return events.Draft{Stream: events.TokenStream(account.ForgeType), Fact: events.TokenRevocationRequested{
		Account: account, DataKey: key, IssuedAt: issuedAt, Reason: reason,
	}}
}

func revoked(account events.Account, key uuid.UUID, outcome string) events.Draft {
	return events.Draft{Stream: events.TokenStream(account.ForgeType), Fact: events.TokenRevoked{
		ForgeType: account.ForgeType, DataKey: key, Outcome: outcome,
	}}
}

func revokedElsewhere(account events.Account, key uuid.UUID, outcome, page string) events.Draft {
	return events.Draft{Stream: events.TokenStream(account.ForgeType), Fact: events.TokenRevoked{
		ForgeType: account.ForgeType, DataKey: key, Outcome: outcome, Page: page,
	}}
}

func attempted(account events.Account, key uuid.UUID, n int, next time.Time) events.Draft {
	return events.Draft{Stream: events.TokenStream(account.ForgeType), Fact: events.TokenRevocationAttempted{
		ForgeType: account.ForgeType, DataKey: key, Attempt: n, NextAt: next,
	}}
}

func postponed(account events.Account, until time.Time) events.Draft {
	return events.Draft{Stream: events.TokenStream(account.ForgeType), Fact: events.TokenRevocationsPostponed{
		ForgeType: account.ForgeType, Until: until,
	}}
}

func activated(forgeType, previous string) events.Draft {
	fact := events.ForgeActivated{ForgeType: forgeType}
	if previous != "" {
		fact.Previous = &previous
	}
	return events.Draft{Stream: events.StreamActiveForge, Fact: fact}
}

func deactivated(previous, reason string) events.Draft {
	return events.Draft{Stream: events.StreamActiveForge, Fact: events.ForgeDeactivated{Previous: previous, Reason: reason}}
}

func started(id uuid.UUID, account events.Account) events.Draft {
	return events.Draft{Stream: events.SessionStream(id), Sealed: []byte("hash"), Fact: events.SessionStarted{
		Account: account, IdleUntil: sessionsIdleAt, ExpiresAt: sessionsEnd,
	}}
}

func ended(id uuid.UUID, reason string) events.Draft {
	return events.Draft{Stream: events.SessionStream(id), Fact: events.SessionEnded{Reason: reason}}
}

// prepared is a sealed token as a command holds it before its decision.
func prepared(account events.Account, key uuid.UUID, fingerprint string) issue {
	info, _ := forge.Info(config[account.ForgeType].Kind)
	return issue{
		fact: events.TokenIssued{
			Account: account, Kind: string(info.Kind), Grant: grantAuthorizationCode, Scopes: []string{"repo"}, DataKey: key,
		},
		sealed:      events.SealedTokens{Access: []byte("sealed"), Fingerprint: []byte(fingerprint)}.Bytes(),
		fingerprint: []byte(fingerprint),
		key:         vault.StoreKey{Key: vault.WrappedKey{ID: key, Wrapped: []byte("wrapped")}},
		canRevoke:   info.Revocable,
	}
}

func (i issue) draft() events.Draft {
	return events.Draft{Stream: events.TokenStream(i.fact.ForgeType), Fact: i.fact, Sealed: i.sealed}
}
