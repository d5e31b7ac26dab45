package gitea

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"

	"github.com/forgeauth/forgeauth/forge"
)

type hook struct {
	ID     int64    `json:"id"`
	Type   string   `json:"type"`
	Events []string `json:"events"`
	Active bool     `json:"active"`
	Config struct {
		URL string `json:"url"`
	} `json:"config"`
}

// delivers reports whether a hook sends what this package reads; the other types write for chat programs.
func (h hook) delivers() bool { return h.Type == "gitea" || h.Type == "forgejo" || h.Type == "gogs" }

type newHook struct {
	Type   string     `json:"type"`
	Config hookConfig `json:"config"`
	Events []string   `json:"events"`
	Active bool       `json:"active"`
}

type hookConfig struct {
	URL         string `json:"url"`
	ContentType string `json:"content_type"`
	Secret      string `json:"secret"`
}

// subscriptions are the names to ask for by event. pull_request alone would be all that happens to a pull request, comments and
// reviews among it, and issues alone all that happens to an issue: the names that end in _only are for what they say. Comments on
// lines come as reviews, which are to be had with those that approve and reject.
func subscriptions(event forge.HookEvent) []string {
	switch event {
	case forge.HookPush:
		return []string{"push"}
	case forge.HookChange:
		return []string{"pull_request_only", "pull_request_sync"}
	case forge.HookIssue:
		return []string{"issues_only"}
	case forge.HookComment:
		return []string{"issue_comment", "pull_request_comment", "pull_request_review"}
	case forge.HookPing, forge.HookOther:
	}
	return nil
}

// subscribed is the event that a hook is subscribed to by a name that it shows: it shows no _only.
func subscribed(name string) forge.HookEvent {
	switch name {
	case "push":
		return forge.HookPush
	case "pull_request", "pull_request_sync":
		return forge.HookChange
	case "issues":
		return forge.HookIssue
	case "issue_comment", "pull_request_comment":
		return forge.HookComment
	}
	return forge.HookOther
}

func (p *port) hook(op string, h hook) (forge.Hook, error) {
	events := []forge.HookEvent{}
	for _, event := range []forge.HookEvent{forge.HookPush, forge.HookChange, forge.HookIssue, forge.HookComment} {
		if slices.ContainsFunc(h.Events, func(name string) bool { return subscribed(name) == event }) {
			events = append(events, event)
		}
	}
	return p.NewHook(op, forge.Number(h.ID), forge.Hook{URL: h.Config.URL, Events: events, Active: h.Active})
}

// EnsureHook makes a new hook and then removes those before it with that URL (Gitea API: List the hooks in a repository, Create a
// hook, Delete a hook in a repository). Editing one would keep its secret: both forges ignore a secret in the request that
// edits a hook, and do not tell the one they have, so that nobody could know whether the deliveries verify. So each call ends
// with a hook of another id, whose deliveries begin before the former's end.
func (p *port) EnsureHook(ctx context.Context, in forge.RepositoryRef, spec forge.HookSpec) (forge.Hook, error) {
	const op = "ensure hook"
	if err := spec.Check(); err != nil {
		return forge.Hook{}, p.Fail(op, err)
	}
	l, err := p.find(ctx, op, in)
	if err != nil {
		return forge.Hook{}, err
	}
	// Looked at before, so that where the list cannot be read, calling again does not make one hook after the other; and
	// after, so that of several who do this at once the last hook stays, and what a call that failed has left goes.
	if _, err := p.hooksAt(ctx, op, l, spec.URL); err != nil {
		return forge.Hook{}, err
	}
	made, err := forge.Send[hook](ctx, p.Caller, op, http.MethodPost, l.at+"/hooks", wanted(spec))
	if err != nil {
		return forge.Hook{}, err
	}
	out, err := p.hook(op, made)
	if err != nil {
		return forge.Hook{}, err
	}
	former, err := p.hooksAt(ctx, op, l, spec.URL)
	if err != nil {
		return forge.Hook{}, err
	}
	for _, id := range former {
		if id >= made.ID {
			continue
		}
		if err := p.removeHook(ctx, op, l, id); err != nil {
			return forge.Hook{}, err
		}
	}
	return out, nil
}

// wanted is the request that makes a hook. The type gitea is known to both forges, and signs alike.
func wanted(spec forge.HookSpec) newHook {
	h := newHook{Type: "gitea", Config: hookConfig{spec.URL, "json", spec.Secret.Reveal()}, Active: true}
	for _, event := range spec.Events {
		h.Events = append(h.Events, subscriptions(event)...)
	}
	return h
}

// hooksAt returns the ids of the hooks that deliver to a URL.
func (p *port) hooksAt(ctx context.Context, op string, l place, url string) ([]int64, error) {
	var ids []int64
	for h, err := range p.hooks(ctx, op, l) {
		if err != nil {
			return nil, err
		}
		if h.Config.URL == url && h.delivers() {
			ids = append(ids, h.ID)
		}
	}
	return ids, nil
}

// Hooks implements [forge.Port] (Gitea API: List the hooks in a repository).
func (p *port) Hooks(ctx context.Context, in forge.RepositoryRef) iter.Seq2[forge.Hook, error] {
	const op = "hooks"
	return func(yield func(forge.Hook, error) bool) {
		l, err := p.find(ctx, op, in)
		if err != nil {
			yield(forge.Hook{}, err)
			return
		}
		for h, err := range p.hooks(ctx, op, l) {
			var out forge.Hook
			if err == nil {
				out, err = p.hook(op, h)
			}
			if !yield(out, err) || err != nil {
				return
			}
		}
	}
}

// hooks lists a repository's webhooks. This list has no Link header; how much there is, X-Total-Count says, and where that is
// missing an empty page ends it.
func (p *port) hooks(ctx context.Context, op string, l place) iter.Seq2[hook, error] {
	return func(yield func(hook, error) bool) {
		seen := 0
		for page := 1; page <= forge.MaxPages; page++ {
			items, header, err := forge.Page[hook](ctx, p.Caller, op, fmt.Sprintf("%s/hooks?limit=50&page=%d", l.at, page))
			if err != nil {
				yield(hook{}, err)
				return
			}
			for _, h := range items {
				if !yield(h, nil) {
					return
				}
			}
			seen += len(items)
			total, err := strconv.Atoi(header.Get("X-Total-Count"))
			if len(items) == 0 || err == nil && seen >= total {
				return
			}
		}
		yield(hook{}, p.Fail(op, forge.ErrEndlessPages))
	}
}

// RemoveHook implements [forge.Port] (Gitea API: Delete a hook in a repository).
func (p *port) RemoveHook(ctx context.Context, in forge.RepositoryRef, id string) error {
	const op = "remove hook"
	number, err := strconv.ParseInt(id, 10, 64)
	if err != nil || forge.Number(number) != id {
		return p.Fail(op, fmt.Errorf("%w (a webhook's id is a positive number at this kind of forge)", forge.ErrInvalid))
	}
	l, err := p.find(ctx, op, in)
	if err != nil {
		return gone(err)
	}
	return p.removeHook(ctx, op, l, number)
}

func (p *port) removeHook(ctx context.Context, op string, l place, id int64) error {
	return gone(p.Do(ctx, op, http.MethodDelete, fmt.Sprintf("%s/hooks/%d", l.at, id), nil))
}

// gone lets pass that what was to be removed is not there. A repository that has another path by now is.
func gone(err error) error {
	if errors.Is(err, forge.ErrNotFound) && !errors.Is(err, forge.ErrMoved) {
		return nil
	}
	return err
}
