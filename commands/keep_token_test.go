package commands

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/secret"
)

// The forge ends an access token before its time. Whoever uses it gets another one, once, and does not notice.
func TestATokenThatTheForgeRefusesIsRefreshed(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	port, err := d.OperatorAdapter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other, err := d.process().OperatorAdapter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.clock.advance(settleIn)
	appended, grants := d.since(), d.grants("gitlab")
	d.forges["gitlab"].Expire(d.accessTokens("gitlab")[0].Value.Reveal())
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() { works(t, []forge.Port{port, other}[n%2]) })
	}
	all.Wait()
	if got := appended(); got != "TokenRefreshStarted TokenRefreshed" || d.grants("gitlab") != grants+1 {
		t.Errorf("appended %s with %d grants", got, d.grants("gitlab")-grants)
	}
	client := other.HTTPClient()
	resp, err := client.Get(d.forges["gitlab"].APIURL() + "/user") //nolint:noctx // a program's own client
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("a program's own client: %v", err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
}

// A forge that refuses whatever it has granted gets no refresh for each request: the operator is asked for a sign-in.
func TestAForgeThatRefusesWhatItGrants(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	d.background(d.Commands)
	port, err := d.OperatorAdapter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.clock.advance(settleIn)
	expireAll := func() {
		for _, token := range d.accessTokens("gitlab") {
			d.forges["gitlab"].Expire(token.Value.Reveal())
		}
	}
	expireAll()
	works(t, port)
	expireAll()
	grants := d.grants("gitlab")
	for range 5 {
		if _, err := port.Account(t.Context()); !errors.Is(err, forge.ErrNeedsReauth) {
			t.Errorf("%v", err)
		}
	}
	d.eventually("the forge is asked again and the operator told", func() bool {
		d.clock.advance(time.Second)
		return d.row("gitlab").NeedsReauthSince != nil
	})
	if d.grants("gitlab") != grants || d.row("gitlab").NeedsReauthReason != projections.ReasonUnauthorized {
		t.Errorf("%d grants; %+v", d.grants("gitlab")-grants, d.row("gitlab"))
	}
}

// A token that cannot be refreshed is doubted when the forge refuses it, and given up when it does so again, a while later.
func TestATokenWithoutARefreshTokenIsRefused(t *testing.T) {
	t.Parallel()
	for name, forGood := range map[string]bool{"for good": true, "once": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			d.claim()
			d.background(d.Commands)
			port, err := d.OperatorAdapter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			appended, f := d.since(), d.forges["github"]
			if forGood {
				f.RevokeToken(d.accessTokens("github")[0].Value.Reveal())
			} else {
				f.Next(forgetest.UserEndpoint, forgetest.Status(http.StatusUnauthorized))
			}
			asked := f.Count(forgetest.UserEndpoint)
			if _, err := port.Account(t.Context()); !errors.Is(err, forge.ErrNeedsReauth) {
				t.Errorf("%v", err)
			}
			if got := appended(); got != "" {
				t.Errorf("after one refusal: %s", got)
			}
			d.eventually("the forge is asked again", func() bool {
				d.clock.advance(time.Second)
				return f.Count(forgetest.UserEndpoint) > asked+1
			})
			if !forGood {
				works(t, port)
				d.eventually("the doubt is settled", func() bool {
					d.doubts.mu.Lock()
					defer d.doubts.mu.Unlock()
					return len(d.doubts.pending) == 0
				})
				if got := appended(); got != "" {
					t.Errorf("the token is good, and the log says %s", got)
				}
				return
			}
			d.eventually("the operator is told", func() bool { return appended() == "TokenRejected" })
			if _, err := d.OperatorAdapter(t.Context()); !errors.Is(err, forge.ErrNeedsReauth) {
				t.Errorf("%v", err)
			}
			d.eventually("the port asks no more", func() bool { // the log says so a moment before the process knows
				asked := f.Count(forgetest.AnyEndpoint)
				_, err := port.Account(t.Context())
				return errors.Is(err, forge.ErrNeedsReauth) && f.Count(forgetest.AnyEndpoint) == asked
			})
			if opened, err := d.OperatorOAuth(t.Context(), "github"); err != nil || opened.AccessToken.IsZero() {
				t.Errorf("the token does not stay sealed: %v", err)
			}
		})
	}
}

// A port is of one account at one forge. It goes on with what replaces its token there, and with nothing else.
func TestAPortStaysPinned(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	other := d.process()
	port, err := other.AdapterFor(t.Context(), "gitlab")
	if err != nil {
		t.Fatal(err)
	}
	mine, err := d.AdapterFor(t.Context(), "gitlab")
	if err != nil {
		t.Fatal(err)
	}
	session := d.enter(d.login("github", "alice", nil, "")) // which switches
	d.clock.advance(2 * time.Hour)
	works(t, port)
	works(t, mine)
	session = d.enter(d.login("gitlab", "alice", &session.Session, "")) // another token of the same account
	works(t, port)
	works(t, mine)

	session = d.enter(d.login("gitlab", "bob", &session.Session, ""))
	asked := d.forges["gitlab"].Count(forgetest.AnyEndpoint)
	_, err = mine.Account(t.Context()) // of the process that has signed bob in
	elsewhere, ok := errors.AsType[*OtherAccountError](err)
	if !ok || elsewhere.Was != "1" || elsewhere.Is != "2" || !errors.Is(err, forge.ErrNeedsReauth) {
		t.Errorf("another account has taken the connection over: %v", err)
	}
	d.clock.advance(recheckEvery)
	if _, err = port.TokenSource(t.Context()).Token(); !errors.Is(err, forge.ErrNeedsReauth) {
		t.Errorf("in another process: %v", err)
	}
	if d.forges["gitlab"].Count(forgetest.AnyEndpoint) != asked {
		t.Error("the forge was asked with somebody else's token")
	}
	if bobs, err := other.AdapterFor(t.Context(), "gitlab"); err != nil || bobs.Binding().Account.Login != "bob" {
		t.Errorf("%v", err)
	}
	d.enter(d.login("gitlab", "alice", &session.Session, ""))
	works(t, port)
	works(t, mine)

	if _, err := d.DisconnectForge(t.Context(), Caller{}, "gitlab"); err != nil {
		t.Fatal(err)
	}
	asked = d.forges["gitlab"].Count(forgetest.AnyEndpoint)
	if _, err := mine.Account(t.Context()); !errors.Is(err, forge.ErrNeedsReauth) || !errors.Is(err, projections.ErrNotConnected) {
		t.Errorf("disconnected: %v", err)
	}
	d.clock.advance(recheckEvery)
	if _, err := port.Account(t.Context()); !errors.Is(err, forge.ErrNeedsReauth) {
		t.Errorf("disconnected by another process: %v", err)
	}
	if d.forges["gitlab"].Count(forgetest.AnyEndpoint) != asked {
		t.Error("the forge was asked with the token of a connection that is no more")
	}
}

func TestAdaptersByName(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	if _, err := d.AdapterFor(t.Context(), "nobody"); !errors.Is(err, ErrUnknownConnection) {
		t.Errorf("%v", err)
	}
	if _, err := d.AdapterFor(t.Context(), "gitea"); !errors.Is(err, projections.ErrNotConnected) {
		t.Errorf("%v", err)
	}
	if _, err := d.DeactivateForge(t.Context(), Caller{}); err != nil {
		t.Fatal(err)
	}
	for _, forgeType := range []string{"github", "gitlab"} {
		port, err := d.AdapterFor(t.Context(), forgeType)
		if err != nil || port.Binding().Connection != forgeType {
			t.Fatalf("%s: %v", forgeType, err)
		}
		works(t, port)
		if again, err := d.AdapterFor(t.Context(), forgeType); err != nil || again != port {
			t.Errorf("%s is made anew: %v", forgeType, err)
		}
	}
}

// While the database is away, a port goes on with a token that lives.
func TestAPortOutlivesADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	proxy, url := d.db.Proxied(t)
	pool := d.poolThrough(url)
	process := d.process(func(c *Config) {
		c.Pool, c.Reader, c.Log = pool, projections.NewReader(pool), events.NewLog(pool)
	})
	port, err := process.OperatorAdapter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	proxy.Refuse()
	proxy.CutNow()
	d.clock.advance(recheckEvery)
	works(t, port)
	if _, err := process.OperatorAdapter(t.Context()); !errors.Is(err, events.ErrUnreadable) {
		t.Errorf("%v", err)
	}
	proxy.Accept()
	works(t, port)
}

// A pair is imported whose access token is dead and whose refresh token is not: that the forge refuses the one is no reason to
// ask for a sign-in.
func TestARefusedTokenThatWasJustImportedIsRefreshed(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitlab")
	opened, err := d.OperatorOAuth(t.Context(), "gitlab")
	if err != nil {
		t.Fatal(err)
	}
	opened.AccessToken, opened.ExpiresAt = secret.New("dead-"+uuid.NewString()), time.Time{}
	d.clock.advance(2 * time.Hour)
	d.forges["gitlab"].Next(forgetest.RevokeEndpoint, forgetest.Status(503)) // of what the import replaces
	if _, err := d.ImportToken(t.Context(), Caller{}, opened); err != nil {
		t.Fatal(err)
	}
	port := adapterFor(t, d.Commands, "gitlab")
	if _, err := port.Account(t.Context()); !errors.Is(err, forge.ErrNeedsReauth) {
		t.Fatalf("a dead token: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		d.settleDoubts(ctx)
	}()
	d.eventually("it is refreshed", func() bool {
		d.clock.advance(time.Second)
		row := d.row("gitlab")
		return row.NeedsReauthSince != nil || row.Generation > port.Binding().Generation
	})
	stop()
	<-settled
	if row := d.row("gitlab"); row.NeedsReauthSince != nil {
		t.Fatalf("the row asks for a sign-in: %s", row.NeedsReauthReason)
	}
	works(t, port)
}

// That a forge refreshes a token no more takes nothing from the token: it is handed out until it expires, or the forge refuses it.
func TestATokenThatIsRefreshedNoMoreIsUsedWhileItLives(t *testing.T) {
	t.Parallel()
	d := connected(t, "gitea")
	d.background(d.Commands)
	port, err := d.OperatorAdapter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.forges["gitea"].Next(forgetest.RefreshEndpoint, forgetest.ReplicaLag(), forgetest.ReplicaLag())
	d.clock.advance(55 * time.Minute)
	d.eventually("the operator is told", func() bool {
		d.clock.advance(time.Second)
		return d.row("gitea").NeedsReauthSince != nil
	})
	works(t, port)
	again, err := d.OperatorAdapter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	works(t, again)
	d.clock.advance(5 * time.Minute)
	if _, err := d.OperatorAdapter(t.Context()); !errors.Is(err, forge.ErrNeedsReauth) {
		t.Errorf("expired: %v", err)
	}
	if _, err := port.Account(t.Context()); !errors.Is(err, forge.ErrNeedsReauth) {
		t.Errorf("expired: %v", err)
	}
}
