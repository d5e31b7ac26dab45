// Package plausible makes up histories as a deployment of some years would have, for measuring at sizes that no test lives through.
package plausible

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
)

// History yields n records of a log from its beginning: a deployment with four forges whose tokens are refreshed all the time, with
// switches, sign-ins, sessions, refusals, and now and then a forge that is disconnected and linked again. The same seed gives the same
// history. What is sealed is random bytes, of the length that a pair of tokens has. It folds.
func History(n int, seed uint64) iter.Seq[events.Record] {
	return func(yield func(events.Record) bool) {
		w := &world{
			random: rand.New(rand.NewPCG(seed, seed)), //nolint:gosec // no secret
			left:   n, yield: yield, tokens: map[string]token{}, versions: map[events.Stream]int64{},
			now: time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC),
		}
		w.command("session/"+uuid.Nil.String(), func() {
			w.add(events.StreamOperator, events.OperatorClaimed{Account: account("github")}, nil)
		})
		for w.left > 0 {
			w.live()
		}
	}
}

var forges = []string{"github", "gitlab-work", "forgejo", "gitea"}

type token struct {
	key uuid.UUID
	at  int64
}

// world is the deployment as far as it matters to what can happen next.
type world struct {
	random *rand.Rand
	left   int
	yield  func(events.Record) bool

	now         time.Time
	position    int64
	versions    map[events.Stream]int64
	actor       string
	correlation uuid.UUID

	tokens   map[string]token
	active   string
	sessions []uuid.UUID // oldest first
	attempt  uuid.UUID
}

func account(forge string) events.Account {
	return events.Account{ForgeType: forge, BaseURL: "https://" + forge + ".example.com", AccountID: strconv.Itoa(1000 + len(forge)), AccountLogin: "operator"}
}

func (w *world) id() uuid.UUID {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], w.random.Uint64())
	binary.BigEndian.PutUint64(id[8:], w.random.Uint64())
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	return id
}

func (w *world) bytes(n int) []byte {
	b := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		binary.BigEndian.PutUint64(b[i:], w.random.Uint64())
	}
	return b
}

// command is what one command appends, at one time.
func (w *world) command(actor string, do func()) {
	w.now = w.now.Add(time.Duration(1+w.random.Int64N(120_000)) * time.Millisecond)
	w.actor, w.correlation = actor, w.id()
	do()
}

func (w *world) add(stream events.Stream, fact events.Fact, sealed []byte) {
	if w.left <= 0 {
		return
	}
	payload, err := json.Marshal(fact, json.FormatNilSliceAsNull(true))
	if err != nil {
		panic(fmt.Sprintf("a fact that cannot be written: %v", err))
	}
	schema := int16(1)
	if _, ok := fact.(events.TokenRevoked); ok {
		schema = 2
	}
	w.position++
	w.versions[stream]++
	w.left--
	more := w.yield(events.Record{
		Position: w.position, ID: w.id(), Stream: stream, StreamVersion: w.versions[stream], Type: events.TypeOf(fact), Schema: schema,
		OccurredAt: w.now, Actor: w.actor, CorrelationID: w.correlation, Payload: payload, Sealed: sealed,
	})
	if !more {
		w.left = 0
	}
}

// live lets one thing happen.
func (w *world) live() {
	forge := forges[w.random.IntN(len(forges))]
	_, connected := w.tokens[forge]
	switch n := w.random.IntN(100); {
	case len(w.sessions) == 0 || !connected || n < 8:
		w.signIn(forge)
	case n < 70:
		w.command("refresher", func() { w.refresh(forge) })
	case n < 84:
		w.command(w.someone(), func() { w.activate(forge) })
	case n < 90:
		w.command("anonymous", func() {
			stranger := account(forge)
			stranger.AccountID, stranger.AccountLogin = "9", "visitor"
			w.add(events.StreamDenials, events.LoginDenied{Account: stranger, Reason: "unknown_account"}, nil)
		})
	case n < 98:
		w.command(w.someone(), func() {
			w.add(events.Stream(w.actor), events.SessionExtended{IdleUntil: w.now.Add(7 * 24 * time.Hour)}, nil)
		})
	default:
		w.command(w.someone(), func() { w.disconnect(forge) })
	}
}

func (w *world) someone() string {
	return "session/" + w.sessions[w.random.IntN(len(w.sessions))].String()
}

func (w *world) signIn(forge string) {
	session := w.id()
	stream := events.SessionStream(session)
	w.command(string(stream), func() {
		w.grant(forge, func(key uuid.UUID, expires *time.Time) events.Fact {
			return events.TokenIssued{
				Account: account(forge), Kind: "gitea", Grant: "authorization_code", Scopes: []string{"read:user", "write:repository"},
				ExpiresAt: expires, Refreshable: true, DataKey: key,
			}
		})
		w.activate(forge)
		if len(w.sessions) == 3 {
			w.add(events.SessionStream(w.sessions[0]), events.SessionEnded{Reason: "replaced"}, nil)
			w.sessions = w.sessions[1:]
		}
		w.add(stream, events.SessionStarted{
			Account: account(forge), IdleUntil: w.now.Add(7 * 24 * time.Hour), ExpiresAt: w.now.Add(30 * 24 * time.Hour),
		}, w.bytes(32))
		w.sessions = append(w.sessions, session)
	})
}

func (w *world) grant(forge string, fact func(key uuid.UUID, expires *time.Time) events.Fact) {
	expires := w.now.Add(2 * time.Hour)
	key := w.id()
	sealed := events.SealedTokens{Access: w.bytes(144), Refresh: w.bytes(144), Fingerprint: w.bytes(32)}.Bytes()
	w.add(events.TokenStream(forge), fact(key, &expires), sealed)
	w.tokens[forge] = token{key, w.position}
}

func (w *world) refresh(forge string) {
	before := w.tokens[forge]
	w.attempt = w.id()
	w.add(events.TokenStream(forge), events.TokenRefreshStarted{
		ForgeType: forge, DataKey: before.key, Attempt: w.attempt, Deadline: w.now.Add(time.Minute),
	}, nil)
	w.now = w.now.Add(300 * time.Millisecond)
	w.grant(forge, func(key uuid.UUID, expires *time.Time) events.Fact {
		return events.TokenRefreshed{
			Account: account(forge), Kind: "gitea", Scopes: []string{"read:user", "write:repository"}, ExpiresAt: expires, Refreshable: true,
			DataKey: key, Replaces: before.key, Attempt: w.attempt,
		}
	})
}

func (w *world) activate(forge string) {
	if w.active == forge {
		return
	}
	var previous *string
	if w.active != "" {
		previous = new(w.active)
	}
	w.add(events.StreamActiveForge, events.ForgeActivated{ForgeType: forge, Previous: previous}, nil)
	w.active = forge
}

func (w *world) disconnect(forge string) {
	before := w.tokens[forge]
	w.add(events.TokenStream(forge), events.TokenRevocationRequested{
		Account: account(forge), DataKey: before.key, IssuedAt: before.at, Reason: "disconnected",
	}, nil)
	w.add(events.TokenStream(forge), events.TokenRevoked{ForgeType: forge, DataKey: before.key, Outcome: "confirmed"}, nil)
	if w.active == forge {
		w.add(events.StreamActiveForge, events.ForgeDeactivated{Previous: forge, Reason: "disconnected"}, nil)
		w.active = ""
	}
	delete(w.tokens, forge)
}
