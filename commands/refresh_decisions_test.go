package commands

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

var (
	attempt1, attempt2 = numbered(0xb1), numbered(0xb2)
	// midnight is the database's time when a decision is taken, and far from ours.
	midnight = time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
)

// refreshable is alice's token at Gitea, with a refresh token.
func refreshable(key uuid.UUID) events.Draft {
	token := prepared(aliceGitea, key, "a")
	token.fact.Refreshable = true
	token.sealed = events.SealedTokens{Access: []byte("sealed"), Refresh: []byte("sealed too"), Fingerprint: []byte("a")}.Bytes()
	return token.draft()
}

func refreshStarted(key, attempt uuid.UUID, deadline time.Time, recovering bool) events.Draft {
	return events.Draft{Stream: "token/gitea", Fact: events.TokenRefreshStarted{
		ForgeType: "gitea", DataKey: key, Attempt: attempt, Deadline: deadline, Recovering: recovering,
	}}
}

func refreshFailed(key, attempt uuid.UUID, verdict, code string, retry time.Duration, needsReauth bool) events.Draft {
	fact := events.TokenRefreshFailed{
		ForgeType: "gitea", DataKey: key, Attempt: attempt, Verdict: verdict, Code: code, NeedsReauth: needsReauth,
	}
	if retry > 0 {
		fact.RetryAt = new(then.Add(retry))
	}
	return events.Draft{Stream: "token/gitea", Fact: fact}
}

func rejected(key uuid.UUID) events.Draft {
	return events.Draft{Stream: "token/gitea", Fact: events.TokenRejected{ForgeType: "gitea", DataKey: key}}
}

func TestDecisionsAboutRefreshes(t *testing.T) {
	t.Parallel()
	type decide func(*projections.State, time.Time) (events.Outcome, error)
	start := func(key, attempt uuid.UUID) *startRefresh {
		return &startRefresh{forgeType: "gitea", dataKey: key, attempt: attempt, window: time.Minute, clock: midnight}
	}
	begin := func(attempt uuid.UUID) decide { return start(key1, attempt).decide }
	fail := func(verdict, code string, until time.Time) decide {
		return (&failRefresh{startRefresh: start(key1, attempt1), verdict: verdict, code: code, until: until}).decide
	}
	fresh := func(token forge.Token) *finishRefresh {
		token.Access = secret.New("fresh")
		return &finishRefresh{startRefresh: start(key1, attempt1), fresh: token, pair: sealedPair{
			sealed: events.SealedTokens{Access: []byte("new"), Refresh: []byte("new too"), Fingerprint: []byte("n")}.Bytes(), fingerprint: []byte("n"),
			key: vault.StoreKey{Key: vault.WrappedKey{ID: key2, Wrapped: []byte("wrapped")}},
		}}
	}
	token := forge.Token{Refresh: secret.New("r"), ExpiresAt: then.Add(time.Hour + time.Nanosecond)}
	refreshed := events.Draft{
		Stream: "token/gitea", Sealed: fresh(token).pair.sealed,
		Fact: events.TokenRefreshed{
			Account: aliceGitea, Kind: "gitea", Scopes: []string{"repo"}, ExpiresAt: new(then.Add(time.Hour)), Refreshable: true,
			DataKey: key2, Replaces: key1, Attempt: attempt1,
		},
	}
	narrower, endless := refreshed, refreshed
	narrowed, _ := refreshed.Fact.(events.TokenRefreshed)
	narrowed.Scopes = []string{}
	narrower.Fact = narrowed
	ended, _ := refreshed.Fact.(events.TokenRefreshed)
	ended.ExpiresAt, ended.Refreshable = nil, false
	endless.Fact = ended
	overtaken := events.Draft{
		Stream: "token/gitea", Sealed: refreshed.Sealed,
		Fact: events.TokenRefreshOvertaken{
			Account: aliceGitea, Kind: "gitea", ExpiresAt: new(then.Add(time.Hour)), DataKey: key2, Replaces: key1, Attempt: attempt1,
		},
	}
	revocable := func(r *finishRefresh) *finishRefresh {
		r.account, r.kind, r.canRevoke = aliceGitea, forge.Gitea, true
		return r
	}
	stores := []events.Effect{fresh(token).pair.key, vault.ShredKey{ID: key1}}

	connected := []events.Draft{refreshable(key1)}
	with := func(more ...events.Draft) []events.Draft { return append(connected[:1:1], more...) }
	open := refreshStarted(key1, attempt1, midnight.Add(time.Minute), false)
	lost := refreshStarted(key1, attempt1, midnight, false)
	other := refreshStarted(key1, attempt2, midnight.Add(time.Minute), true)
	unknown := refreshFailed(key1, attempt1, events.VerdictUnknown, codeUnavailable, time.Second, false)
	firstNo := refreshFailed(key1, attempt1, events.VerdictRejected, "invalid_grant", confirmAfter, false)
	dead := refreshFailed(key1, attempt1, events.VerdictRejected, "invalid_grant", 0, true)
	superseded := func(code string) events.Draft {
		return refreshFailed(key1, attempt1, events.VerdictSuperseded, code, 0, false)
	}
	signedInAgain := refreshable(numbered(0xa9))
	disconnected := requested(aliceGitea, key1, 1, reasonDisconnected)

	for name, test := range map[string]struct {
		given   []events.Draft
		when    decide
		at      time.Time
		then    []events.Draft
		effects []events.Effect
		refusal error
	}{
		"start": {given: connected, when: begin(attempt1), then: []events.Draft{open}},
		"start: nobody else before the deadline": {
			given: with(open), when: begin(attempt2), refusal: &refreshingError{},
		},
		"start: that was ours, only nobody said so": {given: with(open), when: begin(attempt1)},
		"start: after the deadline, to recover": {
			given: with(lost), when: begin(attempt2), then: []events.Draft{other},
		},
		"start: a recovery that decided nothing is recovered from, too": {
			given: with(lost, other, refreshFailed(key1, attempt2, events.VerdictUnknown, codeUnavailable, time.Second, false)),
			when:  begin(attempt1), at: then.Add(time.Second),
			then: []events.Draft{refreshStarted(key1, attempt1, midnight.Add(time.Minute), true)},
		},
		"start: not before the time": {
			given: with(open, unknown), when: begin(attempt2), at: then.Add(time.Second - time.Microsecond), refusal: &retryLaterError{},
		},
		"start: at the time": {
			given: with(open, unknown), when: begin(attempt2), at: then.Add(time.Second),
			then: []events.Draft{refreshStarted(key1, attempt2, midnight.Add(time.Minute), false)},
		},
		"start: not for a token that was replaced":     {given: with(signedInAgain), when: begin(attempt1), refusal: errTokenMoved},
		"start: not for a connection without a token":  {given: with(disconnected), when: begin(attempt1), refusal: projections.ErrNotConnected},
		"start: not where only a sign-in helps":        {given: with(open, dead), when: begin(attempt2), refusal: forge.ErrNeedsReauth},
		"start: not where the forge refuses the token": {given: with(rejected(key1)), when: begin(attempt2), refusal: forge.ErrNeedsReauth},
		"start: not without a refresh token":           {given: []events.Draft{issued(aliceGitea, key1, "a")}, when: begin(attempt1), refusal: forge.ErrNeedsReauth},
		"start: a sign-in makes everything good again": {given: []events.Draft{refreshable(key2), refreshStarted(key2, attempt2, midnight, false), refreshable(key1)}, when: begin(attempt1), then: []events.Draft{open}},
		"start: what failed for the token before is no matter": {
			given: []events.Draft{refreshable(key2), refreshFailed(key2, attempt2, events.VerdictUnknown, "x", time.Hour, false), refreshable(key1)},
			when:  begin(attempt1), then: []events.Draft{open},
		},

		"fail: undecided": {
			given: with(open), when: fail(events.VerdictUnknown, codeUnavailable, time.Time{}), then: []events.Draft{unknown},
		},
		"fail: undecided again takes longer": {
			given: with(open, unknown, open, unknown, open), when: fail(events.VerdictUnknown, codeUnavailable, time.Time{}),
			then: []events.Draft{refreshFailed(key1, attempt1, events.VerdictUnknown, codeUnavailable, 4*time.Second, false)},
		},
		"fail: limited until a time": {
			given: with(open), when: fail(events.VerdictUnknown, codeRateLimited, then.Add(time.Hour)),
			then: []events.Draft{refreshFailed(key1, attempt1, events.VerdictUnknown, codeRateLimited, time.Hour, false)},
		},
		"fail: limited until some time": {
			given: with(open), when: fail(events.VerdictUnknown, codeRateLimited, time.Time{}),
			then: []events.Draft{refreshFailed(key1, attempt1, events.VerdictUnknown, codeRateLimited, limitedRetry, false)},
		},
		"fail: too late to send anything": {
			given: with(open),
			when:  (&failRefresh{startRefresh: start(key1, attempt1), verdict: events.VerdictUnknown, code: codeNotSent, late: true}).decide,
			then: []events.Draft{{Stream: "token/gitea", Fact: events.TokenRefreshFailed{
				ForgeType: "gitea", DataKey: key1, Attempt: attempt1, Verdict: events.VerdictUnknown, Code: codeNotSent, RetryAt: new(then),
			}}},
		},
		"fail: rejected, to be confirmed": {
			given: with(open), when: fail(events.VerdictRejected, "invalid_grant", time.Time{}), then: []events.Draft{firstNo},
		},
		"fail: rejected again, too soon": {
			given: with(open, firstNo, open), when: fail(events.VerdictRejected, "invalid_grant", time.Time{}), at: noon.Add(confirmAfter - 1),
			then: []events.Draft{{Stream: "token/gitea", Fact: events.TokenRefreshFailed{
				ForgeType: "gitea", DataKey: key1, Attempt: attempt1, Verdict: events.VerdictRejected, Code: "invalid_grant",
				RetryAt: new(stored(noon.Add(2*confirmAfter - 1))),
			}}},
		},
		"fail: rejected again": {
			given: with(open, firstNo, open), when: fail(events.VerdictRejected, "invalid_grant", time.Time{}), at: noon.Add(confirmAfter),
			then: []events.Draft{dead},
		},
		"fail: rejected again, and in between nothing was decided": {
			given: with(open, firstNo, open, unknown, open), when: fail(events.VerdictRejected, "invalid_grant", time.Time{}),
			then: []events.Draft{dead},
		},
		"fail: rejected when nobody knows what became of it before": {
			given: with(refreshStarted(key1, attempt2, midnight, false), refreshStarted(key1, attempt1, midnight, true)),
			when:  fail(events.VerdictRejected, "invalid_grant", time.Time{}),
			then:  []events.Draft{refreshFailed(key1, attempt1, events.VerdictRejected, codeOutcomeUnknown, 0, true)},
		},
		"fail: a sign-in was faster, and that it has killed the token is no alarm": {
			given: with(open, signedInAgain), when: fail(events.VerdictRejected, "unauthorized_client", time.Time{}),
			then: []events.Draft{superseded("unauthorized_client")},
		},
		"fail: disconnected meanwhile": {
			given: with(open, disconnected), when: fail(events.VerdictUnknown, codeUnavailable, time.Time{}),
			then: []events.Draft{superseded(codeUnavailable)},
		},
		"fail: another attempt has taken over": {
			given: with(lost, other), when: fail(events.VerdictRejected, "invalid_grant", time.Time{}),
		},
		"fail: twice is nothing new": {given: with(open, unknown), when: fail(events.VerdictUnknown, codeUnavailable, time.Time{})},

		"finish": {given: with(open), when: fresh(token).decide, then: []events.Draft{refreshed}, effects: stores},
		"finish: with the scopes that the forge names": {
			given: with(open), when: fresh(forge.Token{Refresh: token.Refresh, ExpiresAt: token.ExpiresAt, Scopes: []string{}}).decide,
			then: []events.Draft{narrower}, effects: stores,
		},
		"finish: a token that does not expire": {
			given: with(open), when: fresh(forge.Token{}).decide, then: []events.Draft{endless}, effects: stores,
		},
		"finish: late, while another attempt is open": {
			given: with(lost, other), when: fresh(token).decide, then: []events.Draft{refreshed}, effects: stores,
		},
		"finish: late, when the others have asked for a sign-in already": {
			given: with(lost, other, refreshFailed(key1, attempt2, events.VerdictRejected, codeOutcomeUnknown, 0, true)),
			when:  fresh(token).decide, then: []events.Draft{refreshed}, effects: stores,
		},
		"finish: it was committed, only nobody said so": {given: with(open, refreshed), when: fresh(token).decide},
		"finish: a sign-in was faster": {
			given: with(open, signedInAgain), when: fresh(token).decide, then: []events.Draft{superseded("")},
		},
		"finish: a sign-in was faster, and what it overtook can be revoked": {
			given: with(open, signedInAgain), when: revocable(fresh(token)).decide, then: []events.Draft{overtaken}, effects: stores[:1],
		},
		"finish: disconnected meanwhile": {
			given: with(open, disconnected), when: fresh(token).decide, then: []events.Draft{superseded("")},
		},
		"finish: disconnected meanwhile, and what that overtook can be revoked": {
			given: with(open, disconnected), when: revocable(fresh(token)).decide, then: []events.Draft{overtaken}, effects: stores[:1],
		},
		"finish: overtaken, and that was committed, only nobody said so": {
			given: with(open, disconnected, overtaken), when: revocable(fresh(token)).decide,
		},

		"reject": {given: connected, when: rejectToken{"gitea", key1}.decide, then: []events.Draft{rejected(key1)}},
		"reject: twice is nothing new": {
			given: with(rejected(key1)), when: rejectToken{"gitea", key1}.decide,
		},
		"reject: not a token that was replaced": {given: with(signedInAgain), when: rejectToken{"gitea", key1}.decide},
		"reject: not a connection without one":  {given: with(disconnected), when: rejectToken{"gitea", key1}.decide},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.at.IsZero() {
				test.at = then
			}
			got, err := test.when(given(t, test.given...), test.at)
			if _, ok := errors.AsType[*refreshingError](test.refusal); ok {
				if busy, ok := errors.AsType[*refreshingError](err); !ok || busy.attempt != attempt1 || !busy.until.Equal(midnight.Add(time.Minute)) {
					t.Fatalf("refused with %v", err)
				}
				return
			}
			if _, ok := errors.AsType[*retryLaterError](test.refusal); ok {
				if wanted, ok := errors.AsType[*retryLaterError](err); !ok || !wanted.at.Equal(then.Add(time.Second)) || !errors.Is(err, forge.ErrUnavailable) {
					t.Fatalf("refused with %v", err)
				}
				return
			}
			expect(t, got, err, events.Outcome{Drafts: test.then, Effects: test.effects}, test.refusal)
		})
	}
}

// What the row of a token says after a refresh: another token, and nothing of what was tried before. It stays connected since.
func TestARefreshBeginsARowAnew(t *testing.T) {
	t.Parallel()
	state := given(t, refreshable(key1), refreshStarted(key1, attempt1, midnight, false), refreshStarted(key1, attempt2, midnight, true),
		refreshFailed(key1, attempt2, events.VerdictRejected, codeOutcomeUnknown, 0, true))
	before, _ := state.Token("gitea")
	if before.Refreshable() || !before.Refresh.Recovering || before.Refresh.Deadline != nil || before.Refresh.Failures != 1 {
		t.Errorf("before: %+v", before)
	}
	err := state.Apply(events.Event{
		Fact: events.TokenRefreshed{Account: aliceGitea, Kind: "gitea", DataKey: key2, Replaces: key1},
		Record: events.Record{
			Position: 9, Stream: "token/gitea", StreamVersion: 5, OccurredAt: then,
			Sealed: events.SealedTokens{Access: []byte("x"), Refresh: []byte("y"), Fingerprint: []byte("z")}.Bytes(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	after, _ := state.Token("gitea")
	want := projections.Token{
		Account: aliceGitea, Kind: "gitea", AccessToken: []byte("x"), RefreshToken: []byte("y"), Fingerprint: []byte("z"), DataKey: key2,
		IssuedAt: 9, Generation: 5, GrantedAt: then, CreatedAt: noon, UpdatedAt: then, Version: 5,
	}
	if diff := cmp.Diff(want, after); diff != "" || !after.Refreshable() {
		t.Error(diff)
	}
}

func TestRetryDelays(t *testing.T) {
	t.Parallel()
	var got []time.Duration
	for _, failures := range []int64{0, 1, 2, 8, 9, 1 << 40} {
		got = append(got, retryDelay(codeUnavailable, failures))
	}
	want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 256 * time.Second, lastRetry, lastRetry}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
