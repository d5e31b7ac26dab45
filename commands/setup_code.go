package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/secret"
)

// codeLifetime is how long a setup or recovery code is good.
const codeLifetime = time.Hour

// codePurpose is what a code is for: a row of setup_code.
type codePurpose string

const (
	purposeSetup    codePurpose = "setup"    // claims the deployment
	purposeRecovery codePurpose = "recovery" // lets one more account in
)

// issuedCode is a row of setup_code. The code itself is known to whoever it was printed for and to nobody else.
type issuedCode struct {
	purpose codePurpose
	hash    []byte
	expires time.Time
}

// boundCode is a code that was entered when an attempt started, as the attempt's cookie holds it.
type boundCode struct {
	Purpose codePurpose `json:"purpose"`
	Hash    []byte      `json:"hash"`
}

// The alphabet of codes is Crockford's base 32: what people confuse is not in it or means the same.
const codeAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

const (
	codeBytes  = 16 // 128 bits
	codeLength = 26 // characters of five bits
	codeGroup  = 5  // characters between dashes
)

// newCode draws a code of 128 random bits, as it is shown: five groups of characters, the last one of six.
func (c *Commands) newCode() (secret.Text, error) {
	bits, err := c.random(codeBytes)
	if err != nil {
		return secret.Text{}, err
	}
	return secret.New(spellCode([codeBytes]byte(bits))), nil
}

func spellCode(bits [codeBytes]byte) string {
	var b strings.Builder
	for i := range codeLength {
		if i > 0 && i%codeGroup == 0 && i < codeLength-1 {
			b.WriteByte('-')
		}
		var value byte
		for bit := i * 5; bit < i*5+5; bit++ {
			value <<= 1
			if bit < len(bits)*8 {
				value |= bits[bit/8] >> (7 - bit%8) & 1
			}
		}
		b.WriteByte(codeAlphabet[value])
	}
	return b.String()
}

// normaliseCode brings what a person typed into the form that is hashed, or reports that it is no code.
func normaliseCode(typed string) (string, bool) {
	const most = 4 * codeLength
	if len(typed) > most {
		return "", false
	}
	var b strings.Builder
	for _, r := range strings.ToUpper(typed) {
		switch r {
		case '-', ' ', '\t', '\r', '\n':
			continue
		case 'O':
			r = '0'
		case 'I', 'L':
			r = '1'
		}
		if !strings.ContainsRune(codeAlphabet, r) {
			return "", false
		}
		b.WriteRune(r)
	}
	return b.String(), b.Len() == codeLength
}

// hashCode returns the keyed hash of a code for a purpose, so that one is not good for the other.
func (c *Commands) hashCode(purpose codePurpose, normalised string) []byte {
	return c.vault.HashCode(string(purpose) + " " + normalised)
}

// enterCode checks a typed code against the one that is out for the purpose.
func (c *Commands) enterCode(ctx context.Context, purpose codePurpose, typed string) (*boundCode, error) {
	normalised, ok := normaliseCode(typed)
	if !ok {
		return nil, ErrSetupCodeWrong
	}
	code := boundCode{Purpose: purpose, Hash: c.hashCode(purpose, normalised)}
	if err := c.checkCode(ctx, code); err != nil {
		return nil, err
	}
	return &code, nil
}

// checkCode returns [ErrSetupCodeWrong] unless the code is out and valid now. The decision that uses it up checks again.
func (c *Commands) checkCode(ctx context.Context, code boundCode) error {
	issued, err := c.issuedCodes(ctx)
	if err != nil {
		return err
	}
	for _, i := range issued {
		if i.matches(code, c.now()) {
			return nil
		}
	}
	return ErrSetupCodeWrong
}

const codesSQL = `SELECT purpose, code_hash, expires_at FROM setup_code`

func scanCode(row pgx.CollectableRow) (issuedCode, error) {
	var i issuedCode
	err := row.Scan(&i.purpose, &i.hash, &i.expires)
	return i, err
}

func (c *Commands) issuedCodes(ctx context.Context) ([]issuedCode, error) {
	rows, err := c.pool.Query(ctx, codesSQL)
	if err != nil {
		return nil, events.ReadError("read setup codes", err)
	}
	codes, err := pgx.CollectRows(rows, scanCode)
	if err != nil {
		return nil, events.ReadError("read setup codes", err)
	}
	return codes, nil
}

// queueCodes is the same read as part of a decision, under the lock.
func queueCodes(batch *pgx.Batch, found func([]issuedCode)) {
	batch.Queue(codesSQL).Query(func(rows pgx.Rows) error {
		codes, err := pgx.CollectRows(rows, scanCode)
		found(codes)
		return err
	})
}

const putCodeSQL = `
INSERT INTO setup_code (purpose, code_hash, expires_at) VALUES ($1, $2, $3)
ON CONFLICT (purpose) DO UPDATE SET code_hash = EXCLUDED.code_hash, expires_at = EXCLUDED.expires_at`

// putCode is the effect that puts a code in the place of the one before.
type putCode struct {
	purpose codePurpose
	hash    []byte
	expires time.Time
}

// Queue implements [events.Effect].
func (p putCode) Queue(batch *pgx.Batch) { batch.Queue(putCodeSQL, p.purpose, p.hash, p.expires) }

// spendCode is the effect that uses a code up.
type spendCode struct {
	purpose codePurpose
	hash    []byte
}

// Queue implements [events.Effect].
func (s spendCode) Queue(batch *pgx.Batch) {
	batch.Queue(`DELETE FROM setup_code WHERE purpose = $1 AND code_hash = $2`, s.purpose, s.hash)
}

// IssueSetupCode prints another setup code, good for an hour, in the place of the one before: attempts that are bound
// to that one fail. It returns [ErrClaimed] or [ErrAllowList] where a setup code lets nobody in. Only its keyed hash is
// stored. It leaves no fact, only a line in the process's log that names the caller.
func (c *Commands) IssueSetupCode(ctx context.Context, caller Caller) (code secret.Text, expires time.Time, err error) {
	switch status, err := c.Status(ctx); {
	case err != nil:
		return secret.Text{}, time.Time{}, err
	case status.AllowList:
		return secret.Text{}, time.Time{}, ErrAllowList
	case status.Claimed:
		return secret.Text{}, time.Time{}, ErrClaimed
	}
	code, row, err := c.draftCode(ctx, purposeSetup)
	if err != nil {
		return secret.Text{}, time.Time{}, err
	}
	if _, err := c.pool.Exec(ctx, putCodeSQL, row.purpose, row.hash, row.expires); err != nil {
		return secret.Text{}, time.Time{}, fmt.Errorf("store setup code: %w", err)
	}
	c.logger.InfoContext(ctx, "issued a setup code", slog.String("actor", c.identified(caller).Actor), slog.Time("expires", row.expires))
	return code, row.expires, nil
}

// draftCode draws a code and the row that stands for it. Its life is counted on the clock that judges it, which is the log's:
// where a wrong clock has run ahead, that one waits for the others.
func (c *Commands) draftCode(ctx context.Context, purpose codePurpose) (secret.Text, putCode, error) {
	code, err := c.newCode()
	if err != nil {
		return secret.Text{}, putCode{}, err
	}
	now := c.now()
	head, err := c.log.Head(ctx)
	if err != nil {
		return secret.Text{}, putCode{}, err
	}
	if now.Before(head.OccurredAt) {
		now = head.OccurredAt
	}
	normalised, _ := normaliseCode(code.Reveal())
	return code, putCode{purpose, c.hashCode(purpose, normalised), stored(now.Add(codeLifetime))}, nil
}

// EnsureSetupCode is run at boot. While the deployment is unclaimed and has no allow-list, needed is true and a valid
// setup code is out when it returns. If code is zero, that is one that another replica, or this one before it was
// restarted, has printed: it stays good, and since only its hash is stored nobody can print it again; say so, with
// expires, and name `forgeauth setup-code`, which replaces it. Of several replicas that boot at once, one gets a code.
func (c *Commands) EnsureSetupCode(ctx context.Context) (code secret.Text, expires time.Time, needed bool, err error) {
	status, err := c.Status(ctx)
	if err != nil || status.Claimed || status.AllowList {
		return secret.Text{}, time.Time{}, false, err
	}
	code, row, err := c.draftCode(ctx, purposeSetup)
	if err != nil {
		return secret.Text{}, time.Time{}, true, err
	}
	const most = 3 // rounds; more than one only if the code that is out is used up or replaced in between
	for range most {
		err = c.pool.QueryRow(ctx, putCodeSQL+" WHERE setup_code.expires_at <= $4 RETURNING expires_at",
			row.purpose, row.hash, row.expires, stored(c.now())).Scan(&expires)
		if err == nil {
			return code, expires, true, nil
		}
		if errors.Is(err, pgx.ErrNoRows) {
			err = c.pool.QueryRow(ctx, `SELECT expires_at FROM setup_code WHERE purpose = $1`, row.purpose).Scan(&expires)
		}
		if err == nil {
			return secret.Text{}, expires, true, nil
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			break
		}
	}
	return secret.Text{}, time.Time{}, true, fmt.Errorf("store setup code: %w", err)
}

// DeploymentStatus is what the sign-in page needs to know about a deployment.
type DeploymentStatus struct {
	// Claimed says that it belongs to somebody.
	Claimed bool `json:"claimed"`
	// AllowList says that FORGEAUTH_OPERATORS decides who may sign in.
	AllowList bool `json:"allow_list"`
	// Recovery says that a recovery code is out, so that somebody may want to enter it.
	Recovery bool `json:"recovery"`
}

// NeedsCode reports whether nobody gets in without the setup code.
func (s DeploymentStatus) NeedsCode() bool { return !s.Claimed && !s.AllowList }

// TakesCode reports whether a code is of any use.
func (s DeploymentStatus) TakesCode() bool { return s.NeedsCode() || s.Recovery }

// Status returns whether the deployment is claimed, and how people get in.
func (c *Commands) Status(ctx context.Context) (DeploymentStatus, error) {
	operator, err := c.reader.Operator(ctx)
	if err != nil {
		return DeploymentStatus{}, fmt.Errorf("deployment status: %w", err)
	}
	status := DeploymentStatus{Claimed: operator.Claimed(), AllowList: c.policy.allowList}
	if !status.Claimed || status.AllowList {
		return status, nil
	}
	codes, err := c.issuedCodes(ctx)
	if err != nil {
		return DeploymentStatus{}, err
	}
	for _, code := range codes {
		status.Recovery = status.Recovery || code.purpose == purposeRecovery && c.now().Before(code.expires)
	}
	return status, nil
}
