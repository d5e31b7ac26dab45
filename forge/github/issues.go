package github

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/google/go-github/v92/github"

	"github.com/forgeauth/forgeauth/forge"
)

// author is who wrote something; GitHub puts the account ghost in the place of those that were deleted.
func (p *port) author(u *github.User) forge.Account {
	if u.GetLogin() == "ghost" {
		return forge.Account{}
	}
	return p.Author(forge.Number(u.GetID()), u.GetLogin())
}

// text is what its author wrote, as valid UTF-8.
func text(body string) string { return strings.ToValidUTF8(body, "\uFFFD") }

// Issue implements [forge.Port] (GitHub Docs: Get an issue). GitHub answers with pull requests as well, marked as such.
func (p *port) Issue(ctx context.Context, in forge.RepositoryRef, number int64) (forge.Issue, error) {
	const op = "issue"
	if err := forge.CheckNumber(number); err != nil {
		return forge.Issue{}, p.Fail(op, err)
	}
	at, err := p.locate(ctx, op, in)
	if err != nil {
		return forge.Issue{}, err
	}
	client, err := p.client(p.SDKClient())
	if err != nil {
		return forge.Issue{}, p.Fail(op, err)
	}
	is, _, err := client.Issues.Get(ctx, at.owner, at.name, int(number))
	switch {
	case err != nil:
		return forge.Issue{}, p.Fail(op, err)
	case int64(is.GetNumber()) != number, is.GetState() != "open" && is.GetState() != "closed":
		return forge.Issue{}, p.Fail(op, errAnswer)
	case is.IsPullRequest():
		return forge.Issue{}, p.Fail(op, forge.ErrNotFound)
	}
	return forge.Issue{
		Number: number, Title: forge.CleanString(is.GetTitle()), Body: text(is.GetBody()), Open: is.GetState() == "open",
		Author: p.author(is.GetUser()), WebURL: p.WebURL(at.path, fmt.Sprintf("/issues/%d", number)),
		CreatedAt: is.GetCreatedAt().Time, UpdatedAt: is.GetUpdatedAt().Time,
	}, nil
}

// Comment implements [forge.Port] (GitHub Docs: Create an issue comment). Pull requests are commented as the issues that they
// are, too, so that it makes no difference what the subject says of its number.
func (p *port) Comment(ctx context.Context, in forge.RepositoryRef, on forge.Subject, body string) (forge.Comment, error) {
	const op = "comment"
	if err := cmp.Or(forge.CheckNumber(on.Number), forge.CheckText(body)); err != nil {
		return forge.Comment{}, p.Fail(op, err)
	}
	at, err := p.locate(ctx, op, in)
	if err != nil {
		return forge.Comment{}, err
	}
	client, err := p.client(p.WriteClient())
	if err != nil {
		return forge.Comment{}, p.Fail(op, err)
	}
	said, _, err := client.Issues.CreateComment(ctx, at.owner, at.name, int(on.Number), github.IssueCommentRequest{Body: body})
	id := forge.Number(said.GetID())
	switch {
	case err != nil:
		return forge.Comment{}, p.Fail(op, err)
	case id == "":
		return forge.Comment{}, p.Fail(op, errAnswer)
	}
	kind := "issues"
	if on.OnChange {
		kind = "pull"
	}
	return forge.Comment{
		ID: id, Body: text(said.GetBody()), Author: p.author(said.GetUser()),
		WebURL:    p.WebURL(at.path, fmt.Sprintf("/%s/%d#issuecomment-%s", kind, on.Number, id)),
		CreatedAt: said.GetCreatedAt().Time,
	}, nil
}
