package forge_test

import (
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

// TestTheClientCanAuthenticateByBasic reads what RFC 6749 §2.3.1 says: id and secret are form-encoded, and then joined and
// encoded by RFC 7617, so that a colon in an id is no separator.
func TestTheClientCanAuthenticateByBasic(t *testing.T) {
	t.Parallel()
	const id, clientSecret = "client:1+/%", "clientsecret8823:+%&="
	requests := 0
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		user, password, ok := r.BasicAuth()
		if user, _ = url.QueryUnescape(user); !ok || user != id {
			t.Errorf("authenticates as %q", user)
		}
		if password, _ = url.QueryUnescape(password); password != clientSecret {
			t.Error("the secret is another one")
		}
		_ = r.ParseForm()
		want := url.Values{
			"grant_type": {"authorization_code"}, "code": {codeSecret}, "redirect_uri": {"http://127.0.0.1/cb"}, "code_verifier": {"verifier6634"},
		}
		if diff := cmp.Diff(want, r.PostForm); diff != "" {
			t.Error(diff)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_grant","error_description":"`+marker+`"}`)
	})
	transport, err := forge.NewTransport(forge.Connection{
		Name: "work", Kind: forge.Bitbucket, BaseURL: s.URL, ClientID: id, ClientSecret: secret.New(clientSecret),
		Scopes: []string{"account"},
	}, forge.Dialect{AuthorizePath: "/authorize", TokenPath: "/token", ClientBasic: true}, forge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = transport.Exchange(t.Context(), forge.ExchangeRequest{Code: codeSecret, RedirectURI: "http://127.0.0.1/cb", Verifier: "verifier6634"})
	if requests != 1 || err == nil {
		t.Errorf("%d requests for one exchange that is refused: %v", requests, err)
	}
	checkError(t, err, "exchange")
}
