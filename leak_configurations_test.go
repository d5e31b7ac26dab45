package forgeauth_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/forge"
)

// driveOtherConfigurations restarts with an allow-list, and with a forge that has moved and moves back, in the place of the
// house's own Service.
func (l *leakHunt) driveOtherConfigurations(t *testing.T) {
	t.Helper()
	ctx, house, caller := t.Context(), l.handlers.Load(), commands.Caller{Actor: "cli"}
	defer l.handlers.Store(house)
	open := func(change func(*forgeauth.Config)) *forgeauth.Service {
		config := l.config
		config.Connections = slices.Clone(config.Connections)
		change(&config)
		s, err := forgeauth.Open(t.Context(), config)
		l.print(err)
		if err != nil {
			return nil
		}
		t.Cleanup(func() { closeService(t, s) })
		l.handlers.Store(&[]http.Handler{s.Handler()})
		return s
	}
	open(func(c *forgeauth.Config) {
		c.Operators = []commands.AllowedAccount{{ForgeType: "gitea", AccountID: "8"}}
	})
	for login, status := range map[string]int{"ada": http.StatusForbidden, "bob": http.StatusSeeOther} {
		b := l.browser()
		a, err := b.signIn(ctx, "gitea", login, nil)
		l.wants(t, a, err, status, "*")
		a, err = b.get(ctx, "/me")
		l.wants(t, a, err, map[string]int{"ada": http.StatusUnauthorized, "bob": http.StatusOK}[login], "")
	}
	moved := func(c *forgeauth.Config) {
		i := slices.IndexFunc(c.Connections, func(c forge.Connection) bool { return c.Name == "gitea" })
		c.Connections[i].BaseURL = l.forges["forgejo"].URL()
	}
	if open(moved) != nil {
		t.Error("a forge that has moved is served")
	}
	for _, change := range []func(*forgeauth.Config){moved, func(*forgeauth.Config) {}} {
		s := open(func(c *forgeauth.Config) {
			change(c)
			c.Maintenance = true
		})
		_, err := s.GetOperatorOAuth(ctx, "gitea")
		l.print(err)
		rebound, err := s.Commands().Rebind(ctx, caller, "gitea", true)
		if err != nil || len(rebound) == 0 {
			t.Errorf("rebind: %v, %v", rebound, err)
		}
		l.print(rebound, err)
		l.snapshot(t)
	}
}
