package forge_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

// speaking is the caller of a forge whose dialect says more than a status does.
func speaking(t *testing.T, handler http.HandlerFunc, dialect forge.Dialect) *forge.Caller {
	t.Helper()
	s := serve(t, handler)
	dialect.AuthorizePath, dialect.TokenPath = "/a", "/t"
	transport, err := forge.NewTransport(s.transport.Connection(), dialect, forge.Options{Now: func() time.Time { return clock }})
	if err != nil {
		t.Fatal(err)
	}
	return transport.Caller(forge.Binding{}, forge.StaticToken(forge.Token{Access: secret.New(accessToken)}))
}

func TestADialectReadsWhatAStatusDoesNotSay(t *testing.T) {
	t.Parallel()
	missing := &forge.ScopeMissingError{Have: []string{"a"}, Want: []string{"b"}}
	dialect := forge.Dialect{
		Reason: func(status int, body []byte) error {
			switch {
			case status < 300, status == 401, status == 403, status == 429, status >= 500:
				t.Errorf("asked about %d", status)
			case strings.Contains(string(body), "switched off"):
				return forge.ErrUnsupported
			case strings.Contains(string(body), "is there"):
				return forge.ErrConflict
			}
			return nil
		},
		Refusal: func(status int, _ http.Header, body []byte, _ time.Time) error {
			switch {
			case status != 403 && status != 404 && status != 429:
				t.Errorf("asked about %d", status)
			case strings.Contains(string(body), "scope"):
				return missing
			case strings.Contains(string(body), "later"):
				return &forge.RateLimitedError{}
			case strings.Contains(string(body), "large"):
				return forge.ErrTooLarge
			}
			return nil
		},
	}
	for name, test := range map[string]struct {
		status      int
		body        string
		read, write error
	}{
		"410, switched off":        {410, "switched off " + marker, forge.ErrUnsupported, forge.ErrUnsupported},
		"410":                      {410, marker, forge.ErrNotFound, forge.ErrNotFound},
		"422, is there":            {422, "is there", forge.ErrConflict, forge.ErrConflict},
		"422":                      {422, marker, forge.ErrUnavailable, forge.ErrInvalid},
		"404 without a scope":      {404, "scope", missing, missing},
		"404 is not found as well": {404, "scope", forge.ErrNotFound, forge.ErrNotFound},
		"404 is no rate limit":     {404, "later", forge.ErrNotFound, forge.ErrNotFound},
		"404":                      {404, marker, forge.ErrNotFound, forge.ErrNotFound},
		"403 without a scope":      {403, "scope", missing, missing},
		"403 for its size":         {403, "large", forge.ErrTooLarge, forge.ErrTooLarge},
		"403":                      {403, "switched off", forge.ErrForbidden, forge.ErrForbidden},
		"401":                      {401, "switched off", forge.ErrNeedsReauth, forge.ErrNeedsReauth},
		"500":                      {500, "is there", forge.ErrUnavailable, forge.ErrUnavailable},
		"200":                      {200, `"is there"`, nil, nil},
		"301":                      {301, marker, forge.ErrUnavailable, forge.ErrMoved},
		"308":                      {308, marker, forge.ErrUnavailable, forge.ErrMoved},
		"307":                      {307, marker, forge.ErrUnavailable, forge.ErrMoved},
		"307, switched off":        {307, "switched off", forge.ErrUnsupported, forge.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caller := speaking(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			}, dialect)
			_, err := forge.Get[string](t.Context(), caller, "reading", "/x")
			if !errors.Is(err, test.read) {
				t.Errorf("reading: %v, want %v", err, test.read)
			}
			if err != nil {
				checkError(t, err, "reading")
			}
			_, err = forge.Send[string](t.Context(), caller, "writing", http.MethodPost, "/x", map[string]string{})
			if !errors.Is(err, test.write) {
				t.Errorf("writing: %v, want %v", err, test.write)
			}
			if err != nil {
				checkError(t, err, "writing")
			}
		})
	}
}

func TestRawIsBoundedToTheByte(t *testing.T) {
	t.Parallel()
	caller := speaking(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "text/x" {
			t.Errorf("Accept: %s", r.Header.Get("Accept"))
		}
		if r.URL.Path == "/api/v1/page" {
			w.WriteHeader(http.StatusBadGateway)
		}
		_, _ = io.WriteString(w, strings.Repeat(",", len(r.URL.RawQuery)))
	}, forge.Dialect{})
	for query, want := range map[string]error{"": nil, "1": nil, "12345678": nil, "123456789": forge.ErrTooLarge, "1234567890": forge.ErrTooLarge} {
		body, header, err := caller.Raw(t.Context(), "file", "/x?"+query, "text/x", 8)
		if !errors.Is(err, want) || err == nil && (len(body) != len(query) || header == nil) || err != nil && body != nil {
			t.Errorf("%d bytes: %d, %v", len(query), len(body), err)
		}
	}
	// A page that is too long and says nothing about the file.
	if _, _, err := caller.Raw(t.Context(), "file", "/page?123456789", "text/x", 8); !errors.Is(err, forge.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}
