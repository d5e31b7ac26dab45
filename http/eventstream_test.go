package http_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// eventStream is a client of GET /events that reads as WHATWG HTML §9.2.6 has it.
type eventStream struct {
	response *http.Response
	cancel   context.CancelFunc
	lines    *bufio.Reader
	lastID   string // the last event ID string
	buffered string // the last event ID buffer
	retry    string
}

// received is an event that was dispatched.
type received struct{ ID, Name, Data string }

const patience = time.Minute

// events opens a stream, which ends with the test if not earlier.
func (b *browser) events(t *testing.T, path string, header ...string) *eventStream {
	t.Helper()
	s, err := b.connect(t.Context(), path, header...)
	check(t, err)
	t.Cleanup(s.close)
	return s
}

// connect opens a stream, which ends with ctx if not earlier.
func (b *browser) connect(ctx context.Context, path string, header ...string) (*eventStream, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.d.url+path, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	r.Header.Set("Accept", "text/event-stream")
	for pair := range slices.Chunk(header, 2) {
		r.Header.Add(pair[0], pair[1])
	}
	response, err := b.client.Do(r) //nolint:bodyclose // close does
	if err != nil {
		cancel()
		return nil, err
	}
	s := &eventStream{response: response, cancel: cancel, lines: bufio.NewReader(response.Body)}
	if response.StatusCode != http.StatusOK {
		defer s.close()
		body, _ := io.ReadAll(response.Body)
		return nil, fmt.Errorf("GET %s %v: %s: %s", path, header, response.Status, body)
	}
	return s, nil
}

func (s *eventStream) close() {
	s.cancel()
	_ = s.response.Body.Close()
}

// next returns the next event, or how the stream ended.
func (s *eventStream) next() (received, error) {
	for {
		event, err := s.block()
		if err != nil || event.Data != "" {
			return event, err
		}
	}
}

// block reads up to the next blank line. Without data there is no event in it.
func (s *eventStream) block() (received, error) {
	var data strings.Builder
	event := received{Name: "message"}
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return received{}, err // what is not complete is no event
		}
		line = strings.TrimSuffix(line, "\n")
		if strings.Contains(line, "\r") {
			return received{}, fmt.Errorf("a carriage return in %q", line)
		}
		if line == "" {
			s.lastID = s.buffered
			event.ID, event.Data = s.lastID, strings.TrimSuffix(data.String(), "\n")
			return event, nil
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "data":
			data.WriteString(value + "\n")
		case "event":
			event.Name = value
		case "id":
			s.buffered = value
		case "retry":
			s.retry = value
		}
	}
}

// collect adds the events through a position to what was received before.
func (s *eventStream) collect(t *testing.T, before []received, through int64) []received {
	t.Helper()
	for len(before) == 0 || positionOf(t, before[len(before)-1].ID) < through {
		event, err := s.next()
		if err != nil {
			t.Fatalf("the stream ended after %v: %v", s.lastID, err)
		}
		before = append(before, event)
	}
	return before
}

func positionOf(t *testing.T, id string) int64 {
	t.Helper()
	position, err := strconv.ParseInt(id, 10, 64)
	check(t, err)
	return position
}

// head is the position of the last event there is.
func (d *deployment) head(t *testing.T) int64 {
	t.Helper()
	head, err := d.log.Head(t.Context())
	check(t, err)
	return head.Position
}

// expected are the events after a position as a client should receive them, of certain types if there are any.
func (d *deployment) expected(t *testing.T, after int64, types ...string) []received {
	t.Helper()
	var all []received
	for record, err := range d.log.Records(t.Context(), events.Query{After: after, Types: types}) {
		check(t, err)
		document, err := d.config.Feed.Structured(t.Context(), record)
		check(t, err)
		all = append(all, received{strconv.FormatInt(record.Position, 10), record.Type, string(document)})
	}
	return all
}

// elsewhere are the commands of another process, with a connection of its own.
func (d *deployment) elsewhere(t *testing.T) *commands.Commands {
	t.Helper()
	config := d.decides
	config.Writer = events.NewWriter(events.WriterConfig{Conn: d.direct, Now: d.clock.Now, Logger: config.Logger}, projections.NewState())
	t.Cleanup(func() { _ = config.Writer.Close(context.WithoutCancel(t.Context())) })
	return commands.New(config)
}

// waitForLog waits until a line of the log holds text.
func (d *deployment) waitForLog(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(patience)
	for !strings.Contains(d.logs.String(), text) {
		select {
		case <-deadline:
			t.Fatalf("nothing in the log about %s", text)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// deny appends n facts that change nothing, each with so much text, and returns the position of the last.
func (d *deployment) deny(t *testing.T, n, size int) int64 {
	t.Helper()
	appended, err := d.decides.Writer.Append(t.Context(), denials(n, size))
	check(t, err)
	return appended[n-1].Position
}

func denials(n, size int) events.Decision[*projections.State] {
	return events.Decision[*projections.State]{
		Actor: "test", Correlation: uuid.Must(uuid.NewV7()), Streams: []events.Stream{events.StreamDenials},
		Decide: func(*projections.State, time.Time) (events.Outcome, error) {
			var out events.Outcome
			for range n {
				fact := events.LoginDenied{Reason: strings.Repeat("x", size)}
				out.Drafts = append(out.Drafts, events.Draft{Stream: events.StreamDenials, Fact: fact})
			}
			return out, nil
		},
	}
}
