package http

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// blocked is a database that answers when it is released, and counts how often it was asked.
type blocked struct {
	asked   atomic.Int64
	release chan struct{}
	panics  bool
}

func (b *blocked) ask(context.Context) Readiness {
	b.asked.Add(1)
	<-b.release
	if b.panics {
		panic("the database is beside itself")
	}
	return Readiness{LogHead: 42}
}

func TestWhoeverAsksForReadinessAtOnceSharesOneAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		database := &blocked{release: make(chan struct{})}
		ready := &readiness{ask: database.ask, now: time.Now}
		var answered atomic.Int64
		for range 20 {
			go func() {
				found, err := ready.get(t.Context())
				if err != nil || found.LogHead != 42 {
					t.Errorf("answered %v, %v", found, err)
				}
				answered.Add(1)
			}()
		}
		synctest.Wait()
		<-time.After(2 * readyFor) // of the bubble's clock: the database is slower than its answers stand
		close(database.release)
		synctest.Wait()
		if answered.Load() != 20 || database.asked.Load() != 1 {
			t.Errorf("%d of 20 are answered, the database was asked %d times", answered.Load(), database.asked.Load())
		}
		<-time.After(readyFor - 1)
		if _, err := ready.get(t.Context()); err != nil || database.asked.Load() != 1 {
			t.Errorf("an answer that took long did not stand: asked %d times, %v", database.asked.Load(), err)
		}
		<-time.After(1)
		if _, err := ready.get(t.Context()); err != nil || database.asked.Load() != 2 {
			t.Errorf("an old answer still stood: asked %d times, %v", database.asked.Load(), err)
		}
	})
}

func TestWhoWaitsForReadinessMayLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		database := &blocked{release: make(chan struct{})}
		ready := &readiness{ask: database.ask, now: time.Now}
		first, leave := context.WithCancel(t.Context())
		asked := make(chan error, 1)
		go func() {
			_, err := ready.get(first)
			asked <- err
		}()
		synctest.Wait()
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := ready.get(impatient); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who waited got %v", err)
		}
		leave() // the question goes on for the others
		synctest.Wait()
		close(database.release)
		if found, err := ready.get(t.Context()); err != nil || found.LogHead != 42 || <-asked != nil || database.asked.Load() != 1 {
			t.Errorf("after some have left: %v, %v, asked %d times", found, err, database.asked.Load())
		}
	})
}

func TestAPanicOfTheCheckLeavesNobodyWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		database := &blocked{release: make(chan struct{}), panics: true}
		ready := &readiness{ask: database.ask, now: time.Now}
		panicked := make(chan any, 1)
		go func() {
			defer func() { panicked <- recover() }()
			_, _ = ready.get(t.Context())
		}()
		synctest.Wait()
		waited := make(chan error, 1)
		go func() {
			_, err := ready.get(t.Context())
			waited <- err
		}()
		synctest.Wait()
		close(database.release)
		if err := <-waited; !errors.Is(err, errUnanswered) || <-panicked == nil {
			t.Errorf("who waited got %v", err)
		}
		database.panics = false
		if _, err := ready.get(t.Context()); err != nil || database.asked.Load() != 2 {
			t.Errorf("afterwards: %v, asked %d times", err, database.asked.Load())
		}
	})
}
