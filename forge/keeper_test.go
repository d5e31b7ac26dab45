package forge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

// keeper answers by functions.
type keeper struct {
	token   func() (forge.Token, error)
	refused func(forge.Token) (forge.Token, error)
}

// Token implements [forge.Keeper].
func (k keeper) Token(context.Context) (forge.Token, error) { return k.token() }

// Refused implements [forge.Keeper].
func (k keeper) Refused(_ context.Context, refused forge.Token) (forge.Token, error) {
	return k.refused(refused)
}

func generation(n int64) forge.Token {
	return forge.Token{Access: secret.New(fmt.Sprint("generation-", n)), Generation: n}
}

// A 401 is taken to the keeper once, with the token that was refused, and the request made once more with the one that the
// keeper has instead.
func TestARefusedTokenIsReplacedOnce(t *testing.T) {
	t.Parallel()
	lost := errors.New("the database is away")
	for name, test := range map[string]struct {
		good      int64 // the generation that the forge takes; 0 for none
		keeper    error // what the keeper says instead of a token
		once      bool  // the request's body cannot be had again
		seen      []string
		reads     string // the body that arrived last
		status    int
		judged    error // what a call of our own fails with
		keptAsked int
	}{
		"a good token is nobody's concern": {good: 1, seen: []string{"1"}, status: 200},
		"another token is tried":           {good: 2, seen: []string{"1", "2"}, status: 200, keptAsked: 1},
		"with the body once more": {
			good: 2, seen: []string{"1", "2"}, reads: "the body", status: 200, keptAsked: 1,
		},
		"a body that cannot be had again is not sent without": {
			good: 2, once: true, seen: []string{"1"}, reads: "the body", status: 401,
			judged: forge.ErrUnavailable, keptAsked: 1,
		},
		"never a third time": {seen: []string{"1", "2"}, status: 401, judged: forge.ErrNeedsReauth, keptAsked: 1},
		"without another token the answer stays": {
			keeper: forge.ErrNeedsReauth, seen: []string{"1"}, status: 401, judged: forge.ErrNeedsReauth, keptAsked: 1,
		},
		"a keeper that does not know says nothing about the token": {
			keeper: lost, seen: []string{"1"}, status: 401, judged: lost, keptAsked: 1,
		},
	} {
		for _, ours := range []bool{false, true} {
			name := name + ", by a program's client"
			if ours {
				name = strings.TrimSuffix(name, "a program's client") + "a client library's"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var mu sync.Mutex
				var seen []string
				var reads string
				s := serve(t, func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					defer mu.Unlock()
					body, _ := io.ReadAll(r.Body)
					number := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer generation-")
					seen, reads = append(seen, number), string(body)
					if number != fmt.Sprint(test.good) {
						w.WriteHeader(http.StatusUnauthorized)
					}
					_, _ = io.WriteString(w, `{"id":1}`)
				})
				asked := 0
				caller := s.transport.Caller(forge.Binding{Connection: "work"}, keeper{
					token: func() (forge.Token, error) { return generation(1), nil },
					refused: func(refused forge.Token) (forge.Token, error) {
						if asked++; refused.Generation != 1 {
							t.Errorf("generation %d is said to be refused", refused.Generation)
						}
						return generation(2), test.keeper
					},
				})
				client := caller.HTTPClient()
				if ours {
					client = caller.SDKClient()
				}
				var body io.Reader = strings.NewReader(test.reads)
				if test.once {
					body = io.LimitReader(body, 99)
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/api/v1/x", body)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := client.Do(req)
				if err == nil {
					_ = resp.Body.Close()
				}
				switch {
				case ours && test.judged != nil:
					checkError(t, caller.Fail("call", err), "call")
					if !errors.Is(err, test.judged) {
						t.Errorf("failed with %v, want %v", err, test.judged)
					}
					if isReauth := errors.Is(err, forge.ErrNeedsReauth); isReauth != errors.Is(test.judged, forge.ErrNeedsReauth) {
						t.Errorf("%v", err)
					}
				case err != nil:
					t.Error(err)
				case resp.StatusCode != test.status:
					t.Errorf("status %d, want %d", resp.StatusCode, test.status)
				}
				mu.Lock()
				defer mu.Unlock()
				if diff := cmp.Diff(test.seen, seen); diff != "" || reads != test.reads || asked != test.keptAsked {
					t.Errorf("%s; body %q; asked %d times", diff, reads, asked)
				}
			})
		}
	}
}
