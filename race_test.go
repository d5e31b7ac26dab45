package forgeauth_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/secret"
)

// together runs the functions at once and returns their errors in order.
func together(do ...func() error) []error {
	failed := make([]error, len(do))
	start := make(chan struct{})
	var group sync.WaitGroup
	for i, f := range do {
		group.Go(func() {
			<-start
			failed[i] = f()
		})
	}
	close(start)
	group.Wait()
	return failed
}

// Whichever of the two is decided first, no forge is active afterwards that has no token: over two processes no less
// than within one.
func TestRaceOfSwitchingToAForgeWithDisconnectingIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea", "gitlab")
	services := []*forgeauth.Service{h.open(t), h.open(t)}
	pool := h.db.Pool(t)
	outcomes := map[string]int{}
	for round := range rounds(60, 3000) {
		a, b := services[round%2], services[(round/2)%2]
		if round%3 == 0 {
			b = a
		}
		for _, connection := range []string{"gitea", "gitlab"} {
			if err := a.UpsertOperatorOAuth(t.Context(), robotToken(connection)); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.SetActiveForge(t.Context(), "gitea"); err != nil {
			t.Fatal(err)
		}
		failed := together(
			func() error { return a.SetActiveForge(t.Context(), "gitlab") },
			func() error { return b.DeleteOperatorOAuth(t.Context(), "gitlab") },
			func() error { return a.SetActiveForge(t.Context(), "gitea") },
		)
		if failed[1] != nil || failed[2] != nil {
			t.Fatalf("round %d: disconnect: %v; switch to the forge that stays: %v", round, failed[1], failed[2])
		}
		if failed[0] != nil && !errors.Is(failed[0], projections.ErrNotConnected) {
			t.Fatalf("round %d: switch: %v", round, failed[0])
		}
		active, err := b.GetActiveForge(t.Context())
		switch {
		case errors.Is(err, forgeauth.ErrNoActiveForge):
			outcomes["none"]++
		case err != nil:
			t.Fatal(err)
		default:
			outcomes[active.ForgeType]++
		}
		if active.ForgeType == "gitlab" {
			t.Fatalf("round %d: a forge is active that is not connected", round)
		}
	}
	t.Logf("afterwards active: %v", outcomes)
	checkInvariants(t.Context(), t, services[0], pool)
}

// Concurrent callbacks for two forges, from browsers with and without a session, over two processes: all come in, each with
// a session of its own, and the log holds each of them once and in order.
func TestRaceOfCallbacksLosesNone(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea", "gitlab")
	h.open(t)
	h.open(t)
	first := h.claim(t, "gitea")
	mustSignIn(t, first, "gitlab", "ada", nil) // links that account
	pool := h.db.Pool(t)
	for round := range rounds(2, 60) {
		before := checkInvariants(t.Context(), t, h.service(), pool)
		const n = 16
		browsers, callbacks, sessions := make([]*browser, n), make([]string, n), make([]string, n)
		for i := range n {
			browsers[i] = h.browser()
			if i%4 == 3 { // these are signed in already: their session is replaced
				mustSignIn(t, browsers[i], "gitlab", "ada", nil)
			}
			sessions[i] = browsers[i].session()
		}
		before = slices.Concat(before, readLog(t.Context(), t, h.service())[len(before):])
		prepare := make([]func() error, n)
		for i := range n {
			prepare[i] = func() (err error) {
				callbacks[i], err = browsers[i].callback(t.Context(), []string{"gitea", "gitlab"}[i%2], "ada", nil)
				return err
			}
		}
		if err := errors.Join(together(prepare...)...); err != nil {
			t.Fatal(err)
		}
		come := make([]func() error, n)
		for i := range n {
			come[i] = func() error {
				a, err := browsers[i].get(t.Context(), callbacks[i])
				if err == nil && (a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/") {
					err = fmt.Errorf("callback %d: status %d, Location %q: %s", i, a.StatusCode, a.Header.Get("Location"), a.body)
				}
				return err
			}
		}
		if err := errors.Join(together(come...)...); err != nil {
			t.Fatal(err)
		}
		distinct := map[string]bool{}
		for i, b := range browsers {
			distinct[b.session()] = true
			a, err := b.get(t.Context(), "/me")
			if err != nil || a.StatusCode != http.StatusOK || b.session() == sessions[i] {
				t.Errorf("round %d, callback %d: no fresh session that lives: %v %s", round, i, err, a.body)
			}
		}
		if len(distinct) != n {
			t.Errorf("round %d: %d sessions for %d browsers", round, len(distinct), n)
		}
		log := checkInvariants(t.Context(), t, h.service(), pool)
		count := map[string]int{}
		for _, e := range log[len(before):] {
			count[e.Type]++
		}
		if count["TokenIssued"] != n || count["ForgeActivated"] != n || count["SessionStarted"] != n || count["SessionEnded"] != n/4 {
			t.Errorf("round %d: the log gained %v", round, count)
		}
		for _, facts := range byCommand(log[len(before):]) {
			checkSignIn(t, facts)
		}
	}
}

// byCommand groups events by the command that caused them.
func byCommand(log []events.Event) map[string][]events.Event {
	commands := map[string][]events.Event{}
	for _, e := range log {
		commands[e.CorrelationID.String()] = append(commands[e.CorrelationID.String()], e)
	}
	return commands
}

// checkSignIn holds a command that issued a token in a sign-in, or should have, to all that belongs to one: it is there
// whole, next to each other, or not at all.
func checkSignIn(t failer, facts []events.Event) {
	t.Helper()
	count, forges := map[string]int{}, map[string]bool{}
	for _, e := range facts {
		switch fact := e.Fact.(type) {
		case events.TokenIssued:
			if fact.Grant != "authorization_code" {
				continue
			}
			forges[fact.ForgeType] = true
		case events.ForgeActivated:
			forges[fact.ForgeType] = true
		}
		count[e.Type]++
	}
	if count["TokenIssued"]+count["SessionStarted"] == 0 {
		return
	}
	if count["TokenIssued"] != 1 || count["ForgeActivated"] != 1 || count["SessionStarted"] != 1 || len(forges) != 1 ||
		facts[len(facts)-1].Position-facts[0].Position != int64(len(facts)-1) {
		t.Errorf("half a sign-in: %v at positions from %d to %d", count, facts[0].Position, facts[len(facts)-1].Position)
	}
}

// One setup code lets one account in, however many come with it at once and by whichever process.
func TestRaceForTheSetupCodeHasOneWinner(t *testing.T) {
	t.Parallel()
	for round := range rounds(3, 100) {
		if !t.Run(fmt.Sprint("round ", round), raceForTheSetupCode) {
			return
		}
	}
}

func raceForTheSetupCode(t *testing.T) {
	h := newHouse(t, "gitea")
	services := []*forgeauth.Service{h.open(t), h.open(t)}
	code, _, needed, err := services[0].Commands().EnsureSetupCode(t.Context())
	if err != nil || !needed {
		t.Fatalf("a new deployment needs no code, or %v", err)
	}
	const n = 6
	browsers, callbacks := make([]*browser, n), make([]string, n)
	for i := range n {
		browsers[i] = h.browser()
		callbacks[i], err = browsers[i].callback(t.Context(), "gitea", []string{"ada", "bob"}[i%2], url.Values{"setup_code": {code.Reveal()}})
		if err != nil {
			t.Fatal(err)
		}
	}
	come := make([]func() error, n)
	for i := range n {
		come[i] = func() error {
			_, err := browsers[i].get(t.Context(), callbacks[i])
			return err
		}
	}
	if err := errors.Join(together(come...)...); err != nil {
		t.Fatal(err)
	}
	log := checkInvariants(t.Context(), t, services[0], h.db.Pool(t))
	owner := ""
	for _, e := range log {
		switch fact := e.Fact.(type) {
		case events.OperatorClaimed:
			owner = fact.AccountID
		case events.AccountLinked:
			t.Errorf("account %s came in as a second one", fact.AccountID)
		case events.SessionStarted:
			if fact.AccountID != owner {
				t.Errorf("account %s has a session, the owner is %s", fact.AccountID, owner)
			}
		}
	}
	if owner == "" {
		t.Error("nobody has won")
	}
}

// A token that is replaced or disconnected while it is being read is no token that is lost: the answer is the one that follows.
func TestRaceOfReadingATokenWithItsEnd(t *testing.T) {
	t.Parallel()
	newer := robotToken("gitea")
	replace := func(s *forgeauth.Service) error { return s.UpsertOperatorOAuth(t.Context(), newer) }
	disconnect := func(s *forgeauth.Service) error { return s.DeleteOperatorOAuth(t.Context(), "gitea") }
	other := robotToken("gitlab")
	leave := func(s *forgeauth.Service) error {
		return errors.Join(s.SetActiveForge(t.Context(), "gitlab"), disconnect(s))
	}
	for name, test := range map[string]struct {
		meanwhile func(*forgeauth.Service) error
		adapter   error // what GetOperatorAdapter says, and GetOperatorOAuth
		row       error
		token     forgeauth.OperatorOAuth // whose token they give
	}{
		"it is replaced":                          {replace, nil, nil, newer},
		"it is disconnected":                      {disconnect, forgeauth.ErrNoActiveForge, projections.ErrNotConnected, newer},
		"it is left for another and disconnected": {leave, nil, projections.ErrNotConnected, other},
	} {
		for reader, read := range map[string]func(*forgeauth.Service) (token string, err error){
			"GetOperatorAdapter": func(s *forgeauth.Service) (string, error) {
				port, err := s.GetOperatorAdapter(t.Context())
				if err != nil {
					return "", err
				}
				token, err := port.TokenSource(t.Context()).Token()
				if err != nil {
					return "", err
				}
				return token.AccessToken, nil
			},
			"GetOperatorOAuth": func(s *forgeauth.Service) (string, error) {
				row, err := s.GetOperatorOAuth(t.Context(), "gitea")
				return row.AccessToken.Reveal(), err
			},
		} {
			t.Run(name+", "+reader, func(t *testing.T) {
				t.Parallel()
				h := newHouse(t, "gitea", "gitlab")
				changing := h.open(t)
				for _, err := range []error{
					changing.UpsertOperatorOAuth(t.Context(), robotToken("gitea")), changing.UpsertOperatorOAuth(t.Context(), other),
					changing.SetActiveForge(t.Context(), "gitea"),
				} {
					if err != nil {
						t.Fatal(err)
					}
				}
				proxy, proxied := h.db.Proxied(t)
				reading := h.open(t, func(c *forgeauth.Config) { c.DatabaseURL = secret.New(proxied) })
				reached, release := proxy.HoldBefore(func(m pgtest.Message) bool { return strings.Contains(m.SQL, "JOIN data_keys") })
				defer release()
				answers := make(chan error, 1)
				var token string
				go func() {
					var err error
					token, err = read(reading)
					answers <- err
				}()
				<-reached
				if err := test.meanwhile(changing); err != nil {
					t.Fatal(err)
				}
				release()
				want := test.row
				if reader == "GetOperatorAdapter" {
					want = test.adapter
				}
				err := <-answers
				if !errors.Is(err, want) {
					t.Errorf("err = %v, want %v", err, want)
				}
				if want == nil && token != test.token.AccessToken.Reveal() {
					t.Error("the token is another one")
				}
			})
		}
	}
}
