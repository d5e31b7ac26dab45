package bitbucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

// webhook is a hook as Bitbucket shows it, without its secret.
type webhook struct {
	UUID      string    `json:"uuid"`
	URL       string    `json:"url"`
	Events    []string  `json:"events"`
	Active    bool      `json:"active"`
	CreatedAt time.Time `json:"created_at"`
}

// compareAge orders hooks by age: UUIDs do not tell it, and decide only between those of one moment.
func compareAge(a, b webhook) int {
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.UUID, b.UUID))
}

type newWebhook struct {
	Description string   `json:"description"`
	URL         string   `json:"url"`
	Active      bool     `json:"active"`
	Secret      string   `json:"secret"`
	Events      []string `json:"events"`
	// Unverified is false, so that Bitbucket looks at the receiver's certificate, whatever people chose before.
	Unverified bool `json:"skip_cert_verification"`
}

// hookDescription is what people see in the list of webhooks; Bitbucket requires one.
const hookDescription = "forgeauth"

// maxHookSecret is the most that Bitbucket takes.
const maxHookSecret = 128

// hookEvents are the names of an event at Bitbucket. Issues are gone, and so there is nothing to subscribe to for them.
func hookEvents(event forge.HookEvent) []string {
	switch event {
	case forge.HookPush:
		return []string{"repo:push"}
	case forge.HookChange:
		return []string{"pullrequest:created", "pullrequest:updated", "pullrequest:fulfilled", "pullrequest:rejected"}
	case forge.HookComment:
		return []string{"pullrequest:comment_created"}
	case forge.HookIssue, forge.HookPing, forge.HookOther:
	}
	return nil
}

func (p *port) hook(op string, w webhook) (forge.Hook, error) {
	events := []forge.HookEvent{}
	for _, event := range []forge.HookEvent{forge.HookPush, forge.HookChange, forge.HookComment} {
		if slices.ContainsFunc(hookEvents(event), func(name string) bool { return slices.Contains(w.Events, name) }) {
			events = append(events, event)
		}
	}
	return p.NewHook(op, uuid(w.UUID), forge.Hook{URL: w.URL, Events: events, Active: w.Active})
}

// Hooks implements [forge.Port]. (Bitbucket Cloud REST API: Repositories, List webhooks for a repository)
func (p *port) Hooks(ctx context.Context, in forge.RepositoryRef) iter.Seq2[forge.Hook, error] {
	const op = "hooks"
	return func(yield func(forge.Hook, error) bool) {
		below, err := p.below(op, in)
		if err != nil {
			yield(forge.Hook{}, err)
			return
		}
		for w, err := range p.webhooks(ctx, op, below) {
			var out forge.Hook
			if err == nil {
				out, err = p.hook(op, w)
			}
			if !yield(out, err) || err != nil {
				return
			}
		}
	}
}

func (p *port) webhooks(ctx context.Context, op, below string) iter.Seq2[webhook, error] {
	return forge.BodyPages[webhook](ctx, p.Caller, op, below+"/hooks?pagelen=100")
}

// EnsureHook implements [forge.Port]: of several with the address it takes the oldest and leaves the others alone. No issue ever
// happens at Bitbucket, so that a hook does without [forge.HookIssue]; one for that alone is not supported. (Bitbucket Cloud
// REST API: Repositories, Create a webhook for a repository, Update a webhook for a repository)
func (p *port) EnsureHook(ctx context.Context, in forge.RepositoryRef, spec forge.HookSpec) (forge.Hook, error) {
	const op = "ensure hook"
	below, err := p.below(op, in)
	if err == nil {
		err = p.Fail(op, spec.Check())
	}
	if err != nil {
		return forge.Hook{}, err
	}
	wanted := newWebhook{Description: hookDescription, URL: spec.URL, Active: true, Secret: spec.Secret.Reveal()}
	for _, event := range spec.Events {
		wanted.Events = append(wanted.Events, hookEvents(event)...)
	}
	switch {
	case len(wanted.Secret) > maxHookSecret:
		return forge.Hook{}, p.Fail(op, fmt.Errorf("%w (Bitbucket takes secrets of %d characters at most)", forge.ErrInvalid, maxHookSecret))
	case len(wanted.Events) == 0:
		return forge.Hook{}, p.Fail(op, forge.ErrUnsupported)
	}
	oldest, err := p.oldest(ctx, op, below, spec.URL)
	if err != nil {
		return forge.Hook{}, err
	}
	if oldest != "" {
		changed, err := p.changeHook(ctx, op, below, oldest, wanted)
		if !errors.Is(err, forge.ErrNotFound) || errors.Is(err, forge.ErrMoved) { // else somebody has just removed it
			return changed, err
		}
	}
	return p.createHook(ctx, op, below, wanted)
}

// createHook makes a webhook. Bitbucket lets any number have the same address, so that two programs that have both found none
// both make one: each then looks again, and all but the oldest are taken back by who made them.
func (p *port) createHook(ctx context.Context, op, below string, wanted newWebhook) (forge.Hook, error) {
	made, err := forge.Send[webhook](ctx, p.Caller, op, http.MethodPost, below+"/hooks", wanted)
	if err != nil {
		return forge.Hook{}, err
	}
	out, err := p.hook(op, made)
	if err != nil {
		return forge.Hook{}, err
	}
	oldest, err := p.oldest(ctx, op, below, wanted.URL)
	switch {
	case err != nil:
		return forge.Hook{}, err
	case oldest == "" || oldest == out.ID:
		return out, nil
	}
	if err := p.deleteHook(ctx, op, below, out.ID); err != nil && !errors.Is(err, forge.ErrNotFound) {
		return forge.Hook{}, err
	}
	return p.changeHook(ctx, op, below, oldest, wanted)
}

func (p *port) changeHook(ctx context.Context, op, below, id string, wanted newWebhook) (forge.Hook, error) {
	changed, err := forge.Send[webhook](ctx, p.Caller, op, http.MethodPut, below+"/hooks/"+url.PathEscape(id), wanted)
	if err != nil {
		return forge.Hook{}, err
	}
	return p.hook(op, changed)
}

// oldest is the id of the oldest webhook with an address, empty if there is none.
func (p *port) oldest(ctx context.Context, op, below, address string) (string, error) {
	var oldest webhook
	for w, err := range p.webhooks(ctx, op, below) {
		if err != nil {
			return "", err
		}
		if w.URL == address && uuid(w.UUID) != "" && (oldest.UUID == "" || compareAge(w, oldest) < 0) {
			oldest = w
		}
	}
	return oldest.UUID, nil
}

// RemoveHook implements [forge.Port]. What Bitbucket answers to a DELETE below a former path is not documented: if it is 404,
// then it is asked what the path leads to, so that a webhook which is there still does not pass for removed. (Bitbucket Cloud
// REST API: Repositories, Delete a webhook for a repository)
func (p *port) RemoveHook(ctx context.Context, in forge.RepositoryRef, id string) error {
	const op = "remove hook"
	below, err := p.below(op, in)
	if err == nil {
		err = p.Fail(op, checkUUID(id))
	}
	if err != nil {
		return err
	}
	err = p.deleteHook(ctx, op, below, id)
	if errors.Is(err, forge.ErrNotFound) && !errors.Is(err, forge.ErrMoved) {
		err = p.isCurrent(ctx, op, below, in)
	}
	if errors.Is(err, forge.ErrNotFound) && !errors.Is(err, forge.ErrMoved) {
		return nil
	}
	return err
}

func (p *port) deleteHook(ctx context.Context, op, below, id string) error {
	return p.Do(ctx, op, http.MethodDelete, below+"/hooks/"+url.PathEscape(id), nil)
}

// isCurrent fails with [forge.ErrMoved] if a reference names a repository by a path that it had before. UUIDs stay.
func (p *port) isCurrent(ctx context.Context, op, below string, in forge.RepositoryRef) error {
	if in.ID != "" || strings.ContainsAny(in.Path, "{}") {
		return nil
	}
	is, err := p.locate(ctx, op, below)
	if err == nil && !strings.EqualFold(is.Path, in.Path) {
		err = p.Fail(op, forge.ErrMoved)
	}
	return err
}
