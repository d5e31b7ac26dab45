package forgetest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

// receiver is a program that webhooks deliver to.
type receiver struct {
	*httptest.Server

	mu       sync.Mutex
	verified []forge.Delivery
}

// receive starts one that takes what is signed with one of the secrets and answers 401 to everything else.
func receive(t *testing.T, verifier forge.HookVerifier, secrets ...secret.Text) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		delivery, err := verifier.Verify(req.Header, body, secrets...)
		r.mu.Lock()
		defer r.mu.Unlock()
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		r.verified = append(r.verified, delivery)
	}))
	t.Cleanup(r.Close)
	return r
}

// last is the delivery that was verified last.
func (r *receiver) last() forge.Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.verified) == 0 {
		return forge.Delivery{}
	}
	return r.verified[len(r.verified)-1]
}

// allHappenings lists one of everything that webhooks are told of.
func (w *workshop) allHappenings() []Happening {
	all := []Happening{
		{Event: forge.HookPush},
		{Event: forge.HookPush, Branch: sourceBranch},
		{Event: forge.HookChange, Number: w.change},
		{Event: forge.HookComment, Number: w.change, OnChange: true},
	}
	if !w.noIssues {
		all = append(all, Happening{Event: forge.HookIssue, Number: w.issue}, Happening{Event: forge.HookComment, Number: w.issue})
	}
	if w.pings {
		all = append(all, Happening{Event: forge.HookPing})
	}
	return all
}

func exerciseDeliveries(t *testing.T, x *exercise) {
	t.Helper()
	t.Run("what happens is delivered, verified and named", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		r := receive(t, w.provider.HookVerifier(), secret.New(hookSecret))
		if _, err := w.port.EnsureHook(t.Context(), w.byPath(), hookSpec(r.URL+"/in?forge=1")); err != nil {
			t.Fatal(err)
		}
		for _, what := range w.allHappenings() {
			sent, err := w.deliver(t, what)
			if err != nil || len(sent) != 1 || sent[0].Status != http.StatusOK {
				t.Fatalf("%+v: %d deliveries, %v", what, len(sent), err)
			}
			got := r.last()
			if got.Event != what.Event || got.Name == "" || !forge.IsClean(got.Name) || !forge.IsClean(got.ID) {
				t.Errorf("%+v: %+v", what, got)
			}
			if err := sent[0].Send(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, r.last()); diff != "" {
				t.Errorf("sent again: %s", diff)
			}
		}
		ids := map[string]int{}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, d := range r.verified {
			ids[d.ID]++
		}
		for id, n := range ids {
			if id != "" && n != 2 {
				t.Errorf("%d deliveries have one id", n)
			}
		}
	})
	t.Run("a webhook hears what it is subscribed to", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		r := receive(t, w.provider.HookVerifier(), secret.New(hookSecret))
		for _, event := range w.heard(forge.HookPush, forge.HookChange, forge.HookIssue, forge.HookComment) {
			spec := hookSpec(r.URL)
			spec.Events = []forge.HookEvent{event}
			if _, err := w.port.EnsureHook(t.Context(), w.byPath(), spec); err != nil {
				t.Fatal(err)
			}
			for _, what := range w.allHappenings() {
				if what.Event == forge.HookPing {
					continue
				}
				if sent, err := w.deliver(t, what); err != nil || (len(sent) == 1) != (what.Event == event) {
					t.Errorf("%s: %+v: %d deliveries, %v", event, what, len(sent), err)
				}
			}
		}
	})
	t.Run("while the secret is replaced both are good, and then one", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		old, next := secret.New(hookSecret), secret.New("next-secret-0123456789")
		r := receive(t, w.provider.HookVerifier(), old, next)
		spec := hookSpec(r.URL)
		for _, current := range []secret.Text{old, next} {
			spec.Secret = current
			if _, err := w.port.EnsureHook(t.Context(), w.byPath(), spec); err != nil {
				t.Fatal(err)
			}
			sent, err := w.deliver(t, Happening{Event: forge.HookPush})
			if err != nil || len(sent) != 1 || sent[0].Status != http.StatusOK {
				t.Fatalf("%d deliveries, %v", len(sent), err)
			}
			_, err = w.provider.HookVerifier().Verify(sent[0].Header, sent[0].Body, next)
			if isNext := current.Equal(next); isNext != (err == nil) || !isNext && !errors.Is(err, forge.ErrSignature) {
				t.Errorf("%v", err)
			}
		}
	})
	exerciseSignatures(t, x)
}

// deliver delivers to the repository that is worked on.
func (w *workshop) deliver(t *testing.T, what Happening) ([]Delivery, error) {
	t.Helper()
	sent, err := w.Deliver(t.Context(), repositoryID, what)
	if err != nil {
		return nil, fmt.Errorf("exercise: %w", err)
	}
	return sent, nil
}

func exerciseSignatures(t *testing.T, x *exercise) {
	t.Helper()
	t.Run("what nobody has a name for is something else", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		id := w.AddWebhook(repositoryID, Webhook{URL: hookAddress, Secret: hookSecret})
		d := w.Delivery(repositoryID, id, Happening{Event: forge.HookOther})
		got, err := w.provider.HookVerifier().Verify(d.Header, d.Body, secret.New(hookSecret))
		if err != nil || got.Event != forge.HookOther || got.Name == "" {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("what is not signed with the secret is refused", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		verifier, good := w.provider.HookVerifier(), secret.New(hookSecret)
		id := w.AddWebhook(repositoryID, Webhook{URL: hookAddress, Secret: hookSecret})
		unsigned := w.Delivery(repositoryID, w.AddWebhook(repositoryID, Webhook{URL: hookAddress, Secret: ""}), Happening{Event: forge.HookPush})
		for _, what := range w.allHappenings() {
			d := w.Delivery(repositoryID, id, what)
			refused := func(name string, header http.Header, body []byte, secrets ...secret.Text) {
				t.Helper()
				got, err := verifier.Verify(header, body, secrets...)
				if !errors.Is(err, forge.ErrSignature) || got != (forge.Delivery{}) {
					t.Errorf("%s, %s: %+v, %v", what.Event, name, got, err)
				}
				if err != nil {
					w.clean(t, err.Error())
				}
			}
			refused("no secret", d.Header, d.Body)
			refused("an empty secret", d.Header, d.Body, secret.Text{})
			refused("another secret", d.Header, d.Body, secret.New(hookSecret+"x"), secret.New(hookSecret[1:]), secret.New(strings.ToUpper(hookSecret)))
			refused("no header", nil, d.Body, good)
			refused("another forge's header", http.Header{"X-Signature": {"sha256=" + signature(hookSecret, d.Body)}}, d.Body, good)
			refused("a webhook without a secret", unsigned.Header, unsigned.Body, good, secret.Text{})
			if w.signsBody {
				refused("another body", d.Header, append([]byte(" "), d.Body...), good)
				refused("no body", d.Header, nil, good)
			}
			w.signatureHeaders(t, d, refused)
		}
	})
	t.Run("a header may be written in any case", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		d := w.Delivery(repositoryID, w.AddWebhook(repositoryID, Webhook{URL: hookAddress, Secret: hookSecret}), Happening{Event: forge.HookPush})
		for _, as := range []func(string) string{strings.ToLower, strings.ToUpper} {
			header := http.Header{}
			for name, values := range d.Header {
				header[as(name)] = values
			}
			got, err := w.provider.HookVerifier().Verify(header, d.Body, secret.New(hookSecret))
			if err != nil || got.Event != forge.HookPush {
				t.Errorf("%+v, %v", got, err)
			}
		}
	})
}

// signatureHeaders finds the header that is the signature, by leaving out one after the other, and spoils it.
func (w *workshop) signatureHeaders(t *testing.T, d Delivery, refused func(string, http.Header, []byte, ...secret.Text)) {
	t.Helper()
	good, found := secret.New(hookSecret), 0
	d.Header.Del(w.alsoSigned)
	for name := range d.Header {
		header := d.Header.Clone()
		header.Del(name)
		if _, err := w.provider.HookVerifier().Verify(header, d.Body, good); err == nil {
			continue
		}
		found++
		value := d.Header.Get(name)
		for what, values := range map[string][]string{
			"empty": {""}, "twice": {value, value}, "with another": {"x", value}, "cut short": {value[:len(value)-1]}, "longer": {value + "0"},
			"another one": {strings.Repeat("0", len(value))}, "the secret and a space": {value + " "}, "a list": {value + "," + value},
		} {
			header[name] = values
			refused(name+" "+what, header, d.Body, good)
		}
	}
	if found != 1 {
		t.Errorf("%d headers are the signature", found)
	}
}
