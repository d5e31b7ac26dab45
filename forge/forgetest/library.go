package forgetest

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-oauth2/oauth2/v4"
	oautherrors "github.com/go-oauth2/oauth2/v4/errors"
	"github.com/go-oauth2/oauth2/v4/manage"
	"github.com/go-oauth2/oauth2/v4/models"
)

// newManager returns the library's authorization manager over this forge's ledger. The manager issues codes, checks
// what an exchange must match (client, secret, redirect URI, challenge), and orders what a refresh replaces; the
// ledger below it keeps time, so that the injected clock decides every expiry. It runs with f.mu held: that makes a
// grant one transaction, as it is at a forge, where the library alone would let two exchanges of one code both pass.
func newManager(f *Forge) *manage.Manager {
	m := manage.NewManager()
	back := library{f}
	m.MapClientStorage(back)
	m.MapTokenStorage(back)
	m.MapAuthorizeGenerate(codeMint{f})
	m.MapAccessGenerate(tokenMint{f})
	m.SetValidateURIHandler(exactRedirect)
	m.SetAuthorizeCodeExp(neverByLibrary)
	m.SetAuthorizeCodeTokenCfg(&manage.Config{IsGenerateRefresh: f.traits.refreshTTL > 0})
	m.SetRefreshTokenCfg(&manage.RefreshingConfig{
		IsGenerateRefresh:  true,
		IsRemoveAccess:     f.traits.refreshKillsAccess,
		IsRemoveRefreshing: f.traits.rotates,
	})
	return m
}

// neverByLibrary is a lifetime that the library, which asks the system's clock, will not see the end of.
const neverByLibrary = time.Duration(math.MaxInt64)

// exactRedirect is the library's hook for redirect URIs: registered is the client's "domain", which holds its
// redirect URIs separated by line breaks.
func exactRedirect(registered, redirect string) error {
	if slices.Contains(strings.Split(registered, "\n"), redirect) {
		return nil
	}
	return oautherrors.ErrInvalidRedirectURI
}

// library is the ledger as the library's client and token stores.
type library struct{ f *Forge }

var (
	_ oauth2.TokenStore  = library{}
	_ oauth2.ClientStore = library{}
)

// GetByID implements [oauth2.ClientStore].
func (s library) GetByID(_ context.Context, id string) (oauth2.ClientInfo, error) {
	client := s.f.ledger.clients[id]
	if client == nil {
		return nil, oautherrors.ErrInvalidClient
	}
	return &models.Client{ID: client.ID, Secret: client.Secret, Domain: strings.Join(client.RedirectURIs, "\n")}, nil
}

// Create implements [oauth2.TokenStore] for codes and for token pairs.
func (s library) Create(_ context.Context, info oauth2.TokenInfo) error {
	l := &s.f.ledger
	user, err := strconv.ParseInt(info.GetUserID(), 10, 64)
	if err != nil {
		return oautherrors.ErrServerError
	}
	now := l.now()
	if value := info.GetCode(); value != "" {
		l.codes[value] = &code{
			value: value, client: info.GetClientID(), user: user, redirect: info.GetRedirectURI(), scope: info.GetScope(),
			challenge: info.GetCodeChallenge(), method: info.GetCodeChallengeMethod().String(),
			expires: now.Add(s.f.config.CodeTTL),
		}
		l.record(CodeIssue, value)
		return nil
	}
	p := &pair{client: info.GetClientID(), user: user, scope: info.GetScope(), issuedAt: now}
	p.access = &token{value: info.GetAccess(), kind: AccessTokenIssue, pair: p, lastUsed: now}
	if ttl := s.f.traits.accessTTL; ttl > 0 {
		p.access.expires = now.Add(ttl)
	}
	if value := info.GetRefresh(); value != "" {
		p.refresh = &token{value: value, kind: RefreshTokenIssue, pair: p, expires: now.Add(s.f.traits.refreshTTL)}
		if c := l.consents[consentKey{user, p.client}]; c != nil {
			p.refresh.counter = c.counter
		}
	}
	l.store(p)
	if limit := s.f.traits.tokenLimit; limit > 0 {
		l.enforceLimit(p, limit)
	}
	return nil
}

// RemoveByCode implements [oauth2.TokenStore]: the code is spent.
func (s library) RemoveByCode(_ context.Context, value string) error {
	c := s.f.ledger.codes[value]
	if c == nil || c.used {
		return oautherrors.ErrInvalidAuthorizeCode
	}
	c.used = true
	return nil
}

// RemoveByAccess implements [oauth2.TokenStore].
func (s library) RemoveByAccess(_ context.Context, value string) error {
	if t := s.f.ledger.tokens[value]; t != nil {
		t.revoked = true
	}
	return nil
}

// RemoveByRefresh implements [oauth2.TokenStore]: the refresh token is spent.
func (s library) RemoveByRefresh(_ context.Context, value string) error {
	if t := s.f.ledger.tokens[value]; t != nil {
		if t.spent.IsZero() {
			t.spent = s.f.ledger.now()
		}
	}
	return nil
}

// GetByCode implements [oauth2.TokenStore]; a code that is used or too old is not there.
func (s library) GetByCode(_ context.Context, value string) (oauth2.TokenInfo, error) {
	c := s.f.ledger.codes[value]
	if c == nil || c.used || !s.f.ledger.now().Before(c.expires) {
		return nil, oautherrors.ErrInvalidAuthorizeCode
	}
	info := models.NewToken()
	info.SetCode(c.value)
	info.SetCodeExpiresIn(neverByLibrary)
	info.SetCodeCreateAt(time.Unix(0, 0))
	info.SetClientID(c.client)
	info.SetUserID(strconv.FormatInt(c.user, 10))
	info.SetRedirectURI(c.redirect)
	info.SetScope(c.scope)
	info.SetCodeChallenge(c.challenge)
	info.SetCodeChallengeMethod(oauth2.CodeChallengeMethod(c.method))
	return info, nil
}

// GetByAccess implements [oauth2.TokenStore]. The API judges tokens by the ledger itself, which tells expired from
// revoked, so that the library never asks.
func (s library) GetByAccess(context.Context, string) (oauth2.TokenInfo, error) {
	return nil, oautherrors.ErrInvalidAccessToken
}

// GetByRefresh implements [oauth2.TokenStore]. Whether the token may be used was decided by the dialect before.
func (s library) GetByRefresh(_ context.Context, value string) (oauth2.TokenInfo, error) {
	t := s.f.ledger.tokens[value]
	if t == nil {
		return nil, oautherrors.ErrInvalidRefreshToken
	}
	info := models.NewToken()
	info.SetClientID(t.pair.client)
	info.SetUserID(strconv.FormatInt(t.pair.user, 10))
	info.SetScope(t.pair.scope)
	info.SetAccess(t.pair.access.value)
	info.SetRefresh(value)
	return info, nil
}

type codeMint struct{ f *Forge }

// Token implements [oauth2.AuthorizeGenerate].
func (m codeMint) Token(context.Context, *oauth2.GenerateBasic) (string, error) {
	return m.f.dialect.mintCode(), nil
}

type tokenMint struct{ f *Forge }

// Token implements [oauth2.AccessGenerate].
func (m tokenMint) Token(_ context.Context, basic *oauth2.GenerateBasic, _ bool) (access, refresh string, err error) {
	user, err := strconv.ParseInt(basic.UserID, 10, 64)
	if err != nil {
		return "", "", oautherrors.ErrServerError
	}
	access, refresh = m.f.dialect.mint(&pair{
		client: basic.Client.GetID(), user: user, scope: basic.TokenInfo.GetScope(), issuedAt: m.f.ledger.now(),
	})
	return access, refresh, nil
}
