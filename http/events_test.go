package http_test

import (
	"context"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/events"
)

func TestAStreamTellsWhereItIsAndThenWhatHappens(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	head := d.head(t)
	s := b.events(t, "/events")
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "Content-Encoding": "",
		"Access-Control-Allow-Origin": "",
	} {
		wantHeader(t, answer{s.response, ""}, name, want)
	}
	first, err := s.block()
	check(t, err)
	if first.Data != "" || s.retry == "" || positionOf(t, s.lastID) != head {
		t.Errorf("it begins with %+v, last event ID %s and retry %q; want no event, %d and a time", first, s.lastID, s.retry, head)
	}
	d.browser(t).signIn(t, "gitea", "ada", nil)
	got := s.collect(t, nil, d.head(t))
	if diff := cmp.Diff(d.expected(t, head), got); diff != "" {
		t.Errorf("not what is in the log (-want +got):\n%s", diff)
	}
	for _, event := range got {
		msg, err := events.ParseStructured([]byte(event.Data))
		check(t, err)
		record, _, err := events.ParseMessage(msg)
		check(t, err)
		if record.Position != positionOf(t, event.ID) || record.Type != event.Name {
			t.Errorf("event %s, id %s holds %s at %d", event.Name, event.ID, record.Type, record.Position)
		}
	}
}

func TestWhereAStreamBegins(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	last := d.deny(t, 3, 1)
	began := d.expected(t, 0)[0]
	for name, c := range map[string]struct {
		path, id string
		first    int64
	}{
		"at the beginning":                       {"/events?from=beginning", "", 1},
		"at a position":                          {"/events?from=2", "", 2},
		"at a time":                              {"/events?from=2020-01-31T00:00:00Z", "", 1},
		"after the last event that was received": {"/events", "2", 3},
		"after that whatever the address says":   {"/events?from=beginning", "2", 3},
		"after nothing":                          {"/events?from=now", "0", 1},
		"with the last event there is":           {"/events", itoa(last - 1), last},
		"with what comes":                        {"/events", "", last + 1},
		"with what comes, in words":              {"/events?from=now", "", last + 1},
		"with what comes next":                   {"/events?from=" + itoa(last+1), "", last + 1},
		"with what comes after the last event":   {"/events?from=1", itoa(last), last + 1},
		"with what comes after a time":           {"/events?from=2999-01-31T00:00:00Z", "", last + 1},
		"with the first of one type":             {"/events?from=beginning&type=LoginDenied", "", last - 2},
		"with the first of several types":        {"/events?from=1&type=LoginDenied&type=" + began.Name, "", 1},
		"with the first of several at once":      {"/events?from=1&type=LoginDenied,LoginDenied," + began.Name, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var header []string
			if c.id != "" {
				header = []string{"Last-Event-ID", c.id}
			}
			s := b.events(t, c.path, header...)
			_, err := s.block()
			check(t, err)
			if c.first > last {
				if got := positionOf(t, s.lastID); got != last {
					t.Errorf("it begins after %d, want %d", got, last)
				}
				return
			}
			event, err := s.next()
			check(t, err)
			if got := positionOf(t, event.ID); got != c.first {
				t.Errorf("the first event is %d, want %d", got, c.first)
			}
		})
	}
}

func TestAStreamThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	ahead := itoa(d.head(t) + 1)
	for name, c := range map[string]struct {
		path   string
		header []string
		status int
		code   string
	}{
		"a position that is a word":         {"/events", []string{"Last-Event-ID", "last"}, 400, "bad_position"},
		"a negative position":               {"/events", []string{"Last-Event-ID", "-1"}, 400, "bad_position"},
		"a position with a sign":            {"/events", []string{"Last-Event-ID", "+1"}, 400, "bad_position"},
		"a position that fits nowhere":      {"/events", []string{"Last-Event-ID", "9223372036854775808"}, 400, "bad_position"},
		"an empty position":                 {"/events", []string{"Last-Event-ID", ""}, 400, "bad_position"},
		"two positions":                     {"/events", []string{"Last-Event-ID", "1", "Last-Event-ID", "1"}, 400, "bad_position"},
		"a position of the future":          {"/events", []string{"Last-Event-ID", ahead}, 409, "position_ahead"},
		"a beginning in the future":         {"/events?from=" + ahead + "0", nil, 409, "position_ahead"},
		"a beginning that is none":          {"/events?from=yesterday", nil, 400, "bad_position"},
		"a beginning before the first":      {"/events?from=0", nil, 400, "bad_position"},
		"an empty beginning":                {"/events?from=", nil, 400, "bad_position"},
		"two beginnings":                    {"/events?from=1&from=2", nil, 400, "bad_query"},
		"a query that cannot be read":       {"/events?from=%zz", nil, 400, "bad_query"},
		"a type that is none":               {"/events?type=ForgeActivated,Nothing", nil, 400, "unknown_type"},
		"an empty type":                     {"/events?type=", nil, 400, "unknown_type"},
		"a client that wants JSON":          {"/events", []string{"Accept", "application/json"}, 406, "not_acceptable"},
		"a client that wants anything else": {"/events", []string{"Accept", "*/*, text/event-stream;q=0"}, 406, "not_acceptable"},
		"another site":                      {"/events", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}, 403, "cross_origin"},
		"another site of the same domain":   {"/events", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors"}, 403, "cross_origin"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asking := *b
			asking.accept = "text/event-stream"
			for i := 0; i+1 < len(c.header); i += 2 {
				if c.header[i] == "Accept" {
					asking.accept, c.header = c.header[i+1], nil
				}
			}
			a := asking.get(t, c.path, c.header...)
			wantProblem(t, a, c.status, c.code)
			if c.code == "unknown_type" && !strings.Contains(a.body, "ForgeActivated") {
				t.Errorf("the types that are known are not named: %s", a.body)
			}
		})
	}
	stranger := d.browser(t)
	stranger.accept = "text/event-stream"
	wantProblem(t, stranger.get(t, "/events"), http.StatusUnauthorized, "unauthenticated")
}

func TestATypeThatIsAskedForTwiceComesOnce(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	last := d.deny(t, 3, 1)
	got := b.events(t, "/events?from=beginning&type=LoginDenied,LoginDenied&type=LoginDenied").collect(t, nil, last)
	if diff := cmp.Diff(d.expected(t, 0, "LoginDenied"), got); diff != "" {
		t.Errorf("not what is in the log (-want +got):\n%s", diff)
	}
}

func TestHeadOfAStreamEnds(t *testing.T) {
	t.Parallel()
	d, b := claimed(t)
	a := b.do(t, http.MethodHead, "/events?from=beginning", nil)
	wantStatus(t, a, http.StatusOK)
	wantHeader(t, a, "Content-Type", "text/event-stream")
	d.waitForLog(t, `"method":"HEAD","route":"/events"`)
}

// What clients receive who lose their connection again and again, of a process that restarts again and again, is the log: nothing is
// missing and nothing comes twice.
func TestReconnectingLosesNothingAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	d, b := claimed(t, func(s *settings) { s.streams.Heartbeat = 20 * time.Millisecond })
	var process atomic.Pointer[http.Handler]
	process.Store(&d.handler)
	d.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*process.Load()).ServeHTTP(w, r) })
	start := d.head(t)
	var end atomic.Int64
	end.Store(math.MaxInt64)
	interests := [][]string{nil, {"LoginDenied"}, {"TokenIssued", "ForgeActivated", "SessionStarted"}}
	results, faults := make([][]received, len(interests)), make([]error, len(interests))
	connections := make([]int, len(interests))
	var clients sync.WaitGroup
	for i, types := range interests {
		clients.Go(func() {
			results[i], connections[i], faults[i] = followBadly(t.Context(), b, start, types, end.Load)
		})
	}
	for round := range 12 {
		for range 10 {
			d.deny(t, rand.IntN(20)+1, 10) //nolint:gosec // any number will do
		}
		d.browser(t).signIn(t, "gitea", "ada", nil)
		if round%3 == 2 {
			last, draining := d.config.Feed, d.draining
			next := d.process(t)
			process.Store(&next)
			close(draining)
			check(t, last.Close())
		}
	}
	end.Store(d.head(t))
	clients.Wait()
	for i, types := range interests {
		check(t, faults[i])
		if connections[i] < 5 {
			t.Errorf("client %d connected %d times", i, connections[i])
		}
		if diff := cmp.Diff(d.expected(t, start, types...), results[i]); diff != "" {
			t.Errorf("%v over %d connections: not the log (-want +got):\n%s", types, connections[i], diff)
		}
	}
}

// followBadly receives what comes after a position as a browser does, and loses its connection every few blocks, until it knows that
// it has got as far as end.
func followBadly(ctx context.Context, b *browser, after int64, types []string, end func() int64) (got []received, connections int, err error) {
	path := "/events?from=" + itoa(after+1)
	if len(types) > 0 {
		path += "&type=" + strings.Join(types, ",")
	}
	var header []string
	for {
		connections++
		s, err := b.connect(ctx, path, header...)
		if err != nil {
			return got, connections, err
		}
		for range rand.IntN(30) + 1 { //nolint:gosec // any number will do
			event, err := s.block()
			if err != nil {
				break // the process has ended
			}
			if event.Data != "" {
				got = append(got, event)
			}
		}
		s.close()
		if s.lastID == "" {
			continue
		}
		header = []string{"Last-Event-ID", s.lastID}
		if reached, err := strconv.ParseInt(s.lastID, 10, 64); err != nil || reached >= end() {
			return got, connections, err
		}
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
