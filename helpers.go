package forgeauth

import (
	"context"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
)

// ForgePort acts on a forge as the operator.
type ForgePort = forge.Port

// OperatorOAuth is a connection's token, opened.
type OperatorOAuth = commands.OperatorOAuth

// ErrNoActiveForge says that no forge is active; over HTTP it is a 412.
var ErrNoActiveForge = projections.ErrNoActiveForge

type actorKey struct{}

// WithActor names who acts in the methods of [Service], as the log will say it: without control and invisible characters, at most
// [forge.MaxStringLength] of them. Without it that is "program".
func WithActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

func caller(ctx context.Context) commands.Caller {
	actor, _ := ctx.Value(actorKey{}).(string)
	if actor = forge.CleanString(actor); actor == "" {
		actor = "program"
	}
	c := commands.Caller{Actor: actor}
	if delivery, ok := events.DeliveryFrom(ctx); ok {
		c.Correlation = delivery.Record.CorrelationID // what a handler of the feed has done belongs to what it heard of
	}
	return c
}

// GetOperatorAdapter returns the port of the active forge, bound to the operator's account there, for one query. It stays bound
// to that forge and account whatever becomes active later, and goes on with the tokens that replace the present one. A token that
// is about to expire is refreshed first, which is waited for as long as ctx lasts. It returns [ErrNoActiveForge], or an error that
// is [forge.ErrNeedsReauth] if only a sign-in helps.
func (s *Service) GetOperatorAdapter(ctx context.Context) (ForgePort, error) {
	return s.commands.OperatorAdapter(ctx)
}

// AdapterFor is [Service.GetOperatorAdapter] for a connection by its name, be it active or not: whoever has to clean up on a forge
// needs it long after the operator has switched to another. It returns [commands.ErrUnknownConnection] or
// [projections.ErrNotConnected].
func (s *Service) AdapterFor(ctx context.Context, forgeType string) (ForgePort, error) {
	return s.commands.AdapterFor(ctx, forgeType)
}

// HookVerifier checks the deliveries of a connection's webhooks. It needs no token: deliveries come in whatever is active, and also
// after the connection was disconnected. It returns [commands.ErrUnknownConnection].
func (s *Service) HookVerifier(forgeType string) (forge.HookVerifier, error) {
	return s.commands.HookVerifier(forgeType)
}

// GetActiveForge returns the active forge and since when it is, or [ErrNoActiveForge].
func (s *Service) GetActiveForge(ctx context.Context) (projections.ActiveForge, error) {
	return s.reader.Active(ctx)
}

// SetActiveForge makes a connected forge the active one. Where it is already, nothing happens. It returns
// [projections.ErrNotConnected] if the forge has no token, [commands.ErrUnknownConnection] if it is not configured.
func (s *Service) SetActiveForge(ctx context.Context, forgeType string) error {
	_, err := s.commands.ActivateForge(ctx, caller(ctx), forgeType)
	return err
}

// ClearActiveForge leaves no forge active. The tokens stay.
func (s *Service) ClearActiveForge(ctx context.Context) error {
	_, err := s.commands.DeactivateForge(ctx, caller(ctx))
	return err
}

// GetOperatorOAuth opens the token of a connection, be it active or not, or returns [projections.ErrNotConnected]. A token that is
// about to expire is refreshed first; where only a sign-in helps it is returned as it is stored. The refresh token is not its
// holder's to use: a forge that rotates would give the next one to whoever used it, and this deployment would be signed out.
func (s *Service) GetOperatorOAuth(ctx context.Context, forgeType string) (OperatorOAuth, error) {
	return s.commands.OperatorOAuth(ctx, forgeType)
}

// UpsertOperatorOAuth stores a token that was had elsewhere as the connection's, in place of the one it had. ForgeType,
// AccountID, AccountLogin and AccessToken are required; kind and base URL are the connection's own, and must be that or empty.
// It activates nothing. It returns [commands.ErrUnknownConnection] or [commands.ErrImport].
func (s *Service) UpsertOperatorOAuth(ctx context.Context, row OperatorOAuth) error {
	_, err := s.commands.ImportToken(ctx, caller(ctx), row)
	return err
}

// DeleteOperatorOAuth disconnects a connection: its token is used no more from when this returns, and revoked at the forge
// where that can be done. If it was the active one, none is active afterwards.
func (s *Service) DeleteOperatorOAuth(ctx context.Context, forgeType string) error {
	_, err := s.commands.DisconnectForge(ctx, caller(ctx), forgeType)
	return err
}
