package bitbucket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

// pullRequest is a change.
type pullRequest struct {
	ID          int64     `json:"id"`
	Title       string    `json:"title"`
	Summary     content   `json:"summary"`
	State       string    `json:"state"`
	Draft       bool      `json:"draft"`
	Author      *account  `json:"author"`
	Source      endpoint  `json:"source"`
	Destination endpoint  `json:"destination"`
	CreatedOn   time.Time `json:"created_on"`
	UpdatedOn   time.Time `json:"updated_on"`
}

// endpoint is one side of a pull request.
type endpoint struct {
	Repository *repository `json:"repository"` // null for one that is gone
	Branch     branch      `json:"branch"`
	Commit     *commit     `json:"commit"`
}

type commit struct {
	Hash string `json:"hash"`
}

func (e endpoint) repositoryID() string {
	if e.Repository == nil {
		return ""
	}
	return uuid(e.Repository.UUID)
}

// state reads how far a pull request has come. One that is SUPERSEDED was given up for another.
func state(s string) (forge.ChangeState, bool) {
	switch s {
	case "OPEN":
		return forge.ChangeOpen, true
	case "MERGED":
		return forge.ChangeMerged, true
	case "DECLINED", "SUPERSEDED":
		return forge.ChangeClosed, true
	}
	return "", false
}

// Change implements [forge.Port]. Bitbucket shortens the hash of the head, so that it is asked for once more. (Bitbucket Cloud
// REST API: Pullrequests, Get a pull request)
func (p *port) Change(ctx context.Context, in forge.RepositoryRef, n int64) (forge.Change, error) {
	const op = "change"
	below, err := p.below(op, in)
	if err == nil {
		err = p.Fail(op, forge.CheckNumber(n))
	}
	if err != nil {
		return forge.Change{}, err
	}
	pr, err := forge.Get[pullRequest](ctx, p.Caller, op, below+"/pullrequests/"+number(n))
	if err != nil {
		return forge.Change{}, err
	}
	head, err := p.head(ctx, op, pr)
	if err != nil {
		return forge.Change{}, err
	}
	return p.change(op, pr, head)
}

func (p *port) change(op string, pr pullRequest, head string) (forge.Change, error) {
	is, known := state(pr.State)
	if pr.ID <= 0 || !known || pr.Destination.Repository == nil {
		return forge.Change{}, p.nonsense(op, "is no pull request")
	}
	return forge.Change{
		Number: pr.ID, Title: forge.CleanString(pr.Title), Body: pr.Summary.Raw, State: is, Draft: pr.Draft,
		Source: forge.CleanString(pr.Source.Branch.Name), SourceID: pr.Source.repositoryID(),
		Target: forge.CleanString(pr.Destination.Branch.Name), Head: head, Author: p.author(pr.Author),
		WebURL:    p.WebURL(pr.Destination.Repository.FullName, "/pull-requests/"+number(pr.ID)),
		CreatedAt: pr.CreatedOn.UTC(), UpdatedAt: pr.UpdatedOn.UTC(),
	}, nil
}

// head is the full hash of the commit that is proposed; empty if it is gone with its branch or repository. It is looked for where it
// was pushed, or where it was merged if that is gone. (Bitbucket Cloud REST API: Commits, Get a commit)
func (p *port) head(ctx context.Context, op string, pr pullRequest) (string, error) {
	if pr.Source.Commit == nil {
		return "", nil
	}
	short := pr.Source.Commit.Hash
	if !shortHash.MatchString(short) {
		return "", p.nonsense(op, "names no commit")
	}
	if fullHash.MatchString(short) {
		return short, nil
	}
	in := pr.Source.repositoryID()
	if in == "" {
		in = pr.Destination.repositoryID()
	}
	if in == "" {
		return "", p.nonsense(op, "names no repository")
	}
	c, err := forge.Get[commit](ctx, p.Caller, op, "/repositories/%7B%7D/"+url.PathEscape(in)+"/commit/"+short)
	switch {
	case errors.Is(err, forge.ErrNotFound):
		return "", nil
	case err != nil:
		return "", err
	case !fullHash.MatchString(c.Hash), !strings.HasPrefix(c.Hash, short):
		return "", p.nonsense(op, "names no commit")
	}
	return c.Hash, nil
}

type newPullRequest struct {
	Title       string    `json:"title"`
	Description string    `json:"description"`
	Source      newBranch `json:"source"`
	Destination newBranch `json:"destination"`
	Draft       bool      `json:"draft"`
}

type newBranch struct {
	Branch branch `json:"branch"`
}

// OpenChange implements [forge.Port]. That there is an open one for the same branches is looked up before, since Bitbucket's
// documentation says nothing of a second one: two calls at the same moment may both get through. (Bitbucket Cloud REST API:
// Pullrequests, List pull requests, Create a pull request)
func (p *port) OpenChange(ctx context.Context, in forge.RepositoryRef, c forge.NewChange) (forge.Change, error) {
	const op = "open change"
	below, err := p.below(op, in)
	if err == nil {
		err = p.Fail(op, c.Check())
	}
	if err != nil {
		return forge.Change{}, err
	}
	to, main, err := p.withMainBranch(ctx, op, below)
	if err != nil {
		return forge.Change{}, err
	}
	target := c.Target
	if target == "" {
		target = main
	}
	if target == "" || target == c.Source {
		return forge.Change{}, p.Fail(op, fmt.Errorf("%w (the main branch cannot be proposed to itself)", forge.ErrInvalid))
	}
	// Asked before anything is written, so that what can fail afterwards is little.
	head, err := p.resolve(ctx, op, below, c.Source)
	if errors.Is(err, forge.ErrNotFound) {
		err = p.Fail(op, fmt.Errorf("%w (there is no such source branch)", forge.ErrInvalid))
	}
	if err == nil {
		err = p.checkUnproposed(ctx, op, below, to.ID, c.Source, target)
	}
	if err != nil {
		return forge.Change{}, err
	}
	pr, err := forge.Send[pullRequest](ctx, p.Caller, op, http.MethodPost, below+"/pullrequests", newPullRequest{
		Title: c.Title, Description: c.Body, Draft: c.Draft,
		Source: newBranch{branch{c.Source}}, Destination: newBranch{branch{target}},
	})
	if err != nil {
		return forge.Change{}, err
	}
	if pr.Source.Commit == nil || !strings.HasPrefix(head, pr.Source.Commit.Hash) {
		head, _ = p.head(ctx, op, pr) // somebody pushed meanwhile; the change is there in any case
	}
	return p.change(op, pr, head)
}

// checkUnproposed fails with [forge.ErrConflict] if one branch of a repository is proposed to another.
func (p *port) checkUnproposed(ctx context.Context, op, below, id, source, target string) error {
	query := url.Values{"pagelen": {"50"}, "q": {`state="OPEN" AND source.branch.name=` + quoted(source) +
		" AND destination.branch.name=" + quoted(target)}}
	for pr, err := range forge.BodyPages[pullRequest](ctx, p.Caller, op, below+"/pullrequests?"+query.Encode()) {
		if err != nil {
			return err
		}
		// A fork may have a branch of that name.
		if pr.Source.repositoryID() == id && pr.Source.Branch.Name == source && pr.Destination.Branch.Name == target {
			return p.Fail(op, forge.ErrConflict)
		}
	}
	return nil
}

// nonsense says that an answer makes no sense, in our own words.
func (p *port) nonsense(op, why string) error {
	return p.Fail(op, fmt.Errorf("%w (its answer %s)", forge.ErrUnavailable, why))
}
