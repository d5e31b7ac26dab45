package http

import (
	"sync"
	"time"

	"github.com/google/uuid"
)

// Streams bounds GET /events.
type Streams struct {
	// PerSession is how many streams a session may have at once, InAll how many this process serves. 16 and 512 if zero.
	PerSession, InAll int
	// Heartbeat is how often a stream on which nothing happens says how far it has looked, and how often it is looked up whether
	// its session is live. 15 s if zero.
	Heartbeat time.Duration
	// WriteTimeout is how long a client has to take what is written at once, some 16 KiB. 10 s if zero.
	WriteTimeout time.Duration
}

func (s Streams) withDefaults() Streams {
	if s.PerSession == 0 {
		s.PerSession = 16
	}
	if s.InAll == 0 {
		s.InAll = 512
	}
	if s.Heartbeat == 0 {
		s.Heartbeat = 15 * time.Second
	}
	if s.WriteTimeout == 0 {
		s.WriteTimeout = 10 * time.Second
	}
	return s
}

// streams counts the streams under way. Safe for concurrent use.
type streams struct {
	Streams

	mu    sync.Mutex
	inAll int
	of    map[uuid.UUID]int // by session
}

func newStreams(bounds Streams) *streams {
	return &streams{Streams: bounds.withDefaults(), of: map[uuid.UUID]int{}}
}

// enter counts one more stream of a session until leave is called, or refuses it.
func (s *streams) enter(session uuid.UUID) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inAll >= s.InAll || s.of[session] >= s.PerSession {
		return nil, &requestError{code: codeTooManyStreams, retryAfter: retryLimited}
	}
	s.inAll++
	s.of[session]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.inAll--
		if s.of[session]--; s.of[session] == 0 {
			delete(s.of, session)
		}
	}, nil
}
