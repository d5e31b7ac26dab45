package commands

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/vault"
)

func TestRevocationDecisions(t *testing.T) {
	t.Parallel()
	const page = "https://github.com/settings/applications"
	connected := slices.Clip([]events.Draft{claimed(alice), issued(alice, key1, "a"), issued(aliceGitea, key2, "b")})
	pending := slices.Clip(append(connected, requested(alice, key1, 2, reasonDisconnected)))
	claim := func(connection forge.Connection, configured bool, key uuid.UUID) claimRevocation {
		return claimRevocation{forgeType: "github", dataKey: key, connection: connection, configured: configured, page: page}
	}
	here := claim(config["github"], true, key1)
	moved := config["github"]
	moved.BaseURL = "https://new.example"
	gitea := config["gitea"]
	gitea.BaseURL = alice.BaseURL
	settled := func(outcome string, until time.Time) settleRevocation {
		return settleRevocation{forgeType: "github", dataKey: key1, outcome: outcome, page: page, until: until}
	}
	due := then.Add(time.Hour)
	lastDay := noon.Add(revocationPatience)
	gone := []events.Effect{vault.ShredKey{ID: key1}}
	key3 := numbered(0xa3)

	for name, test := range map[string]struct {
		given   []events.Draft
		when    func(*projections.State, time.Time) (events.Outcome, error)
		at      time.Time
		then    []events.Draft
		effects []events.Effect
	}{
		"claim: what was requested a moment ago": {
			given: pending, when: here.decide, then: []events.Draft{attempted(alice, key1, 1, then.Add(backoff(key1, 1)))},
		},
		"claim: when it is due": {
			given: append(pending, attempted(alice, key1, 3, due)), when: here.decide, at: due,
			then: []events.Draft{attempted(alice, key1, 4, due.Add(backoff(key1, 4)))},
		},
		"claim: not a moment before": {
			given: append(pending, attempted(alice, key1, 3, due)), when: here.decide, at: due.Add(-time.Microsecond),
		},
		"claim: not while the forge wants to be left alone": {
			given: append(pending, attempted(alice, key1, 1, then), postponed(alice, due)), when: here.decide, at: due.Add(-time.Microsecond),
		},
		"claim: the forge asks to be left alone for less than is left": {
			given: append(pending, attempted(alice, key1, 3, due), postponed(alice, then)), when: here.decide, at: due.Add(-time.Microsecond),
		},
		"claim: another token of that connection is to wait, too": {
			given: append(connected, requested(alice, key1, 2, reasonDisconnected), issued(alice, key3, "c"),
				requested(alice, key3, 5, reasonDisconnected), postponed(alice, due)),
			when: claim(config["github"], true, key3).decide, at: due.Add(-time.Microsecond),
		},
		"claim: other connections do not wait": {
			given: append(pending, postponed(aliceGitea, due)), when: here.decide,
			then: []events.Draft{attempted(alice, key1, 1, then.Add(backoff(key1, 1)))},
		},
		"claim: the last one is when patience ends": {
			given: append(pending, attempted(alice, key1, 30, due)), when: here.decide, at: lastDay.Add(-2 * time.Hour),
			then: []events.Draft{attempted(alice, key1, 31, lastDay)},
		},
		"claim: but not while this attempt may still go on": {
			given: append(pending, attempted(alice, key1, 30, due)), when: here.decide, at: lastDay.Add(-time.Second),
			then: []events.Draft{attempted(alice, key1, 31, lastDay.Add(firstBackoff-time.Second))},
		},
		"claim: what is settled": {
			given: append(pending, revoked(alice, key1, outcomeConfirmed)), when: here.decide,
		},
		"claim: a connection that is configured no more": {
			given: pending, when: claim(forge.Connection{}, false, key1).decide,
			then: []events.Draft{revokedElsewhere(alice, key1, outcomeGivenUp, page)}, effects: gone,
		},
		"claim: a connection that has moved": {
			given: pending, when: claim(moved, true, key1).decide,
			then: []events.Draft{revokedElsewhere(alice, key1, outcomeGivenUp, page)}, effects: gone,
		},
		"claim: a forge that cannot": {
			given: pending, when: claim(gitea, true, key1).decide,
			then: []events.Draft{revokedElsewhere(alice, key1, outcomeUnsupported, page)}, effects: gone,
		},

		"settle: the forge says so": {
			given: pending, when: settled(outcomeConfirmed, time.Time{}).decide,
			then: []events.Draft{revoked(alice, key1, outcomeConfirmed)}, effects: gone,
		},
		"settle: the forge cannot": {
			given: pending, when: settled(outcomeUnsupported, time.Time{}).decide,
			then: []events.Draft{revokedElsewhere(alice, key1, outcomeUnsupported, page)}, effects: gone,
		},
		"settle: one that somebody else has settled is nothing new": {
			given: append(pending, revoked(alice, key1, outcomeConfirmed)), when: settled(outcomeGivenUp, time.Time{}).decide,
		},
		"settle: a replaced token while the new one lives": {
			given: append(connected, issued(alice, key3, "c"), requested(alice, key1, 2, reasonReplaced)),
			when:  settled(outcomeConfirmed, time.Time{}).decide,
			then:  []events.Draft{revoked(alice, key1, outcomeConfirmed)}, effects: gone,
		},
		"settle: no answer within seven days is nothing": {
			given: pending, when: settled("", time.Time{}).decide, at: lastDay.Add(-time.Microsecond),
		},
		"settle: no answer after seven days is given up": {
			given: pending, when: settled("", time.Time{}).decide, at: lastDay,
			then: []events.Draft{revokedElsewhere(alice, key1, outcomeGivenUp, page)}, effects: gone,
		},
		"settle: not even if the forge wants to be left alone": {
			given: pending, when: settled("", lastDay.Add(time.Hour)).decide, at: lastDay,
			then: []events.Draft{revokedElsewhere(alice, key1, outcomeGivenUp, page)}, effects: gone,
		},
		"settle: the forge wants to be left alone for longer than would be waited": {
			given: append(pending, attempted(alice, key1, 1, due)), when: settled("", due.Add(time.Second)).decide,
			then: []events.Draft{postponed(alice, due.Add(time.Second))},
		},
		"settle: the forge wants to be left alone for less": {
			given: append(pending, attempted(alice, key1, 1, due)), when: settled("", due).decide,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := test.at
			if at.IsZero() {
				at = then
			}
			got, err := test.when(given(t, test.given...), at)
			expect(t, got, err, events.Outcome{Drafts: test.then, Effects: test.effects}, nil)
		})
	}
}

// A forge that is down for minutes is told soon, one that is down for days is not asked too often, and no two attempts can
// overlap.
func TestTheScheduleOfAttempts(t *testing.T) {
	t.Parallel()
	first := map[time.Duration]bool{}
	for n := range byte(100) {
		key := numbered(n)
		now, tried := noon, []time.Time{noon}
		for attempt := 1; now.Before(noon.Add(revocationPatience)); attempt++ {
			next := nextAttempt(key, attempt, noon, now)
			if wait := next.Sub(now); wait < 2*revokeTimeout || wait < firstBackoff || wait > maxBackoff*5/4 {
				t.Fatalf("attempt %d is followed after %v", attempt, wait)
			}
			now = next
			tried = append(tried, now)
		}
		first[tried[1].Sub(noon)] = true
		if wait := tried[4].Sub(noon); wait > 20*time.Minute {
			t.Errorf("four times in %v", wait)
		}
		if len(tried) < 28 || len(tried) > 37 || now.Sub(noon.Add(revocationPatience)) > firstBackoff {
			t.Errorf("%d attempts until %v", len(tried), now.Sub(noon))
		}
	}
	if len(first) < 50 {
		t.Errorf("100 tokens are tried again at %d different times", len(first))
	}
}
