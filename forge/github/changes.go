package github

import (
	"context"
	"fmt"

	"github.com/google/go-github/v92/github"

	"github.com/forgeauth/forgeauth/forge"
)

// Change implements [forge.Port] (GitHub Docs: Get a pull request).
func (p *port) Change(ctx context.Context, in forge.RepositoryRef, number int64) (forge.Change, error) {
	const op = "change"
	if err := forge.CheckNumber(number); err != nil {
		return forge.Change{}, p.Fail(op, err)
	}
	at, err := p.locate(ctx, op, in)
	if err != nil {
		return forge.Change{}, err
	}
	client, err := p.client(p.SDKClient())
	if err != nil {
		return forge.Change{}, p.Fail(op, err)
	}
	pull, _, err := client.PullRequests.Get(ctx, at.owner, at.name, int(number))
	switch {
	case err != nil:
		return forge.Change{}, p.Fail(op, err)
	case int64(pull.GetNumber()) != number:
		return forge.Change{}, p.Fail(op, errAnswer)
	}
	return p.change(op, at, pull)
}

// change makes a change of a pull request.
func (p *port) change(op string, at place, pull *github.PullRequest) (forge.Change, error) {
	var state forge.ChangeState
	switch {
	case pull.GetMerged():
		state = forge.ChangeMerged
	case pull.GetState() == "open":
		state = forge.ChangeOpen
	case pull.GetState() == "closed":
		state = forge.ChangeClosed
	}
	number, head := int64(pull.GetNumber()), pull.GetHead().GetSHA()
	if state == "" || number <= 0 || forge.CheckCommit(head) != nil {
		return forge.Change{}, p.Fail(op, errAnswer)
	}
	return forge.Change{
		Number: number, Title: forge.CleanString(pull.GetTitle()), Body: text(pull.GetBody()), State: state, Draft: pull.GetDraft(),
		Source: forge.CleanString(pull.GetHead().GetRef()), SourceID: forge.Number(pull.GetHead().GetRepo().GetID()),
		Target: forge.CleanString(pull.GetBase().GetRef()), Head: head, Author: p.author(pull.GetUser()),
		WebURL:    p.WebURL(at.path, fmt.Sprintf("/pull/%d", number)),
		CreatedAt: pull.GetCreatedAt().Time, UpdatedAt: pull.GetUpdatedAt().Time,
	}, nil
}

// OpenChange implements [forge.Port] (GitHub Docs: Create a pull request). GitHub refuses branches between which there is no
// commit with 422 ([forge.ErrInvalid]), and drafts in private repositories on some plans ([forge.ErrUnsupported]).
func (p *port) OpenChange(ctx context.Context, in forge.RepositoryRef, proposed forge.NewChange) (forge.Change, error) {
	const op = "open change"
	if err := proposed.Check(); err != nil {
		return forge.Change{}, p.Fail(op, err)
	}
	at, target, err := p.target(ctx, op, in, proposed)
	if err != nil {
		return forge.Change{}, err
	}
	client, err := p.client(p.WriteClient())
	if err != nil {
		return forge.Change{}, p.Fail(op, err)
	}
	pull, _, err := client.PullRequests.Create(ctx, at.owner, at.name, github.CreatePullRequest{
		Title: &proposed.Title, Body: &proposed.Body, Head: proposed.Source, Base: target, Draft: &proposed.Draft,
	})
	if err != nil {
		return forge.Change{}, p.Fail(op, err)
	}
	return p.change(op, at, pull)
}

// target says where the repository is and which branch is proposed to, which GitHub wants to be told.
func (p *port) target(ctx context.Context, op string, in forge.RepositoryRef, proposed forge.NewChange) (place, string, error) {
	if proposed.Target != "" {
		at, err := p.locate(ctx, op, in)
		return at, proposed.Target, err
	}
	found, err := p.find(ctx, op, in)
	if err != nil {
		return place{}, "", err
	}
	at, err := p.locate(ctx, op, forge.RepositoryRef{Path: found.GetFullName()})
	if err != nil {
		return place{}, "", p.Fail(op, errAnswer)
	}
	proposed.Target = found.GetDefaultBranch()
	if err := proposed.Check(); err != nil { // the default branch was proposed to itself
		return place{}, "", p.Fail(op, err)
	}
	return at, proposed.Target, nil
}
