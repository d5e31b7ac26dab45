package forgetest

import (
	"cmp"
	"crypto/rand"
	"slices"
	"time"

	"github.com/forgeauth/forgeauth/secret"
)

// ledger is everything the forge remembers. Its methods expect [Forge.mu] to be held.
type ledger struct {
	now     func() time.Time
	clients map[string]*Client
	users   []*User
	codes   map[string]*code
	tokens  map[string]*token
	pairs   []*pair
	// repositories holds what has been looked at, by the repository's id.
	repositories map[int64]*contents
	consents     map[consentKey]*consent
	sessions     map[string]int64
	pending      map[string]*authorization
	devices      []*device
	issued       []Issue
	serial       int64
}

// code is an authorization code and what it is bound to.
type code struct {
	value, client, redirect, scope string
	challenge, method              string
	user                           int64
	expires                        time.Time
	used, firstConsent             bool
}

// pair is one grant's access token and, where there is one, the refresh token issued beside it.
type pair struct {
	access, refresh *token
	client, scope   string
	user            int64
	issuedAt        time.Time
}

type token struct {
	value    string
	kind     IssueKind
	pair     *pair
	counter  int64
	expires  time.Time
	lastUsed time.Time
	revoked  bool
	// spent is when a refresh token was used first, zero if it was not.
	spent time.Time
}

// isSpent reports whether a refresh token was used, and the time in which it works once more is over.
func (t *token) isSpent(now time.Time, grace time.Duration) bool {
	return !t.spent.IsZero() && !now.Before(t.spent.Add(grace))
}

// consent is what a user granted an application. At Gitea and Forgejo it is the grant itself: tokens name it, and the
// counter is what makes their refresh tokens single use.
type consent struct {
	id      int64
	scope   string
	counter int64
}

type consentKey struct {
	user   int64
	client string
}

// IssueKind says what an [Issue] is.
type IssueKind string

// The kinds of secrets a forge issues.
const (
	CodeIssue          IssueKind = "authorization code"
	AccessTokenIssue   IssueKind = "access token"
	RefreshTokenIssue  IssueKind = "refresh token"
	IDTokenIssue       IssueKind = "id token"
	ClientSecretIssue  IssueKind = "client secret"
	DeviceCodeIssue    IssueKind = "device code"
	SessionIssue       IssueKind = "forge session"
	WebhookSecretIssue IssueKind = "webhook secret"
)

// Issue is one secret that a forge ever issued.
type Issue struct {
	Kind  IssueKind
	Value secret.Text
}

func (l *ledger) nextID() int64 {
	l.serial++
	return l.serial
}

// record remembers a secret; an empty one is none.
func (l *ledger) record(kind IssueKind, value string) {
	if value == "" {
		return
	}
	l.issued = append(l.issued, Issue{Kind: kind, Value: secret.New(value)})
}

func (l *ledger) userByID(id int64) *User {
	for _, u := range l.users {
		if u.ID == id {
			return u
		}
	}
	return nil
}

func (l *ledger) userByLogin(login string) *User {
	for _, u := range l.users {
		if u.Login == login {
			return u
		}
	}
	return nil
}

// session starts a browser session of the user and returns the cookie's value.
func (l *ledger) session(user int64) string {
	value := rand.Text()
	l.sessions[value] = user
	l.record(SessionIssue, value)
	return value
}

// store files the pair's tokens. Two tokens of equal value, which Gitea issues within a second, are one token.
func (l *ledger) store(p *pair) {
	l.pairs = append(l.pairs, p)
	for _, t := range []*token{p.access, p.refresh} {
		if t == nil {
			continue
		}
		l.tokens[t.value] = t
		l.record(t.kind, t.value)
	}
}

// enforceLimit revokes the oldest tokens beyond the limit per user, client and scope.
func (l *ledger) enforceLimit(p *pair, limit int) {
	var living []*pair
	for _, other := range l.pairs {
		same := other.user == p.user && other.client == p.client && other.scope == p.scope
		if same && !other.access.revoked {
			living = append(living, other)
		}
	}
	slices.SortStableFunc(living, func(a, b *pair) int { return cmp.Compare(a.issuedAt.UnixNano(), b.issuedAt.UnixNano()) })
	for _, oldest := range living[:max(0, len(living)-limit)] {
		oldest.revoke()
	}
}

func (p *pair) revoke() {
	p.access.revoked = true
	if p.refresh != nil {
		p.refresh.revoked = true
	}
}

// withdraw forgets the user's consent to the client and revokes every token of it.
func (l *ledger) withdraw(user int64, client string) {
	delete(l.consents, consentKey{user, client})
	for _, p := range l.pairs {
		if p.user == user && p.client == client {
			p.revoke()
		}
	}
	for _, c := range l.codes {
		if c.user == user && c.client == client {
			c.used = true
		}
	}
}

// verdict is what the forge thinks of an access token.
type verdict int

const (
	living verdict = iota
	absent
	unknown
	expired
	revoked
)

// judge looks an access token up and marks it as used if it is good.
func (l *ledger) judge(value string, idle time.Duration) (*token, verdict) {
	if value == "" {
		return nil, absent
	}
	t, ok := l.tokens[value]
	if !ok || t.kind != AccessTokenIssue || l.clients[t.pair.client] == nil || l.userByID(t.pair.user) == nil {
		return nil, unknown
	}
	now := l.now()
	if idle > 0 && now.Sub(t.lastUsed) > idle {
		t.revoked = true
	}
	switch {
	case t.revoked:
		return t, revoked
	case t.lapsed(now):
		return t, expired
	default:
		t.lastUsed = now
		return t, living
	}
}

// lapsed reports whether the token has outlived its expiry; one with a zero expiry never does.
func (t *token) lapsed(now time.Time) bool { return !t.expires.IsZero() && !now.Before(t.expires) }
