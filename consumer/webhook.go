package consumer

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/secret"
)

// maxBody bounds a delivery, in bytes. Events are a few hundred.
const maxBody = 1 << 20

// ErrSecret says that a webhook's secret is none.
var ErrSecret = errors.New("a webhook's secret is whsec_ and its bytes in base64")

// Webhook returns an HTTP handler for the deliveries of a relay to a webhook, signed as Standard Webhooks says with one of the
// secrets: give it both while one is rotated. A signature is good for five minutes. The error is [ErrSecret].
//
// It answers 204 when the event is handled, 401 where the signature is not right, 400 to what is no event, 422 to an event that only a
// newer version of this module can handle, and 500 where the handler or the store failed: forgeauth then sends it again.
func (c *Consumer) Webhook(secrets ...secret.Text) (http.Handler, error) {
	var verifiers []*standardwebhooks.Webhook
	for _, s := range secrets {
		v, err := standardwebhooks.NewWebhook(s.Reveal())
		if err != nil || s.IsZero() {
			return nil, ErrSecret
		}
		verifiers = append(verifiers, v)
	}
	if len(verifiers) == 0 {
		return nil, ErrSecret
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, err := c.delivered(w, r, verifiers)
		if err == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		c.config.Logger.WarnContext(r.Context(), "a delivery was not taken", "status", status, "error", err)
		http.Error(w, http.StatusText(status), status)
	}), nil
}

func (c *Consumer) delivered(w http.ResponseWriter, r *http.Request, verifiers []*standardwebhooks.Webhook) (status int, err error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return http.StatusMethodNotAllowed, fmt.Errorf("method %q", r.Method)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return http.StatusRequestEntityTooLarge, fmt.Errorf("read the body: %w", err)
	}
	if err != nil {
		return http.StatusBadRequest, fmt.Errorf("read the body: %w", err)
	}
	if err := verify(body, r.Header, verifiers); err != nil {
		return http.StatusUnauthorized, err
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/cloudevents+json" {
		return http.StatusUnsupportedMediaType, errors.New("it is no CloudEvent in structured mode")
	}
	switch err := c.Handle(r.Context(), body); {
	case err == nil:
		return http.StatusNoContent, nil
	case errors.Is(err, events.ErrNotOurs), errors.Is(err, ErrSource):
		return http.StatusBadRequest, err
	case errors.Is(err, events.ErrUnknownEvent):
		return http.StatusUnprocessableEntity, err
	default:
		return http.StatusInternalServerError, err
	}
}

func verify(body []byte, header http.Header, verifiers []*standardwebhooks.Webhook) error {
	var err error
	for _, v := range verifiers {
		if err = v.Verify(body, header); err == nil {
			return nil
		}
	}
	return fmt.Errorf("the signature: %w", err)
}
