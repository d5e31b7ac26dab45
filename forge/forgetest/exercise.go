package forgetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

// NewProvider is the constructor of an adapter package.
type NewProvider func(forge.Connection, forge.Options) (forge.Provider, error)

// Exercise is the conformance suite of [forge.Provider] and [forge.Port]: it runs the same for every adapter, against a
// stand-in forge of the given dialect, over real HTTP. It looks for every secret that the forge issued, and for a mark
// planted in bodies and headers, in each error it gets and in the debug log. Of config, Dialect and Rotation count; the
// suite fills in the rest.
func Exercise(t *testing.T, config Config, newProvider NewProvider) {
	t.Helper()
	x := &exercise{config, newProvider}
	for name, run := range map[string]func(*testing.T, *exercise){
		"SignIn":       exerciseSignIn,
		"Exchange":     exerciseExchange,
		"Refresh":      exerciseRefresh,
		"Device":       exerciseDevice,
		"Account":      exerciseAccount,
		"Grant":        exerciseGrant,
		"Repositories": exerciseRepositories,
		"Faults":       exerciseFaults,
		"Revoke":       exerciseRevoke,
		"HTTPClient":   exerciseHTTPClient,
		"Together":     exerciseTogether,
		"Repository":   exerciseRepository,
		"Query":        exerciseQuery,
		"Files":        exerciseFiles,
		"Issues":       exerciseIssues,
		"Comments":     exerciseComments,
		"Changes":      exerciseChanges,
		"OpenChange":   exerciseOpenChange,
		"Statuses":     exerciseStatuses,
		"Hooks":        exerciseHooks,
		"Deliveries":   exerciseDeliveries,
		"Methods":      exerciseMethods,
		"WorkTogether": exerciseWorkTogether,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, x)
		})
	}
}

type exercise struct {
	config      Config
	newProvider NewProvider
}

const (
	exerciseRedirect = "http://127.0.0.1:1/oauth/callback"
	exerciseLogin    = "alice"
	exerciseUserID   = 4711
	// exerciseMark stands in bodies, headers and addresses that must leave no trace.
	exerciseMark = "plantedmark5309"
)

var exerciseClock = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// bench is one forge with one provider.
type bench struct {
	*Forge
	provider forge.Provider
	log      syncBuffer
	verifier string
}

// option changes a bench before it is built.
type option func(*Config, *forge.Connection)

func (x *exercise) bench(t *testing.T, options ...option) *bench {
	t.Helper()
	config := Config{
		Dialect: x.config.Dialect, Rotation: x.config.Rotation, RequirePKCE: true,
		Now:   func() time.Time { return exerciseClock },
		Users: []User{{ID: exerciseUserID, Login: exerciseLogin, Name: "Alice", Repositories: Repositories(1, 3)}},
		Clients: []Client{{
			ID: "exercise-client", Secret: "exercise-secret-0451", RedirectURIs: []string{exerciseRedirect, exerciseRedirect + "/other"},
		}},
	}
	kind := x.config.Dialect.Kind()
	info, _ := forge.Info(kind)
	connection := forge.Connection{
		Name: "exercised", Kind: kind, ClientID: config.Clients[0].ID, ClientSecret: secret.New(config.Clients[0].Secret),
		Scopes: info.Scopes,
	}
	for _, apply := range options {
		apply(&config, &connection)
	}
	b := &bench{Forge: Start(t, config), verifier: "verifier-" + strings.Repeat("v", 60)}
	if connection.BaseURL == "" {
		connection.BaseURL = b.URL()
	}
	provider, err := x.newProvider(connection, forge.Options{
		Now:    func() time.Time { return exerciseClock },
		Logger: slog.New(slog.NewTextHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	b.provider = provider
	t.Cleanup(func() { b.clean(t, b.log.String()) })
	return b
}

// Kind returns the kind of forge that the dialect is one of.
func (d Dialect) Kind() forge.Kind {
	switch d {
	case GitLab:
		return forge.GitLab
	case Gitea:
		return forge.Gitea
	case Forgejo:
		return forge.Forgejo
	case Bitbucket:
		return forge.Bitbucket
	default:
		return forge.GitHub
	}
}

// accountID is the id of the account that exercises sign in with.
func (x *exercise) accountID() string {
	if x.config.Dialect == Bitbucket {
		return bitbucketAccountID(exerciseUserID)
	}
	return forge.Number(exerciseUserID)
}

// id is what the port calls the repository or webhook to which the stand-in gave a number.
func (x *exercise) id(n int64) string {
	if x.config.Dialect == Bitbucket {
		return bitbucketUUID(n)
	}
	return forge.Number(n)
}

// code signs in at the forge and returns the code that comes back.
func (b *bench) code(t *testing.T) string {
	t.Helper()
	challenge := sha256.Sum256([]byte(b.verifier))
	callback, err := b.Consent(t.Context(), b.provider.AuthorizeURL(forge.AuthorizeRequest{
		State: "state+ /=&", RedirectURI: exerciseRedirect, Challenge: base64.RawURLEncoding.EncodeToString(challenge[:]),
	}), exerciseLogin)
	if err != nil {
		t.Fatal(err)
	}
	back, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	query := back.Query()
	if !strings.HasPrefix(callback, exerciseRedirect+"?") || query.Get("state") != "state+ /=&" || query.Get("code") == "" {
		t.Fatalf("the browser came back to %s with %d parameters", back.Path, len(query))
	}
	return query.Get("code")
}

func (b *bench) exchange(ctx context.Context, code string) (forge.Token, error) {
	token, err := b.provider.Exchange(ctx, forge.ExchangeRequest{Code: code, RedirectURI: exerciseRedirect, Verifier: b.verifier})
	if err != nil {
		return token, fmt.Errorf("exercise: %w", err)
	}
	return token, nil
}

// token signs in all the way.
func (b *bench) token(t *testing.T) forge.Token {
	t.Helper()
	token, err := b.exchange(t.Context(), b.code(t))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// port signs in and binds.
func (b *bench) port(t *testing.T) forge.Port {
	t.Helper()
	return b.bind(b.token(t))
}

func (b *bench) bind(token forge.Token) forge.Port {
	return b.provider.Bind(forge.Binding{Connection: "exercised", Generation: 7}, forge.StaticToken(token))
}

// fails checks that err is want, in the frame that names connection and operation, and leaks nothing.
func (b *bench) fails(t *testing.T, op string, err, want error) {
	t.Helper()
	var framed *forge.Error
	if !errors.Is(err, want) || !errors.As(err, &framed) || framed.Connection != "exercised" || framed.Op != op {
		t.Errorf("%s: %v; want %v", op, err, want)
	}
	if err == nil {
		return
	}
	b.clean(t, fmt.Sprintf("%v %+v %q", err, err, err))
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		b.clean(t, inner.Error())
	}
}

// failsAs is fails for a typed error, which it returns.
func failsAs[E error](t *testing.T, b *bench, op string, err error) E {
	t.Helper()
	var want E
	if !errors.As(err, &want) {
		t.Fatalf("%s: %v; want %T", op, err, want)
	}
	b.fails(t, op, err, want)
	return want
}

// clean checks that a text holds no secret, in any of its usual spellings, and no planted mark.
func (b *bench) clean(t *testing.T, text string) {
	t.Helper()
	if strings.Contains(text, exerciseMark) || strings.Contains(text, b.verifier) || strings.Contains(text, "state+") {
		t.Errorf("something that came from or went to the forge shows up in %q", text)
	}
	for _, issue := range b.Issued() {
		value := issue.Value.Reveal()
		for _, spelling := range []string{value, url.QueryEscape(value), base64.StdEncoding.EncodeToString([]byte(value)), fmt.Sprintf("%x", value)} {
			if strings.Contains(text, spelling) {
				t.Errorf("a secret (%s) shows up in a text of %d bytes", issue.Kind, len(text))
			}
		}
	}
}

// collect reads all repositories.
func collect(ctx context.Context, port forge.Port) ([]forge.Repository, error) {
	var all []forge.Repository
	for r, err := range port.Repositories(ctx, forge.RepositoryQuery{}) {
		if err != nil {
			return all, err
		}
		all = append(all, r)
	}
	return all, nil
}

// trap is another server, on which nothing of ours may ever arrive.
func trap(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s reached another server, with authorization: %t", r.Method, r.URL.Path, r.Header.Get("Authorization") != "")
	}))
	t.Cleanup(s.Close)
	return s
}

// marked answers with the status and the mark all over.
func marked(status int, contentType, body string) Fault {
	return Fault{fmt.Sprintf("status %d with a mark", status), func(_ *Forge, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("X-Message", exerciseMark)
		w.Header().Set("WWW-Authenticate", `Bearer error_description="`+exerciseMark+`"`)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(strings.ReplaceAll(body, "MARK", exerciseMark)))
	}}
}

// syncBuffer is a buffer that many goroutines write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements [io.Writer].
func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
