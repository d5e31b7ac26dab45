package commands

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/vault"
)

func TestWhoIsLetIn(t *testing.T) {
	t.Parallel()
	setup := &boundCode{Purpose: purposeSetup, Hash: setupHash}
	recovery := &boundCode{Purpose: purposeRecovery, Hash: recoveryHash}
	out := []issuedCode{
		{purposeSetup, setupHash, then.Add(time.Second)},
		{purposeRecovery, recoveryHash, then.Add(time.Second)},
	}
	alicia := alice
	alicia.AccountLogin = "alicia"
	late := []issuedCode{{purposeSetup, setupHash, then}, {purposeRecovery, recoveryHash, then}}

	for name, test := range map[string]struct {
		given  []events.Draft
		policy policy
		who    candidate
		at     time.Time

		fact    events.Fact // OperatorClaimed, AccountLinked or AccountRenamed
		spent   codePurpose
		refusal string
	}{
		"the setup code claims an unclaimed deployment": {
			who:  candidate{account: alice, code: setup, codes: out},
			fact: events.OperatorClaimed{Account: alice}, spent: purposeSetup,
		},
		"nobody claims without a code":                        {who: candidate{account: alice, codes: out}, refusal: deniedSetupCode},
		"nobody claims with a code that is over":              {who: candidate{account: alice, code: setup, codes: late}, refusal: deniedSetupCode},
		"nobody claims with a code that was used or replaced": {who: candidate{account: alice, code: setup}, refusal: deniedSetupCode},
		"nobody claims with another code": {
			who:     candidate{account: alice, code: &boundCode{purposeSetup, recoveryHash}, codes: out},
			refusal: deniedSetupCode,
		},
		"nobody claims with a recovery code": {who: candidate{account: alice, code: recovery, codes: out}, refusal: deniedSetupCode},
		"a session of an unclaimed deployment links nobody": {
			given:   []events.Draft{started(session1, alice)},
			who:     candidate{account: alice, link: session1, presented: session1},
			refusal: deniedSetupCode,
		},
		"the owner comes back": {given: []events.Draft{claimed(alice)}, who: candidate{account: alice}},
		"the owner comes back under a new name": {
			given: []events.Draft{claimed(alice)},
			who:   candidate{account: alicia},
			fact:  events.AccountRenamed{Account: alicia, PreviousLogin: "alice"},
		},
		"a linked account comes back": {given: []events.Draft{claimed(alice), linked(bob)}, who: candidate{account: bob}},
		"somebody who took the owner's old name is a stranger": {
			given:   []events.Draft{claimed(alice)},
			who:     candidate{account: events.Account{ForgeType: alice.ForgeType, BaseURL: alice.BaseURL, AccountID: "3", AccountLogin: "alice"}},
			refusal: deniedUnknown,
		},
		"the same id at another base URL is a stranger": {
			given:   []events.Draft{claimed(events.Account{ForgeType: "github", BaseURL: "https://old.example", AccountID: "1"})},
			who:     candidate{account: alice},
			refusal: deniedUnknown,
		},
		"the same id at another forge is a stranger": {
			given:   []events.Draft{claimed(alice)},
			who:     candidate{account: events.Account{ForgeType: "gitea", BaseURL: "https://git.example.org", AccountID: "1"}},
			refusal: deniedUnknown,
		},
		"a removed account is a stranger": {
			given:   []events.Draft{claimed(alice), linked(bob), removed(bob, removedByHand)},
			who:     candidate{account: bob},
			refusal: deniedUnknown,
		},
		"the setup code is worth nothing once claimed": {
			given: []events.Draft{claimed(alice)}, who: candidate{account: bob, code: setup, codes: out}, refusal: deniedUnknown,
		},
		"a live session links an account": {
			given: []events.Draft{claimed(alice), started(session1, alice)},
			who:   candidate{account: aliceGitea, link: session1, presented: session1},
			fact:  events.AccountLinked{Account: aliceGitea},
		},
		"a live session that did not start the attempt links nobody": {
			given:   []events.Draft{claimed(alice), started(session1, alice)},
			who:     candidate{account: aliceGitea, presented: session1},
			refusal: deniedUnknown,
		},
		"a session that is not presented at the callback links nobody": {
			given:   []events.Draft{claimed(alice), started(session1, alice)},
			who:     candidate{account: aliceGitea, link: session1},
			refusal: deniedLinkLost,
		},
		"another session than the one that started links nobody": {
			given:   []events.Draft{claimed(alice), started(session1, alice), started(session2, alice)},
			who:     candidate{account: aliceGitea, link: session1, presented: session2},
			refusal: deniedLinkLost,
		},
		"a session that was ended meanwhile links nobody": {
			given:   []events.Draft{claimed(alice), started(session1, alice), ended(session1, endedLogout)},
			who:     candidate{account: aliceGitea, link: session1, presented: session1},
			refusal: deniedLinkLost,
		},
		"a session that idled out meanwhile links nobody": {
			given:   []events.Draft{claimed(alice), started(session1, alice)},
			who:     candidate{account: aliceGitea, link: session1, presented: session1},
			at:      sessionsIdleAt,
			refusal: deniedLinkLost,
		},
		"a session of a forge that is no way in any more links nobody": {
			given:   []events.Draft{claimed(robot), started(session1, robot)},
			who:     candidate{account: aliceGitea, link: session1, presented: session1},
			refusal: deniedLinkLost,
		},
		"a known account needs no live session": {
			given: []events.Draft{claimed(alice), started(session1, alice), ended(session1, endedLogout)},
			who:   candidate{account: alice, link: session1, presented: session1},
		},
		"the recovery code lets one more account in": {
			given: []events.Draft{claimed(alice)},
			who:   candidate{account: bob, code: recovery, codes: out},
			fact:  events.AccountLinked{Account: bob}, spent: purposeRecovery,
		},
		"a known account does not use the recovery code up": {
			given: []events.Draft{claimed(alice)}, who: candidate{account: alice, code: recovery, codes: out},
		},
		"a recovery code that is over lets nobody in": {
			given: []events.Draft{claimed(alice)}, who: candidate{account: bob, code: recovery, codes: late}, refusal: deniedRecoveryCode,
		},
		"the allow-list lets its account in, who claims": {
			policy: listing(alice), who: candidate{account: alice}, fact: events.OperatorClaimed{Account: alice},
		},
		"the allow-list lets its second account in without linking it": {
			policy: listing(alice, bob), given: []events.Draft{claimed(alice)}, who: candidate{account: bob},
		},
		"the allow-list keeps out the owner": {
			policy: listing(bob), given: []events.Draft{claimed(alice)}, who: candidate{account: alice}, refusal: deniedNotListed,
		},
		"the allow-list keeps out whom a live session would link": {
			policy: listing(alice), given: []events.Draft{claimed(alice), started(session1, alice)},
			who:     candidate{account: bob, link: session1, presented: session1},
			refusal: deniedNotListed,
		},
		"the allow-list keeps out who has a code": {
			policy: listing(alice), given: []events.Draft{claimed(alice)},
			who:     candidate{account: bob, code: recovery, codes: out},
			refusal: deniedNotListed,
		},
		"an allow-list that is set but empty keeps out everybody": {
			policy: listing(), given: []events.Draft{claimed(alice)}, who: candidate{account: alice}, refusal: deniedNotListed,
		},
		"a forge with _LOGIN=false is no way in, not even to a linked account": {
			given: []events.Draft{claimed(alice), linked(robot)}, who: candidate{account: robot}, refusal: deniedLoginOff,
		},
		"a forge with _LOGIN=false claims nothing": {
			who: candidate{account: robot, code: setup, codes: out}, refusal: deniedLoginOff,
		},
		"a forge with _LOGIN=false is no way in by the allow-list": {
			policy: listing(robot), who: candidate{account: robot}, refusal: deniedLoginOff,
		},
		"a live session connects a forge with _LOGIN=false, and its account is not linked": {
			given: []events.Draft{claimed(alice), started(session1, alice)},
			who:   candidate{account: robot, link: session1, presented: session1},
		},
		"a listed live session connects a forge with _LOGIN=false": {
			policy: listing(alice), given: []events.Draft{claimed(alice), started(session1, alice)},
			who: candidate{account: robot, link: session1, presented: session1},
		},
		"a session that is listed no more connects no forge with _LOGIN=false": {
			policy: listing(bob), given: []events.Draft{claimed(alice), started(session1, alice)},
			who:     candidate{account: robot, link: session1, presented: session1},
			refusal: deniedLoginOff,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.policy.connections == nil {
				test.policy = openPolicy
			}
			if test.at.IsZero() {
				test.at = then
			}
			l := &login{
				policy: test.policy, who: test.who, token: prepared(test.who.account, key1, "new"),
				session: freshSession, hash: secretHash,
			}
			got, err := l.decide(given(t, test.given...), test.at)
			if test.refusal != "" {
				expect(t, got, err, events.Outcome{}, &deniedError{reason: test.refusal})
				return
			}
			var want events.Outcome
			if test.fact != nil {
				want.Drafts = append(want.Drafts, events.Draft{Stream: events.StreamOperator, Fact: test.fact})
			}
			want.Drafts = append(want.Drafts, l.token.draft(), activated(test.who.account.ForgeType, ""))
			if _, live := given(t, test.given...).Session(test.who.presented); live {
				want.Drafts = append(want.Drafts, ended(test.who.presented, endedReplaced))
			}
			session := events.SessionStarted{
				Account: test.who.account, IdleUntil: test.at.Add(sessionIdle), ExpiresAt: test.at.Add(sessionAbsolute),
			}
			if test.who.account == robot { // the session stays its owner's, to the same end
				session.Account, session.ExpiresAt = alice, sessionsEnd
			}
			want.Drafts = append(want.Drafts, events.Draft{
				Stream: events.SessionStream(freshSession), Fact: session, Sealed: secretHash,
			})
			want.Effects = []events.Effect{l.token.key}
			switch test.spent {
			case purposeSetup:
				want.Effects = append(want.Effects, spendCode{purposeSetup, setupHash})
			case purposeRecovery:
				want.Effects = append(want.Effects, spendCode{purposeRecovery, recoveryHash})
			}
			expect(t, got, err, want, nil)
		})
	}
}

func TestWhatASignInReplaces(t *testing.T) {
	t.Parallel()
	newSession := func(account events.Account) events.Draft {
		return events.Draft{Stream: events.SessionStream(freshSession), Sealed: secretHash, Fact: events.SessionStarted{
			Account: account, IdleUntil: then.Add(sessionIdle), ExpiresAt: then.Add(sessionAbsolute),
		}}
	}
	moved := alice
	moved.BaseURL = "https://old.example"

	for name, test := range map[string]struct {
		given     []events.Draft
		account   events.Account
		presented uuid.UUID
		token     string // fingerprint of the new token
		then      []events.Draft
		shredded  []uuid.UUID
	}{
		"the token of another forge stays": {
			given:   []events.Draft{claimed(alice), linked(aliceGitea), issued(alice, key1, "old"), activated("github", "")},
			account: aliceGitea, token: "new",
			then: []events.Draft{issued(aliceGitea, key2, "new"), activated("gitea", "github"), newSession(aliceGitea)},
		},
		"a token that can be revoked alone is to be": {
			given:   []events.Draft{claimed(alice), issued(alice, key1, "old"), activated("github", "")},
			account: alice, token: "new",
			then: []events.Draft{
				issued(alice, key2, "new"), requested(alice, key1, 2, reasonReplaced), activated("github", "github"), newSession(alice),
			},
		},
		"a token that cannot be revoked is shredded": {
			given:   []events.Draft{claimed(aliceGitea), issued(aliceGitea, key1, "old"), activated("gitea", "")},
			account: aliceGitea, token: "new",
			then:     []events.Draft{issued(aliceGitea, key2, "new"), activated("gitea", "gitea"), newSession(aliceGitea)},
			shredded: []uuid.UUID{key1},
		},
		"the same token again is not revoked": {
			given:   []events.Draft{claimed(alice), issued(alice, key1, "same"), activated("github", "")},
			account: alice, token: "same",
			then:     []events.Draft{issued(alice, key2, "same"), activated("github", "github"), newSession(alice)},
			shredded: []uuid.UUID{key1},
		},
		"a token of another base URL is sent nowhere": {
			given:   []events.Draft{claimed(alice), issued(moved, key1, "old")},
			account: alice, token: "new",
			then:     []events.Draft{issued(alice, key2, "new"), activated("github", ""), newSession(alice)},
			shredded: []uuid.UUID{key1},
		},
		"the browser's old session ends": {
			given:   []events.Draft{claimed(alice), started(session1, alice), started(session2, alice)},
			account: alice, presented: session1, token: "new",
			then: []events.Draft{
				issued(alice, key2, "new"), activated("github", ""), ended(session1, endedReplaced), newSession(alice),
			},
		},
		"an old session that has ended meanwhile is no obstacle": {
			given:   []events.Draft{claimed(alice), started(session1, alice), ended(session1, endedLogout)},
			account: alice, presented: session1, token: "new",
			then: []events.Draft{issued(alice, key2, "new"), activated("github", ""), newSession(alice)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &login{
				policy: openPolicy, who: candidate{account: test.account, presented: test.presented},
				token: prepared(test.account, key2, test.token), session: freshSession, hash: secretHash,
			}
			state := given(t, test.given...)
			got, err := l.decide(state, then)
			want := events.Outcome{Drafts: test.then, Effects: []events.Effect{l.token.key}}
			for _, key := range test.shredded {
				want.Effects = append(want.Effects, vault.ShredKey{ID: key})
			}
			expect(t, got, err, want, nil)

			// Whatever is replaced, the row is the new token's in the end.
			fold(t, state, then, 100, got.Drafts)
			if row, ok := state.Token(test.account.ForgeType); !ok || row.DataKey != key2 {
				t.Errorf("the row is %v, %v", row.DataKey, ok)
			}
		})
	}
}

func TestADeniedTokenThatIsTheStoredOneIsKept(t *testing.T) {
	t.Parallel()
	l := &login{policy: listing(bob), who: candidate{account: alice}, token: prepared(alice, key2, "same")}
	got, err := l.decide(given(t, claimed(alice), issued(alice, key1, "same")), then)
	expect(t, got, err, events.Outcome{}, &deniedError{reason: deniedNotListed, keepToken: true})
}
