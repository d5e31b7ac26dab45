package consumer_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/forgeauth/forgeauth/consumer"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/relay/webhook"
	"github.com/forgeauth/forgeauth/secret"
)

var (
	newSecret = secret.New("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	oldSecret = secret.New("whsec_" + strings.Repeat("QUFB", 8))
	noSecret  = secret.New("whsec_" + strings.Repeat("QkJC", 8))
)

func TestARelaysWebhookIsTaken(t *testing.T) {
	t.Parallel()
	l := &log{}
	handler, err := newConsumer(t, consumer.Config{}, l.handler()).Webhook(newSecret, oldSecret)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	for name, signing := range map[string][]secret.Text{
		"the new secret": {newSecret}, "the old secret": {oldSecret}, "both": {newSecret, oldSecret}, "another": {noSecret},
	} {
		l.heard = nil
		publisher, err := webhook.New(webhook.Config{URL: secret.New(server.URL), Secrets: signing, AllowPrivate: true})
		if err != nil {
			t.Fatal(err)
		}
		position := time.Now().UnixNano()
		msg := switched(position, "github").message(t)
		err = publisher.Publish("", msg)
		if name == "another" {
			status, ok := errors.AsType[*webhook.StatusError](err)
			if !ok || status.Status != http.StatusUnauthorized {
				t.Errorf("signed with another secret: %v", err)
			}
			l.want(t, name)
			continue
		}
		if err := errors.Join(err, publisher.Publish("", msg)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		l.want(t, name, strconv.FormatInt(position, 10)+" github")
	}
}

func TestAWebhookSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	fail := errors.New("no luck")
	c := newConsumer(t, consumer.Config{}, consumer.On(func(context.Context, consumer.Event, events.ForgeActivated) error { return fail }))
	handler, err := c.Webhook(newSecret)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := standardwebhooks.NewWebhook(newSecret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	good := string(switched(1, "github").message(t).Payload)
	newer := switched(1, "github")
	newer.schema = "9"
	for name, test := range map[string]struct {
		change func(*http.Request)
		body   string
		want   int
	}{
		"the handler fails": {nil, good, http.StatusInternalServerError},
		"a newer schema":    {nil, string(newer.message(t).Payload), http.StatusUnprocessableEntity},
		"no event":          {nil, `{"specversion":"1.0"}`, http.StatusBadRequest},
		"too large":         {nil, strings.Repeat(" ", 2<<20), http.StatusRequestEntityTooLarge},
		"another method":    {func(r *http.Request) { r.Method = http.MethodPut }, good, http.StatusMethodNotAllowed},
		"another form":      {func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, good, http.StatusUnsupportedMediaType},
		"no signature":      {func(r *http.Request) { r.Header.Del("webhook-signature") }, good, http.StatusUnauthorized},
		"another id":        {func(r *http.Request) { r.Header.Set("webhook-id", "2") }, good, http.StatusUnauthorized},
		"an old time": {func(r *http.Request) {
			signature, _ := signer.Sign("1", time.Now().Add(-time.Hour), []byte(good))
			r.Header.Set("webhook-timestamp", strconv.FormatInt(time.Now().Add(-time.Hour).Unix(), 10))
			r.Header.Set("webhook-signature", signature)
		}, good, http.StatusUnauthorized},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader([]byte(test.body)))
		now := time.Now()
		signature, err := signer.Sign("1", now, []byte(test.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
		r.Header.Set("webhook-id", "1")
		r.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
		r.Header.Set("webhook-signature", signature)
		if test.change != nil {
			test.change(r)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != test.want || strings.Contains(w.Body.String(), "luck") {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, test.want)
		}
	}
	for _, bad := range [][]secret.Text{nil, {secret.New("")}, {secret.New("whsec_!")}} {
		if _, err := c.Webhook(bad...); !errors.Is(err, consumer.ErrSecret) {
			t.Errorf("a bad secret: %v", err)
		}
	}
}
