package http

import (
	"crypto/sha256"
	"sync"
)

// mostKnown bounds the sessions that are remembered, at some 50 bytes each.
const mostKnown = 4096

// known remembers which session cookies were live when they were last looked up, by their hashes and in two generations
// as [limiter] does. It lets nobody in: who is known is merely looked up again, whatever else its client did. Only live
// sessions get in, so that no flood can push them out. Safe for concurrent use.
type known struct {
	mu             sync.Mutex
	younger, older map[[sha256.Size]byte]struct{}
}

func newKnown() *known { return &known{younger: map[[sha256.Size]byte]struct{}{}} }

func (k *known) has(cookie string) bool {
	hash := sha256.Sum256([]byte(cookie))
	k.mu.Lock()
	defer k.mu.Unlock()
	_, young := k.younger[hash]
	_, old := k.older[hash]
	return young || old
}

func (k *known) add(cookie string) {
	hash := sha256.Sum256([]byte(cookie))
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, young := k.younger[hash]; young {
		return
	}
	if len(k.younger) >= mostKnown/2 {
		k.younger, k.older = map[[sha256.Size]byte]struct{}{}, k.younger
	}
	k.younger[hash] = struct{}{}
}

func (k *known) forget(cookie string) {
	hash := sha256.Sum256([]byte(cookie))
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.younger, hash)
	delete(k.older, hash)
}
