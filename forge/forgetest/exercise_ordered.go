package forgetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

// ordered is a fault and what a method may make of it.
type ordered struct {
	fault Fault
	// reads and writes are the errors of which it is one, for requests that read and that write; nil among them is success:
	// net/http reads again by itself if a kept connection is closed before an answer.
	reads, writes []error
	// done: the forge may have done the work, so that nil is right where no answer is needed.
	done bool
	// until: a rate limit says until when.
	until bool
}

var errRateLimited = errors.New("a rate limit")

const nothingListed = "a list of nothing"

// orderedFaults lists what can be ordered for one request, with another server's address.
func orderedFaults(elsewhere string) []ordered {
	one := func(err error) []error { return []error{err} }
	unavailable := one(forge.ErrUnavailable)
	var all []ordered
	add := func(reads, writes []error, faults ...Fault) {
		for _, fault := range faults {
			all = append(all, ordered{fault: fault, reads: reads, writes: writes})
		}
	}
	with := func(status int) []Fault {
		return []Fault{
			marked(status, "application/json", `{"message":"MARK","error":"MARK","errors":["MARK"]}`),
			marked(status, "text/html", "<title>MARK</title>"), marked(status, "application/json", ""),
		}
	}
	add(one(forge.ErrNeedsReauth), one(forge.ErrNeedsReauth), with(401)...)
	add(one(forge.ErrForbidden), one(forge.ErrForbidden), with(403)...)
	add(one(forge.ErrNotFound), one(forge.ErrNotFound), append(with(404), with(410)...)...)
	add(one(errRateLimited), one(errRateLimited), with(429)...)
	for _, fault := range []Fault{TooManyRequests(2 * time.Minute), RateLimitForbidden(2 * time.Minute)} {
		all = append(all, ordered{fault: fault, reads: one(errRateLimited), writes: one(errRateLimited), until: true})
	}
	add(unavailable, one(forge.ErrInvalid), append(with(400), with(422)...)...)
	add(unavailable, one(forge.ErrConflict), with(409)...)
	for _, status := range []int{418, 500, 502, 503, 504} {
		add(unavailable, unavailable, with(status)...)
	}
	add(unavailable, unavailable, GarbageBody(), HTMLBody(), EmptyBody(), HugeBody(),
		marked(200, "application/json", `{"MARK`), marked(200, "text/html", "<title>MARK</title>"), marked(200, "application/json", `{}`),
		marked(200, "application/json", `{"id":-1,"iid":-1,"number":-1,"full_name":"MARK","created_at":"MARK"}`),
		Fault{nothingListed, marked(200, "application/json", `[{"id":-1,"config":{"url":"MARK"},"url":"MARK"}]`).serve})
	destination := one(forge.ErrDestination)
	moved := []error{forge.ErrNotFound, forge.ErrUnavailable}
	for _, status := range []int{301, 302, 303, 307, 308} {
		add(destination, moved, RedirectElsewhere(status, elsewhere+"/api?"+exerciseMark), RedirectElsewhere(status, "//"+elsewhere[len("http://"):]+"/"),
			RedirectElsewhere(status, "http://["+exerciseMark), RedirectElsewhere(status, "/%2e%2e/"+exerciseMark))
	}
	return append(all,
		ordered{fault: CutBefore(), reads: append(unavailable, nil), writes: unavailable},
		ordered{fault: CutAfter(), reads: append(unavailable, nil), writes: unavailable},
		ordered{fault: CutMidway(), reads: unavailable, writes: unavailable, done: true})
}

// isOne reports whether an error is one of those.
func isOne(err error, of []error) bool {
	if _, isLimit := errors.AsType[*forge.RateLimitedError](err); isLimit {
		err = errRateLimited
	}
	return slices.ContainsFunc(of, func(want error) bool { return errors.Is(err, want) })
}

// allows lists what the method may return for the fault beyond what holds for all; nil among it is success.
func (m method) allows(o ordered, d differences) []error {
	want := o.reads
	if m.writes {
		want = o.writes
	}
	want = slices.Clone(want)
	name := o.fault.String()
	isAnswer := name == "garbage body" || name == "HTML body" || name == "empty body" || name == "status 200 with a mark"
	switch {
	case m.op == "file" && m.name == "" && name == "huge body":
		want = []error{forge.ErrTooLarge}
	case name == nothingListed && m.op == "ensure hook" && !m.writes:
		want = append(want, nil) // none of them is ours
	case m.op == "file" && (isAnswer || name == nothingListed):
		want = append(want, forge.ErrNotFound) // JSON may be a directory
		if d.anyAnswerIsAFile {
			want = append(want, nil)
		}
	case m.op == "remove hook" && isOne(forge.ErrNotFound, want) && !isOne(forge.ErrUnavailable, want):
		want = []error{nil} // it is gone
	case m.op == "remove hook" && o.done:
		want = append(want, nil) // a 204 has no middle
	case m.op == "ensure hook" && m.writes && (isOne(forge.ErrConflict, want) || isOne(forge.ErrNotFound, want)):
		want = append(want, nil) // it looks again
	case m.op == "set status" && isOne(forge.ErrConflict, want):
		want = append(want, forge.ErrUnavailable) // another one is being set, where the forge says so
	}
	return want
}

func exerciseMethodFaults(t *testing.T, x *exercise) {
	t.Helper()
	other := trap(t)
	for _, m := range x.methods() {
		t.Run(m.String()+": every ordered fault is an error of its own", func(t *testing.T) {
			t.Parallel()
			w := x.workshop(t)
			for _, o := range orderedFaults(other.URL) {
				call := m.prepare(t, w)
				m.order(w, o.fault)
				err := call(t.Context(), w.port, w.byPath())
				want := m.allows(o, w.differences)
				switch {
				case err == nil && slices.Contains(want, nil):
				case !isOne(err, want):
					t.Errorf("%v: %v, want one of %v", o.fault, err, want)
				default:
					w.fails(t, m.op, err, err)
				}
				if limited, ok := errors.AsType[*forge.RateLimitedError](err); ok && o.until && !limited.Until.Equal(exerciseClock.Add(2*time.Minute)) {
					t.Errorf("%v: until %v", o.fault, limited.Until)
				}
				if w.Pending() != 0 {
					t.Errorf("%v did not strike", o.fault)
					w.drain()
				}
				if o.done {
					// A connection that was cut behind an answer is still kept; unlike what writes, this is sent again by net/http.
					if _, err := w.port.Account(t.Context()); err != nil {
						t.Errorf("after %v: %v", o.fault, err)
					}
				}
				if err := m.prepare(t, w)(t.Context(), w.port, w.byPath()); err != nil {
					t.Errorf("after %v: %v", o.fault, err)
				}
			}
		})
		t.Run(m.String()+": redirects and links within the forge do no harm", func(t *testing.T) {
			t.Parallel()
			w := x.workshop(t)
			for _, status := range []int{301, 302, 303, 307, 308} {
				call := m.prepare(t, w)
				m.order(w, RedirectElsewhere(status, "?again="+exerciseMark))
				err := call(t.Context(), w.port, w.byPath())
				switch {
				case err == nil && (!m.writes || m.op == "ensure hook"):
				case m.writes && !errors.Is(err, forge.ErrNotFound) && !errors.Is(err, forge.ErrUnavailable):
					t.Errorf("%d: %v", status, err)
				default:
					w.fails(t, m.op, err, err)
				}
			}
			call := m.prepare(t, w)
			m.order(w, NextPageElsewhere(other.URL+"/?"+exerciseMark))
			if err := call(t.Context(), w.port, w.byPath()); err != nil || m.op == "hooks" {
				w.fails(t, m.op, err, forge.ErrDestination)
			}
		})
		t.Run(m.String()+": who gives up gets the context's error, and who waits the answer", func(t *testing.T) {
			t.Parallel()
			w := x.workshop(t)
			call := m.prepare(t, w)
			m.order(w, Slow(nil))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			arrived := w.Count(m.endpoint) + m.skip + 1
			go func() {
				if w.Await(ctx, m.endpoint, arrived) == nil {
					cancel()
				}
			}()
			err := call(ctx, w.port, w.byPath())
			w.fails(t, m.op, err, forge.ErrUnavailable)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
			call, release := m.prepare(t, w), make(chan struct{})
			m.order(w, Slow(release))
			arrived = w.Count(m.endpoint) + m.skip + 1
			go func() {
				_ = w.Await(t.Context(), m.endpoint, arrived)
				close(release)
			}()
			if err := call(t.Context(), w.port, w.byPath()); err != nil {
				t.Error(err)
			}
		})
		t.Run(m.String()+": an id is looked up, where it has to be, under the same name", func(t *testing.T) {
			t.Parallel()
			w := x.workshop(t)
			for _, lookup := range []struct {
				fault Fault
				want  error
			}{
				{marked(404, "application/json", `{"message":"MARK"}`), forge.ErrNotFound},
				{marked(500, "application/json", `{"message":"MARK"}`), forge.ErrUnavailable},
				{marked(200, "application/json", `{"id":-1,"full_name":"MARK"}`), forge.ErrUnavailable},
				{RedirectElsewhere(301, other.URL+"/?"+exerciseMark), forge.ErrDestination},
			} {
				call := m.prepare(t, w)
				w.Next(RepositoryEndpoint, lookup.fault)
				err := call(t.Context(), w.port, w.byID())
				switch {
				case w.Pending() != 0 || m.op == "remove hook" && errors.Is(lookup.want, forge.ErrNotFound):
					w.drain()
					if err != nil {
						t.Errorf("%v: %v", lookup.fault, err)
					}
				default:
					w.fails(t, m.op, err, lookup.want)
				}
			}
		})
	}
}
