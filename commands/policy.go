package commands

import (
	"bytes"
	"crypto/hmac"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
)

// policy is what the configuration says about who may sign in. It is immutable.
type policy struct {
	connections map[string]forge.Connection
	operators   []AllowedAccount
	// allowList says that operators is set, be it empty.
	allowList bool
}

// lists reports whether FORGEAUTH_OPERATORS names the account.
func (p policy) lists(account events.Account) bool {
	return slices.Contains(p.operators, AllowedAccount{account.ForgeType, account.AccountID})
}

// honours reports whether a session of the account is good under the present configuration: its forge is still
// configured at the same base URL and is a way in, and the allow-list, where there is one, names it.
func (p policy) honours(account events.Account) bool {
	connection, ok := p.connections[account.ForgeType]
	return ok && connection.Login && connection.BaseURL == account.BaseURL && (!p.allowList || p.lists(account))
}

// Why a login was denied, as LoginDenied says it.
const (
	deniedNotListed    = "not_in_allow_list"
	deniedUnknown      = "unknown_account"
	deniedLinkLost     = "link_session_ended"
	deniedLoginOff     = "login_disabled"
	deniedSetupCode    = "setup_code_wrong"
	deniedRecoveryCode = "recovery_code_wrong"
	deniedNotConfirmed = "not_confirmed" // by the person at the command line who was asked
)

// deniedError is the refusal of a sign-in.
type deniedError struct {
	reason string
	// keepToken says that the fresh token is the very one that is stored, and so must not be revoked.
	keepToken bool
}

func (e *deniedError) Error() string { return "denied: " + e.reason }

// code is the [LoginError] code of the refusal.
func (e *deniedError) code() string {
	if e.reason == deniedSetupCode {
		return CodeSetupCodeWrong
	}
	return CodeNotAllowed
}

// candidate is somebody who has proved at a forge who they are and now asks to be let in.
type candidate struct {
	account events.Account
	// link is the session that started the attempt, presented the one that the browser sent along to the callback;
	// zero for none.
	link, presented uuid.UUID
	// code is the code that was entered when the attempt started, and codes those that are valid now.
	code  *boundCode
	codes []issuedCode
	// host says that the sign-in was made where the database and the encryption key are: whoever has those needs no code.
	// vouched says that this person let an unknown account in, declined that they were asked and did not.
	host, vouched, declined bool
}

// admission is how somebody is let in.
type admission struct {
	// fact is OperatorClaimed or AccountLinked, or nil where the account is known already.
	fact events.Fact
	// holder is the account that the new session belongs to, and until its end if that is not counted from now.
	holder events.Account
	until  *time.Time
	// spent is the code that was used up.
	spent *issuedCode
}

// admit decides whether the candidate is let in. These are all the ways, in the order in which they are judged:
//
//   - A connection with _LOGIN=false is connected by a live session that started the attempt. Its account is not
//     linked, because that would make it a way in, and the new session goes on being that of the account before, to
//     the same end. So does whoever is on the host, without a session.
//   - With an allow-list, the accounts on it and no others. The first of them claims the deployment, so that it does
//     not lie open should the list be unset; the others are not linked, since it is the list that lets them in.
//   - While unclaimed, whoever entered the setup code when the attempt started, and whoever is on the host.
//   - An account that is known.
//   - An account that a live session wants to link, or that somebody on the host vouches for.
//   - Whoever entered the recovery code when the attempt started.
func (p policy) admit(state *projections.State, now time.Time, who candidate) (admission, *deniedError) {
	in := admission{holder: who.account}
	linking, isLinking := p.linking(state, now, who)
	switch operator := state.Operator(); {
	case who.declined:
		return admission{}, &deniedError{reason: deniedNotConfirmed}
	case !p.connections[who.account.ForgeType].Login:
		switch {
		case isLinking:
			in.holder, in.until = linking.Account, &linking.ExpiresAt
		case !who.host:
			return admission{}, &deniedError{reason: deniedLoginOff}
		}
	case p.allowList:
		if !p.lists(who.account) {
			return admission{}, &deniedError{reason: deniedNotListed}
		}
		if !operator.Claimed() {
			in.fact = events.OperatorClaimed{Account: who.account}
		}
	case !operator.Claimed():
		if in.spent = who.entered(purposeSetup, now); in.spent == nil && !who.host {
			return admission{}, &deniedError{reason: deniedSetupCode}
		}
		in.fact = events.OperatorClaimed{Account: who.account}
	case operator.Knows(who.account):
		if renamed, ok := renamedOperator(operator, who.account); ok {
			in.fact = renamed
		}
	case isLinking, who.vouched:
		in.fact = events.AccountLinked{Account: who.account}
	default:
		if in.spent = who.entered(purposeRecovery, now); in.spent == nil {
			return admission{}, &deniedError{reason: who.strangerReason()}
		}
		in.fact = events.AccountLinked{Account: who.account}
	}
	return in, nil
}

// isStranger reports whether the account gets in only if somebody vouches for it. The decision judges again under the lock.
func (p policy) isStranger(operator projections.Operator, account events.Account) bool {
	return p.connections[account.ForgeType].Login && !p.allowList && operator.Claimed() && !operator.Knows(account)
}

// linking returns the session that started the attempt, if it is still live, is the one presented now, and belongs to
// somebody who may sign in: a session can outlast the allow-list that let it in.
func (p policy) linking(state *projections.State, now time.Time, who candidate) (projections.Session, bool) {
	if who.link == uuid.Nil || who.link != who.presented {
		return projections.Session{}, false
	}
	session, ok := state.Session(who.link)
	return session, ok && session.Live(now) && p.honours(session.Account) && (p.allowList || state.Operator().Knows(session.Account))
}

func (who candidate) strangerReason() string {
	switch {
	case who.code != nil && who.code.Purpose == purposeRecovery:
		return deniedRecoveryCode
	case who.link != uuid.Nil:
		return deniedLinkLost
	}
	return deniedUnknown
}

// entered returns the valid code of that purpose if it is the one the attempt is bound to.
func (who candidate) entered(purpose codePurpose, now time.Time) *issuedCode {
	if who.code == nil || who.code.Purpose != purpose {
		return nil
	}
	for _, issued := range who.codes {
		if issued.matches(*who.code, now) {
			return &issued
		}
	}
	return nil
}

// matches compares in constant time.
func (i issuedCode) matches(code boundCode, now time.Time) bool {
	return i.purpose == code.Purpose && hmac.Equal(i.hash, code.Hash) && now.Before(i.expires)
}

// sameToken reports whether two fingerprints are of one token.
func sameToken(a, b []byte) bool { return len(a) > 0 && bytes.Equal(a, b) }
