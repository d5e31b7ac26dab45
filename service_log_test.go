package forgeauth_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/proof"
)

// withCookies sends the cookies of a browser along.
type withCookies struct{ b *browser }

func (w withCookies) RoundTrip(r *http.Request) (*http.Response, error) {
	for _, cookie := range w.b.jar.Cookies(r.URL) {
		r.AddCookie(cookie)
	}
	return http.DefaultTransport.RoundTrip(r) //nolint:forbidigo // as a client of another project would
}

// TestAThirdPartysClientReadsTheLog has the client of another project read a signed log over HTTP, entry by entry, each of them checked
// against the checkpoint, and compares what it got with the log.
func TestAThirdPartysClientReadsTheLog(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea", "gitlab")
	h.signs(t)
	h.config.Signing.Public = true
	s := h.open(t)
	b := h.claim(t, "gitea")
	mustSignIn(t, b, "gitlab", "ada", nil)
	for range 300 { // more than a tile
		for _, name := range []string{"gitea", "gitlab"} {
			if err := s.SetActiveForge(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	public := s.SigningKeys().PublicKeys()[0]
	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	anybody, err := torchwood.NewTileFetcher(h.server.URL + "/log")
	if err != nil {
		t.Fatal(err)
	}
	signed, err := anybody.ReadEndpoint(t.Context(), "checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	checkpoint, _, err := torchwood.VerifyCheckpoint(signed, torchwood.ThresholdPolicy(2,
		torchwood.OriginPolicy("auth.example.org/log"), torchwood.SingleVerifierPolicy(verifier)))
	if err != nil {
		t.Fatal(err)
	}
	operator, err := torchwood.NewTileFetcher(h.server.URL+"/log", torchwood.WithHTTPClient(&http.Client{Transport: withCookies{b}}))
	if err != nil {
		t.Fatal(err)
	}
	client, err := torchwood.NewClient(operator)
	if err != nil {
		t.Fatal(err)
	}
	log := readLog(t.Context(), t, s)
	if checkpoint.N != int64(len(log)) {
		t.Fatalf("%d of %d events are signed", checkpoint.N, len(log))
	}
	read := 0
	for index, entry := range client.AllEntries(t.Context(), checkpoint.Tree, 0) {
		if want := proof.Leaf(log[index].Record); string(entry) != string(want) {
			t.Fatalf("entry %d is %q, want %q", index, entry, want)
		}
		read++
	}
	if err := client.Err(); err != nil || read != len(log) {
		t.Errorf("%d of %d entries: %v", read, len(log), err)
	}

	// Hashes are for anybody, entries are not.
	if _, err := anybody.ReadEndpoint(t.Context(), "tile/entries/000"); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("entries without a session: %v", err)
	}
	for _, path := range []string{"tile/0/001.p/200", "tile/9/000", "tile/0/x", "tile/0/999", "tile/0/000.p/0", "tile/0/000.p/999"} {
		if _, err := anybody.ReadEndpoint(t.Context(), path); path != "tile/0/001.p/200" && (err == nil || !strings.Contains(err.Error(), "404")) {
			t.Errorf("%s: %v", path, err)
		} else if path == "tile/0/001.p/200" && err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}

	// Who kept an older checkpoint sees that the log only grew.
	policy, err := proof.ParsePolicy(public)
	if err != nil {
		t.Fatal(err)
	}
	older := tlog.Tree{N: checkpoint.N, Hash: checkpoint.Hash}
	if err := s.ClearActiveForge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	remote := proof.NewRemote(h.server.URL+"/log", "test")
	if newest, err := remote.Grown(t.Context(), policy, older); err != nil || newest.N != older.N+1 {
		t.Errorf("from %d to %d: %v", older.N, newest.N, err)
	}
	older.Hash = tlog.RecordHash([]byte("another log"))
	if _, err := remote.Grown(t.Context(), policy, older); err == nil {
		t.Error("another log is accepted")
	} else if _, ok := errors.AsType[*proof.GrownError](err); !ok {
		t.Errorf("another log: %v", err)
	}
}

// TestWhoHasTheFeedCanCheckTheLog computes the tree from what the feed gives away, which is nothing sealed, and finds the signed root.
func TestWhoHasTheFeedCanCheckTheLog(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea", "gitlab")
	h.signs(t)
	s := h.open(t)
	b := h.claim(t, "gitea")
	mustSignIn(t, b, "gitlab", "ada", nil)
	if err := s.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := s.Tree().Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.SigningKeys().Policy().ReadCheckpoint(text)
	if err != nil {
		t.Fatal(err)
	}
	var hashed proof.Accumulator
	follower := s.Feed().Follow(0)
	for hashed.Head().N < signed.N {
		records, err := follower.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range records {
			document, err := s.Feed().Structured(t.Context(), record) // as it goes over the wire
			if err != nil {
				t.Fatal(err)
			}
			msg, err := events.ParseStructured(document)
			if err != nil {
				t.Fatal(err)
			}
			received, _, err := events.ParseMessage(msg)
			if err != nil {
				t.Fatal(err)
			}
			if received.Sealed != nil {
				t.Errorf("position %d leaves with its sealed part", received.Position)
			}
			if err := hashed.Add(received); err != nil {
				t.Fatal(err)
			}
		}
	}
	if hashed.Head() != signed {
		t.Errorf("the feed hashes to %v, and signed was %v", hashed.Head(), signed)
	}
}

// TestALogThatIsNotPublicShowsNothing: hashes say how often something happened.
func TestALogThatIsNotPublicShowsNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea")
	h.signs(t)
	s := h.open(t)
	b := h.claim(t, "gitea")
	if err := s.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/log/checkpoint", "/log/tile/0/000.p/1", "/log/tile/entries/000.p/1"} {
		if a, err := h.browser().get(t.Context(), path); err != nil || a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %v %d", path, err, a.StatusCode)
		}
		if a, err := b.get(t.Context(), path); err != nil || a.StatusCode != http.StatusOK {
			t.Errorf("%s with a session: %v %d", path, err, a.StatusCode)
		}
	}
}

// TestRunSignsWhatIsAppended: nobody has to ask for it.
func TestRunSignsWhatIsAppended(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "gitea")
	h.signs(t)
	s := h.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	running := make(chan error, 1)
	go func() { running <- s.Run(ctx) }()
	h.claim(t, "gitea")
	head, err := s.Log().Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for signed := int64(0); signed < head.Position; {
		if signed, err = s.Tree().Signed(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-running; err != nil {
		t.Error(err)
	}
	if v, err := s.Verify(t.Context(), forgeauth.VerifyOptions{}); err != nil || !v.Whole() || v.Log.Signed < head.Position {
		t.Errorf("%+v, %v", v, err)
	}
}
