package forgetest

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"

	"github.com/go-oauth2/oauth2/v4"
	oautherrors "github.com/go-oauth2/oauth2/v4/errors"
)

// grantRequest is what a client sent to the token endpoint.
type grantRequest struct {
	grantType, client, secret string
	code, redirect, verifier  string
	refresh                   string
	redirectSent              bool
}

// readGrant reads a token request from a form or, where the dialect's forge does so, from JSON.
func (f *Forge) readGrant(r *http.Request) grantRequest {
	form := bodyValues(r)
	_, sent := form["redirect_uri"]
	g := grantRequest{
		grantType: form.Get("grant_type"), client: form.Get("client_id"), secret: form.Get("client_secret"),
		code: form.Get("code"), redirect: form.Get("redirect_uri"), redirectSent: sent && form.Get("redirect_uri") != "",
		verifier: form.Get("code_verifier"), refresh: form.Get("refresh_token"),
	}
	if f.traits.basicOnly {
		g.client, g.secret = "", ""
	}
	if id, password, ok := r.BasicAuth(); ok && (f.traits.basicAuth || f.traits.basicOnly) {
		if unescaped, err := url.QueryUnescape(id); err == nil {
			id = unescaped
		}
		if unescaped, err := url.QueryUnescape(password); err == nil {
			password = unescaped
		}
		g.client, g.secret = id, password
	}
	return g
}

// bodyValues returns the parameters of a request's body, never those of its query: a secret in a URL is a mistake
// that a strict forge does not reward. The body can be read again.
func bodyValues(r *http.Request) url.Values {
	body, err := io.ReadAll(r.Body)
	r.Body = rewound(body)
	if err != nil {
		return url.Values{}
	}
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && mediaType == "application/json" {
		var fields map[string]json.RawMessage
		if json.Unmarshal(body, &fields) != nil {
			return url.Values{}
		}
		values := url.Values{}
		for name, raw := range fields {
			var text string
			if json.Unmarshal(raw, &text) == nil {
				values.Set(name, text)
			}
		}
		return values
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return url.Values{}
	}
	return values
}

// serveToken is the token endpoint: one grant or one refresh, in one transaction.
func (f *Forge) serveToken(w http.ResponseWriter, r *http.Request) {
	g := f.readGrant(r)
	if dialect, ok := f.dialect.(deviceDialect); ok && g.grantType == deviceGrantType {
		f.servePoll(w, r, dialect)
		return
	}
	f.mu.Lock()
	p, why := f.grant(r, g)
	f.mu.Unlock()
	if why != noReason {
		f.dialect.refuseGrant(w, r, refusal{reason: why, client: g.client, refresh: g.grantType == "refresh_token"})
		return
	}
	f.dialect.answerGrant(w, r, p)
}

func (f *Forge) grant(r *http.Request, g grantRequest) (*pair, reason) {
	switch {
	case g.grantType == "authorization_code", g.grantType == "" && f.config.Dialect.isGitHub():
	case g.grantType == "refresh_token" && f.traits.refreshTTL > 0:
	default:
		return nil, unsupportedGrant
	}
	client := f.ledger.clients[g.client]
	switch {
	case client == nil:
		return nil, unknownClient
	case g.secret == "":
		return nil, emptySecret
	case g.secret != client.Secret:
		return nil, wrongSecret
	}
	if g.grantType == "refresh_token" {
		return f.refresh(r, g)
	}
	return f.exchange(r, g)
}

// exchange redeems a code. The library refuses; what it does not tell apart, because RFC 6749 has one error for all
// of it, is told apart here by looking at the code again.
func (f *Forge) exchange(r *http.Request, g grantRequest) (*pair, reason) {
	c := f.ledger.codes[g.code]
	if g.code == "" {
		return nil, missingCode
	}
	if !g.redirectSent && !f.traits.redirectOptional {
		return nil, missingRedirect
	}
	redirect, verifier := g.redirect, g.verifier
	if c != nil && !g.redirectSent {
		redirect = c.redirect
	}
	if c != nil && f.config.FirstConsentSkipsPKCE && c.firstConsent {
		c.challenge, verifier = "", ""
	}
	wasUsed := c != nil && c.used
	info, err := f.manager.GenerateAccessToken(r.Context(), oauth2.AuthorizationCode, &oauth2.TokenGenerateRequest{
		ClientID: g.client, ClientSecret: g.secret, RedirectURI: redirect, Code: g.code, CodeVerifier: verifier, Request: r,
	})
	if err == nil {
		return f.ledger.tokens[info.GetAccess()].pair, noReason
	}
	mine := c != nil && c.client == g.client
	if c != nil && !wasUsed {
		c.used = mine && !f.traits.keepsCode
	}
	switch {
	case errors.Is(err, oautherrors.ErrInvalidRedirectURI):
		return nil, unregisteredRedirect
	case errors.Is(err, oautherrors.ErrMissingCodeVerifier) && verifier == "":
		return nil, missingVerifier
	case errors.Is(err, oautherrors.ErrMissingCodeVerifier), errors.Is(err, oautherrors.ErrInvalidCodeChallenge):
		return nil, failedPKCE
	case mine && !wasUsed && f.ledger.now().Before(c.expires) && c.redirect != redirect:
		return nil, differentRedirect
	default:
		return nil, badCode
	}
}

// refresh trades a refresh token for a new pair. The library does not compare the token's client with the caller's
// and knows no counters, so the dialect decides whether the token is good; the library then orders the replacement.
func (f *Forge) refresh(r *http.Request, g grantRequest) (*pair, reason) {
	if g.refresh == "" {
		return nil, missingRefresh
	}
	t := f.ledger.tokens[g.refresh]
	if t == nil {
		return nil, badRefresh
	}
	if why := f.dialect.refuseRefresh(t, g.client); why != noReason {
		return nil, why
	}
	info, err := f.manager.RefreshAccessToken(r.Context(), &oauth2.TokenGenerateRequest{
		ClientID: g.client, ClientSecret: g.secret, Refresh: g.refresh, Request: r,
	})
	if err != nil {
		return nil, badRefresh
	}
	return f.ledger.tokens[info.GetAccess()].pair, noReason
}
