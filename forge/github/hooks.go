package github

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"slices"

	"github.com/google/go-github/v92/github"

	"github.com/forgeauth/forgeauth/forge"
)

// hookEvents are GitHub's names of what a webhook reports (GitHub Docs: Webhook events and payloads), the one by which it is
// recognized first. Comments on the lines of a pull request have an event of their own.
var hookEvents = []struct {
	event forge.HookEvent
	names []string
}{
	{forge.HookPush, []string{"push"}},
	{forge.HookChange, []string{"pull_request"}},
	{forge.HookIssue, []string{"issues"}},
	{forge.HookComment, []string{"issue_comment", "pull_request_review_comment"}},
}

// hook makes a webhook of what GitHub answered.
func (p *port) hook(op string, h *github.Hook) (forge.Hook, error) {
	if h == nil {
		return forge.Hook{}, p.Fail(op, errAnswer)
	}
	events := []forge.HookEvent{}
	for _, known := range hookEvents {
		if slices.Contains(h.Events, known.names[0]) || slices.Contains(h.Events, "*") {
			events = append(events, known.event)
		}
	}
	return p.NewHook(op, forge.Number(h.GetID()), forge.Hook{URL: h.GetConfig().GetURL(), Events: events, Active: h.GetActive()})
}

// listHooks yields webhooks as GitHub has them (GitHub Docs: List repository webhooks).
func (p *port) listHooks(ctx context.Context, op string, at place) iter.Seq2[*github.Hook, error] {
	return pages(p, op, func(client *github.Client, o github.ListOptions) ([]*github.Hook, *github.Response, error) {
		return client.Repositories.ListHooks(ctx, at.owner, at.name, &o)
	})
}

// Hooks implements [forge.Port]. To who may not administer the repository GitHub answers 404.
func (p *port) Hooks(ctx context.Context, in forge.RepositoryRef) iter.Seq2[forge.Hook, error] {
	const op = "hooks"
	return func(yield func(forge.Hook, error) bool) {
		at, err := p.locate(ctx, op, in)
		if err != nil {
			yield(forge.Hook{}, err)
			return
		}
		for h, err := range p.listHooks(ctx, op, at) {
			if err != nil {
				yield(forge.Hook{}, err)
				return
			}
			out, err := p.hook(op, h)
			if !yield(out, err) || err != nil {
				return
			}
		}
	}
}

// EnsureHook implements [forge.Port] (GitHub Docs: Create a repository webhook, Update a repository webhook). Of several with the
// address it takes the oldest and leaves the others alone.
func (p *port) EnsureHook(ctx context.Context, in forge.RepositoryRef, spec forge.HookSpec) (forge.Hook, error) {
	const op = "ensure hook"
	if err := spec.Check(); err != nil {
		return forge.Hook{}, p.Fail(op, err)
	}
	at, err := p.locate(ctx, op, in)
	if err != nil {
		return forge.Hook{}, err
	}
	ensured, err := p.ensure(ctx, op, at, spec)
	if errors.Is(err, errAgain) { // somebody else made it, or removed it, meanwhile
		ensured, err = p.ensure(ctx, op, at, spec)
	}
	if err != nil {
		return forge.Hook{}, p.Fail(op, err)
	}
	return p.hook(op, ensured)
}

// errAgain says beside another error that the webhooks have changed since they were listed.
var errAgain = errors.New("look again")

func (p *port) ensure(ctx context.Context, op string, at place, spec forge.HookSpec) (*github.Hook, error) {
	var oldest int64
	for h, err := range p.listHooks(ctx, op, at) {
		switch {
		case err != nil:
			return nil, err
		case h.GetConfig().GetURL() == spec.URL && (oldest == 0 || h.GetID() < oldest):
			oldest = h.GetID()
		}
	}
	client, err := p.client(p.WriteClient())
	if err != nil {
		return nil, err
	}
	wanted := github.Hook{
		Active: new(true), Events: namesOf(spec.Events),
		Config: &github.HookConfig{
			URL: &spec.URL, ContentType: new("json"), InsecureSSL: new("0"), Secret: new(spec.Secret.Reveal()),
		},
	}
	var ensured *github.Hook
	if oldest == 0 {
		ensured, _, err = client.Repositories.CreateHook(ctx, at.owner, at.name, &wanted)
		if errors.Is(err, forge.ErrConflict) {
			err = errors.Join(err, errAgain)
		}
		return ensured, err
	}
	ensured, _, err = client.Repositories.EditHook(ctx, at.owner, at.name, oldest, &wanted)
	if errors.Is(err, forge.ErrNotFound) {
		err = errors.Join(err, errAgain)
	}
	return ensured, err
}

func namesOf(events []forge.HookEvent) []string {
	var names []string
	for _, known := range hookEvents {
		if slices.Contains(events, known.event) {
			names = append(names, known.names...)
		}
	}
	return names
}

// RemoveHook implements [forge.Port] (GitHub Docs: Delete a repository webhook). A 404 is taken for gone, unless it is because a
// scope is missing; a redirect is not, for then the webhook is at the repository's new path.
func (p *port) RemoveHook(ctx context.Context, in forge.RepositoryRef, id string) error {
	const op = "remove hook"
	number, err := readID(id)
	if err != nil {
		return p.Fail(op, err)
	}
	at, err := p.locate(ctx, op, in)
	if err == nil {
		err = p.removeHook(ctx, op, at, number)
	}
	_, lacksScope := errors.AsType[*forge.ScopeMissingError](err)
	if errors.Is(err, forge.ErrNotFound) && !errors.Is(err, forge.ErrMoved) && !lacksScope {
		return nil
	}
	return err
}

func (p *port) removeHook(ctx context.Context, op string, at place, id int64) error {
	client, err := p.client(p.WriteClient())
	if err != nil {
		return p.Fail(op, err)
	}
	resp, err := client.Repositories.DeleteHook(ctx, at.owner, at.name, id)
	if err == nil && resp.StatusCode != http.StatusNoContent {
		err = errAnswer
	}
	return p.Fail(op, err)
}
