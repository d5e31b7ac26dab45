package forgeauth_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/forge/gitea"
	"github.com/forgeauth/forgeauth/secret"
)

// What a program does for its operator, it does on the forge that is active when it begins. An adapter is for one thing to do:
// it stays bound to the forge and account it was made for, whatever the operator switches to meanwhile.
func Example_acting() {
	service, world := exampleDeployment() // connected to gitea and forgejo; gitea is active
	defer world.close()
	ctx := context.Background()

	port, err := service.GetOperatorAdapter(ctx)
	if err != nil {
		fmt.Println(err) // forgeauth.ErrNoActiveForge, or forge.ErrNeedsReauth: a person has to sign in
		return
	}
	repository, err := port.Repository(ctx, forge.RepositoryRef{Path: "ada/site"})
	if err != nil {
		fmt.Println(err)
		return
	}
	in := repository.Ref() // by its id: names are renamed, and then taken by others

	file, err := port.File(ctx, in, "README.md", "main")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s has %d bytes\n", file.Path, len(file.Content))

	issue, err := port.Issue(ctx, in, world.issue)
	if err != nil {
		fmt.Println(err)
		return
	}
	comment, err := port.Comment(ctx, in, forge.Subject{Number: issue.Number}, "Seen, and on it.")
	if err != nil {
		fmt.Println(err) // after forge.ErrUnavailable the comment may be there: look before doing it again
		return
	}
	fmt.Printf("%s commented %q on %s\n", comment.Author.Login, issue.Title, port.Binding().Connection)

	err = port.SetStatus(ctx, in, world.commit, forge.Status{Context: "ci/build", State: forge.StatusSuccess, Description: "12 tests passed"})
	fmt.Println(err)

	// Output:
	// README.md has 7 bytes
	// ada commented "The build is broken" on gitea
	// <nil>
}

// A branch is proposed once: where it is proposed already, that is an error of its own.
func Example_openingAChange() {
	service, world := exampleDeployment()
	defer world.close()
	ctx := context.Background()

	port, err := service.GetOperatorAdapter(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	in := forge.RepositoryRef{Path: "ada/site"}
	proposed := forge.NewChange{Title: "Mend the build", Body: "It was the cache.", Source: "mend", Draft: true}
	for range 2 {
		change, err := port.OpenChange(ctx, in, proposed)
		switch {
		case errors.Is(err, forge.ErrConflict):
			fmt.Println("it is proposed already")
		case err != nil:
			fmt.Println(err)
		default:
			fmt.Println(change.State, change.Source, "→", change.Target, "draft:", change.Draft)
		}
	}

	// Output:
	// open mend → main draft: true
	// it is proposed already
}

// Repositories come page by page as they are consumed: whoever stops early has asked for no more. The query narrows what comes
// and not what is asked for, since forges search by rules of their own.
func Example_repositories() {
	service, world := exampleDeployment()
	defer world.close()
	ctx := context.Background()

	port, err := service.GetOperatorAdapter(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for repository, err := range port.Repositories(ctx, forge.RepositoryQuery{Text: "SITE", WithoutArchived: true}) {
		if err != nil {
			fmt.Println(err) // the sequence ends here; what came before it is good
			return
		}
		fmt.Println(repository.ID, repository.Path, repository.Default)
	}

	// Output:
	// 1 ada/site main
}

// Webhooks outlive what was active when they were made. Cleaning up asks for the adapter of the connection that has them.
func Example_cleaningUpWebhooks() {
	service, world := exampleDeployment()
	defer world.close()
	ctx := context.Background()

	port, err := service.GetOperatorAdapter(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	in := forge.RepositoryRef{ID: "1"}
	spec := forge.HookSpec{
		URL: "https://bot.example.org/deliveries", Secret: secret.New(rand.Text()), Events: []forge.HookEvent{forge.HookPush, forge.HookChange},
	}
	hook, err := port.EnsureHook(ctx, in, spec)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(port.Binding().Connection, "delivers", hook.Events) // remember the connection, the repository's id and the URL

	if err := service.SetActiveForge(ctx, "forgejo"); err != nil { // the operator goes elsewhere
		fmt.Println(err)
		return
	}
	port, err = service.AdapterFor(ctx, "gitea")
	if err != nil {
		fmt.Println(err) // forge.ErrNeedsReauth where nobody is signed in there any more
		return
	}
	for hook, err := range port.Hooks(ctx, in) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if hook.URL != spec.URL {
			continue
		}
		if err := port.RemoveHook(ctx, in, hook.ID); err != nil { // one that is gone already is no error
			fmt.Println(err)
			return
		}
	}
	fmt.Println(len(world.gitea.Webhooks(1)), "webhooks are left")

	// Output:
	// gitea delivers [push change]
	// 0 webhooks are left
}

// A delivery counts if it is signed. While a secret is being replaced there are two.
func Example_receivingDeliveries() {
	service, world := exampleDeployment()
	defer world.close()
	current, former := secret.New("b3f1c0ffee5eed42"), secret.New("a2e0beadfacade31") // out of your own configuration

	verifier, err := service.HookVerifier("gitea")
	if err != nil {
		fmt.Println(err)
		return
	}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 25<<20))
		if err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		delivery, err := verifier.Verify(r.Header, body, current, former) // the body as it came, before anything reads JSON
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized) // errors.Is(err, forge.ErrSignature)
			return
		}
		// The same delivery can come again: remember delivery.ID. Work later, and answer at once: forges wait for seconds.
		fmt.Println(delivery.Event, delivery.Name, delivery.ID != "")
	}))
	defer receiver.Close()

	for _, signedWith := range []string{"b3f1c0ffee5eed42", "a2e0beadfacade31", "somebody-elses-secret"} {
		world.gitea.AddWebhook(1, forgetest.Webhook{URL: receiver.URL, Secret: signedWith, Events: []string{"issues"}, Active: true})
	}
	deliveries, err := world.gitea.Deliver(context.Background(), 1, forgetest.Happening{Event: forge.HookIssue, Number: world.issue})
	for _, d := range deliveries {
		fmt.Println(d.Status)
	}
	fmt.Println(err)

	// Output:
	// issue issues true
	// issue issues true
	// 200
	// 200
	// 401
	// <nil>
}

// Each error says what helps. Nothing is tried twice behind the program's back.
func Example_errors() {
	service, world := exampleDeployment()
	defer world.close()
	ctx := context.Background()

	port, err := service.GetOperatorAdapter(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	world.gitea.Next(forgetest.RepositoryEndpoint, forgetest.TooManyRequests(90*time.Second))
	for range 2 {
		_, err = port.Repository(ctx, forge.RepositoryRef{Path: "ada/site"})
		limited, isLimited := errors.AsType[*forge.RateLimitedError](err)
		switch {
		case isLimited && limited.Until.IsZero():
			fmt.Println("wait, for as long as seems right")
		case isLimited:
			fmt.Println("wait for more than a minute:", time.Until(limited.Until) > time.Minute)
		case errors.Is(err, forge.ErrUnavailable):
			fmt.Println("try again later, if it may be done twice")
		case errors.Is(err, forge.ErrNeedsReauth):
			fmt.Println("ask the operator to sign in")
		case err != nil:
			fmt.Println(err)
		default:
			fmt.Println("here it is")
		}
	}
	_, err = port.Repository(ctx, forge.RepositoryRef{Path: "ada/no-such"})
	fmt.Println(errors.Is(err, forge.ErrNotFound), err)

	// Output:
	// wait for more than a minute: true
	// here it is
	// true gitea: repository: HTTP 404: not found, or not visible to this account
}

// exampleWorld is what the examples act on: two forges, with a repository at the first.
type exampleWorld struct {
	gitea, forgejo *forgetest.Forge
	issue          int64
	commit         string
	close          func()
}

// exampleDeployment is an open service whose operator, ada, is connected to both forges. It panics where it cannot be.
func exampleDeployment() (*forgeauth.Service, exampleWorld) {
	ctx := context.Background()
	database, done := exampleDatabase()
	world := exampleWorld{}
	config := forgeauth.Config{
		DatabaseURL: secret.New(database), MigrateOnOpen: true, EncryptionKey: secret.New("q3J8vX0bN5mZ7rT2cW9yK4sH6dF1gA+eLpUoViEjRn0="),
	}
	var tokens []forgeauth.OperatorOAuth
	for _, dialect := range []forgetest.Dialect{forgetest.Forgejo, forgetest.Gitea} {
		stand, connection, token := exampleForge(ctx, dialect)
		config.Connections, tokens = append(config.Connections, connection), append(tokens, token)
		if dialect == forgetest.Gitea {
			world.gitea = stand
		} else {
			world.forgejo = stand
		}
	}
	world.issue = world.gitea.OpenIssue(1, "ada", "The build is broken", "Since yesterday.")
	world.gitea.Commit(1, "mend", "cache", []byte("none"))
	world.commit = world.gitea.Head(1, "main")

	service, err := forgeauth.Open(ctx, config)
	for _, token := range tokens {
		if err == nil {
			err = service.UpsertOperatorOAuth(ctx, token)
		}
		if err == nil {
			err = service.SetActiveForge(ctx, token.ForgeType)
		}
	}
	if err != nil {
		panic(err)
	}
	world.close = func() {
		_ = service.Close(ctx)
		world.gitea.Close()
		world.forgejo.Close()
		done()
	}
	return service, world
}

// exampleForge is a stand-in for a forge that ada has consented at, the connection to it, and the token that came of it.
func exampleForge(ctx context.Context, dialect forgetest.Dialect) (*forgetest.Forge, forge.Connection, forgeauth.OperatorOAuth) {
	const redirect, verifier = "http://127.0.0.1:1/callback", "a-verifier-of-at-least-forty-three-characters"
	stand, err := forgetest.Listen(ctx, forgetest.Config{
		Dialect: dialect,
		Users: []forgetest.User{{ID: 7, Login: "ada", Repositories: []forgetest.Repository{
			{ID: 1, Name: "site", DefaultBranch: "main"}, {ID: 2, Name: "old-site", DefaultBranch: "main", Archived: true}, {ID: 3, Name: "tools"},
		}}},
		Clients: []forgetest.Client{{ID: "b9b3c1c6", Secret: "gto_example", RedirectURIs: []string{redirect}}},
	})
	if err != nil {
		panic(err)
	}
	info, _ := forge.Info(dialect.Kind())
	connection := forge.Connection{
		Name: dialect.String(), Kind: info.Kind, BaseURL: stand.URL(), ClientID: "b9b3c1c6", ClientSecret: secret.New("gto_example"),
		Scopes: info.Scopes, Login: true,
	}
	provider, err := gitea.New(connection, forge.Options{})
	if err != nil {
		panic(err)
	}
	challenge := sha256.Sum256([]byte(verifier))
	callback, err := stand.Consent(ctx, provider.AuthorizeURL(forge.AuthorizeRequest{
		State: "state", RedirectURI: redirect, Challenge: base64.RawURLEncoding.EncodeToString(challenge[:]),
	}), "ada")
	if err != nil {
		panic(err)
	}
	back, err := url.Parse(callback)
	if err != nil {
		panic(err)
	}
	token, err := provider.Exchange(ctx, forge.ExchangeRequest{Code: back.Query().Get("code"), RedirectURI: redirect, Verifier: verifier})
	if err != nil {
		panic(err)
	}
	return stand, connection, forgeauth.OperatorOAuth{
		ForgeType: connection.Name, AccountID: "7", AccountLogin: "ada", AccessToken: token.Access, RefreshToken: token.Refresh,
		ExpiresAt: token.ExpiresAt,
	}
}
