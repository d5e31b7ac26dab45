package bitbucket

import (
	"context"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

// Issue implements [forge.Port]: Bitbucket Cloud has no issues. Atlassian removed them, with their API, on 2026-08-20 (changelog;
// "Announcing sunset of Bitbucket Issues and Wikis").
func (p *port) Issue(_ context.Context, in forge.RepositoryRef, n int64) (forge.Issue, error) {
	const op = "issue"
	_, err := p.below(op, in)
	if err == nil {
		err = p.Fail(op, forge.CheckNumber(n))
	}
	if err == nil {
		err = p.Fail(op, forge.ErrUnsupported)
	}
	return forge.Issue{}, err
}

type content struct {
	Raw string `json:"raw"`
}

type newComment struct {
	Content content `json:"content"`
}

type comment struct {
	ID        int64     `json:"id"`
	Content   content   `json:"content"`
	User      *account  `json:"user"`
	CreatedOn time.Time `json:"created_on"`
}

// Comment implements [forge.Port] for changes; commenting an issue is not supported, since there are none. (Bitbucket Cloud REST
// API: Pullrequests, Create a comment on a pull request)
func (p *port) Comment(ctx context.Context, in forge.RepositoryRef, on forge.Subject, body string) (forge.Comment, error) {
	const op = "comment"
	below, err := p.below(op, in)
	if err == nil {
		err = p.Fail(op, forge.CheckNumber(on.Number))
	}
	if err == nil {
		err = p.Fail(op, forge.CheckText(body))
	}
	if err == nil && !on.OnChange {
		err = p.Fail(op, forge.ErrUnsupported)
	}
	if err != nil {
		return forge.Comment{}, err
	}
	// Asked before anything is written: what fails here has commented nothing.
	path, err := p.path(ctx, op, below, in)
	if err != nil {
		return forge.Comment{}, err
	}
	c, err := forge.Send[comment](ctx, p.Caller, op, "POST", below+"/pullrequests/"+number(on.Number)+"/comments", newComment{content{body}})
	if err != nil {
		return forge.Comment{}, err
	}
	id := forge.Number(c.ID)
	if id == "" {
		return forge.Comment{}, p.nonsense(op, "names no comment")
	}
	return forge.Comment{
		ID: id, Body: c.Content.Raw, Author: p.author(c.User), CreatedAt: c.CreatedOn.UTC(),
		WebURL: p.WebURL(path, "/pull-requests/"+number(on.Number)+"#comment-"+id),
	}, nil
}
