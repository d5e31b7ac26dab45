package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/forge"
)

func TestNotesSayWhatNeedsSomebody(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	status := commands.ForgeStatus{
		ForgeType: "gitea-work", Kind: forge.Gitea, BaseURL: "https://git.example.com", WithdrawAt: "https://git.example.com/page",
		NeedsReauth:   &commands.NeedsReauth{Since: at, Reason: "outcome_unknown"},
		MissingScopes: []string{"write:issue"}, ExcessScopes: []string{"all"},
		PendingRevocations: 2, NextRevocationAt: &at,
	}
	want := []string{
		"only a sign-in helps since 2026-01-02 03:04:05Z (outcome_unknown): `forgeauth login gitea-work`",
		"asked for and not granted: write:issue; to get it, withdraw the grant at https://git.example.com/user/settings/applications and sign in again",
		"granted beyond what is asked for: all; to give it up, withdraw the grant at https://git.example.com/user/settings/applications and sign in again",
		"former tokens still to be revoked: 2; the forge is told again at 2026-01-02 03:04:05Z",
		"the former token was not revoked at the forge: withdraw it at https://git.example.com/page",
	}
	if diff := cmp.Diff(want, notesOf(status)); diff != "" {
		t.Error(diff)
	}
	if notes := notesOf(commands.ForgeStatus{ForgeType: "gitea", State: commands.StateActive}); notes != nil {
		t.Errorf("notes about a connection that needs nobody: %q", notes)
	}
}
