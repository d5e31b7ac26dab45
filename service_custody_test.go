package forgeauth_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/proof"
	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

// signs gives the house a signing key, and a place for its newest checkpoint.
func (h *house) signs(t *testing.T) {
	t.Helper()
	key, _, err := proof.GenerateKey("auth.example.org/log")
	if err != nil {
		t.Fatal(err)
	}
	h.config.Signing = forgeauth.SigningConfig{Key: key, CheckpointFile: filepath.Join(t.TempDir(), "checkpoint")}
}

// rotates gives the house another encryption key beside the one it had.
func (h *house) rotates() {
	h.config.PreviousKeys = append([]secret.Text{h.config.EncryptionKey}, h.config.PreviousKeys...)
	h.config.EncryptionKey = secret.New(randomKey())
}

var custodian = commands.Caller{Actor: "cli"}

// TestKeysRotateWhileTheServiceRuns: sessions, tokens and what is compared by hashes survive two rotations, a process that has both keys
// serves on through them, and no event is touched.
func TestKeysRotateWhileTheServiceRuns(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea", "gitlab")
	h.signs(t)
	h.open(t)
	b := h.claim(t, "gitea")
	mustSignIn(t, b, "gitlab", "ada", nil)
	for range 2 {
		h.rotates()
		closeService(t, h.service())
		h.services = nil
		s := h.open(t) // with both keys
		before := readLog(t.Context(), t, s)
		appended, err := s.Commands().RotateKeys(t.Context(), custodian)
		if err != nil || len(appended) != 1 {
			t.Fatalf("rotate: %v, %v", appended, err)
		}
		if fact, ok := appended[0].Fact.(events.KeysRotated); !ok || fact.DataKeys != 2 {
			t.Errorf("rotated %+v", appended[0].Fact)
		}
		if appended, err = s.Commands().RotateKeys(t.Context(), custodian); err != nil || len(appended) > 0 {
			t.Errorf("a second time: %v, %v", appended, err)
		}
		works := func() {
			t.Helper()
			if a, err := b.get(t.Context(), "/forge/repositories"); err != nil || a.StatusCode != http.StatusOK {
				t.Errorf("%v %d %s", err, a.StatusCode, a.body)
			}
		}
		works()
		uses, unreadable, err := s.KeyUses(t.Context())
		if err != nil || len(unreadable) > 0 || len(uses[0].DataKeys) != 2 || !uses[0].Canary {
			t.Errorf("what the present key seals: %+v, %v, %v", uses, unreadable, err)
		}
		for _, use := range uses[1:] {
			if len(use.DataKeys) > 0 || use.Canary {
				t.Errorf("a previous key still seals %+v", use)
			}
		}
		closeService(t, s)
		h.services, h.config.PreviousKeys = nil, nil
		s = h.open(t) // with the new key alone
		works()
		log := checkInvariants(t.Context(), t, s, h.db.Pool(t))
		if diff := cmp.Diff(before, log[:len(before)]); diff != "" {
			t.Error(diff)
		}
	}
	// The same token again is known for the same under the third key: it is not revoked as the former one would be.
	if err := h.service().UpsertOperatorOAuth(t.Context(), robotToken("gitea")); err != nil {
		t.Fatal(err)
	}
	h.rotates()
	s := h.open(t)
	if _, err := s.Commands().RotateKeys(t.Context(), custodian); err != nil {
		t.Fatal(err)
	}
	before := len(readLog(t.Context(), t, s))
	if err := s.UpsertOperatorOAuth(t.Context(), robotToken("gitea")); err != nil {
		t.Fatal(err)
	}
	for _, e := range readLog(t.Context(), t, s)[before:] {
		if _, ok := e.Fact.(events.TokenRevocationRequested); ok {
			t.Errorf("the same token is taken for another after a rotation, and revoked: position %d", e.Position)
		}
	}
}

// TestARotationThatCannotOpenEverythingChangesNothing: a key that is missing from the list must not cost what it sealed.
func TestARotationThatCannotOpenEverythingChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea")
	s := h.open(t)
	h.claim(t, "gitea")
	pool := h.db.Pool(t)
	if _, err := pool.Exec(t.Context(), `UPDATE data_keys SET wrapped = set_byte(wrapped, 30, 255 - get_byte(wrapped, 30))`); err != nil {
		t.Fatal(err)
	}
	before := readLog(t.Context(), t, s)
	_, err := s.Commands().RotateKeys(t.Context(), custodian)
	if wrong, ok := errors.AsType[*vault.WrongKeyError](err); !ok || wrong.Unreadable != 1 {
		t.Errorf("rotate: %v", err)
	}
	if diff := cmp.Diff(before, readLog(t.Context(), t, s)); diff != "" {
		t.Error(diff)
	}
}

// TestShreddedMeansShredded takes the database as it stands and the encryption key, and cannot open what was forgotten, while every
// proof still checks.
func TestShreddedMeansShredded(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea", "gitlab")
	h.signs(t)
	s := h.open(t)
	b := h.claim(t, "gitea")
	mustSignIn(t, b, "gitlab", "ada", nil)
	if err := s.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	forgotten, err := s.Commands().ForgetForge(t.Context(), custodian, "gitlab")
	if err != nil {
		t.Fatal(err)
	}
	if status := commands.RevocationIn(forgotten); status == nil || status.Outcome != "shredded" || status.Page == "" {
		t.Errorf("the token is %+v", status)
	}
	if _, err := s.Commands().ForgetForge(t.Context(), custodian, "gitlab"); !errors.Is(err, projections.ErrNotConnected) {
		t.Errorf("a second time: %v", err)
	}
	if n := h.forges["gitlab"].Count(forgetest.RevokeEndpoint); n != 0 {
		t.Errorf("the forge was told %d times", n)
	}
	if err := s.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	pool := h.db.Pool(t)
	master, err := vault.ParseKey(h.config.EncryptionKey)
	if err != nil {
		t.Fatal(err)
	}
	thief := vault.New(master, nil)
	policy := s.SigningKeys().Policy()
	sealed := 0
	for _, e := range readLog(t.Context(), t, s) {
		bundle, err := s.Tree().Prove(t.Context(), s.Log(), e.Position)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := policy.Check(bundle); err != nil {
			t.Errorf("position %d: %v", e.Position, err)
		}
		fact, ok := e.Fact.(events.TokenIssued)
		if !ok {
			continue
		}
		sealed++
		key, err := thief.Load(t.Context(), pool, fact.DataKey)
		if gone := fact.ForgeType == "gitlab"; gone != errors.Is(err, vault.ErrShredded) {
			t.Errorf("the data key of %s: %v", fact.ForgeType, err)
		}
		if err != nil {
			continue
		}
		tokens, err := events.ParseSealedTokens(e.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		context := vault.Context{
			Connection: fact.ForgeType, Origin: fact.BaseURL, AccountID: fact.AccountID,
			Field: vault.FieldAccessToken, KeyID: fact.DataKey,
		}
		if _, err := key.Open(context, tokens.Access); err != nil {
			t.Errorf("what was not forgotten does not open either: %v", err)
		}
	}
	if sealed != 2 {
		t.Errorf("%d tokens", sealed)
	}
	// No key in the database opens what gitlab's event holds, whatever it is taken for.
	rows, err := vault.StoredKeys(t.Context(), pool)
	if err != nil || len(rows) != 1 {
		t.Errorf("data keys that are left: %v, %v", rows, err)
	}
	checkInvariants(t.Context(), t, s, pool)
}

// What the error for a lost key says to do as the last resort: the log, the accounts and the claim stay, and every forge is
// signed in to again. Nothing is sent to a forge that could not be opened.
func TestALostKeyCostsTheTokensAndNothingElse(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea", "gitlab")
	closing := h.open(t)
	b := h.claim(t, "gitea")
	mustSignIn(t, b, "gitlab", "ada", nil)
	before := readLog(t.Context(), t, closing)
	closeService(t, closing)
	h.services = nil
	h.config.EncryptionKey = secret.New(randomKey())
	refuses[*vault.WrongKeyError](t, h, "forgeauth keys reset", func(*forgeauth.Config) {})
	maintaining := h.open(t, func(c *forgeauth.Config) { c.Maintenance, c.EncryptionKey = true, secret.Text{} })
	reset, err := maintaining.Commands().ResetKeys(t.Context(), custodian)
	if err != nil {
		t.Fatal(err)
	}
	if fact, ok := reset[len(reset)-1].Fact.(events.KeysReset); !ok || fact.DataKeys != 2 {
		t.Errorf("it ends with %+v", reset[len(reset)-1].Fact)
	}
	closeService(t, maintaining)
	h.services = nil
	s := h.open(t)
	if _, err := s.GetOperatorAdapter(t.Context()); !errors.Is(err, projections.ErrNoActiveForge) {
		t.Errorf("a token that was shredded: %v", err)
	}
	if a, err := b.get(t.Context(), "/me"); err != nil || a.StatusCode != http.StatusUnauthorized {
		t.Errorf("a session of the lost key: %v %d", err, a.StatusCode)
	}
	again := h.browser()
	for _, name := range []string{"gitlab", "gitea"} {
		mustSignIn(t, again, name, "ada", nil)
		if a, err := again.get(t.Context(), "/forge/repositories"); err != nil || a.StatusCode != http.StatusOK {
			t.Errorf("%s: %v %d %s", name, err, a.StatusCode, a.body)
		}
	}
	if n := h.forges["gitlab"].Count(forgetest.RevokeEndpoint); n != 0 {
		t.Errorf("a token that cannot be opened was revoked %d times", n)
	}
	log := checkInvariants(t.Context(), t, s, h.db.Pool(t))
	if diff := cmp.Diff(before, log[:len(before)]); diff != "" {
		t.Error(diff)
	}
}

// TestRaceOfRotationAndRefreshesLosesNothing: keys are rotated back and forth while two processes append tokens under both.
func TestRaceOfRotationAndRefreshesLosesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea", "gitlab")
	first := h.config.EncryptionKey
	h.open(t)
	h.claim(t, "gitea")
	second := secret.New(randomKey())
	h.config.PreviousKeys = []secret.Text{second}
	one := h.open(t)
	h.config.EncryptionKey, h.config.PreviousKeys = second, []secret.Text{first}
	other := h.open(t)
	var working sync.WaitGroup
	for _, s := range []*forgeauth.Service{one, other} {
		working.Go(func() {
			for range 10 {
				if _, err := s.Commands().RotateKeys(t.Context(), custodian); err != nil {
					t.Errorf("rotate: %v", err)
				}
			}
		})
		working.Go(func() {
			for i := range 20 {
				if err := s.UpsertOperatorOAuth(t.Context(), robotToken([]string{"gitea", "gitlab"}[i%2])); err != nil {
					t.Errorf("import: %v", err)
				}
			}
		})
	}
	working.Wait()
	if _, err := other.Commands().RotateKeys(t.Context(), custodian); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gitea", "gitlab"} {
		if _, err := other.GetOperatorOAuth(t.Context(), name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	uses, unreadable, err := other.KeyUses(t.Context())
	if err != nil || len(unreadable) > 0 || len(uses[1].DataKeys) > 0 {
		t.Errorf("%+v, %v, %v", uses, unreadable, err)
	}
	checkInvariants(t.Context(), t, other, h.db.Pool(t))
}
