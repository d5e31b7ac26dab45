package consumer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Stream is where Server-Sent Events come from: GET /events of a deployment.
type Stream struct {
	// URL is https://<deployment>/events. Types of events are added by [Consumer.Follow].
	URL string
	// Header is sent with each request: the cookie of a session.
	Header http.Header
	// Client makes the requests; it must not have a timeout. One that follows no redirect if nil.
	Client *http.Client
	// Silence is after how long without a word the connection counts as dead; a minute if zero. A deployment says something
	// every 15 seconds.
	Silence time.Duration
}

// StreamError is an answer on which there is no point in asking again: the session has ended, or the request is wrong.
type StreamError struct{ Status int }

// Error implements error.
func (e *StreamError) Error() string {
	return fmt.Sprintf("the stream of events was refused: %d %s", e.Status, http.StatusText(e.Status))
}

// How long to wait before connecting again.
const (
	firstWait   = time.Second
	longestWait = 30 * time.Second
)

// maxLine bounds a line of a stream, in bytes.
const maxLine = maxBody

// Follow handles the events of a stream until ctx ends, with whose cause it then ends. It goes on behind what the store remembers; where
// it remembers nothing, it begins with what happens from now on, or where a parameter from of the URL says. What breaks is connected to
// again, and an event whose handler failed is asked for again. It returns a *[StreamError] where that is of no use.
func (c *Consumer) Follow(ctx context.Context, s Stream) error {
	target, err := url.Parse(s.URL)
	if err != nil {
		return errors.New("the stream's URL cannot be parsed")
	}
	query := target.Query()
	for _, name := range c.types() {
		query.Add("type", name)
	}
	target.RawQuery = query.Encode()
	if s.Client == nil {
		// A redirect would take the session's cookie elsewhere.
		s.Client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if s.Silence == 0 {
		s.Silence = time.Minute
	}
	f := &follower{Consumer: c, stream: s, url: target.String(), wait: firstWait}
	for {
		err := f.connection(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if refused, ok := errors.AsType[*StreamError](err); ok {
			return refused
		}
		c.config.Logger.WarnContext(ctx, "the stream of events broke; connecting again", "in", f.wait, "error", err)
		select {
		case <-time.After(f.wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		f.wait = min(2*f.wait, longestWait)
	}
}

// follower is one Follow.
type follower struct {
	*Consumer

	stream  Stream
	url     string
	scanned int64 // there is nothing left to handle up to here
	wait    time.Duration
}

// connection reads the stream once, until it ends.
func (f *follower) connection(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if f.stream.Header != nil {
		request.Header = f.stream.Header.Clone()
	}
	request.Header.Set("Accept", "text/event-stream")
	handled, err := f.config.Store.Position(ctx)
	if err != nil {
		return err
	}
	if after := max(handled, f.scanned); after > 0 {
		request.Header.Set("Last-Event-ID", strconv.FormatInt(after, 10))
	}
	silence := time.AfterFunc(f.stream.Silence, cancel)
	defer silence.Stop()
	response, err := f.stream.Client.Do(request)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	switch status := response.StatusCode; {
	case status == http.StatusOK:
	case status == http.StatusTooManyRequests, status >= 500:
		return fmt.Errorf("the deployment answered %d", status)
	default:
		return &StreamError{status}
	}
	return f.read(ctx, response.Body, func() { silence.Reset(f.stream.Silence) })
}

// read handles what a stream says (WHATWG HTML, 9.2.6). alive is called for each line.
func (f *follower) read(ctx context.Context, body io.Reader, alive func()) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxLine)
	var id string
	var data []string
	for lines.Scan() {
		alive()
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			id = value
		case "data":
			data = append(data, value)
		case "retry":
			if ms, err := strconv.ParseUint(value, 10, 31); err == nil {
				f.wait = min(time.Duration(ms)*time.Millisecond, longestWait)
			}
		}
		if lines.Text() != "" {
			continue
		}
		if len(data) > 0 {
			if err := f.Handle(ctx, []byte(strings.Join(data, "\n"))); err != nil {
				return err
			}
			f.wait = firstWait
		}
		// Behind this position there is nothing left to do, and an id alone says that nothing of interest came.
		if position, err := strconv.ParseInt(id, 10, 64); err == nil {
			f.scanned = max(f.scanned, position)
		}
		data = nil
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return io.ErrUnexpectedEOF
}
