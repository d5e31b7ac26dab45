package forgetest_test

import (
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"github.com/forgeauth/forgeauth/forge/forgetest"
)

// Both redirect URIs are registered; the exchange must name the one that was authorized.
func TestACodeIsBoundToTheRedirectURIItWasSentTo(t *testing.T) {
	t.Parallel()
	two := client
	two.RedirectURIs = []string{callback, callback + "/second"}
	for dialect, want := range map[forgetest.Dialect]string{
		forgetest.GitHub: "redirect_uri_mismatch", forgetest.GitHubApp: "redirect_uri_mismatch",
		forgetest.GitHubEnterprise: "redirect_uri_mismatch", forgetest.GitLab: "invalid_grant",
		forgetest.Gitea: "unexpected redirect URI", forgetest.Forgejo: "unexpected redirect URI",
	} {
		f := start(t, forgetest.Config{Dialect: dialect, Clients: []forgetest.Client{two}})
		app := application(f, two)
		form := with(exchangeForm(authorized(t, f, app, "alice"), ""), "code_verifier", "")
		if answer := post(t, app.Endpoint.TokenURL, with(form, "redirect_uri", callback+"/second")); !strings.Contains(answer.body, want) {
			t.Errorf("%v: %d %s", dialect, answer.status, answer.body)
		}
	}
}

func TestAVerifierWithoutAChallengeIsRefused(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		f := start(t, forgetest.Config{Dialect: dialect})
		app := application(f, client)
		code := authorized(t, f, app, "alice")
		if _, err := app.Exchange(t.Context(), code, oauth2.VerifierOption(oauth2.GenerateVerifier())); err == nil {
			t.Errorf("%v took it", dialect)
		}
	}
}

func TestParametersInTheAddressAreNotRead(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		f := start(t, forgetest.Config{Dialect: dialect})
		app := application(f, client)
		form := with(exchangeForm(authorized(t, f, app, "alice"), ""), "code_verifier", "")
		if answer := post(t, app.Endpoint.TokenURL+"?"+form.Encode(), nil); strings.Contains(answer.body, "access_token") {
			t.Errorf("%v took a code and a secret from the address", dialect)
		}
	}
}

func TestGitHubAsksAgainForMoreScopesOnly(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitHub})
	app := application(f, client)
	consents := func() (n int) {
		for _, step := range trail(f) {
			if strings.HasPrefix(step, "POST /login/oauth/decision") {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		name     string
		scopes   []string
		granted  string
		consents int
	}{
		{"the first time", []string{"repo"}, "repo", 1},
		{"the same", []string{"repo"}, "repo", 1},
		{"what is implied", []string{"public_repo"}, "public_repo", 1},
		{"none, which means as before", nil, "repo", 1},
		{"more", []string{"repo", "gist"}, "repo,gist", 2},
	} {
		app.Scopes = c.scopes
		token, err := app.Exchange(t.Context(), authorized(t, f, app, "alice"))
		if err != nil {
			t.Fatal(err)
		}
		if token.Extra("scope") != c.granted || consents() != c.consents {
			t.Errorf("%s: granted %q after %d consents", c.name, token.Extra("scope"), consents())
		}
	}
}

func TestThePageThatStopsAFlowIsNamedInTheError(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.GitLab})
	_, err := f.Consent(t.Context(), authorizeURL(f, map[string][]string{"client_id": {"nobody"}}), "alice")
	if err == nil || !strings.Contains(err.Error(), "status 401: Client authentication failed") {
		t.Errorf("%v", err)
	}
	if _, err := f.Consent(t.Context(), authorizeURL(f, nil), "nobody"); err == nil || !strings.Contains(err.Error(), "cannot log in") {
		t.Errorf("an account that does not exist: %v", err)
	}
}
