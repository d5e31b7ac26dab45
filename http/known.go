package http

import (
	"context"
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

// roll makes known which sessions are live. That is one query, and of no use to who sends made-up cookies, however many and
// from wherever. Safe for concurrent use.
type roll struct {
	live  func(context.Context) ([][32]byte, error)
	known *known
	now   func() time.Time

	mu     sync.Mutex
	called time.Time
	err    error
}

// call returns when every session that was live a moment ago is known: it asks, or waits for who is asking, or stands by
// what was found less than [rollEvery] ago, be it an error.
func (r *roll) call(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if age := r.now().Sub(r.called); !r.called.IsZero() && 0 <= age && age < rollEvery {
		return r.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollTime)
	defer cancel()
	var live [][32]byte
	live, r.err = r.live(ctx)
	for _, session := range live {
		r.known.add(session)
	}
	r.called = r.now()
	return r.err
}
