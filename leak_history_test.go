package forgeauth_test

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/forgeauth/forgeauth/history"
)

// tellHistory has everything told that is told of the past, over HTTP and in Go, and a deployment exported.
func (l *leakHunt) tellHistory(t *testing.T) {
	t.Helper()
	ctx, s := t.Context(), l.services[0]
	if err := s.Sign(ctx); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/audit", "/audit/switches", "/audit/events?limit=1000", "/audit/tokens/gitea", "/audit/sessions", "/audit/denied",
		"/audit/replay?limit=1000", "/audit/state", "/audit/state?at=20", "/audit/diff?from=beginning", "/audit/events/2", "/audit/events/2/proof",
		"/log/checkpoint",
	} {
		a, err := l.operator.get(ctx, path)
		l.wants(t, a, err, http.StatusOK, "")
		l.print(a.body)
	}
	for step, err := range s.History().Replay(ctx, history.ReplayQuery{}) {
		l.print(step, err)
	}
	var file bytes.Buffer
	head, err := s.Export(ctx, &file, true, nil)
	l.print(head, err, file.String())
	uses, unreadable, err := s.KeyUses(ctx)
	l.print(uses, unreadable, err, s.SigningKeys(), l.config.Signing)
	rotated, err := s.Commands().RotateKeys(ctx, custodian)
	l.print(rotated, err)
	_, err = s.Commands().ForgetForge(ctx, custodian, "nowhere")
	l.print(err)
}
