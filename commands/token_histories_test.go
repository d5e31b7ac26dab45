package commands

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/secret"
)

// tick is the timeout of the processes of a history, and half of what others wait for one that has stopped.
const tick = 60 * time.Millisecond

// moment is one thing that happens to the tokens of a connection.
type moment struct {
	What  string
	Forge string
	Login string
	Fault forgetest.Fault
	Jump  time.Duration
}

func (m moment) String() string {
	return fmt.Sprint(m.What, " ", m.Forge, " ", m.Login, " ", m.Fault, " ", m.Jump)
}

func drawMoment(r *rapid.T) moment {
	return moment{
		What: rapid.SampledFrom([]string{
			"use", "use", "use", "use in another process", "use together", "sign in", "import", "disconnect", "settle", "jump", "jump",
			"fault", "fault", "withdraw consent", "expire at the forge", "stop before the grant", "stop after the grant", "go on", "verify",
		}).Draw(r, "what"),
		Forge: rapid.SampledFrom([]string{"gitlab", "gitlab", "forgejo"}).Draw(r, "forge"),
		Login: rapid.SampledFrom([]string{"alice", "alice", "bob"}).Draw(r, "login"),
		Fault: rapid.SampledFrom([]forgetest.Fault{
			forgetest.Status(503), forgetest.CutBefore(), forgetest.CutAfter(), forgetest.CutMidway(), forgetest.GarbageBody(),
			forgetest.ReplicaLag(), forgetest.TooManyRequests(time.Minute),
		}).Draw(r, "fault"),
		Jump: rapid.SampledFrom([]time.Duration{
			time.Second, confirmAfter, settleIn, 30 * time.Minute, 2 * time.Hour, 30 * time.Hour,
		}).Draw(r, "jump"),
	}
}

// history is a deployment whose processes can stop.
type history struct {
	*deployment

	session *projections.Session
	other   *Commands
	resume  []func()       // processes that have stopped
	waiting sync.WaitGroup // for those who used them
}

// Whatever happens to the tokens of a connection, in whatever order: at most one generation can be used; no data key outlives
// its token's settlement; the data keys are those of the fold's tokens; the tables are the fold. And in the end a sign-in makes
// everything good.
//
// Histories are drawn by their number; FORGEAUTH_SOAK makes it many.
func TestTokenHistories(t *testing.T) {
	t.Parallel()
	histories := 24
	if os.Getenv("FORGEAUTH_SOAK") != "" {
		histories = 2000
	}
	draw := rapid.SliceOfN(rapid.Custom(drawMoment), 4, 24)
	for n := range histories {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			moments := draw.Example(n)
			h := &history{deployment: deploy(t, func(c *Config) { c.ForgeTimeout = tick })}
			h.other = h.process(func(c *Config) { c.ForgeTimeout = tick })
			h.session = new(h.claim().Session)
			for _, m := range moments {
				h.happens(m)
				if h.check(m); t.Failed() {
					t.Fatalf("after %v", moments)
				}
			}
			for _, goOn := range h.resume {
				goOn()
			}
			h.waiting.Wait()
			h.check(moment{What: "everybody goes on"})
			if h.healed(); t.Failed() {
				t.Fatalf("after %v", moments)
			}
		})
	}
}

func (h *history) happens(m moment) {
	ctx := h.t.Context()
	f := h.forges[m.Forge]
	switch m.What {
	case "use":
		h.use(h.Commands, m.Forge)
	case "use in another process":
		h.use(h.other, m.Forge)
	case "use together":
		var all sync.WaitGroup
		for n := range 6 {
			all.Go(func() { h.use([]*Commands{h.Commands, h.other}[n%2], m.Forge) })
		}
		all.Wait()
	case "sign in":
		h.signIn(m.Forge, m.Login)
	case "import":
		h.clock.advance(time.Nanosecond)
		row := OperatorOAuth{
			ForgeType: m.Forge, AccountID: "1", AccountLogin: "alice", AccessToken: secret.New("imported-" + uuid.NewString()),
			ExpiresAt: h.clock.Now().Add(time.Hour),
		}
		if m.Login == "alice" {
			row.RefreshToken = secret.New("imported-too-" + uuid.NewString())
		}
		_, _ = h.ImportToken(ctx, Caller{}, row)
	case "disconnect":
		_, _ = h.DisconnectForge(ctx, Caller{}, m.Forge)
	case "settle":
		_ = h.settleRevocations(ctx)
	case "jump":
		h.clock.advance(m.Jump)
	case "fault":
		f.Next(forgetest.RefreshEndpoint, m.Fault)
	case "withdraw consent":
		f.RevokeUser("alice")
	case "expire at the forge":
		for _, token := range h.accessTokens(m.Forge) {
			f.Expire(token.Value.Reveal())
		}
	case "stop before the grant", "stop after the grant":
		h.stop(m.Forge, m.What == "stop before the grant")
	case "go on":
		if len(h.resume) > 0 {
			h.resume[0]()
			h.resume = h.resume[1:]
		}
	}
}

// use asks for an adapter and uses it.
func (h *history) use(c *Commands, forgeType string) {
	h.passTime(needs(h.t.Context(), c, forgeType), nil)
}

// passTime waits until something is done, or something else has happened, which it reports. Whoever waits for the clock
// meanwhile is given the time.
func (h *history) passTime(done <-chan error, happened <-chan struct{}) bool {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			h.t.Logf("used: %v", err) // whether it worked is not for this to say
			return false
		case <-happened:
			return true
		case <-ticker.C:
			h.clock.mu.Lock()
			asleep := len(h.clock.alarms) > 0
			h.clock.mu.Unlock()
			if asleep {
				h.clock.advance(confirmAfter)
			}
		}
	}
}

// signIn may fail: the session may be over, and the account a stranger.
func (h *history) signIn(forgeType, login string) {
	if h.session != nil && !h.session.Live(h.clock.Now()) {
		h.session = nil
	}
	req := h.login(forgeType, login, h.session, "")
	completed, err := h.CompleteLogin(h.t.Context(), req)
	if err == nil {
		h.mine = append(h.mine, completed.SessionSecret)
		h.session = &completed.Session
	}
}

// stop has a process stop with its next refresh, if it comes to one.
func (h *history) stop(forgeType string, beforehand bool) {
	process, stopped, goOn := h.stopping(forgeType, beforehand)
	process.forgeTimeout = tick
	done := needs(h.t.Context(), process, forgeType)
	if !h.passTime(done, stopped) {
		close(goOn)
		return
	}
	h.resume = append(h.resume, func() { close(goOn) })
	h.waiting.Go(func() { h.passTime(done, nil) })
}

func (h *history) check(m moment) {
	h.t.Helper()
	report, err := projections.Verify(h.t.Context(), h.pool, projections.VerifyOptions{})
	if err != nil || len(report.Differences) > 0 {
		h.t.Fatalf("%v: the tables are not the fold: %v, %+v", m, err, report.Differences)
	}
	state := projections.NewState()
	granted := map[string][]uuid.UUID{}
	pending := map[uuid.UUID]bool{}
	for e, err := range h.log.Read(h.t.Context(), events.Query{}) {
		if err == nil {
			err = state.Apply(e)
		}
		if err != nil {
			h.t.Fatal(err)
		}
		pair, ok := grantedBy(e.Fact)
		if _, overtaken := e.Fact.(events.TokenRefreshOvertaken); overtaken {
			pending[pair.dataKey] = true
		} else if ok {
			granted[pair.account.ForgeType] = append(granted[pair.account.ForgeType], pair.dataKey)
		}
		if requested, ok := e.Fact.(events.TokenRevocationRequested); ok {
			pending[requested.DataKey] = true
		}
		if revoked, ok := e.Fact.(events.TokenRevoked); ok {
			delete(pending, revoked.DataKey)
		}
	}
	var want []string
	for forgeType, keys := range granted {
		if row, ok := state.Token(forgeType); ok {
			want = append(want, row.DataKey.String())
			if row.DataKey != keys[len(keys)-1] {
				h.t.Fatalf("%v: %s uses another token than the one that was granted last", m, forgeType)
			}
		}
	}
	for key := range pending {
		want = append(want, key.String())
	}
	rows, err := h.pool.Query(h.t.Context(), `SELECT id::text FROM data_keys`)
	if err != nil {
		h.t.Fatal(err)
	}
	var have []string
	var id string
	for rows.Next() {
		if err := rows.Scan(&id); err != nil {
			h.t.Fatal(err)
		}
		have = append(have, id)
	}
	slices.Sort(want)
	slices.Sort(have)
	if diff := cmp.Diff(want, have); diff != "" || rows.Err() != nil {
		h.t.Fatalf("%v: data keys (-of the fold +of the table): %s%v\n%s", m, diff, rows.Err(), h.history())
	}
}

// healed signs in to every forge, without faults, and uses it for a while.
func (h *history) healed() {
	h.t.Helper()
	for _, f := range h.forges {
		f.Forget()
	}
	patient := h.process()
	for _, forgeType := range []string{"gitlab", "forgejo"} {
		h.session = new(h.enter(h.login("github", "alice", nil, "")).Session)
		h.session = new(h.enter(h.login(forgeType, "alice", h.session, "")).Session)
		for range 3 {
			h.clock.advance(90 * time.Minute)
			port, err := patient.AdapterFor(h.t.Context(), forgeType)
			if err == nil {
				_, err = port.Account(h.t.Context())
			}
			if err != nil {
				h.t.Fatalf("after a sign-in: %v\n%s", err, h.history())
			}
		}
	}
	h.check(moment{What: "healed"})
}
