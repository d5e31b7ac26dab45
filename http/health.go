package http

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Readiness says whether the process can serve. It is public and holds no secret, address or error text of a driver.
type Readiness struct {
	Checks []Check
	// LogHead is the position of the newest event.
	LogHead int64
}

// Check is one thing that serving depends on: database, schema, key, log.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Detail says what was found, and what to do if it is not OK.
	Detail string `json:"detail"`
}

// Ready reports whether every check is OK.
func (r Readiness) Ready() bool {
	for _, check := range r.Checks {
		if !check.OK {
			return false
		}
	}
	return true
}

// readyDocument is the body of GET /readyz.
type readyDocument struct {
	Ready   bool    `json:"ready"`
	Version string  `json:"version"`
	LogHead int64   `json:"log_head"`
	Checks  []Check `json:"checks"`
}

const (
	// readyFor is how long an answer stands, so that asking often costs the database nothing.
	readyFor  = time.Second
	readyTime = 5 * time.Second
)

// readiness asks one at a time and remembers the answer for [readyFor]. Safe for concurrent use.
type readiness struct {
	ask func(context.Context) Readiness
	now func() time.Time

	mu       sync.Mutex
	underWay *inquiry
	answered time.Time
	last     Readiness
}

// inquiry is a question under way. Its answer may be read once it is done; there is none if asking panicked.
type inquiry struct {
	done     chan struct{}
	answered bool
	answer   Readiness
}

// errUnanswered is for who waited for an inquiry that panicked. Whoever made it gets the panic.
var errUnanswered = errors.New("http: the check of readiness under way broke off")

// get returns the last answer if it is young, else asks, or waits for the answer of whoever asks already, as long as ctx
// lasts. Who asks does not leave before the answer, so that one client that goes does not spoil that of the others.
func (r *readiness) get(ctx context.Context) (Readiness, error) {
	r.mu.Lock()
	if age := r.now().Sub(r.answered); !r.answered.IsZero() && 0 <= age && age < readyFor {
		defer r.mu.Unlock()
		return r.last, nil
	}
	if shared := r.underWay; shared != nil {
		r.mu.Unlock()
		return shared.wait(ctx)
	}
	asking := &inquiry{done: make(chan struct{})}
	r.underWay = asking
	r.mu.Unlock()

	defer r.finish(asking)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTime)
	defer cancel()
	asking.answer = r.ask(ctx)
	asking.answered = true
	return asking.answer, nil
}

// finish remembers the answer, as of now rather than of when it was asked for: an answer that took long is not old.
func (r *readiness) finish(asked *inquiry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.underWay = nil
	if asked.answered {
		r.last, r.answered = asked.answer, r.now()
	}
	close(asked.done)
}

func (i *inquiry) wait(ctx context.Context) (Readiness, error) {
	select {
	case <-ctx.Done():
		return Readiness{}, fmt.Errorf("http: waiting for the check of readiness: %w", context.Cause(ctx))
	case <-i.done:
	}
	if !i.answered {
		return Readiness{}, errUnanswered
	}
	return i.answer, nil
}

// healthz says that the process answers, and nothing else.
func (s *server) healthz(w http.ResponseWriter, r *http.Request) error {
	return s.reply(w, r, struct {
		Status string `json:"status"`
	}{"ok"})
}

func (s *server) readyz(w http.ResponseWriter, r *http.Request) error {
	found, err := s.ready.get(r.Context())
	if err != nil {
		return err
	}
	document := readyDocument{Ready: found.Ready(), Version: s.config.Version, LogHead: found.LogHead, Checks: found.Checks}
	status := http.StatusOK
	if !document.Ready {
		status = http.StatusServiceUnavailable
	}
	s.write(w, r, status, "application/json", document)
	return nil
}
