package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/forgeauth/forgeauth/events"
)

// StatusError is an answer other than 2xx.
type StatusError struct {
	Status int
	after  time.Duration
	class  error // ErrDestinationDown, ErrPoison or nil
}

// Error implements error.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("the endpoint answered %d %s", e.Status, http.StatusText(e.Status))
	if e.Status >= 300 && e.Status < 400 {
		text += ", and redirects are not followed: set the URL to where it leads"
	}
	return text
}

// Unwrap returns what the status says of the endpoint and the event.
func (e *StatusError) Unwrap() error { return e.class }

// RetryAfter is how long the endpoint asked to be left alone; 0 if it did not say.
func (e *StatusError) RetryAfter() time.Duration { return e.after }

// GoneError is the answer 410: the endpoint wants nothing more, ever.
type GoneError struct{}

// Error implements error.
func (*GoneError) Error() string { return "the endpoint answered 410 Gone" }

// Unwrap returns [events.ErrDestinationDown].
func (*GoneError) Unwrap() error { return events.ErrDestinationDown }

// judge returns what an answer means, nil if the event was taken.
func judge(response *http.Response, now time.Time) error {
	status := response.StatusCode
	e := &StatusError{Status: status}
	switch {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusGone:
		return &GoneError{}
	case status == http.StatusRequestEntityTooLarge:
		e.class = events.ErrPoison
	case status < 400, status >= 500:
		e.class = events.ErrDestinationDown
	default:
		switch status {
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
			http.StatusProxyAuthRequired, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
			e.class = events.ErrDestinationDown
		}
	}
	e.after = retryAfter(response.Header.Get("Retry-After"), now)
	return e
}

// retryAfter reads the header of that name (RFC 9110, 10.2.3): seconds, or a date. What it cannot read is 0.
func retryAfter(value string, now time.Time) time.Duration {
	const longest = 24 * time.Hour
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, longest)
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(min(at.Sub(now), longest), 0)
	}
	return 0
}

// Policy is how often an endpoint is tried: over some minutes where it says that the event is at fault, and at ever greater
// distances, up to five hours, while it is down.
func Policy() events.Policy {
	return events.Policy{
		Waits: []time.Duration{5 * time.Second, time.Minute, 10 * time.Minute},
		Then:  events.Park,
		OutageWaits: []time.Duration{
			5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 5 * time.Hour,
		},
	}
}

// GiveUp says when an endpoint counts as dead.
type GiveUp struct {
	// After is for how long it has to have been down; 5 days if zero.
	After time.Duration
}

// The reasons of [GiveUp.Decide], as a RelayDisabled has them.
const (
	ReasonGone        = "gone"        // the endpoint answered 410
	ReasonUnreachable = "unreachable" // it has been down for too long
)

// Decide reports whether the endpoint is to be disabled after a try that failed at now, and why.
func (g GiveUp) Decide(now time.Time, d events.Delivery, err error) (reason string, disable bool) {
	after := g.After
	if after == 0 {
		after = 5 * 24 * time.Hour
	}
	gone := &GoneError{}
	switch {
	case errors.As(err, &gone):
		return ReasonGone, true
	case errors.Is(err, events.ErrDestinationDown) && !d.FailingSince.IsZero() && now.Sub(d.FailingSince) >= after:
		return ReasonUnreachable, true
	}
	return "", false
}
