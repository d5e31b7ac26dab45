package forgetest_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"

	"github.com/forgeauth/forgeauth/forge/forgetest"
)

// claims decodes the middle of a JWT.
func claims(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("a token of %d parts is no JWT", len(parts))
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestGiteaTokensSayWhatWasRecorded compares claims and fields of what is granted, at the exchange (11), at two refreshes
// one after the other (19, 21) and with openid (28). The counter is there with rotation on alone.
func TestGiteaTokensSayWhatWasRecorded(t *testing.T) {
	t.Parallel()
	for _, rotation := range []bool{false, true} {
		clock := newClock()
		f := start(t, forgetest.Config{Dialect: forgetest.Gitea, Rotation: &rotation, Now: clock.now})
		token := signIn(t, f, client, "alice")
		grant := claims(t, token.AccessToken)["gnt"]
		for counter := 1; counter <= 3; counter++ {
			issued := float64(clock.now().Unix())
			access := map[string]any{"gnt": grant, "tt": 0.0, "exp": issued + 3600, "iat": issued}
			refresh := map[string]any{"gnt": grant, "tt": 1.0, "exp": issued + 730*3600, "iat": issued}
			if rotation {
				refresh["cnt"] = float64(counter)
			}
			if diff := cmp.Diff(access, claims(t, token.AccessToken)); diff != "" {
				t.Errorf("rotation %t, access token %d: %s", rotation, counter, diff)
			}
			if diff := cmp.Diff(refresh, claims(t, token.RefreshToken)); diff != "" {
				t.Errorf("rotation %t, refresh token %d: %s", rotation, counter, diff)
			}
			clock.advance(time.Second)
			answer := post(t, tokenEndpoint(f), refreshForm(token.RefreshToken))
			var fields map[string]any
			answer.json(t, &fields)
			if answer.status != http.StatusOK || len(fields) != 4 || fields["token_type"] != "bearer" || fields["expires_in"] != 3600.0 {
				t.Fatalf("rotation %t, refresh %d: status %d, %d fields", rotation, counter, answer.status, len(fields))
			}
			token.AccessToken, _ = fields["access_token"].(string)
			token.RefreshToken, _ = fields["refresh_token"].(string)
		}
	}
	f := start(t, forgetest.Config{Dialect: forgetest.Gitea})
	app := application(f, client)
	app.Scopes = []string{"openid", "read:user"}
	token, err := app.Exchange(t.Context(), authorized(t, f, app, "alice"))
	if err != nil {
		t.Fatal(err)
	}
	identity, _ := token.Extra("id_token").(string)
	if got := claims(t, identity); got["iss"] != f.URL() || got["sub"] != "2" || !slices.Equal(got["aud"].([]any), []any{client.ID}) {
		t.Errorf("28 the identity token says %v", got)
	}
}

func TestGiteaDescribesTheAccountAsRecorded(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.Gitea})
	token := signIn(t, f, client, "alice")
	want := jsonLine(`{"id":2,"login":"alice","login_name":"","source_id":0,"full_name":"","email":"alice@forge.invalid",` +
		`"avatar_url":"` + f.URL() + `/avatars/alice","html_url":"` + f.URL() + `/alice","language":"en-US","is_admin":false,` +
		`"last_login":"2026-01-01T00:00:00Z","created":"2026-01-01T00:00:00Z","restricted":false,"active":true,"prohibit_login":false,` +
		`"location":"","website":"","description":"","visibility":"public","followers_count":0,"following_count":0,` +
		`"starred_repos_count":0,"username":"alice"}`)
	for _, scheme := range []string{"Bearer", "token"} { // 12 and 12b
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.APIURL()+"/user", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", scheme+" "+token.AccessToken)
		answer := send(t, request)
		if diff := cmp.Diff(want, answer.body); answer.status != http.StatusOK || diff != "" {
			t.Errorf("scheme %s: %d %s", scheme, answer.status, diff)
		}
		for name, value := range map[string]string{
			"Content-Type": "application/json;charset=utf-8", "X-Content-Type-Options": "nosniff",
			"Cache-Control": "max-age=0, private, must-revalidate, no-transform",
		} {
			if got := answer.header.Get(name); got != value {
				t.Errorf("scheme %s: %s %q", scheme, name, got)
			}
		}
	}
}

// TestTheFaultOfTheFirstConsentSpendsTheCode is exchange 3: the wrong verifier of exchange 2 bought a token, and the right
// one comes too late.
func TestTheFaultOfTheFirstConsentSpendsTheCode(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.Gitea, FirstConsentSkipsPKCE: true})
	verifier := oauth2.GenerateVerifier()
	code := authorized(t, f, application(f, client), "alice", oauth2.S256ChallengeOption(verifier))
	if answer := post(t, tokenEndpoint(f), exchangeForm(code, oauth2.GenerateVerifier())); answer.status != http.StatusOK {
		t.Fatalf("2 a wrong verifier: %d", answer.status)
	}
	answer := post(t, tokenEndpoint(f), exchangeForm(code, verifier))
	if answer.status != http.StatusBadRequest || answer.body != giteaError("unauthorized_client", "client is not authorized") {
		t.Errorf("3 the right verifier afterwards: %d %s", answer.status, answer.body)
	}
}
