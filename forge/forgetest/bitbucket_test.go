package forgetest_test

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/forgeauth/forgeauth/forge/forgetest"
)

func basic(id, secret string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) }
}

func TestBitbucketKnowsClientsByTheirHeaderAlone(t *testing.T) {
	t.Parallel()
	signs := forgetest.Client{ID: "key", Secret: "s+e c:r%e/t", RedirectURIs: []string{callback}}
	f := start(t, forgetest.Config{Dialect: forgetest.Bitbucket, Clients: []forgetest.Client{signs}})
	app := application(f, signs)
	code := authorized(t, f, app, "alice")
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}}
	inForm := with(with(form, "client_id", signs.ID), "client_secret", signs.Secret)
	for name, answer := range map[string]reply{
		"by parameters":      post(t, app.Endpoint.TokenURL, inForm),
		"by a wrong header":  post(t, app.Endpoint.TokenURL, inForm, basic(signs.ID, "wrong")),
		"by nothing":         post(t, app.Endpoint.TokenURL, form),
		"as somebody else":   post(t, app.Endpoint.TokenURL, inForm, basic("other", signs.Secret)),
		"without any secret": post(t, app.Endpoint.TokenURL, inForm, basic(signs.ID, "")),
	} {
		if answer.status != http.StatusBadRequest || !strings.Contains(answer.body, `"error":"unauthorized_client"`) {
			t.Errorf("%s: %d %s", name, answer.status, answer.body)
		}
	}
	if answer := post(t, app.Endpoint.TokenURL, form, basic(signs.ID, signs.Secret)); answer.status != http.StatusOK {
		t.Errorf("by its header: %d %s", answer.status, answer.body)
	}
}

func TestBitbucketGrantsWhatTheConsumerIsRegisteredFor(t *testing.T) {
	t.Parallel()
	for want, registered := range map[string][]string{
		"account pullrequest:write webhook": nil, // the defaults
		"account":                           {"account", "email"},
		"account pullrequest:write":         {"repository", "repository:write", "pullrequest", "pullrequest:write", "account"},
		"pullrequest repository:write":      {"repository:write", "pullrequest"},
		"":                                  {},
	} {
		consumer := client
		consumer.Scopes = registered
		f := start(t, forgetest.Config{Dialect: forgetest.Bitbucket, Clients: []forgetest.Client{consumer}})
		app := application(f, consumer)
		app.Scopes = []string{"repository:admin", "no-such"}
		token, err := app.Exchange(t.Context(), authorized(t, f, app, "alice"))
		if err != nil {
			t.Fatal(err)
		}
		if got := token.Extra("scope"); got != want || token.Extra("scopes") != nil || len(token.AccessToken) < 2500 || len(token.RefreshToken) < 2500 {
			t.Errorf("registered for %q, granted %q", registered, got)
		}
		answer := get(t, f.APIURL()+"/user", token.AccessToken)
		isAllowed := strings.Contains(want, "account")
		if (answer.status == http.StatusOK) != isAllowed || answer.header.Get("X-Accepted-OAuth-Scopes") != "account" ||
			answer.header.Get("X-OAuth-Scopes") != strings.ReplaceAll(want, " ", ", ") {
			t.Errorf("%q: %d %v", want, answer.status, answer.header)
		}
		if !isAllowed && (answer.status != http.StatusForbidden || !strings.Contains(answer.body, `"detail":{"required":["account"],"granted":[`)) {
			t.Errorf("%q: %d %s", want, answer.status, answer.body)
		}
	}
}

func TestARefreshTokenOfBitbucketWorksForTenMinutesMore(t *testing.T) {
	t.Parallel()
	at := newClock()
	f := start(t, forgetest.Config{Dialect: forgetest.Bitbucket, Now: at.now})
	app := application(f, client)
	first := signIn(t, f, client, "alice")
	refresh := func(value string) (granted string, answer reply) {
		t.Helper()
		answer = post(t, app.Endpoint.TokenURL, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {value}}, basic(client.ID, client.Secret))
		if answer.status != http.StatusOK {
			return "", answer
		}
		var token oauth2.Token
		answer.json(t, &token)
		return token.RefreshToken, answer
	}
	second, _ := refresh(first.RefreshToken)
	if second == "" || second == first.RefreshToken || !f.Live(first.AccessToken) || !f.Live(first.RefreshToken) {
		t.Fatal("the first refresh")
	}
	for _, step := range []struct {
		wait time.Duration
		good bool
	}{{0, true}, {9 * time.Minute, true}, {time.Minute, false}, {time.Hour, false}} {
		at.advance(step.wait)
		granted, answer := refresh(first.RefreshToken)
		if (granted != "") != step.good || f.Live(first.RefreshToken) != step.good {
			t.Errorf("after %v: %d %s", step.wait, answer.status, answer.body)
		}
		if !step.good && (answer.status != http.StatusBadRequest || !strings.Contains(answer.body, "Invalid refresh_token")) {
			t.Errorf("after %v: %d %s", step.wait, answer.status, answer.body)
		}
	}
	if third, answer := refresh(second); third == "" {
		t.Errorf("the second: %d %s", answer.status, answer.body)
	}
	if _, answer := refresh(first.AccessToken); answer.status != http.StatusBadRequest {
		t.Errorf("an access token: %d", answer.status)
	}
}

func TestListsAcrossWorkspacesAreGoneFromBitbucket(t *testing.T) {
	t.Parallel()
	f := start(t, forgetest.Config{Dialect: forgetest.Bitbucket})
	token := signIn(t, f, client, "alice").AccessToken
	for _, path := range []string{"/repositories?role=member", "/workspaces", "/user/permissions/repositories", "/user/permissions/workspaces"} {
		if answer := get(t, f.APIURL()+path, token); answer.status != http.StatusGone || !strings.Contains(answer.body, "CHANGE-2770") {
			t.Errorf("%s: %d %s", path, answer.status, answer.body)
		}
	}
	if answer := get(t, f.APIURL()+"/repositories/alice/repository-0001/issues/1", token); answer.status != http.StatusNotFound {
		t.Errorf("an issue: %d", answer.status)
	}
	var page struct {
		PageLen int
		Next    string
		Values  []struct{ UUID string }
	}
	get(t, f.APIURL()+"/repositories/alice?pagelen=1000", token).json(t, &page)
	if page.PageLen != 100 || len(page.Values) != 75 || page.Next != "" {
		t.Errorf("%d of %d to a page", len(page.Values), page.PageLen)
	}
	get(t, f.APIURL()+"/repositories/alice", token).json(t, &page)
	if page.PageLen != 10 || page.Next != f.APIURL()+"/repositories/alice?page=2" {
		t.Errorf("%d to a page, then %s", page.PageLen, page.Next)
	}
}

// TestBitbucketRefusesWhatItDoesNotTake sends what the adapter never does.
func TestBitbucketRefusesWhatItDoesNotTake(t *testing.T) {
	t.Parallel()
	consumer := client
	consumer.Scopes = []string{"account", "repository", "webhook"} // and no pull requests
	f := start(t, forgetest.Config{Dialect: forgetest.Bitbucket, Clients: []forgetest.Client{consumer}})
	token := signIn(t, f, consumer, "alice").AccessToken
	base := f.APIURL() + "/repositories/alice/repository-0001"
	status := func(body string) string { return base + "/commit/" + f.Head(1, "main") + "/statuses/build " + body }
	hook := func(body string) string { return base + "/hooks " + body }
	const good = `"description":"d","url":"https://hooks.invalid/","events":["repo:push"]`
	for request, want := range map[string]string{
		status(`{"key":"k","state":"SUCCESSFUL","url":"https://x/"}`):                           "201",
		status(`{"key":"` + strings.Repeat("k", 41) + `","state":"FAILED","url":"https://x/"}`): "400 at most 40 characters (it has 41)",
		status(`{"key":"k","state":"success","url":"https://x/"}`):                              "400 not one of the available choices",
		status(`{"key":"k","state":"FAILED"}`):                                                  "400 Enter a valid URL",
		status(`{"state":"FAILED","url":"https://x/"}`):                                         "400 required",
		status(`{`):            "400",
		hook(`{` + good + `}`): "201",
		hook(`{"url":"https://hooks.invalid/","events":["repo:push"]}`):                                     "400 description",
		hook(`{` + good + `,"secret":"` + strings.Repeat("s", 129) + `"}`):                                  "400 at most 128",
		hook(`{"description":"d","url":"https://hooks.invalid/","events":["issue:created"]}`):               "400 not a valid event",
		hook(`{"description":"d","url":"https://hooks.invalid/","events":[]}`):                              "400 at least 1",
		hook(`{"description":"d","url":"https://hooks.invalid/","events":["pullrequest:created"]}`):         `403 "required":["webhook","pullrequest"]`,
		base + `/pullrequests {"title":"t","source":{"branch":{"name":"main"}}}`:                            `403 "required":["pullrequest:write"]`,
		f.APIURL() + `/repositories/%7B%7D/%7B7a5e0000-0000-4000-8000-000000000099%7D/hooks {` + good + `}`: "404",
	} {
		address, body, _ := strings.Cut(request, " ")
		answer := post(t, address, nil, func(r *http.Request) {
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+token)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		})
		code, words, _ := strings.Cut(want, " ")
		if code != strconv.Itoa(answer.status) || !strings.Contains(answer.body, words) {
			t.Errorf("%s: %d %s, want %s", body, answer.status, answer.body, want)
		}
	}
}
