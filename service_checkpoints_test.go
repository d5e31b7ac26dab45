package forgeauth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/secret"
)

// TestCheckpointsReachAWebhook: each as soon as it was signed, the newest once more after a failure, and the newest that there was
// when the process began.
func TestCheckpointsReachAWebhook(t *testing.T) {
	t.Parallel()
	var failing atomic.Bool
	received := make(chan string, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var event struct {
			Type string `json:"type"`
			Data struct {
				Checkpoint string `json:"checkpoint"`
			} `json:"data"`
		}
		if err != nil || json.Unmarshal(body, &event) != nil || event.Type != "LogCheckpoint" || r.Header.Get("Webhook-Signature") == "" {
			t.Errorf("the webhook is given %s, %v", body, err)
		}
		if failing.Swap(false) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		received <- event.Data.Checkpoint
	}))
	t.Cleanup(hook.Close)
	h := newHouse(t, "gitea", "gitlab")
	h.signs(t)
	h.config.Relays = []forgeauth.RelayConfig{{
		Name: "witness", URL: secret.New(hook.URL), AllowPrivate: true, Checkpoints: true,
		Secrets: []secret.Text{secret.New("whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32)))},
	}}
	run := func() (stop func()) {
		s := h.open(t)
		ctx, cancel := context.WithCancel(t.Context())
		running := make(chan error, 1)
		go func() { running <- s.Run(ctx) }()
		return func() {
			cancel()
			if err := <-running; err != nil {
				t.Error(err)
			}
			closeService(t, s)
			h.services = nil
		}
	}
	stop := run()
	failing.Store(true)
	b := h.claim(t, "gitea")
	mustSignIn(t, b, "gitlab", "ada", nil)
	s := h.service()
	head, err := s.Log().Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	policy := s.SigningKeys().Policy()
	covers := func() {
		t.Helper()
		for {
			tree, err := policy.ReadCheckpoint(<-received)
			if err != nil {
				t.Fatal(err)
			}
			if tree.N >= head.Position {
				return
			}
		}
	}
	covers()
	stop()
	stop = run()
	covers() // nothing was appended since
	stop()
}
