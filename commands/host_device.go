package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

// DeviceLogin is a sign-in by the device flow (RFC 8628) that waits for a person.
type DeviceLogin struct {
	ForgeType string
	// UserCode is what the person enters at VerificationURI, before ExpiresAt.
	UserCode        string
	VerificationURI string
	// VerificationURIComplete has the code in it; empty where the forge gives none.
	VerificationURIComplete string
	ExpiresAt               time.Time

	authorization forge.DeviceAuthorization
}

// StartDeviceLogin asks the forge for a code. Nothing is stored. It fails with [ErrUnknownConnection], [*OriginError] or
// [*KindError] before the forge is contacted, with [forge.ErrUnsupported] for a kind without a device flow, which is not
// contacted either, and with what [forge.DeviceProvider] names.
func (c *Commands) StartDeviceLogin(ctx context.Context, forgeType string) (DeviceLogin, error) {
	provider, err := c.hostProvider(ctx, forgeType)
	if err != nil {
		return DeviceLogin{}, err
	}
	d, err := provider.StartDevice(ctx)
	if err != nil {
		return DeviceLogin{}, err
	}
	return DeviceLogin{
		ForgeType: forgeType, UserCode: d.UserCode, VerificationURI: d.VerificationURI,
		VerificationURIComplete: d.VerificationURIComplete, ExpiresAt: d.ExpiresAt, authorization: d,
	}, nil
}

// CompleteDeviceLogin waits until the person has decided, and then signs their account in. It appends TokenIssued and
// ForgeActivated, and what claims the deployment or links the account, in one transaction. It fails with ctx's error, or a
// [*LoginError]: [CodeAccessDenied] if the person said no, [CodeExpiredAttempt] if nobody decided in time, [CodeNotAllowed] with
// the account if that may not sign in, and others. A token that was granted and not stored is revoked at the forge in one
// attempt.
func (c *Commands) CompleteDeviceLogin(ctx context.Context, d DeviceLogin, req HostLogin) (HostLoginCompleted, error) {
	provider, err := c.provider(d.ForgeType)
	if err != nil {
		return HostLoginCompleted{}, err
	}
	token, err := c.awaitDevice(ctx, provider, d.authorization)
	if err != nil {
		return HostLoginCompleted{}, err
	}
	if ctx.Err() != nil {
		c.revokeOnHost(ctx, provider, token)
		return HostLoginCompleted{}, gaveUp(ctx)
	}
	return c.enterFromHost(ctx, provider, token, grantDeviceCode, req)
}

func gaveUp(ctx context.Context) error { return fmt.Errorf("sign in: %w", context.Cause(ctx)) }

// mostBackOff bounds how long a forge that does not answer is left alone.
const mostBackOff = time.Minute

// awaitDevice polls, as often as the forge allows, until there is a token or no more hope. A forge that does not answer is given
// ever more time (RFC 8628 §3.5).
func (c *Commands) awaitDevice(ctx context.Context, provider forge.Provider, d forge.DeviceAuthorization) (forge.Token, error) {
	var unanswered error
	for wait := d.Interval; ; {
		left := d.ExpiresAt.Sub(c.now())
		select {
		case <-c.after(min(wait, left)):
		case <-ctx.Done():
			return forge.Token{}, gaveUp(ctx)
		}
		switch {
		case left > wait:
		case unanswered != nil:
			return forge.Token{}, forgeFailure(CodeForgeUnavailable, unanswered)
		default:
			return forge.Token{}, &LoginError{Code: CodeExpiredAttempt}
		}
		// Not ctx: a poll that is cut short may be the one that uses the code up, and nobody would know the token.
		poll, err := provider.PollDevice(context.WithoutCancel(ctx), d)
		unanswered = err
		limited, isLimited := errors.AsType[*forge.RateLimitedError](err)
		switch {
		case isLimited:
			wait = max(limited.Until.Sub(c.now()), d.Interval)
			continue
		case errors.Is(err, forge.ErrUnavailable):
			wait = max(min(2*wait, mostBackOff), d.Interval)
			c.logger.WarnContext(ctx, "the forge does not answer; asking again", slog.String("forge_type", provider.Connection().Name),
				slog.Duration("in", wait), slog.Any("error", err))
			continue
		case err != nil:
			return forge.Token{}, forgeFailure(CodeExchangeFailed, err)
		}
		switch poll.State {
		case forge.DeviceGranted:
			return poll.Token, nil
		case forge.DeviceDenied:
			return forge.Token{}, &LoginError{Code: CodeAccessDenied}
		case forge.DeviceExpired:
			return forge.Token{}, &LoginError{Code: CodeExpiredAttempt}
		case forge.DevicePending, forge.DeviceSlowDown:
			d.Interval, wait = poll.Interval, poll.Interval
		}
	}
}
