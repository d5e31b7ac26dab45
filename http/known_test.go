package http

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
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
	calls, live, err := 0, [][32]byte{{1}, {2}}, error(nil)
	r := &roll{known: newKnown(), now: func() time.Time { return now }, live: func(ctx context.Context) ([][32]byte, error) {
		calls++
		if _, ok := ctx.Deadline(); !ok || ctx.Err() != nil {
			t.Errorf("asked without a deadline, or for one client: %v", ctx.Err())
		}
		return live, err
	}}
	gone, leave := context.WithCancel(t.Context())
	leave()
	for _, step := range []struct {
		after  time.Duration
		err    error // of the database
		calls  int
		answer error
	}{
		{0, nil, 1, nil},
		{rollEvery - 1, lost, 1, nil},
		{1, lost, 2, lost},
		{rollEvery - 1, nil, 2, lost}, // an error stands too: who asks a database that is down makes nothing better
		{1, nil, 3, nil},
		{-time.Hour, nil, 4, nil}, // a clock that was put back
	} {
		now, err = now.Add(step.after), step.err
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if got := r.call(gone); !errors.Is(got, step.answer) {
					t.Errorf("%+v: %v", step, got)
				}
			})
		}
		if all.Wait(); calls != step.calls {
			t.Errorf("%+v: asked %d times", step, calls)
		}
	}
	if !r.known.has([32]byte{1}) || !r.known.has([32]byte{2}) || r.known.has([32]byte{3}) {
		t.Error("who is live is not who is known")
	}
}
