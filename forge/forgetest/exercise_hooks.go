package forgetest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

func hookSpec(address string) forge.HookSpec {
	return forge.HookSpec{
		URL: address, Secret: secret.New(hookSecret), Events: []forge.HookEvent{forge.HookPush, forge.HookChange, forge.HookIssue, forge.HookComment},
	}
}

func (w *workshop) clearHooks() {
	for _, h := range w.Webhooks(repositoryID) {
		w.RemoveWebhook(repositoryID, h.ID)
	}
}

func exerciseHooks(t *testing.T, x *exercise) {
	t.Helper()
	t.Run("a webhook is made once and found again", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		spec := hookSpec(hookAddress)
		var first forge.Hook
		for _, in := range []forge.RepositoryRef{w.byPath(), w.byID(), w.byPath()} {
			got, err := w.port.EnsureHook(t.Context(), in, spec)
			want := forge.Hook{ID: got.ID, URL: hookAddress, Events: w.heard(spec.Events...), Active: true}
			if diff := cmp.Diff(want, got); err != nil || diff != "" || got.ID == "" {
				t.Fatalf("%v %s", err, diff)
			}
			if first.ID != "" && (first.ID != got.ID) != w.replacesHooks {
				t.Error("another webhook was made, or none where it has to be")
			}
			first = got
			listed, err := hooksOf(t.Context(), w.port, in)
			if diff := cmp.Diff([]forge.Hook{got}, listed); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
		}
		kept := w.Webhooks(repositoryID)[0]
		if kept.URL != hookAddress || kept.Secret != hookSecret || !kept.Active || kept.Form || kept.Unverified {
			t.Errorf("kept as %s, active %t, a form %t, unverified %t, the secret %t", kept.URL, kept.Active, kept.Form, kept.Unverified, kept.Secret == hookSecret)
		}
	})
	t.Run("a webhook is as specified, and nothing else of it is changed", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		if _, err := w.port.EnsureHook(t.Context(), w.byPath(), hookSpec(hookAddress)); err != nil {
			t.Fatal(err)
		}
		oursFirst := func() []Webhook {
			all := w.Webhooks(repositoryID)
			slices.SortStableFunc(all, func(a, b Webhook) int { return len(a.URL) - len(b.URL) })
			return all
		}
		made := oursFirst()[0]
		w.AddWebhook(repositoryID, Webhook{URL: hookAddress + "/other", Secret: "others-secret-01234", Events: made.Events, Active: true})
		others := oursFirst()[1]
		for _, events := range [][]forge.HookEvent{
			{forge.HookPush}, {forge.HookComment, forge.HookIssue}, {forge.HookChange}, {forge.HookPush, forge.HookChange, forge.HookIssue, forge.HookComment},
		} {
			spec := forge.HookSpec{URL: hookAddress, Secret: secret.New(w.fresh("rotated-secret-0123456789")), Events: events}
			got, err := w.port.EnsureHook(t.Context(), w.byPath(), spec)
			want := slices.DeleteFunc(w.heard(forge.HookPush, forge.HookChange, forge.HookIssue, forge.HookComment), func(e forge.HookEvent) bool {
				return !slices.Contains(events, e)
			})
			if err != nil || !slices.Equal(got.Events, want) {
				t.Errorf("%v: %v, %v", events, got.Events, err)
			}
			after := oursFirst()
			if len(after) != 2 || (after[0].ID != made.ID) != w.replacesHooks || after[0].Secret != spec.Secret.Reveal() || !after[0].Active {
				t.Errorf("%v: %d webhooks", events, len(after))
			}
			if diff := cmp.Diff(others, after[1]); diff != "" {
				t.Errorf("somebody else's: %s", diff)
			}
		}
		if diff := cmp.Diff(made.Events, oursFirst()[0].Events); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("what people did to it is undone", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		w.AddWebhook(repositoryID, Webhook{URL: hookAddress, Secret: "", Active: false, Form: true, Unverified: true})
		got, err := w.port.EnsureHook(t.Context(), w.byPath(), hookSpec(hookAddress))
		if err != nil || !got.Active || len(got.Events) != len(w.heard(hookSpec("").Events...)) {
			t.Errorf("%+v, %v", got, err)
		}
		kept := w.Webhooks(repositoryID)
		if len(kept) != 1 || kept[0].Secret != hookSecret || !kept[0].Active || kept[0].Form || kept[0].Unverified {
			t.Errorf("%d webhooks, a form %t, unverified %t", len(kept), kept[0].Form, kept[0].Unverified)
		}
	})
	t.Run("of several with the address, the oldest is taken and the others are left alone", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		// Addresses are compared to the letter.
		w.AddWebhook(repositoryID, Webhook{URL: strings.ToUpper(hookAddress), Secret: "others-secret-01234"})
		for range 3 {
			w.AddWebhook(repositoryID, Webhook{URL: hookAddress, Secret: "others-secret-01234", Active: true})
		}
		w.AddWebhook(repositoryID, Webhook{URL: hookAddress + "&x", Secret: "others-secret-01234"})
		got, err := w.port.EnsureHook(t.Context(), w.byPath(), hookSpec(hookAddress))
		if err != nil {
			t.Fatal(err)
		}
		all, ours := w.Webhooks(repositoryID), 1
		if w.replacesHooks {
			if ours = 2; len(all) != 3 {
				t.Errorf("%d webhooks", len(all))
			}
		}
		for i, kept := range all {
			if isOurs := i == ours; isOurs != (kept.Secret == hookSecret) || isOurs != (w.id(kept.ID) == got.ID) {
				t.Errorf("webhook %d: the secret %t", i, kept.Secret == hookSecret)
			}
		}
	})
	t.Run("webhooks come page by page, each once, and ours is found on the last", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		const many = 230
		for i := range many {
			w.AddWebhook(repositoryID, Webhook{URL: fmt.Sprintf("https://hooks.invalid/%d", i), Secret: "others-secret-01234", Active: i%2 == 0})
		}
		w.AddWebhook(repositoryID, Webhook{URL: hookAddress, Secret: "others-secret-01234"})
		before := w.Count(HookEndpoint)
		sequence := w.port.Hooks(t.Context(), w.byPath())
		if w.Count(HookEndpoint) != before {
			t.Error("a page was asked for before anything was consumed")
		}
		for _, err := range sequence {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		if n := w.Count(HookEndpoint) - before; n != 1 {
			t.Errorf("%d requests for one webhook", n)
		}
		listed, err := hooksOf(t.Context(), w.port, w.byPath())
		if err != nil || len(listed) != many+1 {
			t.Fatalf("%d, %v", len(listed), err)
		}
		seen := map[string]forge.Hook{}
		for _, h := range listed {
			seen[h.ID] = h
		}
		for _, kept := range w.Webhooks(repositoryID) {
			if h := seen[w.id(kept.ID)]; h.URL != kept.URL || h.Active != kept.Active {
				t.Errorf("%+v, want %s", h, kept.URL)
			}
		}
		if _, err := w.port.EnsureHook(t.Context(), w.byPath(), hookSpec(hookAddress)); err != nil || len(w.Webhooks(repositoryID)) != many+1 {
			t.Errorf("%d webhooks, %v", len(w.Webhooks(repositoryID)), err)
		}
		// An error on a later page is an error, and no reason to make another one.
		w.Next(HookEndpoint, AsUsual(), marked(502, "text/html", "MARK"))
		_, err = w.port.EnsureHook(t.Context(), w.byPath(), hookSpec("https://hooks.invalid/new"))
		w.fails(t, "ensure hook", err, forge.ErrUnavailable)
		w.Next(HookEndpoint, AsUsual(), marked(502, "text/html", "MARK"))
		_, err = hooksOf(t.Context(), w.port, w.byPath())
		w.fails(t, "hooks", err, forge.ErrUnavailable)
		if n := len(w.Webhooks(repositoryID)); n != many+1 {
			t.Errorf("%d webhooks", n)
		}
	})
	t.Run("two who make the same at once", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		raced := Fault{"somebody else makes it first", func(f *Forge, out http.ResponseWriter, r *http.Request) {
			f.serve(newCaptured(), r)
			f.serve(out, r)
		}}
		w.Next(HookEndpoint, AsUsual(), raced)
		got, err := w.port.EnsureHook(t.Context(), w.byPath(), hookSpec(hookAddress))
		if kept := w.Webhooks(repositoryID); err != nil || len(kept) != 1 || w.id(kept[0].ID) != got.ID {
			t.Errorf("%d webhooks, %v", len(kept), err)
		}
	})
	t.Run("one is removed, and stays so", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		made, err := w.port.EnsureHook(t.Context(), w.byPath(), hookSpec(hookAddress))
		if err != nil {
			t.Fatal(err)
		}
		w.AddWebhook(repositoryID, Webhook{URL: hookAddress + "/other"})
		for _, in := range []forge.RepositoryRef{w.byPath(), w.byPath(), w.byID()} {
			if err := w.port.RemoveHook(t.Context(), in, made.ID); err != nil {
				t.Errorf("%v", err)
			}
			if kept := w.Webhooks(repositoryID); len(kept) != 1 || kept[0].URL == hookAddress {
				t.Errorf("%d webhooks", len(kept))
			}
		}
	})
	t.Run("what is no webhook of any forge is invalid and nobody is asked", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		before := w.Count(AnyEndpoint)
		for _, id := range []string{"", "../1", "1/2", "1?x", " 1", "1\n", exerciseMark + "/", strings.Repeat("1", 65)} {
			w.fails(t, "remove hook", w.port.RemoveHook(t.Context(), w.byPath(), id), forge.ErrInvalid)
		}
		for _, change := range []func(*forge.HookSpec){
			func(s *forge.HookSpec) { s.URL = "" },
			func(s *forge.HookSpec) { s.URL = "ftp://hooks.invalid/" + exerciseMark },
			func(s *forge.HookSpec) { s.URL = "https://user:" + exerciseMark + "@hooks.invalid/" },
			func(s *forge.HookSpec) { s.URL = "https://hooks.invalid/a b" },
			func(s *forge.HookSpec) { s.Secret = secret.Text{} },
			func(s *forge.HookSpec) { s.Secret = secret.New("too-short") },
			func(s *forge.HookSpec) { s.Secret = secret.New(exerciseMark + "\r\nX-Evil: 1 2 3") },
			func(s *forge.HookSpec) { s.Secret = secret.New(strings.Repeat("s", 256)) },
			func(s *forge.HookSpec) { s.Events = nil },
			func(s *forge.HookSpec) { s.Events = []forge.HookEvent{forge.HookPing} },
			func(s *forge.HookSpec) { s.Events = []forge.HookEvent{forge.HookOther} },
			func(s *forge.HookSpec) { s.Events = []forge.HookEvent{exerciseMark} },
		} {
			spec := hookSpec(hookAddress)
			change(&spec)
			_, err := w.port.EnsureHook(t.Context(), w.byPath(), spec)
			w.fails(t, "ensure hook", err, forge.ErrInvalid)
		}
		if w.Count(AnyEndpoint) != before {
			t.Error("the forge was contacted")
		}
	})
	t.Run("who may not administer the repository sees none and makes none", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t, func(c *Config, _ *forge.Connection) { c.Users[0].Repositories[1].ReadOnly = true })
		w.AddWebhook(repositoryID+1, Webhook{URL: hookAddress})
		in := forge.RepositoryRef{ID: w.id(repositoryID + 1)}
		_, err := hooksOf(t.Context(), w.port, in)
		if !isOne(err, []error{forge.ErrNotFound, forge.ErrForbidden}) {
			t.Errorf("%v", err)
		}
		w.fails(t, "hooks", err, err)
		_, err = w.port.EnsureHook(t.Context(), in, hookSpec(hookAddress))
		if !isOne(err, []error{forge.ErrNotFound, forge.ErrForbidden}) || len(w.Webhooks(repositoryID+1)) != 1 {
			t.Errorf("%v", err)
		}
		w.fails(t, "ensure hook", err, err)
	})
	t.Run("an address that is not fit to be shown is made so", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		w.AddWebhook(repositoryID, Webhook{URL: "https://hooks.invalid/\x1b[2J\u202e" + strings.Repeat("ü", 3000), Secret: "others-secret-01234"})
		listed, err := hooksOf(t.Context(), w.port, w.byPath())
		if err != nil || len(listed) != 1 || strings.ContainsAny(listed[0].URL, "\x1b\u202e") || len([]rune(listed[0].URL)) > 2048 {
			t.Errorf("%d, %v", len(listed), err)
		}
		w.clearHooks()
		long := "https://hooks.invalid/" + strings.Repeat("a", 1000)
		w.AddWebhook(repositoryID, Webhook{URL: long, Secret: "others-secret-01234"})
		listed, err = hooksOf(t.Context(), w.port, w.byPath())
		if err != nil || len(listed) != 1 || listed[0].URL != long {
			t.Errorf("a long one: %d, %v", len(listed), err)
		}
	})
}
