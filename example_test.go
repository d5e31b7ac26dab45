package forgeauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

// A program that acts on forges opens the service beside the one that serves the operator, or in its place, and asks for an
// adapter each time it has something to do: that follows the operator's switches.
func Example_embedding() {
	database, done := exampleDatabase() // "postgres://forgeauth@localhost/forgeauth"
	defer done()
	ctx := forgeauth.WithActor(context.Background(), "mirror-bot") // who did it, as the log will say

	service, err := forgeauth.Open(ctx, forgeauth.Config{
		DatabaseURL:   secret.New(database),
		MigrateOnOpen: true,
		EncryptionKey: secret.New("q3J8vX0bN5mZ7rT2cW9yK4sH6dF1gA+eLpUoViEjRn0="), // openssl rand -base64 32
		Connections: []forge.Connection{{
			Name: "gitea", Kind: forge.Gitea, BaseURL: "https://git.example.org", Login: true,
			ClientID: "b9b3c1c6", ClientSecret: secret.New("gto_example"),
			Scopes: []string{"read:user", "write:repository", "write:issue", "read:organization"},
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = service.Close(ctx) }()

	if _, err := service.GetOperatorAdapter(ctx); errors.Is(err, forgeauth.ErrNoActiveForge) {
		fmt.Println("nobody has signed in yet")
	}

	// Usually the operator signs in with a browser. A token that was had elsewhere can be brought along.
	err = service.UpsertOperatorOAuth(ctx, forgeauth.OperatorOAuth{
		ForgeType: "gitea", AccountID: "7", AccountLogin: "ada", AccessToken: secret.New("an-access-token"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := service.SetActiveForge(ctx, "gitea"); err != nil {
		fmt.Println(err)
		return
	}

	port, err := service.GetOperatorAdapter(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("acting as", port.Binding().Account.Login, "on", port.Binding().BaseURL)
	// for repository, err := range port.Repositories(ctx, forge.RepositoryQuery{}) { … }

	for e, err := range service.Log().Read(ctx, events.Query{}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(e.Position, e.Stream, e.Type, "by", e.Actor)
	}

	// Output:
	// nobody has signed in yet
	// acting as ada on https://git.example.org
	// 1 token/gitea TokenIssued by mirror-bot
	// 2 active-forge ForgeActivated by mirror-bot
}

// The operator's pages are an http.Handler for the root of an origin of their own; the background work runs beside it.
func Example_serving() {
	database, done := exampleDatabase()
	defer done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	server := httptest.NewUnstartedServer(nil)
	service, err := forgeauth.Open(ctx, forgeauth.Config{
		DatabaseURL:   secret.New(database),
		MigrateOnOpen: true,
		EncryptionKey: secret.New("q3J8vX0bN5mZ7rT2cW9yK4sH6dF1gA+eLpUoViEjRn0="),
		PublicURL:     "http://" + server.Listener.Addr().String(),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	server.Config.Handler = service.Handler()
	server.Start()
	background := make(chan error, 1)
	go func() { background <- service.Run(ctx) }()

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/me", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	response, err := server.Client().Do(request)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = response.Body.Close()
	fmt.Println(response.Status)

	report, err := service.Verify(ctx, forgeauth.VerifyOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(report.Tables.Differences), "differences between the tables and the log")

	server.Close() // in this order: requests, background work, connections
	cancel()
	fmt.Println(<-background, service.Close(context.Background()))

	// Output:
	// 401 Unauthorized
	// 0 differences between the tables and the log
	// <nil> <nil>
}
