package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/projections"
)

// step is one line of the script.
type step struct {
	does string
	// writes are the types of the events that it appends, in order. With more, what it did appended further ones, which
	// are the next step's.
	writes []string
	more   bool
	// do returns what was seen, for steps that write nothing, or an *[unmetError] if something else than expected.
	do func(context.Context) (saw string, err error)
}

// played is a step that has been done.
type played struct {
	number int
	does   string
	saw    string
	events []events.Event
	unmet  *unmetError // nil if it held
}

// errUnheld ends the demo with status 1; the step has been printed.
var errUnheld = errors.New("the demo does not hold: the last line above says what was expected and what came instead")

// story is the script under way.
type story struct {
	*demoHouse

	service *forgeauth.Service
	browser *operator
	earlier *http.Cookie // the session's cookie before the switch
	seen    int64        // the last position that a step has accounted for
}

// play goes through the script to its end or the first step that does not hold.
func (d *demoHouse) play(ctx context.Context, out demoOutput) error {
	browser, err := newOperator(d.origin)
	if err != nil {
		return err
	}
	s := &story{demoHouse: d, service: d.deployment.service, browser: browser}
	for i, step := range s.script() {
		done := played{number: i + 1, does: step.does}
		done.saw, err = step.do(ctx)
		var unaccounted error
		if done.events, unaccounted = s.account(ctx, step); err == nil {
			err = unaccounted
		}
		if ctx.Err() != nil {
			return context.Cause(ctx) // the demo was ended; the step says nothing
		}
		if err != nil && !errors.As(err, &done.unmet) {
			done.unmet = &unmetError{"no error", oneLine(err.Error())}
		}
		if done.unmet != nil {
			done.saw = ""
		}
		if err := out.step(done); err != nil {
			return err
		}
		if done.unmet != nil {
			return errUnheld
		}
	}
	return out.end(s.seen)
}

// account reads the events that a step has appended, and checks that they are what it was to write.
func (s *story) account(ctx context.Context, step step) ([]events.Event, error) {
	var appended []events.Event
	for event, err := range s.service.Log().Read(ctx, events.Query{After: s.seen}) {
		if err != nil {
			return nil, err
		}
		appended = append(appended, event)
	}
	if step.more && len(appended) > len(step.writes) {
		appended = appended[:len(step.writes)]
	}
	s.seen += int64(len(appended))
	return appended, expect("the events", listed(step.writes), listed(typesOf(appended)))
}

func typesOf(written []events.Event) []string {
	types := make([]string, len(written))
	for i, event := range written {
		types[i] = event.Type
	}
	return types
}

func listed(types []string) string {
	if len(types) == 0 {
		return "none"
	}
	return strings.Join(types, " ")
}

func (s *story) script() []step {
	signedIn := []string{"TokenIssued", "ForgeActivated", "SessionEnded", "SessionStarted"}
	return []step{
		{does: "finds what belongs to nobody yet", do: s.meetsTheDoor},
		{does: "claims it with the setup code", writes: []string{"OperatorClaimed"}, more: true, do: s.claims},
		{does: "signs in to forge A (github)", writes: []string{"TokenIssued", "ForgeActivated", "SessionStarted"}, do: s.isSignedIn},
		{does: "reads /me", do: func(ctx context.Context) (string, error) { return s.readsMe(ctx, s.a) }},
		{does: "lists the repositories", do: func(ctx context.Context) (string, error) { return s.listsRepositories(ctx, s.a) }},
		{does: "links its account at forge B", writes: []string{"AccountLinked"}, more: true, do: s.signsInToB},
		{does: "signs in to forge B (forgejo)", writes: signedIn, more: true, do: s.isSignedIn},
		{does: "is told what B has granted", writes: []string{"ScopesChanged"}, do: s.learnsWhatBGranted},
		{does: "holds a fresh cookie", do: s.holdsAFreshCookie},
		{does: "reads /me, which has switched", do: func(ctx context.Context) (string, error) { return s.readsMe(ctx, s.b) }},
		{does: "finds A's row still there", do: s.findsARowOfA},
		{does: "switches back, no new sign-in", writes: []string{"ForgeActivated"}, do: s.switchesBack},
		{does: "disconnects A", writes: []string{"TokenRevocationRequested", "TokenRevocationAttempted", "ForgeDeactivated", "TokenRevoked"}, do: s.disconnects},
		{does: "meets 412", do: s.meets412},
		{does: "signs in to A again", writes: signedIn, do: s.signsInAgain},
		{does: "hears of every switch there was", do: s.hearsOfSwitches},
		{does: "verifies tables against the log", do: s.verifies},
		{does: "proves a switch to a stranger", do: s.proves},
	}
}

// meetsTheDoor tries what must not work: to sign in without the code, and with a wrong one.
func (s *story) meetsTheDoor(ctx context.Context) (string, error) {
	a, err := s.browser.page(ctx, "/login")
	if err != nil {
		return "", err
	}
	if err := expect("GET /login", http.StatusOK, a.status); err != nil {
		return "", err
	}
	if err := expect("/login asks for the setup code", true, strings.Contains(a.body, `name="setup_code"`)); err != nil {
		return "", err
	}
	for _, try := range []struct{ setupCode, problem string }{{"", "setup_code_required"}, {"AAAA-AAAA-AAAA", "setup_code_wrong"}} {
		location, err := s.browser.startSignIn(ctx, s.a.connection.Name, try.setupCode)
		if err != nil {
			return "", err
		}
		if err := expect("a redirect to", "/login with "+try.problem, location.Path+" with "+location.Query().Get("error")); err != nil {
			return "", err
		}
	}
	if err := s.browser.refused(ctx, http.MethodGet, "/me", http.StatusUnauthorized, "unauthenticated"); err != nil {
		return "", err
	}
	if err := expect("requests at the forge", 0, s.a.Count(forgetest.AnyEndpoint)); err != nil {
		return "", err
	}
	return "no forge is asked before the setup code is right", nil
}

func (s *story) claims(ctx context.Context) (string, error) {
	setupCode, _, err := s.service.Commands().IssueSetupCode(ctx, cli())
	if err != nil {
		return "", err
	}
	if err := s.browser.signIn(ctx, s.a, setupCode.Reveal()); err != nil {
		return "", err
	}
	status, err := s.service.Commands().Status(ctx)
	if err != nil {
		return "", err
	}
	return "", expect("claimed", true, status.Claimed)
}

// isSignedIn looks at what a sign-in left in the browser. The sign-in was the step before, in the same transaction.
func (s *story) isSignedIn(context.Context) (string, error) {
	return "", expect("a session cookie", true, s.browser.sessionCookie() != nil)
}

// learnsWhatBGranted waits for the service to ask B about its token, in the background: the answer to a sign-in does not say
// what it may do.
func (s *story) learnsWhatBGranted(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		forges, err := s.service.Commands().Forges(ctx)
		if err != nil {
			return "", err
		}
		for _, at := range forges {
			if at.ForgeType == s.b.connection.Name && at.Scopes != nil {
				return strings.Join(at.Scopes, " "), expect("what B has granted", listed(s.b.connection.Scopes), listed(at.Scopes))
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", &unmetError{"what B has granted", "nothing"}
		}
	}
}

func (s *story) readsMe(ctx context.Context, at standIn) (string, error) {
	type me struct {
		ForgeType    string `json:"forge_type"`
		AccountLogin string `json:"account_login"`
		BaseURL      string `json:"base_url"`
	}
	got, err := call[me](ctx, s.browser, http.StatusOK, http.MethodGet, "/me", "")
	if err != nil {
		return "", err
	}
	want := me{at.connection.Name, demoOperator, at.connection.BaseURL}
	return fmt.Sprintf("%s on %s at %s", got.AccountLogin, got.ForgeType, got.BaseURL), expect("/me", want, got)
}

// listsRepositories lists them twice: as a program over HTTP, page by page, and as one that embeds forgeauth.
func (s *story) listsRepositories(ctx context.Context, at standIn) (string, error) {
	const perPage = 50
	var overHTTP []string
	pages := 0
	for cursor := ""; pages == 0 || cursor != ""; pages++ {
		page, err := call[struct {
			Repositories []forge.Repository `json:"repositories"`
			Next         *string            `json:"next"`
		}](ctx, s.browser, http.StatusOK, http.MethodGet, fmt.Sprintf("/forge/repositories?limit=%d&cursor=%s", perPage, cursor), "")
		if err != nil {
			return "", err
		}
		for _, repository := range page.Repositories {
			overHTTP = append(overHTTP, repository.Path)
		}
		cursor = ""
		if page.Next != nil {
			cursor = *page.Next
		}
	}
	port, err := s.service.GetOperatorAdapter(ctx)
	if err != nil {
		return "", err
	}
	var inGo []string
	for repository, err := range port.Repositories(ctx, forge.RepositoryQuery{}) {
		if err != nil {
			return "", err
		}
		inGo = append(inGo, repository.Path)
	}
	if err := expect("repositories in Go", at.repositories, len(inGo)); err != nil {
		return "", err
	}
	if err := expect("the same over HTTP", strings.Join(inGo, " "), strings.Join(overHTTP, " ")); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d through GetOperatorAdapter, and on %d pages of HTTP", len(inGo), pages), nil
}

func (s *story) signsInToB(ctx context.Context) (string, error) {
	s.earlier = s.browser.sessionCookie()
	return "", s.browser.signIn(ctx, s.b, "")
}

func (s *story) holdsAFreshCookie(ctx context.Context) (string, error) {
	fresh := s.browser.sessionCookie()
	if err := expect("a cookie of another value", true, fresh != nil && s.earlier != nil && fresh.Value != s.earlier.Value); err != nil {
		return "", err
	}
	thief, err := s.browser.with(s.earlier)
	if err != nil {
		return "", err
	}
	return "the one before is good for nothing: 401", thief.refused(ctx, http.MethodGet, "/me", http.StatusUnauthorized, "unauthenticated")
}

func (s *story) findsARowOfA(ctx context.Context) (string, error) {
	list, err := call[struct {
		Forges []commands.ForgeStatus `json:"forges"`
	}](ctx, s.browser, http.StatusOK, http.MethodGet, "/forges", "")
	if err != nil {
		return "", err
	}
	states := make([]string, len(list.Forges))
	for i, f := range list.Forges {
		states[i] = f.ForgeType + " " + f.State
	}
	if err := expect("GET /forges", "github connected, forgejo active", strings.Join(states, ", ")); err != nil {
		return "", err
	}
	row, err := s.service.GetOperatorOAuth(ctx, s.a.connection.Name)
	if err != nil {
		return "", err
	}
	if err := expect("the account of A's row", s.a.account, row.AccountID); err != nil {
		return "", err
	}
	return strings.Join(states, ", ") + "; A's token still works", expect("A's token works at A", true, s.a.Live(row.AccessToken.Reveal()))
}

func (s *story) switchesBack(ctx context.Context) (string, error) {
	_, err := call[struct{}](ctx, s.browser, http.StatusOK, http.MethodPut, "/forges/active", `{"forge_type": "github"}`)
	if err != nil {
		return "", err
	}
	return s.readsMe(ctx, s.a)
}

func (s *story) disconnects(ctx context.Context) (string, error) {
	row, err := s.service.GetOperatorOAuth(ctx, s.a.connection.Name)
	if err != nil {
		return "", err
	}
	if _, err := call[struct{}](ctx, s.browser, http.StatusOK, http.MethodDelete, "/forges/github", ""); err != nil {
		return "", err
	}
	if _, err := s.service.GetOperatorOAuth(ctx, s.a.connection.Name); !errors.Is(err, projections.ErrNotConnected) {
		return "", &unmetError{"no token of A any more", fmt.Sprint(err)}
	}
	return "", expect("A's token works at A", false, s.a.Live(row.AccessToken.Reveal()))
}

func (s *story) meets412(ctx context.Context) (string, error) {
	for _, path := range []string{"/me", "/forge/repositories"} {
		if err := s.browser.refused(ctx, http.MethodGet, path, http.StatusPreconditionFailed, "no_active_forge"); err != nil {
			return "", err
		}
	}
	if _, err := s.service.GetOperatorAdapter(ctx); !errors.Is(err, forgeauth.ErrNoActiveForge) {
		return "", &unmetError{"GetOperatorAdapter: ErrNoActiveForge", fmt.Sprint(err)}
	}
	return "no_active_forge over HTTP, ErrNoActiveForge in Go", nil
}

func (s *story) signsInAgain(ctx context.Context) (string, error) {
	if err := s.browser.signIn(ctx, s.a, ""); err != nil {
		return "", err
	}
	return s.readsMe(ctx, s.a)
}

// hearsOfSwitches listens as a program would that is told of them, from the beginning.
func (s *story) hearsOfSwitches(ctx context.Context) (string, error) {
	var switches []string
	for event, err := range s.service.Log().Read(ctx, events.Query{Types: []string{events.TypeOf(events.ForgeActivated{})}}) {
		if err != nil {
			return "", err
		}
		switches = append(switches, fmt.Sprintf("#%d", event.Position))
	}
	heard, err := s.browser.listen(ctx, "/events?from=beginning&type=ForgeActivated", len(switches))
	if err != nil {
		return "", err
	}
	return listed(heard) + " as Server-Sent Events", expect("what it hears", listed(switches), listed(heard))
}
