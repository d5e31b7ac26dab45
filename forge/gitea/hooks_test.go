package gitea_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/secret"
)

const ours = "https://automation.example/deliveries"

func spec(key string, events ...forge.HookEvent) forge.HookSpec {
	return forge.HookSpec{URL: ours, Secret: secret.New(key), Events: events}
}

// Neither forge takes a secret for a hook that is there, whatever it answers.
func TestANewSecretCountsFromTheNextDelivery(t *testing.T) {
	t.Parallel()
	former, next := strings.Repeat("f", 16), strings.Repeat("n", 16)
	onBoth(t, nil, one(), func(t *testing.T, b bench) {
		t.Helper()
		if _, err := b.port.EnsureHook(t.Context(), ref("1"), spec(former, forge.HookPush)); err != nil {
			t.Fatal(err)
		}
		hook, err := b.port.EnsureHook(t.Context(), ref("1"), spec(next, forge.HookIssue, forge.HookChange))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]forge.HookEvent{forge.HookChange, forge.HookIssue}, hook.Events); diff != "" || hook.URL != ours || !hook.Active {
			t.Errorf("%+v\n%s", hook, diff)
		}
		kept := b.Webhooks(1)
		if len(kept) != 1 || fmt.Sprint(kept[0].ID) != hook.ID || kept[0].Secret != next {
			t.Fatalf("%d webhooks", len(kept))
		}
		sent := b.Delivery(1, kept[0].ID, forgetest.Happening{Event: forge.HookIssue, Number: b.OpenIssue(1, "bob", "Broken", "")})
		verify := b.provider.HookVerifier().Verify
		if _, err := verify(sent.Header, sent.Body, secret.New(former)); !errors.Is(err, forge.ErrSignature) {
			t.Error(err)
		}
		got, err := verify(sent.Header, sent.Body, secret.New(former), secret.New(next))
		if err != nil || got.Event != forge.HookIssue || got.Name != "issues" || got.ID == "" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// The list of webhooks has no Link header; a client that goes by it sees one page.
func TestAHookIsFoundOnAnyPage(t *testing.T) {
	t.Parallel()
	onBoth(t, nil, one(), func(t *testing.T, b bench) {
		t.Helper()
		add := func(url string) { b.AddWebhook(1, forgetest.Webhook{URL: url, Events: []string{"push"}, Active: true}) }
		for i := range 120 {
			add(fmt.Sprintf("https://others.example/%d", i))
		}
		add(ours)
		add(ours)
		hook, err := b.port.EnsureHook(t.Context(), ref("1"), spec(strings.Repeat("s", 16), forge.HookPush))
		if err != nil {
			t.Fatal(err)
		}
		asked := b.Count(forgetest.HookEndpoint)
		var found []string
		seen := 0
		for h, err := range b.port.Hooks(t.Context(), ref("1")) {
			if err != nil {
				t.Fatal(err)
			}
			if seen++; h.URL == ours {
				found = append(found, h.ID)
			}
		}
		if diff := cmp.Diff([]string{hook.ID}, found); diff != "" || seen != 121 {
			t.Errorf("%d hooks\n%s", seen, diff)
		}
		if n := b.Count(forgetest.HookEndpoint) - asked; n != 3 {
			t.Errorf("%d requests for three pages", n)
		}
	})
}

func TestHowAListOfHooksEnds(t *testing.T) {
	t.Parallel()
	port := canned(t, map[string]string{ // no X-Total-Count
		"GET /hooks?limit=50&page=1": `[{"id":3,"type":"gitea","config":{"url":"https://x.example"},"events":["pull_request_comment","push","wiki"],"active":false}]`,
		"GET /hooks?limit=50&page=2": `[{"id":4,"type":"slack","config":{"url":"https://y.example/\u202ez"},"events":["pull_request_sync"],"active":true}]`,
		"GET /hooks?limit=50&page=3": `[]`,
	})
	var got []forge.Hook
	for h, err := range port.Hooks(t.Context(), named) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h)
	}
	want := []forge.Hook{
		{ID: "3", URL: "https://x.example", Events: []forge.HookEvent{forge.HookPush, forge.HookComment}},
		{ID: "4", URL: "https://y.example/z", Events: []forge.HookEvent{forge.HookChange}, Active: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNotOursStays(t *testing.T) {
	t.Parallel()
	port := canned(t, map[string]string{ // and nothing is deleted
		"POST /hooks": `{"id":9,"type":"gitea","config":{"url":"` + ours + `"},"events":["push"],"active":true}`,
		"GET /hooks?limit=50&page=1": `[{"id":3,"type":"slack","config":{"url":"` + ours + `"}},{"id":4,"type":"gitea","config":{"url":"` + ours + `/"}},
			{"id":9,"type":"gitea","config":{"url":"` + ours + `"}},{"id":10,"type":"gitea","config":{"url":"` + ours + `"}}]`,
		"GET /hooks?limit=50&page=2": `[]`,
	})
	if hook, err := port.EnsureHook(t.Context(), named, spec(strings.Repeat("s", 16), forge.HookPush)); err != nil || hook.ID != "9" {
		t.Errorf("%+v, %v", hook, err)
	}
}

// Wherever a call fails, the next one leaves a single hook.
func TestAHalfMadeHookIsMended(t *testing.T) {
	t.Parallel()
	for step, what := range map[int]string{0: "listed", 1: "made", 2: "listed again", 3: "removed"} {
		onBoth(t, nil, one(), func(t *testing.T, b bench) {
			t.Helper()
			key := strings.Repeat("s", 16)
			if _, err := b.port.EnsureHook(t.Context(), ref("1"), spec(key, forge.HookPush)); err != nil {
				t.Fatal(err)
			}
			faults := make([]forgetest.Fault, step+1)
			for i := range step {
				faults[i] = forgetest.AsUsual()
			}
			if faults[step] = forgetest.CutAfter(); step%2 == 0 { // a GET would be sent again
				faults[step] = forgetest.Status(502)
			}
			b.Next(forgetest.HookEndpoint, faults...)
			if hook, err := b.port.EnsureHook(t.Context(), ref("1"), spec(key, forge.HookPush)); !errors.Is(err, forge.ErrUnavailable) || hook.ID != "" {
				t.Fatalf("while it was %s: %+v, %v", what, hook, err)
			}
			hook, err := b.port.EnsureHook(t.Context(), ref("1"), spec(key, forge.HookPush))
			if err != nil {
				t.Fatal(err)
			}
			if kept := b.Webhooks(1); len(kept) != 1 || fmt.Sprint(kept[0].ID) != hook.ID {
				t.Errorf("%d webhooks", len(kept))
			}
		})
	}
}

func TestManyWhoEnsureLeaveOneHook(t *testing.T) {
	t.Parallel()
	onBoth(t, nil, one(), func(t *testing.T, b bench) {
		t.Helper()
		failed := make(chan error, 8)
		for range cap(failed) {
			go func(ctx context.Context) {
				_, err := b.port.EnsureHook(ctx, ref("1"), spec(strings.Repeat("s", 16), forge.HookPush))
				failed <- err
			}(t.Context())
		}
		for range cap(failed) {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
		if n := len(b.Webhooks(1)); n != 1 {
			t.Errorf("%d webhooks", n)
		}
	})
}
