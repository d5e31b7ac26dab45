package forgetest

import (
	"fmt"
	"slices"

	"github.com/forgeauth/forgeauth/secret"
)

// Register adds a client, as its owner would in the forge's settings. It panics on a client that no forge would
// accept or whose ID is taken.
func (f *Forge) Register(client Client) {
	client = client.checked()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ledger.clients[client.ID] != nil {
		panic(fmt.Sprintf("forgetest: a client %q is registered already", client.ID))
	}
	f.ledger.clients[client.ID] = &client
	f.ledger.record(ClientSecretIssue, client.Secret)
}

// DeleteApp removes a client. Its tokens stop working at once; users' consents are forgotten.
func (f *Forge) DeleteApp(clientID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.ledger.clients, clientID)
	for key := range f.ledger.consents {
		if key.client == clientID {
			f.ledger.withdraw(key.user, clientID)
		}
	}
}

// RotateClientSecret replaces a client's secret; the old one is refused from now on. It reports whether the client
// exists.
func (f *Forge) RotateClientSecret(clientID, newSecret string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	client := f.ledger.clients[clientID]
	if client == nil {
		return false
	}
	client.Secret = newSecret
	f.ledger.record(ClientSecretIssue, newSecret)
	return true
}

// RevokeToken revokes the token and the one issued beside it. It reports whether this forge issued it.
func (f *Forge) RevokeToken(value string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.ledger.tokens[value]
	if t == nil {
		return false
	}
	t.pair.revoke()
	t.revoked = true
	return true
}

// RevokeUser withdraws every consent of the account, as its owner would in their settings: all of its tokens stop
// working, refresh tokens included.
func (f *Forge) RevokeUser(login string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	user := f.ledger.userByLogin(login)
	if user == nil {
		return
	}
	for key := range f.ledger.consents {
		if key.user == user.ID {
			f.ledger.withdraw(user.ID, key.client)
		}
	}
}

// Expire makes a code, an access token or a refresh token expire now. It reports whether this forge issued it.
func (f *Forge) Expire(value string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.ledger.now()
	if c := f.ledger.codes[value]; c != nil {
		c.expires = now
		return true
	}
	t := f.ledger.tokens[value]
	if t == nil {
		return false
	}
	t.expires = now
	return true
}

// ProhibitLogin forbids the account to log in and to use the API, or allows it again. As recorded at Gitea, its
// refresh tokens go on working; what they buy is refused by the API.
func (f *Forge) ProhibitLogin(login string, prohibited bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if user := f.ledger.userByLogin(login); user != nil {
		user.Prohibited = prohibited
	}
}

// RenameUser gives the account another login; its ID stays.
func (f *Forge) RenameUser(login, newLogin string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if user := f.ledger.userByLogin(login); user != nil {
		user.Login = newLogin
	}
}

// SetScope changes what the token, and the one issued beside it, may do, as the account's owner can at some forges. It reports
// whether this forge issued it.
func (f *Forge) SetScope(value, scope string) bool {
	return f.edit(value, func(p *pair) { p.scope = scope })
}

// Reassign makes the token, and the one issued beside it, answer as another account, as after a forge was restored from
// elsewhere. It reports whether this forge issued it and knows the account.
func (f *Forge) Reassign(value, login string) bool {
	f.mu.Lock()
	user := f.ledger.userByLogin(login)
	f.mu.Unlock()
	return user != nil && f.edit(value, func(p *pair) { p.user = user.ID })
}

func (f *Forge) edit(value string, change func(*pair)) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.ledger.tokens[value]
	if t == nil {
		return false
	}
	change(t.pair)
	return true
}

// AddUser adds an account. It panics on one that no forge could have or whose ID or login is taken.
func (f *Forge) AddUser(user User) {
	user = user.checked()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ledger.userByID(user.ID) != nil || f.ledger.userByLogin(user.Login) != nil {
		panic(fmt.Sprintf("forgetest: an account %d or %q exists already", user.ID, user.Login))
	}
	f.ledger.users = append(f.ledger.users, &user)
}

// Issued returns every secret this forge ever issued, client secrets included, in order of issue. A test that looks
// for leaks searches logs and databases for each of them.
func (f *Forge) Issued() []Issue {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ledger.issued)
}

// TokenState is a token and what the forge would say of it now.
type TokenState struct {
	Kind          IssueKind
	Value         secret.Text
	Client, Login string
	Scope         string
	// Live tells whether the token works now: not expired, not revoked, not spent.
	Live bool
}

// Tokens returns the state of every access and refresh token, in order of issue.
func (f *Forge) Tokens() []TokenState {
	f.mu.Lock()
	defer f.mu.Unlock()
	var states []TokenState
	for _, p := range f.ledger.pairs {
		for _, t := range []*token{p.access, p.refresh} {
			if t == nil || f.ledger.tokens[t.value] != t {
				continue
			}
			user := f.ledger.userByID(p.user)
			states = append(states, TokenState{
				Kind: t.kind, Value: secret.New(t.value), Client: p.client, Login: user.Login, Scope: p.scope, Live: f.live(t),
			})
		}
	}
	return states
}

// Live reports whether the access or refresh token works now.
func (f *Forge) Live(value string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.ledger.tokens[value]
	return t != nil && f.live(t)
}

func (f *Forge) live(t *token) bool {
	if t.revoked || t.isSpent(f.ledger.now(), f.traits.refreshGrace) || t.lapsed(f.ledger.now()) || f.ledger.clients[t.pair.client] == nil {
		return false
	}
	return t.kind != RefreshTokenIssue || f.dialect.refuseRefresh(t, t.pair.client) == noReason
}
