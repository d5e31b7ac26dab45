package http

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestKnownSessionsAreBoundedAndThoseInUseAreKept(t *testing.T) {
	t.Parallel()
	k, inUse := newKnown(), [32]byte{1}
	for i := range 3 * mostKnown {
		session := [32]byte(binary.BigEndian.AppendUint64(make([]byte, 24), uint64(i)))
		k.add(session)
		k.add(inUse)
		if !k.has(inUse) || !k.has(session) {
			t.Fatalf("forgotten after %d others", i)
		}
	}
	if n := len(k.younger) + len(k.older); n > mostKnown {
		t.Errorf("%d are remembered, the bound is %d", n, mostKnown)
	}
	if k.forget(inUse); k.has(inUse) {
		t.Error("known after it was forgotten")
	}
}

func TestTheRollIsCalledOnceASecond(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	lost := errors.New("lost")
	calls, err := 0, error(nil)
	var live [][32]byte
	for i := range 2 * mostKnown { // more than are remembered
		live = append(live, [32]byte(binary.BigEndian.AppendUint64(make([]byte, 24), uint64(i))))
	}
	r := newRoll(func(ctx context.Context) ([][32]byte, error) {
		calls++
		if _, ok := ctx.Deadline(); !ok {
			t.Error("asked without a deadline")
		}
		if err != nil {
			return nil, err
		}
		return live, nil
	}, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	for _, step := range []struct {
		after time.Duration
		err   error // of the database
		calls int
		known bool
	}{
		{0, nil, 1, true},
		{rollEvery - 1, lost, 1, true},
		{1, lost, 2, false},
		{rollEvery - 1, nil, 2, false}, // an error stands too: who asks a database that is down makes nothing better
		{1, nil, 3, true},
		{-time.Hour, nil, 4, true}, // a clock that was put back
	} {
		now, err = now.Add(step.after), step.err
		var all sync.WaitGroup
		for _, session := range [][32]byte{live[0], live[len(live)-1], live[len(live)/2]} {
			all.Go(func() {
				if got := r.has(t.Context(), session); got != step.known {
					t.Errorf("%+v: known %v", step, got)
				}
				if r.has(t.Context(), [32]byte{1}) {
					t.Errorf("%+v: one that is made up is known", step)
				}
			})
		}
		if all.Wait(); calls != step.calls {
			t.Errorf("%+v: asked %d times", step, calls)
		}
	}
}

func TestWhoWaitsForTheRollMayLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := newRoll(func(ctx context.Context) ([][32]byte, error) {
			<-release
			return [][32]byte{{1}}, ctx.Err()
		}, time.Now, slog.New(slog.DiscardHandler))
		asking, leave := context.WithCancel(t.Context())
		first := make(chan bool, 1)
		go func() { first <- r.has(asking, [32]byte{1}) }()
		synctest.Wait()
		leave() // the question goes on for the others
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if r.has(impatient, [32]byte{1}) {
			t.Error("known before there is an answer")
		}
		close(release)
		if !<-first || !r.has(t.Context(), [32]byte{1}) {
			t.Error("not known after the answer")
		}
	})
}
