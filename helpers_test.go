package forgeauth_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
)

// Whatever a program calls itself, the log takes it, as one line that can be read.
func TestWhoActsIsWrittenDownInAFormThatCanBeRead(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea")
	s := h.open(t)
	long := strings.Repeat("é", 300)
	actors := []string{"mirror-bot", "", "\x00", "two\nlines", "\u202ebot\xff", long}
	for _, actor := range actors {
		if err := s.UpsertOperatorOAuth(forgeauth.WithActor(t.Context(), actor), robotToken("gitea")); err != nil {
			t.Errorf("%q: %v", actor, err)
		}
	}
	if err := s.DeleteOperatorOAuth(t.Context(), "gitea"); err != nil {
		t.Error(err)
	}
	var got []string
	for _, e := range readLog(t.Context(), t, s) {
		got = append(got, e.Actor)
	}
	want := []string{"mirror-bot", "program", "program", "twolines", "bot", long[:2*255], "program", "program"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Deliveries come in whatever is active, and before and after anybody is signed in.
func TestAVerifierNeedsNoToken(t *testing.T) {
	t.Parallel()
	s := newHouse(t, "gitea").open(t)
	if verifier, err := s.HookVerifier("gitea"); err != nil || verifier == nil {
		t.Errorf("%v, %v", verifier, err)
	}
	if verifier, err := s.HookVerifier("forgejo"); !errors.Is(err, commands.ErrUnknownConnection) || verifier != nil {
		t.Errorf("%v, %v", verifier, err)
	}
}
