package commands

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/gitlab"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/secret"
)

func TestSwitchingForges(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	ctx := t.Context()
	if _, err := d.OperatorAdapter(ctx); !errors.Is(err, projections.ErrNoActiveForge) {
		t.Fatalf("before anything: %v", err)
	}
	first := d.claim()
	before, err := d.OperatorAdapter(ctx)
	if err != nil {
		t.Fatal(err)
	}
	second := d.enter(d.login("gitlab", "alice", &first.Session, ""))
	caller := SessionCaller(second.Session.ID)
	port, err := d.OperatorAdapter(ctx)
	if err != nil || port.Binding().Connection != "gitlab" || port.Binding().Position != second.Events[1].Position {
		t.Fatalf("%v, %v", port, err)
	}
	// A port stays what it was.
	if account, err := before.Account(ctx); err != nil || account.Login != "alice" || before.Binding().Connection != "github" {
		t.Errorf("the port of the first forge: %+v, %v", account, err)
	}

	appended, err := d.ActivateForge(ctx, caller, "github")
	if err != nil {
		t.Fatal(err)
	}
	d.expectTypes(appended, "ForgeActivated")
	if appended[0].Actor != caller.Actor {
		t.Errorf("done by %s", appended[0].Actor)
	}
	if appended, err := d.ActivateForge(ctx, caller, "github"); err != nil || len(appended) > 0 {
		t.Errorf("again: %v, %v", appended, err)
	}
	for forgeType, want := range map[string]error{"gitea": projections.ErrNotConnected, "nobody": ErrUnknownConnection} {
		if _, err := d.ActivateForge(ctx, caller, forgeType); !errors.Is(err, want) {
			t.Errorf("%s: %v", forgeType, err)
		}
	}
	if appended, err := d.DeactivateForge(ctx, caller); err != nil || d.types(appended) != "ForgeDeactivated" {
		t.Errorf("%v, %v", appended, err)
	}
	if appended, err := d.DeactivateForge(ctx, caller); err != nil || len(appended) > 0 {
		t.Errorf("again: %v, %v", appended, err)
	}
	if _, err := d.OperatorAdapter(ctx); !errors.Is(err, projections.ErrNoActiveForge) {
		t.Errorf("none active: %v", err)
	}
}

func TestWhatForgesLookLike(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	first := d.claim()
	d.enter(d.login("gitlab", "alice", &first.Session, ""))
	d.clock.advance(3 * time.Hour)
	shorter := d.process(func(c *Config) { c.Connections = c.Connections[1:] })
	forges, err := shorter.Forges(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	type brief struct{ ForgeType, State, Login string }
	var got []brief
	for _, f := range forges {
		got = append(got, brief{f.ForgeType, f.State, f.AccountLogin})
	}
	want := []brief{
		{"gitlab", StateExpired, "alice"},
		{"gitea", StateNotConnected, ""},
		{"forgejo", StateNotConnected, ""},
		{"github", StateNotConfigured, "alice"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !forges[0].Active || forges[0].ConnectedAt == nil || forges[0].ExpiresAt == nil || forges[2].Login || !forges[1].Login {
		t.Errorf("%+v", forges)
	}
	if _, err := shorter.ActivateForge(t.Context(), Caller{}, "github"); !errors.Is(err, ErrUnknownConnection) {
		t.Errorf("activate what is not configured: %v", err)
	}
	appended, err := shorter.DisconnectForge(t.Context(), Caller{}, "github")
	if err != nil {
		t.Fatal(err)
	}
	d.expectTypes(appended, "TokenRevocationRequested TokenRevoked")
}

func TestTokensThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	ctx := t.Context()
	first := d.claim()
	d.enter(d.login("gitlab", "alice", &first.Session, ""))
	imported := OperatorOAuth{
		ForgeType: "gitlab", AccountID: "1", AccountLogin: "alice", AccessToken: d.accessTokens("gitlab")[0].Value,
		ExpiresAt: noon.Add(time.Hour),
	}
	if _, err := d.ImportToken(ctx, Caller{}, imported); err != nil {
		t.Fatal(err)
	}
	d.clock.advance(3 * time.Hour)
	if _, err := d.OperatorAdapter(ctx); !errors.Is(err, forge.ErrNeedsReauth) {
		t.Errorf("an expired token that cannot be refreshed: %v", err)
	}
	opened, err := d.OperatorOAuth(ctx, "gitlab")
	if err != nil || !opened.AccessToken.Equal(imported.AccessToken) || !opened.ExpiresAt.Equal(imported.ExpiresAt) {
		t.Errorf("it can still be read: %v", err)
	}
	moved := d.process(func(c *Config) {
		c.Connections = []forge.Provider{d.provider("gitlab", forge.GitLab, gitlab.New, func(c *forge.Connection) {
			c.BaseURL = "https://elsewhere.example"
		})}
	})
	_, err = moved.OperatorAdapter(ctx)
	if origin, ok := errors.AsType[*OriginError](err); !ok || origin.Configured != "https://elsewhere.example" {
		t.Errorf("a token for another base URL: %v", err)
	}
	if _, err := moved.OperatorOAuth(ctx, "gitlab"); err == nil {
		t.Error("it was opened")
	}
	if _, err := moved.OperatorOAuth(ctx, "github"); !errors.Is(err, ErrUnknownConnection) {
		t.Errorf("%v", err)
	}
	if _, err := d.OperatorOAuth(ctx, "gitea"); !errors.Is(err, projections.ErrNotConnected) {
		t.Errorf("%v", err)
	}
	if _, err := d.ActivateForge(ctx, Caller{}, "github"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.pool.Exec(ctx, `DELETE FROM data_keys`); err != nil {
		t.Fatal(err)
	}
	if _, err := d.OperatorAdapter(ctx); !errors.Is(err, forge.ErrNeedsReauth) {
		t.Errorf("a shredded token: %v", err)
	}
}

func TestImportingAToken(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	ctx := t.Context()
	d.claim()
	row := OperatorOAuth{
		ForgeType: "gitea", AccountID: "42", AccountLogin: "ro\u202ebot", AccessToken: secret.New("an-imported-access-token"),
		RefreshToken: secret.New("an-imported-refresh-token"), ExpiresAt: noon.Add(time.Hour + time.Nanosecond), Scopes: []string{"a", "b"},
	}
	d.mine = append(d.mine, row.AccessToken, row.RefreshToken)
	appended, err := d.ImportToken(ctx, Caller{}, row)
	if err != nil {
		t.Fatal(err)
	}
	d.expectTypes(appended, "TokenIssued")
	if appended[0].Actor != actorLibrary {
		t.Errorf("done by %s", appended[0].Actor)
	}
	opened, err := d.OperatorOAuth(ctx, "gitea")
	if err != nil {
		t.Fatal(err)
	}
	if !opened.AccessToken.Equal(row.AccessToken) || !opened.RefreshToken.Equal(row.RefreshToken) {
		t.Error("other tokens came back")
	}
	want := row
	want.Kind, want.BaseURL, want.AccountLogin = forge.Gitea, d.forges["gitea"].URL(), "robot"
	want.ExpiresAt, want.Generation = noon.Add(time.Hour), 1
	want.CreatedAt, want.UpdatedAt = opened.CreatedAt, opened.UpdatedAt
	if diff := cmp.Diff(want, opened, cmp.Comparer(secret.Text.Equal)); diff != "" {
		t.Error(diff)
	}
	if active, err := d.reader.Active(ctx); err != nil || active.ForgeType != "github" {
		t.Errorf("active: %v, %v", active, err)
	}
	again, err := d.ImportToken(ctx, Caller{Actor: "importer"}, opened)
	if err != nil {
		t.Fatal(err)
	}
	d.expectTypes(again, "TokenIssued")

	for name, edit := range map[string]func(*OperatorOAuth){
		"no token":          func(o *OperatorOAuth) { o.AccessToken = secret.Text{} },
		"a broken token":    func(o *OperatorOAuth) { o.AccessToken = secret.New("two\nlines") },
		"an endless token":  func(o *OperatorOAuth) { o.RefreshToken = secret.New(strings.Repeat("t", 16<<10+1)) },
		"no account":        func(o *OperatorOAuth) { o.AccountID = "" },
		"no login":          func(o *OperatorOAuth) { o.AccountLogin = "\u202e " },
		"a strange account": func(o *OperatorOAuth) { o.AccountID = "4\n2" },
		"another kind":      func(o *OperatorOAuth) { o.Kind = forge.GitLab },
		"another base URL":  func(o *OperatorOAuth) { o.BaseURL = "https://evil.example" },
		"a strange scope":   func(o *OperatorOAuth) { o.Scopes = []string{"a\u0007"} },
	} {
		bad := row
		edit(&bad)
		if _, err := d.ImportToken(ctx, Caller{}, bad); !errors.Is(err, ErrImport) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := d.ImportToken(ctx, Caller{}, OperatorOAuth{ForgeType: "nobody"}); !errors.Is(err, ErrUnknownConnection) {
		t.Errorf("%v", err)
	}
}

func TestDisconnecting(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	ctx := t.Context()
	first := d.claim()
	second := d.enter(d.login("gitea", "alice", &first.Session, ""))
	caller := SessionCaller(second.Session.ID)

	gitea, err := d.DisconnectForge(ctx, caller, "gitea")
	if err != nil {
		t.Fatal(err)
	}
	d.expectTypes(gitea, "TokenRevocationRequested TokenRevoked ForgeDeactivated")
	if _, err := d.OperatorAdapter(ctx); !errors.Is(err, projections.ErrNoActiveForge) {
		t.Errorf("the active forge was disconnected: %v", err)
	}
	told, err := d.DisconnectForge(ctx, caller, "github")
	if err != nil {
		t.Fatal(err)
	}
	d.expectTypes(told, "TokenRevocationRequested TokenRevocationAttempted TokenRevoked")
	if len(correlations(told)) != 1 || told[2].Actor != actorRevoker {
		t.Errorf("%v", told)
	}
	if settled, ok := told[2].Fact.(events.TokenRevoked); !ok || settled.Outcome != outcomeConfirmed {
		t.Errorf("settled %+v", settled)
	}
	if tokens := d.accessTokens("github"); tokens[0].Live {
		t.Error("the token lives on at the forge")
	}
	if n := d.count(`SELECT count(*) FROM data_keys`); n != 0 {
		t.Errorf("%d data keys are left", n)
	}
	if _, err := d.DisconnectForge(ctx, caller, "github"); !errors.Is(err, projections.ErrNotConnected) {
		t.Errorf("again: %v", err)
	}
	for _, name := range []string{"", "nobody", "token/github", "\x00", "\xff"} {
		if _, err := d.DisconnectForge(ctx, caller, name); !errors.Is(err, ErrUnknownConnection) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestAnAdapterIsOfTheTokenThatIsStoredNow(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	session := d.claim()
	access := func() (generation int64, token string) {
		t.Helper()
		port, err := d.OperatorAdapter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		current, err := port.TokenSource(t.Context()).Token()
		if err != nil {
			t.Fatal(err)
		}
		return port.Binding().Generation, current.AccessToken
	}
	before, first := access()
	if again, token := access(); again != before || token != first {
		t.Errorf("asked again it is generation %d, want %d", again, before)
	}
	d.enter(d.login("github", "alice", &session.Session, ""))
	if after, token := access(); after <= before || token == first {
		t.Errorf("after another sign-in it is generation %d of the same token: %v", after, token == first)
	}
	if _, err := d.DisconnectForge(t.Context(), Caller{}, "github"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.OperatorAdapter(t.Context()); !errors.Is(err, projections.ErrNoActiveForge) {
		t.Errorf("after disconnecting: %v", err)
	}
}
