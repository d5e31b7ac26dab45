package commands

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/vault"
)

func TestDecisions(t *testing.T) {
	t.Parallel()
	type decide func(*projections.State, time.Time) (events.Outcome, error)
	connected := []events.Draft{claimed(alice), issued(alice, key1, "a"), issued(aliceGitea, key2, "b"), activated("github", "")}
	moved := func(account events.Account) events.Account {
		account.BaseURL = "https://old.example"
		return account
	}
	disconnect := func(forgeType string) decide {
		connection, ok := config[forgeType]
		return disconnectForge{forgeType, ok, connection}.decide
	}
	shred := func(keys ...uuid.UUID) (effects []events.Effect) {
		for _, key := range keys {
			effects = append(effects, vault.ShredKey{ID: key})
		}
		return effects
	}
	rebinding := func(keep bool, history string, named, current []uuid.UUID) decide {
		r := &rebind{
			forgeType: "github", history: history, to: alice.BaseURL, keepAccounts: keep,
			sessions: accountSessions{named: named, current: current},
		}
		return r.decide
	}
	rebound := func(keep bool) events.Draft {
		return events.Draft{Stream: "token/github", Fact: events.ConnectionRebound{
			ForgeType: "github", From: "https://old.example", To: alice.BaseURL, AccountsKept: keep,
		}}
	}
	extended := func(until time.Time) events.Draft {
		return events.Draft{Stream: events.SessionStream(session1), Fact: events.SessionExtended{IdleUntil: until}}
	}
	recovery := putCode{purposeRecovery, recoveryHash, then.Add(codeLifetime)}

	for name, test := range map[string]struct {
		given   []events.Draft
		when    decide
		at      time.Time
		then    []events.Draft
		effects []events.Effect
		refusal error
	}{
		"activate: a connected forge": {
			given: connected, when: activateForge{"gitea"}.decide, then: []events.Draft{activated("gitea", "github")},
		},
		"activate: the first": {
			given: []events.Draft{issued(alice, key1, "a")}, when: activateForge{"github"}.decide,
			then: []events.Draft{activated("github", "")},
		},
		"activate: the active one is nothing new": {given: connected, when: activateForge{"github"}.decide},
		"activate: a forge that is not connected": {
			given: connected, when: activateForge{"forgejo"}.decide, refusal: projections.ErrNotConnected,
		},
		"activate: a forge that was disconnected": {
			given: append(connected, requested(aliceGitea, key2, 3, reasonDisconnected)), when: activateForge{"gitea"}.decide,
			refusal: projections.ErrNotConnected,
		},

		"deactivate: the active forge": {
			given: connected, when: deactivateForge{}.decide, then: []events.Draft{deactivated("github", deactivatedCleared)},
		},
		"deactivate: none active is nothing new": {when: deactivateForge{}.decide},

		"disconnect: the active forge": {
			given: connected, when: disconnect("github"),
			then: []events.Draft{
				requested(alice, key1, 2, reasonDisconnected), attempted(alice, key1, 1, then.Add(backoff(key1, 1))),
				deactivated("github", deactivatedDisconnected),
			},
		},
		"disconnect: a forge that cannot revoke": {
			given: connected, when: disconnect("gitea"),
			then: []events.Draft{
				requested(aliceGitea, key2, 3, reasonDisconnected),
				revokedElsewhere(aliceGitea, key2, outcomeUnsupported, "https://git.example.org/user/settings/applications"),
			},
			effects: shred(key2),
		},
		"disconnect: a forge that is configured no more": {
			given: []events.Draft{issued(events.Account{ForgeType: "gone", BaseURL: "https://gone.example", AccountID: "1"}, key1, "a")},
			when:  disconnect("gone"),
			then: []events.Draft{
				requested(events.Account{ForgeType: "gone", BaseURL: "https://gone.example", AccountID: "1"}, key1, 1, reasonDisconnected),
				revoked(events.Account{ForgeType: "gone"}, key1, outcomeGivenUp),
			},
			effects: shred(key1),
		},
		"disconnect: a token of another base URL is sent nowhere": {
			given: []events.Draft{issued(moved(alice), key1, "a")}, when: disconnect("github"),
			then: []events.Draft{
				requested(moved(alice), key1, 1, reasonDisconnected),
				revokedElsewhere(alice, key1, outcomeGivenUp, "https://old.example/settings/applications"),
			},
			effects: shred(key1),
		},
		"disconnect: a forge that is not connected": {when: disconnect("github"), refusal: projections.ErrNotConnected},
		"disconnect: a name that nobody knows":      {when: disconnect("nobody"), refusal: ErrUnknownConnection},
		"disconnect: once is enough": {
			given: append(connected, requested(alice, key1, 2, reasonDisconnected)), when: disconnect("github"),
			refusal: projections.ErrNotConnected,
		},

		"log out": {
			given: []events.Draft{started(session1, alice), started(session2, alice)}, when: endSession{session1}.decide,
			then: []events.Draft{ended(session1, endedLogout)},
		},
		"log out: twice is nothing new": {
			given: []events.Draft{started(session1, alice), ended(session1, endedLogout)}, when: endSession{session1}.decide,
		},

		"extend: a session in use, a day later": {
			given: []events.Draft{started(session1, alice)}, when: extendSession{session1}.decide, at: noon.Add(extendEvery),
			then: []events.Draft{extended(noon.Add(extendEvery + sessionIdle))},
		},
		"extend: not twice a day": {
			given: []events.Draft{started(session1, alice)}, when: extendSession{session1}.decide, at: noon.Add(extendEvery - 1),
		},
		"extend: never beyond the end": {
			given: []events.Draft{started(session1, alice), extended(noon.Add(28 * 24 * time.Hour))},
			when:  extendSession{session1}.decide, at: noon.Add(27 * 24 * time.Hour),
			then: []events.Draft{extended(sessionsEnd)},
		},
		"extend: nothing is left to extend": {
			given: []events.Draft{started(session1, alice), extended(sessionsEnd)},
			when:  extendSession{session1}.decide, at: noon.Add(27 * 24 * time.Hour),
		},
		"extend: not a session that has idled out": {
			given: []events.Draft{started(session1, alice)}, when: extendSession{session1}.decide, at: sessionsIdleAt,
		},
		"extend: not a session that has ended": {
			given: []events.Draft{started(session1, alice), ended(session1, endedLogout)}, when: extendSession{session1}.decide,
			at: noon.Add(extendEvery),
		},

		"expire: what has idled out, and nothing else": {
			given: []events.Draft{
				started(session1, alice), started(session2, alice),
				{Stream: events.SessionStream(session2), Fact: events.SessionExtended{IdleUntil: sessionsIdleAt.Add(time.Hour)}},
			},
			when: expireSessions{[]uuid.UUID{session1, session2, numbered(0x99)}}.decide, at: sessionsIdleAt,
			then: []events.Draft{ended(session1, endedExpired)},
		},
		"expire: what has reached its absolute end": {
			given: []events.Draft{started(session1, alice), extended(sessionsEnd)},
			when:  expireSessions{[]uuid.UUID{session1}}.decide, at: sessionsEnd,
			then: []events.Draft{ended(session1, endedExpired)},
		},

		"recover: a claimed deployment": {
			given: []events.Draft{claimed(alice)}, when: recoverOperator{recovery}.decide,
			then:    []events.Draft{{Stream: events.StreamOperator, Fact: events.OperatorRecovered{CodeExpiresAt: recovery.expires}}},
			effects: []events.Effect{recovery},
		},
		"recover: with no account left": {
			given: []events.Draft{claimed(alice), removed(alice, removedByHand)}, when: recoverOperator{recovery}.decide,
			then:    []events.Draft{{Stream: events.StreamOperator, Fact: events.OperatorRecovered{CodeExpiresAt: recovery.expires}}},
			effects: []events.Effect{recovery},
		},
		"recover: an unclaimed deployment": {when: recoverOperator{recovery}.decide, refusal: ErrUnclaimed},

		"remove: an account and its sessions": {
			given: []events.Draft{claimed(alice), linked(bob), started(session1, bob), started(session2, alice)},
			when: (&removeAccount{
				accounts: []events.Account{bob}, sessions: accountSessions{named: []uuid.UUID{session1}, current: []uuid.UUID{session1}},
			}).decide,
			then: []events.Draft{removed(bob, removedByHand), ended(session1, endedAccountRemoved)},
		},
		"remove: the last account": {
			given: []events.Draft{claimed(alice)}, when: (&removeAccount{accounts: []events.Account{alice}}).decide,
			then: []events.Draft{removed(alice, removedByHand)},
		},
		"remove: a session that ended in between": {
			given: []events.Draft{claimed(alice), started(session1, alice), ended(session1, endedLogout)},
			when:  (&removeAccount{accounts: []events.Account{alice}, sessions: accountSessions{named: []uuid.UUID{session1}}}).decide,
			then:  []events.Draft{removed(alice, removedByHand)},
		},
		"remove: an account that is gone": {
			given:   []events.Draft{claimed(alice), linked(bob), removed(bob, removedByHand)},
			when:    (&removeAccount{accounts: []events.Account{bob}}).decide,
			refusal: ErrUnknownAccount,
		},

		"rebind: drops the token, the accounts and their sessions": {
			given: []events.Draft{
				claimed(moved(alice)), linked(aliceGitea), issued(moved(alice), key1, "a"), activated("github", ""),
				started(session1, moved(alice)), started(session2, aliceGitea),
			},
			when: rebinding(false, "https://old.example", []uuid.UUID{session1}, []uuid.UUID{session1}),
			then: []events.Draft{
				requested(moved(alice), key1, 3, reasonRebound), revokedElsewhere(alice, key1, outcomeGivenUp, "https://old.example/settings/applications"), rebound(false),
				deactivated("github", deactivatedRebound), removed(moved(alice), removedRebound), ended(session1, endedAccountRemoved),
			},
			effects: shred(key1),
		},
		"rebind: keeps the accounts when somebody vouches": {
			given: []events.Draft{
				claimed(moved(alice)), linked(moved(bob)), issued(moved(alice), key1, "a"), issued(aliceGitea, key2, "b"),
				activated("gitea", ""), started(session1, moved(alice)),
			},
			when: rebinding(true, "https://old.example", []uuid.UUID{session1}, []uuid.UUID{session1}),
			then: []events.Draft{
				requested(moved(alice), key1, 3, reasonRebound), revokedElsewhere(alice, key1, outcomeGivenUp, "https://old.example/settings/applications"), rebound(true),
				removed(moved(alice), removedRebound), linked(alice), removed(moved(bob), removedRebound), linked(bob),
				ended(session1, endedAccountRemoved),
			},
			effects: shred(key1),
		},
		"rebind: by the history alone": {
			given: []events.Draft{claimed(aliceGitea)}, when: rebinding(false, "https://old.example", nil, nil),
			then: []events.Draft{rebound(false)},
		},
		"rebind: by the accounts alone": {
			given: []events.Draft{claimed(moved(alice))}, when: rebinding(false, "", nil, nil),
			then: []events.Draft{rebound(false), removed(moved(alice), removedRebound)},
		},
		"rebind: a token that was granted by the new one stays": {
			given: []events.Draft{claimed(moved(alice)), issued(alice, key1, "a"), activated("github", "")},
			when:  rebinding(false, "https://github.com", nil, nil),
			then:  []events.Draft{removed(moved(alice), removedRebound)},
		},
		"rebind: nothing has changed": {given: connected, when: rebinding(false, "https://github.com", nil, nil)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.at.IsZero() {
				test.at = then
			}
			got, err := test.when(given(t, test.given...), test.at)
			expect(t, got, err, events.Outcome{Drafts: test.then, Effects: test.effects}, test.refusal)
		})
	}
}

func TestASessionThatWasNotNamedAsksForAnotherRound(t *testing.T) {
	t.Parallel()
	r := &removeAccount{accounts: []events.Account{alice}, sessions: accountSessions{
		named: []uuid.UUID{session1}, current: []uuid.UUID{session1, session2},
	}}
	_, err := r.decide(given(t, claimed(alice), started(session1, alice)), then)
	unnamed, ok := err.(*unnamedSessionError) //nolint:errorlint // as it is
	if !ok || len(unnamed.sessions) != 2 {
		t.Fatalf("got %v", err)
	}
}

func TestImportReplacesLikeASignInAndActivatesNothing(t *testing.T) {
	t.Parallel()
	imported := prepared(alice, key2, "new")
	got := imported.decide(given(t, issued(alice, key1, "old"), issued(aliceGitea, numbered(0xa3), "b"), activated("gitea", "")))
	expect(t, got, nil, events.Outcome{
		Drafts:  []events.Draft{imported.draft(), requested(alice, key1, 1, reasonReplaced)},
		Effects: []events.Effect{imported.key},
	}, nil)
}
