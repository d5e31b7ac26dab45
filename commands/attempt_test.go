package commands

import (
	"strings"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/projections"
)

// Browsers drop a cookie of more than 4,096 bytes with its name and attributes without a word, and the sign-in with it.
func TestAnAttemptFitsInACookieWhereverItReturnsTo(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	code, _, err := d.IssueSetupCode(t.Context(), Caller{})
	if err != nil {
		t.Fatal(err)
	}
	started := 0
	for _, filling := range []string{"a", "&", "<", "%41", "ü", `"`, "\u00ad", "語"} {
		for _, prefix := range []string{"/", "/?"} {
			for n := maxReturnPath - len(prefix); n > 0; n /= 2 {
				path := prefix + strings.Repeat(filling, n/len(filling))
				attempt, err := d.StartLogin(t.Context(), StartLogin{ForgeType: "github", SetupCode: code.Reveal(), ReturnTo: path})
				if err != nil {
					continue // such a path is refused, in this length or at all
				}
				if started++; len(attempt.Attempt.Value) > 3500 {
					t.Errorf("%d × %q: the cookie has %d characters", n, filling, len(attempt.Attempt.Value))
				}
			}
		}
	}
	if started < 50 {
		t.Errorf("only %d sign-ins were started", started)
	}
}

func TestASignInCarriesOverWhatOtherTabsHaveBegun(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	first := d.claim()
	other := d.enter(d.login("github", "alice", nil, "")) // another browser
	begin := func(forgeType string, session *projections.Session) (Attempt, CallbackQuery) {
		t.Helper()
		started, err := d.StartLogin(t.Context(), StartLogin{ForgeType: forgeType, Session: session})
		if err != nil {
			t.Fatal(err)
		}
		callback, err := d.forges[forgeType].Consent(t.Context(), started.AuthorizeURL, "alice")
		if err != nil {
			t.Fatal(err)
		}
		return started.Attempt, d.query(callback)
	}
	link, answer := begin("gitea", &first.Session)
	foreign, _ := begin("gitea", &other.Session)
	visitor, _ := begin("gitea", nil)
	d.clock.advance(9 * time.Minute)
	req := d.login("github", "alice", &first.Session, "")
	req.Attempts = append(req.Attempts, "", link.Value, foreign.Value, visitor.Value)
	second := d.enter(req)
	if len(second.Carried) != 1 || second.Carried[0].ID != link.ID || !second.Carried[0].Expires.Equal(link.Expires) {
		t.Fatalf("carried %+v, want the link alone, to the same end", second.Carried)
	}

	// The session that these were begun in ends while their browser is at the forge: nothing goes on.
	carried := second.Carried[0]
	again := d.login("github", "alice", &second.Session, "")
	again.Attempts = append(again.Attempts, carried.Value)
	if _, err := d.EndSession(t.Context(), SessionCaller(second.Session.ID), second.Session.ID); err != nil {
		t.Fatal(err)
	}
	third := d.enter(again)
	if len(third.Carried) != 0 {
		t.Errorf("carried %+v past the end of their session", third.Carried)
	}
	lost := CompleteLogin{ForgeType: "gitea", Query: answer, Attempts: []string{carried.Value}, Session: &third.Session}
	d.refuse(lost, CodeNotAllowed)
	d.clock.advance(time.Minute)
	d.refuse(lost, CodeExpiredAttempt)
}

// Proxies bound the headers of an answer, and one that is refused there would cost the session that has just begun.
func TestWhatIsCarriedOverIsBounded(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	session := d.claim().Session
	var values []string
	var newest string
	for range 8 {
		started, err := d.StartLogin(t.Context(), StartLogin{
			ForgeType: "gitea", Session: &session, ReturnTo: "/?" + strings.Repeat("x", 300),
		})
		if err != nil {
			t.Fatal(err)
		}
		values, newest = append(values, started.Attempt.Value), started.Attempt.ID
	}
	carried, err := d.carryOver(values, attempt{}, session.ID, d.newID())
	if err != nil || len(carried) == 0 || carried[0].ID != newest {
		t.Fatalf("carried %d, %v, want the newest first", len(carried), err)
	}
	size := 0
	for _, a := range carried {
		size += len(a.Value)
	}
	if size > mostCarried {
		t.Errorf("%d bytes are carried", size)
	}
}
