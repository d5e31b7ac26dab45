package gitlab

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"

	"github.com/forgeauth/forgeauth/forge"
)

type hook struct {
	ID                  int64  `json:"id"`
	URL                 string `json:"url"`
	PushEvents          bool   `json:"push_events"`
	TagPushEvents       bool   `json:"tag_push_events"`
	MergeRequestsEvents bool   `json:"merge_requests_events"`
	IssuesEvents        bool   `json:"issues_events"`
	NoteEvents          bool   `json:"note_events"`
	// AlertStatus is executable, temporarily_disabled for minutes to a day, or disabled for good; absent before GitLab 14.10.
	AlertStatus         string `json:"alert_status"`
	SigningTokenPresent bool   `json:"signing_token_present"` // since GitLab 19.0
}

// wantedHook is a webhook as it should be, with every event that a project's webhook can have, so that none is left that
// somebody else switched on. A GitLab that does not know one of the fields passes it over.
type wantedHook struct {
	URL          string `json:"url"`
	Token        string `json:"token,omitempty"`
	SigningToken string `json:"signing_token,omitempty"`
	VerifyTLS    bool   `json:"enable_ssl_verification"`

	Push         bool `json:"push_events"`
	TagPush      bool `json:"tag_push_events"`
	MergeRequest bool `json:"merge_requests_events"`
	Issues       bool `json:"issues_events"`
	Notes        bool `json:"note_events"`

	ConfidentialIssues bool `json:"confidential_issues_events"`
	ConfidentialNotes  bool `json:"confidential_note_events"`
	Jobs               bool `json:"job_events"`
	Pipelines          bool `json:"pipeline_events"`
	WikiPages          bool `json:"wiki_page_events"`
	Deployments        bool `json:"deployment_events"`
	FeatureFlags       bool `json:"feature_flag_events"`
	Releases           bool `json:"releases_events"`
	Milestones         bool `json:"milestone_events"`
	Emoji              bool `json:"emoji_events"`
	AccessTokens       bool `json:"resource_access_token_events"`
	Vulnerabilities    bool `json:"vulnerability_events"`

	BranchStrategy string `json:"branch_filter_strategy"`
	BranchFilter   string `json:"push_events_branch_filter"`
	Template       string `json:"custom_webhook_template"`
}

func wanted(spec forge.HookSpec) wantedHook {
	has := func(event forge.HookEvent) bool { return slices.Contains(spec.Events, event) }
	w := wantedHook{
		URL: spec.URL, VerifyTLS: true, BranchStrategy: "all_branches",
		Push: has(forge.HookPush), TagPush: has(forge.HookPush), MergeRequest: has(forge.HookChange),
		Issues: has(forge.HookIssue), Notes: has(forge.HookComment),
	}
	if _, signs := signingKey(spec.Secret); signs {
		w.SigningToken = spec.Secret.Reveal()
	} else {
		w.Token = spec.Secret.Reveal()
	}
	return w
}

// EnsureHook implements [forge.Port]. It needs the role of a Maintainer. A secret of the form whsec_ and 32 bytes in base64
// becomes the webhook's signing token and never travels with a delivery; it takes GitLab 19.0, and is
// [forge.ErrUnsupported] where that is older. Every other secret is the token that GitLab sends along. Events of confidential
// issues and notes are left out. A webhook that GitLab has given up is replaced by a new one: there is no other way to have
// it active at once. (GitLab docs: Project webhooks API.)
func (p *port) EnsureHook(ctx context.Context, in forge.RepositoryRef, spec forge.HookSpec) (forge.Hook, error) {
	const op = "ensure hook"
	if err := p.check(op, in.Check(), spec.Check()); err != nil {
		return forge.Hook{}, err
	}
	oldest, givenUp, err := p.hooksAt(ctx, op, in, spec.URL)
	if err != nil {
		return forge.Hook{}, err
	}
	if oldest > 0 {
		changed, err := p.changeHook(ctx, in, oldest, spec)
		if statusOf(err) != http.StatusNotFound { // somebody has just removed it
			return changed, err
		}
	}
	made, err := p.createHook(ctx, in, spec)
	if err == nil && givenUp > 0 {
		err = p.removeHook(ctx, op, in, givenUp)
	}
	if err != nil {
		return forge.Hook{}, err
	}
	return made, nil
}

// createHook makes a webhook. GitLab lets any number have the same address, so that two programs that have both found none both
// make one: each then looks again, and all but the oldest are taken back by who made them.
func (p *port) createHook(ctx context.Context, in forge.RepositoryRef, spec forge.HookSpec) (forge.Hook, error) {
	const op = "ensure hook"
	made, err := send[hook](ctx, p, op, http.MethodPost, in, "/hooks", wanted(spec))
	if err != nil {
		return forge.Hook{}, err
	}
	out, err := p.accepted(made, spec)
	if err != nil {
		if made.ID > 0 {
			err = errors.Join(err, p.removeHook(ctx, op, in, made.ID))
		}
		return forge.Hook{}, err
	}
	oldest, _, err := p.hooksAt(ctx, op, in, spec.URL)
	switch {
	case err != nil:
		return forge.Hook{}, err
	case oldest <= 0 || oldest >= made.ID:
		return out, nil
	}
	if err := p.removeHook(ctx, op, in, made.ID); err != nil {
		return forge.Hook{}, err
	}
	return p.changeHook(ctx, in, oldest, spec)
}

func (p *port) changeHook(ctx context.Context, in forge.RepositoryRef, id int64, spec forge.HookSpec) (forge.Hook, error) {
	changed, err := send[hook](ctx, p, "ensure hook", http.MethodPut, in, below("hooks", id), wanted(spec))
	if err != nil {
		return forge.Hook{}, err
	}
	return p.accepted(changed, spec)
}

// accepted checks that GitLab did what it was asked for. One that is too old for signing tokens passes them over, and would
// deliver without a proof.
func (p *port) accepted(made hook, spec forge.HookSpec) (forge.Hook, error) {
	const op = "ensure hook"
	if _, signs := signingKey(spec.Secret); signs && !made.SigningTokenPresent {
		return forge.Hook{}, p.Fail(op, fmt.Errorf("%w (it does not sign deliveries: use a secret that does not begin with whsec_)", forge.ErrUnsupported))
	}
	return p.hook(op, made)
}

// hooksAt looks for the webhooks with an address: the lowest id of those that are alive, and of those that GitLab has given up
// for good; zero for none.
func (p *port) hooksAt(ctx context.Context, op string, in forge.RepositoryRef, address string) (oldest, givenUp int64, err error) {
	for h, err := range p.hooks(ctx, op, in) {
		if err != nil {
			return 0, 0, err
		}
		lowest := &oldest
		if h.AlertStatus == "disabled" {
			lowest = &givenUp
		}
		if h.URL == address && h.ID > 0 && (*lowest == 0 || h.ID < *lowest) {
			*lowest = h.ID
		}
	}
	return oldest, givenUp, nil
}

// Hooks implements [forge.Port]. It needs the role of a Maintainer.
func (p *port) Hooks(ctx context.Context, in forge.RepositoryRef) iter.Seq2[forge.Hook, error] {
	const op = "hooks"
	return func(yield func(forge.Hook, error) bool) {
		for h, err := range p.hooks(ctx, op, in) {
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

func (p *port) hooks(ctx context.Context, op string, in forge.RepositoryRef) iter.Seq2[hook, error] {
	return func(yield func(hook, error) bool) {
		path, err := p.path(op, in, "/hooks?per_page=100")
		if err != nil {
			yield(hook{}, err)
			return
		}
		forge.Pages[hook](ctx, p.Caller, op, path)(yield)
	}
}

func (p *port) hook(op string, h hook) (forge.Hook, error) {
	out := forge.Hook{URL: h.URL, Events: []forge.HookEvent{}, Active: h.AlertStatus == "" || h.AlertStatus == "executable"}
	for _, event := range []struct {
		on   bool
		name forge.HookEvent
	}{
		{h.PushEvents || h.TagPushEvents, forge.HookPush},
		{h.MergeRequestsEvents, forge.HookChange},
		{h.IssuesEvents, forge.HookIssue},
		{h.NoteEvents, forge.HookComment},
	} {
		if event.on {
			out.Events = append(out.Events, event.name)
		}
	}
	return p.NewHook(op, forge.Number(h.ID), out)
}

// RemoveHook implements [forge.Port]. It needs the role of a Maintainer. A path that the repository had before is
// [forge.ErrNotFound] and not done: the webhook is there still. (GitLab docs: Project webhooks API, delete a webhook.)
func (p *port) RemoveHook(ctx context.Context, in forge.RepositoryRef, id string) error {
	const op = "remove hook"
	if !isNumber(id) {
		return p.Fail(op, fmt.Errorf("%w (the id of a webhook is a number)", forge.ErrInvalid))
	}
	return p.deleteHook(ctx, op, in, id)
}

func (p *port) removeHook(ctx context.Context, op string, in forge.RepositoryRef, id int64) error {
	return p.deleteHook(ctx, op, in, forge.Number(id))
}

func (p *port) deleteHook(ctx context.Context, op string, in forge.RepositoryRef, id string) error {
	path, err := p.path(op, in, "/hooks/"+id)
	if err != nil {
		return err
	}
	err = p.Do(ctx, op, http.MethodDelete, path, nil)
	if errors.Is(err, forge.ErrNotFound) && !errors.Is(err, forge.ErrMoved) {
		return nil
	}
	return err
}
