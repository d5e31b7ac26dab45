package commands

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/vault"
)

const (
	// attemptLifetime is how long a person has at the forge.
	attemptLifetime = 10 * time.Minute
	attemptPurpose  = "sign-in attempt"
	// mostAttempts bounds how many cookies of one request are opened.
	mostAttempts = 32
)

// Attempt is a sign-in that has been started, as the browser keeps it.
type Attempt struct {
	// ID is for the cookie's name, so that attempts in several tabs live side by side: 16 hexadecimal digits.
	ID string
	// Value is the cookie's value: sealed, base64url, at most about 3,500 characters.
	Value   string
	Expires time.Time
}

// attempt is what the cookie holds.
type attempt struct {
	ID          string `json:"id"`
	State       string `json:"state"`
	ForgeType   string `json:"forge_type"`
	Verifier    string `json:"verifier"`
	RedirectURI string `json:"redirect_uri"`
	// Intent says whether this is a sign-in, or links an account to Session, which started it.
	Intent   intent     `json:"intent"`
	Session  uuid.UUID  `json:"session"`
	ReturnTo string     `json:"return_to"`
	Code     *boundCode `json:"code"`
	Expires  time.Time  `json:"expires"`
}

type intent string

const (
	intentSignIn intent = "sign_in"
	intentLink   intent = "link"
)

// challenge is the S256 code challenge of RFC 7636 §4.2.
func (a attempt) challenge() string {
	sum := sha256.Sum256([]byte(a.Verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (c *Commands) sealAttempt(a attempt) (Attempt, error) {
	plaintext, err := json.Marshal(a) // v2, which does not write & as six characters
	if err != nil {
		return Attempt{}, fmt.Errorf("seal attempt: %w", err)
	}
	value, err := c.vault.SealCookie(attemptPurpose, plaintext, a.Expires)
	if err != nil {
		return Attempt{}, fmt.Errorf("seal attempt: %w", err)
	}
	return Attempt{ID: a.ID, Value: value, Expires: a.Expires}, nil
}

func (c *Commands) openAttempt(value string) (a attempt, err error) {
	plaintext, err := c.vault.OpenCookie(attemptPurpose, value, c.now())
	if err == nil {
		err = json.Unmarshal(plaintext, &a)
	}
	return a, err //nolint:wrapcheck // compared, and not shown
}

// findAttempt returns the attempt that a callback's state belongs to. Without one the code is [CodeStateMismatch], or
// [CodeExpiredAttempt] if an attempt of this browser is past its time.
func (c *Commands) findAttempt(values []string, state string) (found attempt, code string) {
	code = CodeStateMismatch
	for _, value := range values[:min(len(values), mostAttempts)] {
		a, err := c.openAttempt(value)
		if errors.Is(err, vault.ErrExpired) {
			code = CodeExpiredAttempt
		}
		if err == nil && state != "" && subtle.ConstantTimeCompare([]byte(a.State), []byte(state)) == 1 {
			return a, ""
		}
	}
	return attempt{}, code
}

// mostCarried bounds, in bytes, the cookies that one answer sets anew: proxies allow 4 KiB for all its headers.
const mostCarried = 2 << 10

// carryOver returns the other attempts to link that a session has started in this browser, as ones of the session that takes
// its place: a sign-in in one tab rotates the session, and the other tabs go on. They live no longer for it. Where there are
// too many, the newest are carried.
func (c *Commands) carryOver(values []string, done attempt, from, to uuid.UUID) ([]Attempt, error) {
	var carried []Attempt
	size := 0
	for _, value := range slices.Backward(values[:min(len(values), mostAttempts)]) {
		if size += len(value); size > mostCarried {
			break
		}
		a, err := c.openAttempt(value)
		if err != nil || a.Intent != intentLink || a.Session != from || a.ID == done.ID {
			continue
		}
		a.Session = to
		sealed, err := c.sealAttempt(a)
		if err != nil {
			return nil, err
		}
		carried = append(carried, sealed)
	}
	return carried, nil
}
