package forgeauth_test

import (
	"errors"
	"testing"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/vault"
)

// Whoever can write to the database cannot have a token opened for anything but what it was granted for, even if the
// configuration could be made to follow. Both connections lead to one forge and hold a token of one account there, so that
// each time one thing alone is wrong.
func TestAWriterOfTheDatabaseCannotMoveAToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea", "forgejo")
	here, elsewhere := h.config.Connections[0].BaseURL, h.config.Connections[1].BaseURL
	h.config.Connections[1].BaseURL = here
	first := h.open(t)
	for _, connection := range []string{"gitea", "forgejo"} {
		if err := first.UpsertOperatorOAuth(t.Context(), robotToken(connection)); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.SetActiveForge(t.Context(), "gitea"); err != nil {
		t.Fatal(err)
	}
	pool := h.db.Pool(t)
	execute := func(statements string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), statements); err != nil {
			t.Fatal(err)
		}
	}
	execute(`CREATE TABLE saved_tokens AS TABLE operator_oauth_tokens; CREATE TABLE saved_keys AS TABLE data_keys`)
	wrongContext := func(err error) bool { return errors.Is(err, vault.ErrWrongContext) }
	cannotOpen := func(err error) bool { return errors.Is(err, vault.ErrCannotOpen) }
	otherOrigin := func(err error) bool { _, is := errors.AsType[*commands.OriginError](err); return is }
	const fromForgejo = ` FROM saved_tokens o WHERE t.forge_type = 'gitea' AND o.forge_type = 'forgejo'`
	moveRow := `UPDATE operator_oauth_tokens SET base_url = '` + elsewhere + `'`
	for name, test := range map[string]struct {
		edit       string // of the row of gitea, or of what it stands on
		configured string // base URL
		refuses    func(error) bool
	}{
		"nothing": {`SELECT 1`, here, func(err error) bool { return err == nil }},
		"another connection's tokens": {
			`UPDATE operator_oauth_tokens t SET access_token = o.access_token, refresh_token = o.refresh_token, data_key = o.data_key` + fromForgejo,
			here, wrongContext,
		},
		"another connection's row": {
			`DELETE FROM operator_oauth_tokens WHERE forge_type = 'gitea'; UPDATE operator_oauth_tokens SET forge_type = 'gitea'`,
			here, wrongContext,
		},
		"another account":                {`UPDATE operator_oauth_tokens SET account_id = '4712'`, here, wrongContext},
		"another address in the row":     {moveRow, here, otherOrigin},
		"another address, configured":    {`SELECT 1`, elsewhere, otherOrigin},
		"another address in both":        {moveRow, elsewhere, wrongContext},
		"the refresh token as the other": {`UPDATE operator_oauth_tokens SET access_token = refresh_token`, here, wrongContext},
		"another data key":               {`UPDATE operator_oauth_tokens t SET data_key = o.data_key` + fromForgejo, here, cannotOpen},
		"a data key under another's id":  {`UPDATE data_keys t SET wrapped = o.wrapped FROM saved_keys o WHERE o.id <> t.id`, here, wrongContext},
		"a data key that is cut":         {`UPDATE data_keys SET wrapped = substring(wrapped FOR 39)`, here, cannotOpen},
		"a token that is cut":            {`UPDATE operator_oauth_tokens SET access_token = substring(access_token FOR 39)`, here, cannotOpen},
		"a token that is empty":          {`UPDATE operator_oauth_tokens SET access_token = ''`, here, cannotOpen},
		"a token with a byte changed": {
			`UPDATE operator_oauth_tokens SET access_token = set_byte(access_token, 60, 255 - get_byte(access_token, 60))`, here, cannotOpen,
		},
	} {
		reading := h.open(t, func(c *forgeauth.Config) {
			c.Connections = append([]forge.Connection(nil), c.Connections...)
			c.Connections[0].BaseURL, c.Maintenance = test.configured, true // as if the log agreed
		})
		execute(test.edit)
		_, err := reading.GetOperatorAdapter(t.Context())
		if !test.refuses(err) {
			t.Errorf("%s: an adapter: %v", name, err)
		}
		row, err := reading.GetOperatorOAuth(t.Context(), "gitea")
		if !test.refuses(err) || err != nil && !row.AccessToken.IsZero() {
			t.Errorf("%s: the row: %v", name, err)
		}
		execute(`DELETE FROM operator_oauth_tokens; INSERT INTO operator_oauth_tokens TABLE saved_tokens;
			UPDATE data_keys t SET wrapped = o.wrapped FROM saved_keys o WHERE o.id = t.id`)
	}
	for name, f := range h.forges {
		if n := f.Count(forgetest.AnyEndpoint); n != 0 {
			t.Errorf("%s was asked %d times", name, n)
		}
	}
}
