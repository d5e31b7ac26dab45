package forge

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// judge says what an answer of the API means. A nil error is an answer 2xx. The body is read by the dialect alone, and
// nothing of it gets into an error but scope names.
func (t *Transport) judge(resp *http.Response, body []byte) error {
	status := resp.StatusCode
	if err := t.reason(status, body); err != nil {
		return err
	}
	switch {
	case status >= 200 && status < 300:
		return nil
	case status >= 300 && status < 400:
		return unavailable("it answered with a redirect where none belongs")
	case status == http.StatusUnauthorized:
		return ErrNeedsReauth
	case status == http.StatusForbidden:
		if err := t.refusal(resp, body); err != nil {
			return err
		}
		return ErrForbidden
	case status == http.StatusNotFound:
		if missing, ok := errors.AsType[*ScopeMissingError](t.refusal(resp, body)); ok {
			return fmt.Errorf("%w (%w)", ErrNotFound, missing)
		}
		return ErrNotFound
	case status == http.StatusGone:
		return ErrNotFound
	case status == http.StatusTooManyRequests:
		return t.refusal(resp, body)
	}
	return ErrUnavailable
}

// judgeWrite is judge for requests that write, whose answers 4xx are about what was sent.
func (t *Transport) judgeWrite(resp *http.Response, body []byte) error {
	if err := t.reason(resp.StatusCode, body); err != nil {
		return err
	}
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return ErrMoved
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return ErrInvalid
	case http.StatusConflict:
		return ErrConflict
	}
	return t.judge(resp, body)
}

// reason asks the dialect about what a status alone does not say.
func (t *Transport) reason(status int, body []byte) error {
	switch {
	case t.dialect.Reason == nil, status < 300, status >= 500:
		return nil
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusTooManyRequests:
		return nil
	}
	return t.dialect.Reason(status, body)
}

// refusal asks the dialect about a 403, 404 or 429. A 429 is a rate limit in any case, and so is a 403 that says when to come
// back.
func (t *Transport) refusal(resp *http.Response, body []byte) error {
	now := t.now()
	if t.dialect.Refusal != nil {
		if err := t.dialect.Refusal(resp.StatusCode, resp.Header, body, now); err != nil {
			return err
		}
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "" {
		return &RateLimitedError{Until: RetryAfter(resp.Header, "", now)}
	}
	return nil
}

// maxRateLimit bounds how long a forge can make us stay away.
const maxRateLimit = 24 * time.Hour

// RetryAfter returns until when a forge wants to be left alone, by Retry-After (RFC 9110 §10.2.3: seconds or a date),
// else by the header named reset, which holds Unix seconds; the zero time where neither says. Times on the forge's clock
// are moved to ours by its Date header. The result is never more than a day ahead of now.
func RetryAfter(h http.Header, reset string, now time.Time) time.Time {
	wait := time.Duration(-1)
	ahead := func(at time.Time) time.Duration {
		if date, err := http.ParseTime(h.Get("Date")); err == nil {
			return at.Sub(date)
		}
		return at.Sub(now)
	}
	after := h.Get("Retry-After")
	if seconds, ok := wholeSeconds(after); ok {
		wait = time.Duration(min(seconds, int64(maxRateLimit/time.Second))) * time.Second
	} else if date, err := http.ParseTime(after); err == nil {
		wait = ahead(date)
	} else if reset != "" {
		if seconds, ok := wholeSeconds(h.Get(reset)); ok {
			wait = ahead(time.Unix(seconds, 0))
		}
	}
	if wait < 0 {
		return time.Time{}
	}
	return now.Add(min(wait, maxRateLimit))
}

// wholeSeconds reads a number of seconds that is not negative. One that no clock reaches is as far as clocks are sure to go,
// the year 9999: what is absurdly far ahead must not pass for what nobody said.
func wholeSeconds(digits string) (int64, bool) {
	const most = 253_402_300_799
	seconds, err := strconv.ParseUint(digits, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	return int64(min(seconds, most)), true
}
