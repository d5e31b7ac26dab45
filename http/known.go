package http

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// mostKnown bounds the sessions that are remembered, at some 50 bytes each.
const mostKnown = 4096

// known remembers which sessions were live when they were last looked up, by [commands.Commands.SessionKey] and in two
// generations as [limiter] does. It lets nobody in: who is known is merely looked up again, whatever else its client did.
// Only live sessions get in, so that no flood can push them out. Safe for concurrent use.
type known struct {
	mu             sync.Mutex
	younger, older map[[32]byte]struct{}
}

func newKnown() *known { return &known{younger: map[[32]byte]struct{}{}} }

func (k *known) has(session [32]byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, young := k.younger[session]
	_, old := k.older[session]
	return young || old
}

func (k *known) add(session [32]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, young := k.younger[session]; young {
		return
	}
	if len(k.younger) >= mostKnown/2 {
		k.younger, k.older = map[[32]byte]struct{}{}, k.younger
	}
	k.younger[session] = struct{}{}
}

func (k *known) forget(session [32]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.younger, session)
	delete(k.older, session)
}

const (
	// rollEvery is how often the roll is called at most, rollTime how long that may take.
	rollEvery = time.Second
	rollTime  = 5 * time.Second
)

// roll tells live sessions from any number of made-up ones, from wherever they come, for one query in a while. Safe for
// concurrent use.
type roll struct {
	ask    func(context.Context) ([][32]byte, error)
	now    func() time.Time
	logger *slog.Logger

	turn   chan struct{} // holds one while somebody uses what follows
	called time.Time
	live   map[[32]byte]struct{}
}

func newRoll(ask func(context.Context) ([][32]byte, error), now func() time.Time, logger *slog.Logger) *roll {
	return &roll{ask: ask, now: now, logger: logger, turn: make(chan struct{}, 1)}
}

// has reports whether a session was live a moment ago. It asks, or waits for who is asking, or stands by what was found less
// than [rollEvery] ago. Of a database that does not answer nobody is known, nor of one that ctx is too short for.
func (r *roll) has(ctx context.Context, session [32]byte) bool {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return false
	}
	if age := r.now().Sub(r.called); r.called.IsZero() || age < 0 || age >= rollEvery {
		r.call(context.WithoutCancel(ctx))
	}
	_, ok := r.live[session]
	return ok
}

// forget drops a session that has turned out to have ended.
func (r *roll) forget(session [32]byte) {
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	delete(r.live, session)
}

func (r *roll) call(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, rollTime)
	defer cancel()
	live, err := r.ask(ctx)
	if err != nil {
		r.logger.WarnContext(ctx, "could not read which sessions are live", "error", err)
	}
	r.live = make(map[[32]byte]struct{}, len(live))
	for _, session := range live {
		r.live[session] = struct{}{}
	}
	r.called = r.now()
}
