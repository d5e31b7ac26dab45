package forge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/forgeauth/forgeauth/secret"
)

// Bounds of what a token endpoint may say.
const (
	maxTokenLength   = 16 << 10
	maxTokenLifetime = 10 * 365 * 24 * time.Hour
	maxCodeLength    = 64
)

// config is the client of RFC 6749 as golang.org/x/oauth2 wants it. The client authenticates by parameters, which
// GitHub, GitLab, Gitea and Forgejo all take, or as the dialect says; an unset style would make that library send every
// request twice when the first is refused.
func (t *Transport) config(redirectURI string) *oauth2.Config {
	style := oauth2.AuthStyleInParams
	if t.dialect.ClientBasic {
		style = oauth2.AuthStyleInHeader
	}
	return &oauth2.Config{
		ClientID:     t.connection.ClientID,
		ClientSecret: t.connection.ClientSecret.Reveal(),
		RedirectURL:  redirectURI,
		Scopes:       t.connection.Scopes,
		Endpoint: oauth2.Endpoint{
			AuthURL:   t.connection.BaseURL + t.dialect.AuthorizePath,
			TokenURL:  t.connection.BaseURL + t.dialect.TokenPath,
			AuthStyle: style,
		},
	}
}

// AuthorizeURL implements [Provider].
func (t *Transport) AuthorizeURL(r AuthorizeRequest) string {
	return t.config(r.RedirectURI).AuthCodeURL(r.State,
		oauth2.SetAuthURLParam("code_challenge", r.Challenge),
		oauth2.SetAuthURLParam("code_challenge_method", "S256"))
}

// Exchange implements [Provider]: exactly one POST, on a connection of its own, following no redirect.
func (t *Transport) Exchange(ctx context.Context, r ExchangeRequest) (Token, error) {
	ctx, cancel := t.withTimeout(ctx)
	defer cancel()
	token, status, err := t.grant(ctx, &tokenPost{transport: t}, func(ctx context.Context) (*oauth2.Token, error) {
		return t.config(r.RedirectURI).Exchange(ctx, r.Code, oauth2.VerifierOption(r.Verifier))
	})
	if err != nil {
		return Token{}, t.fail("exchange", status, err)
	}
	return token, nil
}

// grant has the OAuth library make one request of the token endpoint, and says in our own words what came of it.
func (t *Transport) grant(
	ctx context.Context, post *tokenPost, ask func(context.Context) (*oauth2.Token, error),
) (token Token, status int, err error) {
	client := &http.Client{Transport: post, CheckRedirect: neverFollow}
	granted, err := ask(context.WithValue(ctx, oauth2.HTTPClient, client))
	if err == nil {
		if token, err = readToken(granted, t.now()); err == nil {
			return token, post.status, nil
		}
	}
	var refused *oauth2.RetrieveError
	switch {
	case post.err != nil:
		err = post.err
	case errors.As(err, &refused) && refused.ErrorCode != "":
		err = &ExchangeError{Code: reduceCode(refused.ErrorCode)}
	case ctx.Err() != nil:
		err = unreachable(ctx.Err())
	case !errors.Is(err, ErrUnavailable):
		// Neither a token nor an error code. What the library says of it can quote the body.
		err = unavailable("its token endpoint answered neither a token nor an error")
	}
	return Token{}, post.status, err
}

// tokenPost is the round tripper of one request to the token endpoint. It remembers what went wrong in our own words, since
// errors come back from [http.Client] and the OAuth library with URLs and bodies wrapped around them.
type tokenPost struct {
	transport *Transport
	// body, if not nil, stands between the form and the connection.
	body   func(io.ReadCloser) io.ReadCloser
	status int
	err    error
}

func (p *tokenPost) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Accept", "application/json") // without it GitHub answers a form
	if p.body != nil {
		req.Body = p.body(req.Body)
	}
	resp, body, err := p.transport.once(req)
	if resp != nil {
		p.status = resp.StatusCode
	}
	if err == nil {
		err = p.transport.judgeTokenAnswer(resp, body)
	}
	if err != nil {
		p.err = err
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// judgeTokenAnswer lets through what the OAuth library can tell apart: 200, and 4xx with an error code.
func (t *Transport) judgeTokenAnswer(resp *http.Response, body []byte) error {
	switch status := resp.StatusCode; {
	case status == http.StatusTooManyRequests || status == http.StatusForbidden:
		var limited *RateLimitedError
		if err := t.refusal(resp, body); errors.As(err, &limited) {
			return limited
		}
		return nil
	case status == http.StatusOK, status >= 400 && status < 500:
		return nil
	}
	return t.judge(resp, body)
}

func neverFollow(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// IsToken reports whether s can be a token: not empty, not too long, and of characters that fit a header (RFC 6749
// appendix A.12, without the space).
func IsToken(s string) bool { return len(s) <= maxTokenLength && isVisibleASCII(s) }

// readToken checks what was granted: a bearer token (RFC 6750) that fits a header, and a lifetime that makes sense.
func readToken(granted *oauth2.Token, now time.Time) (Token, error) {
	if !strings.EqualFold(granted.TokenType, "bearer") {
		return Token{}, unavailable("it granted a token that is no bearer token")
	}
	for _, value := range []string{granted.AccessToken, granted.RefreshToken} {
		if value != "" && !IsToken(value) {
			return Token{}, unavailable("it granted a token that is too long or has characters no token has")
		}
	}
	lifetime, err := readLifetime(granted.Extra("expires_in"))
	if err != nil {
		return Token{}, err
	}
	token := Token{Access: secret.New(granted.AccessToken), Refresh: secret.New(granted.RefreshToken)}
	if lifetime > 0 {
		token.ExpiresAt = now.Add(lifetime)
	}
	if scope, ok := granted.Extra("scope").(string); ok {
		token.Scopes = ParseScopes(scope)
	}
	return token, nil
}

// readLifetime reads expires_in (RFC 6749 §5.1): seconds, as a number or, at some servers, a string. Absent and 0 mean
// that the token does not expire, and any part of a second that it does; more than ten years is taken as ten years.
func readLifetime(raw any) (time.Duration, error) {
	seconds := math.NaN()
	switch v := raw.(type) {
	case nil:
		return 0, nil
	case float64:
		seconds = v
	case int64:
		seconds = float64(v)
	case string:
		if v == "" {
			return 0, nil
		}
		if parsed, err := strconv.ParseFloat(v, 64); err == nil {
			seconds = parsed
		}
	}
	if math.IsNaN(seconds) || seconds < 0 {
		return 0, unavailable("it granted a token with a lifetime that is no number of seconds")
	}
	if seconds > maxTokenLifetime.Seconds() {
		return maxTokenLifetime, nil
	}
	lifetime := time.Duration(seconds * float64(time.Second))
	if seconds > 0 {
		lifetime = max(lifetime, 1) // 0 would be a token that lives for ever
	}
	return lifetime, nil
}

// reduceCode keeps of an error code what can be shown and compared.
func reduceCode(code string) string {
	reduced := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r == '_' {
			return r
		}
		return -1
	}, strings.ToLower(code[:min(len(code), 4*maxCodeLength)]))
	if reduced == "" {
		return "unrecognised"
	}
	return reduced[:min(len(reduced), maxCodeLength)]
}
