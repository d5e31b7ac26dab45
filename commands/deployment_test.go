package commands

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/forge/gitea"
	"github.com/forgeauth/forgeauth/forge/github"
	"github.com/forgeauth/forgeauth/forge/gitlab"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

const publicURL = "https://auth.example.org"

// clock is the time of a deployment and its forges.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	alarms map[chan time.Time]time.Time
}

// after is time.After by this clock.
func (c *clock) after(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	alarm := make(chan time.Time, 1)
	if d <= 0 {
		alarm <- c.now
	} else {
		c.alarms[alarm] = c.now.Add(d)
	}
	return alarm
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for alarm, at := range c.alarms {
		if !c.now.Before(at) {
			alarm <- c.now
			delete(c.alarms, alarm)
		}
	}
}

// deployment is a database with stand-in forges around it, on which any number of processes work. When the test ends the
// log must be whole, the tables equal to its fold, every data key in use, and no secret in the log or the process's logs.
type deployment struct {
	*Commands // of the first process

	t      *testing.T
	db     *pgtest.DB
	pool   *pgxpool.Pool
	clock  *clock
	forges map[string]*forgetest.Forge
	logs   *logs
	key    vault.MasterKey
	mine   []secret.Text // secrets that we drew
}

type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// deploy starts a deployment with the connections github, gitlab, gitea, and forgejo, which is no way in.
func deploy(t *testing.T, edit ...func(*Config)) *deployment {
	t.Helper()
	key, err := vault.ParseKey(secret.New("7Jx2ySTF2hU4kcvdG31oQzEwPnm9RbLa8Xt05iMZgVs="))
	if err != nil {
		t.Fatal(err)
	}
	d := &deployment{
		t: t, db: pgtest.Migrated(t, migrations.Up), clock: &clock{now: noon, alarms: map[chan time.Time]time.Time{}}, forges: map[string]*forgetest.Forge{},
		logs: &logs{}, key: key,
	}
	d.pool = d.db.Pool(t)
	for name, dialect := range map[string]forgetest.Dialect{
		"github": forgetest.GitHub, "gitlab": forgetest.GitLab, "gitea": forgetest.Gitea, "forgejo": forgetest.Forgejo,
	} {
		d.forges[name] = forgetest.Start(t, forgetest.Config{
			Dialect: dialect, Now: d.clock.Now, RequirePKCE: true,
			Clients: []forgetest.Client{{
				ID: "client", Secret: "the secret of " + name[:3], DeviceFlow: true, RedirectURIs: []string{publicURL + "/oauth/" + name + "/callback"},
			}},
			Users: []forgetest.User{
				{ID: 1, Login: "alice", Repositories: forgetest.Repositories(1, 3)}, {ID: 2, Login: "bob"}, {ID: 3, Login: "carol"},
			},
		})
	}
	d.Commands = d.process(edit...)
	t.Cleanup(d.audit)
	return d
}

// process starts another process on the database.
func (d *deployment) process(edit ...func(*Config)) *Commands {
	d.t.Helper()
	connect, err := pgx.ParseConfig(d.db.URL)
	if err != nil {
		d.t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(d.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	config := Config{
		Writer: events.NewWriter(events.WriterConfig{Conn: connect, Now: d.clock.Now, Logger: logger}, projections.NewState()),
		Log:    events.NewLog(d.pool), Reader: projections.NewReader(d.pool), Pool: d.pool, Vault: vault.New(d.key, nil),
		PublicURL: publicURL, Logger: logger, Now: d.clock.Now, after: d.clock.after,
		Connections: []forge.Provider{
			d.provider("github", forge.GitHub, github.New), d.provider("gitlab", forge.GitLab, gitlab.New),
			d.provider("gitea", forge.Gitea, gitea.New), d.provider("forgejo", forge.Forgejo, gitea.New),
		},
	}
	for _, edit := range edit {
		edit(&config)
	}
	d.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := config.Writer.Close(ctx); err != nil {
			d.t.Error(err)
		}
	})
	return New(config)
}

func (d *deployment) provider(
	name string, kind forge.Kind, adapter func(forge.Connection, forge.Options) (forge.Provider, error), edit ...func(*forge.Connection),
) forge.Provider {
	d.t.Helper()
	info, _ := forge.Info(kind)
	connection := forge.Connection{
		Name: name, Kind: kind, BaseURL: d.forges[name].URL(), ClientID: "client", Scopes: info.Scopes, Login: name != "forgejo",
	}
	connection.ClientSecret = secret.New("the-secret-of-" + name)
	d.forges[name].RotateClientSecret("client", connection.ClientSecret.Reveal())
	for _, edit := range edit {
		edit(&connection)
	}
	provider, err := adapter(connection, forge.Options{Now: d.clock.Now})
	if err != nil {
		d.t.Fatal(err)
	}
	return provider
}

// poolThrough returns a pool over another way to the database.
func (d *deployment) poolThrough(address string) *pgxpool.Pool {
	d.t.Helper()
	pool, err := pgxpool.New(d.t.Context(), address)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(pool.Close)
	return pool
}

// audit is run when the test has ended.
func (d *deployment) audit() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	report, err := projections.Verify(ctx, d.pool, projections.VerifyOptions{})
	if err != nil || len(report.Differences) > 0 {
		d.t.Errorf("the tables are not the fold of the log: %+v, %v", report.Differences, err)
	}
	var stray int
	err = d.pool.QueryRow(ctx, `
		SELECT count(*) FROM (
			SELECT id FROM data_keys EXCEPT (SELECT data_key FROM operator_oauth_tokens UNION SELECT data_key FROM token_revocations)
		) AS stray`).Scan(&stray)
	if err != nil || stray > 0 {
		d.t.Errorf("%d data keys belong to no token: %v", stray, err)
	}
	versions := map[events.Stream]int64{}
	dump := d.logs.String()
	for e, err := range events.NewLog(d.pool).Read(ctx, events.Query{}) {
		if err != nil {
			d.t.Fatal(err)
		}
		if versions[e.Stream]++; versions[e.Stream] != e.StreamVersion {
			d.t.Errorf("position %d: version %d of %s follows %d", e.Position, e.StreamVersion, e.Stream, versions[e.Stream]-1)
		}
		dump += string(e.Payload) + string(e.Sealed)
	}
	secrets := d.mine
	for _, f := range d.forges {
		for _, issue := range f.Issued() {
			secrets = append(secrets, issue.Value)
		}
	}
	for _, s := range secrets {
		if strings.Contains(dump, s.Reveal()) || strings.Contains(dump, url.QueryEscape(s.Reveal())) {
			d.t.Error("a secret is in the log or in the logs")
		}
	}
}

// claim has alice claim the deployment at github and returns her session.
func (d *deployment) claim() LoginCompleted {
	d.t.Helper()
	code, _, err := d.IssueSetupCode(d.t.Context(), Caller{Actor: "cli"})
	if err != nil {
		d.t.Fatal(err)
	}
	return d.enter(d.login("github", "alice", nil, code.Reveal()))
}

// login takes a browser to the forge, has a person consent there, and returns what it comes back with.
func (d *deployment) login(forgeType, person string, session *projections.Session, code string) CompleteLogin {
	d.t.Helper()
	started, err := d.StartLogin(d.t.Context(), StartLogin{ForgeType: forgeType, Session: session, SetupCode: code, ReturnTo: "/me"})
	if err != nil {
		d.t.Fatal(err)
	}
	callback, err := d.forges[forgeType].Consent(d.t.Context(), started.AuthorizeURL, person)
	if err != nil {
		d.t.Fatal(err)
	}
	return CompleteLogin{
		ForgeType: forgeType, Query: d.query(callback), Attempts: []string{started.Attempt.Value}, Session: session,
	}
}

func (d *deployment) query(callback string) CallbackQuery {
	d.t.Helper()
	u, err := url.Parse(callback)
	if err != nil {
		d.t.Fatal(err)
	}
	q := u.Query()
	return CallbackQuery{State: q.Get("state"), Code: q.Get("code"), Error: q.Get("error"), Issuer: q.Get("iss")}
}

// enter completes a sign-in that must succeed.
func (d *deployment) enter(req CompleteLogin) LoginCompleted {
	d.t.Helper()
	completed, err := d.CompleteLogin(d.t.Context(), req)
	if err != nil {
		d.t.Fatal(err)
	}
	d.mine = append(d.mine, completed.SessionSecret)
	return completed
}

// refuse completes a sign-in that must fail with the code.
func (d *deployment) refuse(req CompleteLogin, code string) LoginError {
	d.t.Helper()
	completed, err := d.CompleteLogin(d.t.Context(), req)
	failed, ok := errors.AsType[*LoginError](err)
	if !ok || failed.Code != code {
		d.t.Fatalf("got %v, %v; want %s", completed.Events, err, code)
	}
	return *failed
}

func (d *deployment) types(appended []events.Event) string {
	var names []string
	for _, e := range appended {
		names = append(names, e.Type)
	}
	return strings.Join(names, " ")
}

// history returns the types of all events of the log.
func (d *deployment) history() string {
	d.t.Helper()
	var all []events.Event
	for e, err := range d.log.Read(d.t.Context(), events.Query{}) {
		if err != nil {
			d.t.Fatal(err)
		}
		all = append(all, e)
	}
	return d.types(all)
}

func (d *deployment) expectTypes(appended []events.Event, want string) {
	d.t.Helper()
	if got := d.types(appended); got != want {
		d.t.Errorf("appended %s\n    want %s", got, want)
	}
}

// accessTokens are the access tokens that a forge has granted, oldest first.
func (d *deployment) accessTokens(forgeType string) (all []forgetest.TokenState) {
	for _, token := range d.forges[forgeType].Tokens() {
		if token.Kind == forgetest.AccessTokenIssue {
			all = append(all, token)
		}
	}
	return all
}

// authenticate does what a request does with the value of its cookie.
func authenticate(ctx context.Context, c *Commands, cookie string) (projections.View, error) {
	key, ok := c.SessionKey(cookie)
	if !ok {
		return projections.View{}, projections.ErrNoSession
	}
	return c.Authenticate(ctx, key)
}

// live authenticates a sign-in's cookie, and sees that it is among the live sessions if it is and only then.
func live(ctx context.Context, c *Commands, cookie secret.Text) error {
	_, err := authenticate(ctx, c, cookie.Reveal())
	all, allErr := c.LiveSessions(ctx)
	key, ok := c.SessionKey(cookie.Reveal())
	if allErr != nil || !ok || slices.Contains(all, key) != (err == nil) {
		return fmt.Errorf("authenticating says %v, and the live sessions are %x, %v", err, all, allErr) //nolint:errorlint // this is another
	}
	return err
}

func (d *deployment) count(sql string, args ...any) (n int) {
	d.t.Helper()
	if err := d.pool.QueryRow(d.t.Context(), sql, args...).Scan(&n); err != nil {
		d.t.Fatal(err)
	}
	return n
}

// eventually waits for background work.
func (d *deployment) eventually(what string, done func() bool) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			d.t.Fatalf("still not: %s", what)
		}
	}
}

func correlations(appended []events.Event) map[uuid.UUID]bool {
	seen := map[uuid.UUID]bool{}
	for _, e := range appended {
		seen[e.CorrelationID] = true
	}
	return seen
}
