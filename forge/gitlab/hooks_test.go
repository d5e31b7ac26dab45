package gitlab_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/secret"
)

func TestAWebhookHasTheEventsAskedForAndNoOthers(t *testing.T) {
	t.Parallel()
	d := sit(t, project())
	d.AddWebhook(projectID, forgetest.Webhook{
		URL: address, Secret: "others", Active: true, Unverified: true,
		Events: []string{"confidential_issues_events", "confidential_note_events", "pipeline_events", "wiki_page_events", "issues_events"},
	})
	for events, want := range map[forge.HookEvent][]string{
		forge.HookPush: {"push_events", "tag_push_events"}, forge.HookChange: {"merge_requests_events"},
		forge.HookIssue: {"issues_events"}, forge.HookComment: {"note_events"},
	} {
		got, err := d.port.EnsureHook(t.Context(), d.in, hookSpec(token, events))
		if err != nil || !slices.Equal(got.Events, []forge.HookEvent{events}) {
			t.Errorf("%s: %v, %v", events, got.Events, err)
		}
		kept := d.Webhooks(projectID)
		if len(kept) != 1 || kept[0].Secret != token || kept[0].Unverified {
			t.Fatalf("%s: %d webhooks, unverified %t", events, len(kept), kept[0].Unverified)
		}
		if diff := cmp.Diff(want, kept[0].Events); diff != "" {
			t.Errorf("%s: %s", events, diff)
		}
	}
}

func TestAWebhookThatWasGivenUpIsReplaced(t *testing.T) {
	t.Parallel()
	d := sit(t, project())
	dead := d.AddWebhook(projectID, forgetest.Webhook{URL: address, Secret: token, Active: false})
	if listed := list(t, d); len(listed) != 1 || listed[0].Active {
		t.Fatalf("%+v", listed)
	}
	made, err := d.port.EnsureHook(t.Context(), d.in, hookSpec(token))
	kept := d.Webhooks(projectID)
	if err != nil || !made.Active || len(kept) != 1 || kept[0].ID == dead || forge.Number(kept[0].ID) != made.ID {
		t.Fatalf("%+v, %d webhooks, %v", made, len(kept), err)
	}
	// Beside one that is alive, one that was given up is left alone.
	d.AddWebhook(projectID, forgetest.Webhook{URL: address, Secret: token, Active: false})
	again, err := d.port.EnsureHook(t.Context(), d.in, hookSpec(token))
	if err != nil || again.ID != made.ID || len(d.Webhooks(projectID)) != 2 {
		t.Errorf("%+v, %d webhooks, %v", again, len(d.Webhooks(projectID)), err)
	}
}

func list(t *testing.T, d *desk) []forge.Hook {
	t.Helper()
	var all []forge.Hook
	for h, err := range d.port.Hooks(t.Context(), d.in) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, h)
	}
	return all
}

// TestManyWhoMakeTheSameWebhookAtOnceEndWithOne: GitLab would let each have its own.
func TestManyWhoMakeTheSameWebhookAtOnceEndWithOne(t *testing.T) {
	t.Parallel()
	d := sit(t, project())
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := d.port.EnsureHook(t.Context(), d.in, hookSpec(token)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	kept := d.Webhooks(projectID)
	if len(kept) != 1 {
		t.Fatalf("%d webhooks", len(kept))
	}
	if got, err := d.port.EnsureHook(t.Context(), d.in, hookSpec(token)); err != nil || got.ID != forge.Number(kept[0].ID) {
		t.Errorf("%s, %v", got.ID, err)
	}
}

func TestAWebhookThatGoesAwayMeanwhileIsMade(t *testing.T) {
	t.Parallel()
	var asked []string
	port := at(t, map[string]string{
		"GET /projects/7/hooks":  `[{"id":4,"url":"` + address + `"}]`,
		"POST /projects/7/hooks": `201 {"id":9,"url":"` + address + `","push_events":true}`,
		// PUT /projects/7/hooks/4 is 404, and the list still old.
		"DELETE /projects/7/hooks/9": "",
	}, &asked)
	_, err := port.EnsureHook(t.Context(), forge.RepositoryRef{ID: "7"}, hookSpec(token))
	// What was made is taken back for an older one, which cannot be changed: an error, and to be repeated.
	if !errors.Is(err, forge.ErrNotFound) {
		t.Errorf("%v", err)
	}
	want := []string{
		"GET /projects/7/hooks", "PUT /projects/7/hooks/4", "POST /projects/7/hooks", "GET /projects/7/hooks",
		"DELETE /projects/7/hooks/9", "PUT /projects/7/hooks/4",
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
}

func TestASigningTokenSignsAndStaysAtHome(t *testing.T) {
	t.Parallel()
	d := sit(t, project())
	made, err := d.port.EnsureHook(t.Context(), d.in, hookSpec(signing))
	if err != nil || !made.Active {
		t.Fatalf("%+v, %v", made, err)
	}
	verifier := provide(t, d.URL(), forge.Options{}).HookVerifier()
	delivery := d.Delivery(projectID, d.Webhooks(projectID)[0].ID, forgetest.Happening{Event: forge.HookPush})
	if got, err := verifier.Verify(delivery.Header, delivery.Body, secret.New(token), secret.New(signing)); err != nil || got.Event != forge.HookPush {
		t.Errorf("%+v, %v", got, err)
	}
	for name, values := range delivery.Header {
		if strings.Contains(strings.Join(values, " "), signing) {
			t.Errorf("the secret travels in %s", name)
		}
	}
	delivery.Body[0] = ' '
	if _, err := verifier.Verify(delivery.Header, delivery.Body, secret.New(signing)); !errors.Is(err, forge.ErrSignature) {
		t.Errorf("another body: %v", err)
	}
}

// TestAnOldGitLabDoesNotSign: it passes over what it does not know, and would deliver without any proof.
func TestAnOldGitLabDoesNotSign(t *testing.T) {
	t.Parallel()
	in := forge.RepositoryRef{ID: "7"}
	for name, test := range map[string]struct {
		listed string
		asked  []string
	}{
		"what was made is taken back": {`[]`, []string{"GET /projects/7/hooks", "POST /projects/7/hooks", "DELETE /projects/7/hooks/9"}},
		"what is there is left":       {`[{"id":4,"url":"` + address + `"}]`, []string{"GET /projects/7/hooks", "PUT /projects/7/hooks/4"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			port := at(t, map[string]string{
				"GET /projects/7/hooks":      test.listed,
				"POST /projects/7/hooks":     `201 {"id":9,"url":"` + address + `","push_events":true}`,
				"PUT /projects/7/hooks/4":    `{"id":4,"url":"` + address + `","push_events":true}`,
				"DELETE /projects/7/hooks/9": "",
			}, &asked)
			got, err := port.EnsureHook(t.Context(), in, hookSpec(signing))
			if !errors.Is(err, forge.ErrUnsupported) || got.ID != "" || strings.Contains(err.Error(), signing) {
				t.Errorf("%+v, %v", got, err)
			}
			if diff := cmp.Diff(test.asked, asked); diff != "" {
				t.Error(diff)
			}
		})
	}
}
