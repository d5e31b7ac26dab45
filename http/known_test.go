package http

import (
	"strconv"
	"testing"
)

func TestKnownSessionsAreBoundedAndThoseInUseAreKept(t *testing.T) {
	t.Parallel()
	k := newKnown()
	for i := range 3 * mostKnown {
		k.add(strconv.Itoa(i))
		k.add("in use")
		if !k.has("in use") || !k.has(strconv.Itoa(i)) {
			t.Fatalf("forgotten after %d others", i)
		}
	}
	if n := len(k.younger) + len(k.older); n > mostKnown {
		t.Errorf("%d are remembered, the bound is %d", n, mostKnown)
	}
	if k.forget("in use"); k.has("in use") {
		t.Error("known after it was forgotten")
	}
}
