package benchmark_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/nacl/secretbox"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

const encryptionKey = "Qm8vX2rT5yLw9ZkC3nHd7JfA1sPe6GuB4oVi0KxNqYc="

// deployment is a service with a session and an active forge, and what to send as that session's Cookie header.
func deployment(b *testing.B) (service *forgeauth.Service, databaseURL, cookie string) {
	b.Helper()
	url, _ := database(b)
	service, err := forgeauth.Open(b.Context(), forgeauth.Config{
		DatabaseURL:   secret.New(url + "&pool_max_conns=40"),
		EncryptionKey: secret.New(encryptionKey),
		Connections: []forge.Connection{{
			Name: "gitea", Kind: forge.Gitea, BaseURL: "https://gitea.example", ClientID: "id", ClientSecret: secret.New("client-secret-of-the-benchmark"),
			Scopes: []string{"read:user"}, Login: true,
		}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = service.Close(context.Background()) })
	token := secret.New(strings.Repeat("gitea-jwt-", 80)) // 800 characters, as Gitea's have
	err = service.UpsertOperatorOAuth(b.Context(), forgeauth.OperatorOAuth{
		ForgeType: "gitea", AccountID: "1001", AccountLogin: "operator",
		AccessToken: token, RefreshToken: token, ExpiresAt: time.Now().Add(24 * time.Hour),
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := service.SetActiveForge(b.Context(), "gitea"); err != nil {
		b.Fatal(err)
	}
	key, err := vault.ParseKey(secret.New(encryptionKey))
	if err != nil {
		b.Fatal(err)
	}
	sessionSecret := make([]byte, 32)
	hash := vault.New(key, nil).SessionHash(sessionSecret)
	stream := events.SessionStream(uuid.Must(uuid.NewV7()))
	_, err = writer(b, url).Append(b.Context(), events.Decision[*projections.State]{
		Streams: []events.Stream{stream},
		Decide: func(_ *projections.State, now time.Time) (events.Outcome, error) {
			return events.Outcome{Drafts: []events.Draft{{
				Stream: stream, Sealed: hash[:],
				Fact: events.SessionStarted{
					Account:   events.Account{ForgeType: "gitea", BaseURL: "https://gitea.example", AccountID: "1001", AccountLogin: "operator"},
					IdleUntil: now.Add(7 * 24 * time.Hour), ExpiresAt: now.Add(30 * 24 * time.Hour),
				},
			}}}, nil
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	return service, url, "forgeauth_8080=" + base64.RawURLEncoding.EncodeToString(sessionSecret)
}

// get is one GET request over a kept-alive connection on loopback.
func get(b *testing.B, handler http.Handler, path, cookie string) func(context.Context, int) error {
	b.Helper()
	server := httptest.NewServer(handler)
	b.Cleanup(server.Close)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	return func(ctx context.Context, _ int) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, nil)
		if err != nil {
			return err
		}
		request.Host = forgeauth.DefaultListen
		request.Header.Set("Cookie", cookie)
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err == nil && response.StatusCode != http.StatusOK {
			err = errors.New(response.Status + ": " + string(body))
		}
		return err
	}
}

// benchmarkMe is GET /me beside a net/http handler that selects one row by its primary key and answers the same JSON.
func benchmarkMe(b *testing.B, workers int) {
	b.Helper()
	service, url, cookie := deployment(b)
	pool := poolOf(b, url)
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var me struct {
			ForgeType    string    `json:"forge_type"`
			AccountLogin string    `json:"account_login"`
			BaseURL      string    `json:"base_url"`
			Since        time.Time `json:"since"`
		}
		err := pool.QueryRow(r.Context(), `
			SELECT forge_type, account_login, base_url, created_at FROM operator_oauth_tokens WHERE forge_type = $1`, "gitea",
		).Scan(&me.ForgeType, &me.AccountLogin, &me.BaseURL, &me.Since)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(me)
	})
	compare(b, workers, 6000, get(b, service.Handler(), "/me", cookie), get(b, bare, "/me", cookie))
}

// BenchmarkMe is one client after the other; BenchmarkMe16 is 16 at once.
func BenchmarkMe(b *testing.B)   { benchmarkMe(b, 1) }
func BenchmarkMe16(b *testing.B) { benchmarkMe(b, 16) }

// benchmarkAdapter is GetOperatorAdapter beside one SELECT by primary key and one secretbox that is opened.
func benchmarkAdapter(b *testing.B, workers int) {
	b.Helper()
	service, url, _ := deployment(b)
	pool := poolOf(b, url)
	var key [32]byte
	var nonce [24]byte
	box := secretbox.Seal(nonce[:], make([]byte, 800), &nonce, &key)
	ours := func(ctx context.Context, _ int) error {
		_, err := service.GetOperatorAdapter(ctx)
		return err
	}
	limit := func(ctx context.Context, _ int) error {
		var access []byte
		err := pool.QueryRow(ctx, `SELECT access_token FROM operator_oauth_tokens WHERE forge_type = $1`, "gitea").Scan(&access)
		if err != nil {
			return err
		}
		if _, ok := secretbox.Open(nil, box[24:], &nonce, &key); !ok {
			return errors.New("cannot open")
		}
		return nil
	}
	compare(b, workers, 20000, ours, limit)
}

// BenchmarkAdapter is one caller after the other; BenchmarkAdapter64 is 64 goroutines.
func BenchmarkAdapter(b *testing.B)   { benchmarkAdapter(b, 1) }
func BenchmarkAdapter64(b *testing.B) { benchmarkAdapter(b, 64) }
