package forge

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
)

// Refresh implements [Provider]: exactly one POST, on a connection of its own, following no redirect. Where the forge
// returns no new refresh token, the old one stays in use (RFC 6749 §6).
//
// A process can be stopped in here for any time and go on afterwards. Then the answer may lie in its socket, and it may be the
// only copy of the new pair. So the wait for it is bounded by [Options.Timeout] of running time: time in which the process did
// not run does not count. And whether the request may still be sent is for MaySend to say, which is asked when its body
// is read, that is, when the connection stands and there is nothing left but to write. Between its yes and the kernel
// taking the bytes are some microseconds in which the process can still be stopped.
func (t *Transport) Refresh(ctx context.Context, r RefreshRequest) (Token, error) {
	ctx, stop := withRunningTimeout(ctx, t.timeout)
	defer stop()
	body := &lastMoment{may: r.MaySend}
	post := &tokenPost{transport: t, body: body.around}
	token, status, err := t.grant(ctx, post, func(ctx context.Context) (*oauth2.Token, error) {
		spent := &oauth2.Token{RefreshToken: r.RefreshToken.Reveal()}
		return t.config("").TokenSource(ctx, spent).Token()
	})
	if err == nil {
		return token, nil
	}
	refused, isRefusal := errors.AsType[*ExchangeError](err)
	switch {
	case isRefusal && slices.Contains(t.spentRefresh(), refused.Code):
		err = &RefreshRejectedError{Code: refused.Code}
	case isRefusal:
	case !body.asked.Load() && errors.Is(err, ErrUnavailable) && status == 0:
		// Nobody has read the body: there was no connection to write it to.
		err = ErrNotSent
	case errors.Is(context.Cause(ctx), errNoAnswer):
		err = errNoAnswer
	}
	return Token{}, t.fail("refresh", status, err)
}

func (t *Transport) spentRefresh() []string {
	if len(t.dialect.SpentRefresh) == 0 {
		return []string{"invalid_grant"}
	}
	return t.dialect.SpentRefresh
}

// lastMoment is the body of a request that fails when it is read too late.
type lastMoment struct {
	io.ReadCloser

	may   func() bool
	asked atomic.Bool
}

func (b *lastMoment) around(body io.ReadCloser) io.ReadCloser {
	b.ReadCloser = body
	return b
}

// Read implements [io.Reader]. The form is short: it is read in one piece.
func (b *lastMoment) Read(p []byte) (int, error) {
	if b.asked.Load() {
		return b.ReadCloser.Read(p) //nolint:wrapcheck // the end of a buffer
	}
	if b.may != nil && !b.may() {
		return 0, ErrNotSent
	}
	b.asked.Store(true)
	return b.ReadCloser.Read(p) //nolint:wrapcheck // the end of a buffer
}

var errNoAnswer = unavailable("it did not answer in time")

// withRunningTimeout is [context.WithTimeout] by the time that this process runs. Ticks of a ticker that nobody takes are
// dropped, and so a stop of any length counts as one tick. The cause of its end is errNoAnswer.
func withRunningTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	const ticks = 128
	ctx, cancel := context.WithCancelCause(ctx)
	ticker := time.NewTicker(max(timeout/ticks, time.Millisecond))
	go func() {
		defer ticker.Stop()
		for range ticks {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
		cancel(errNoAnswer)
	}()
	return ctx, func() { cancel(nil) }
}
