package gitea

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

type pull struct {
	Number    int64     `json:"number"`
	Title     string    `json:"title"`
	Body      string    `json:"body"`
	State     string    `json:"state"`
	Draft     bool      `json:"draft"`
	Merged    bool      `json:"merged"`
	User      *user     `json:"user"`
	Base      branch    `json:"base"`
	Head      branch    `json:"head"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// branch is one side of a pull request. The label stays when the branch is deleted, when ref becomes refs/pull/<n>/head.
type branch struct {
	Label      string `json:"label"`
	Ref        string `json:"ref"`
	SHA        string `json:"sha"`
	Repository *struct {
		ID       int64  `json:"id"`
		FullName string `json:"full_name"`
	} `json:"repo"`
}

func (b branch) name() string { return forge.CleanString(cmp.Or(b.Label, b.Ref)) }

// Change implements [forge.Port] (Gitea API: Get a pull request).
func (p *port) Change(ctx context.Context, in forge.RepositoryRef, number int64) (forge.Change, error) {
	const op = "change"
	if err := forge.CheckNumber(number); err != nil {
		return forge.Change{}, p.Fail(op, err)
	}
	l, err := p.find(ctx, op, in)
	if err != nil {
		return forge.Change{}, err
	}
	c, err := forge.Get[pull](ctx, p.Caller, op, fmt.Sprintf("%s/pulls/%d", l.at, number))
	if err == nil && c.Number != number {
		err = p.Fail(op, errMismatch)
	}
	if err != nil {
		return forge.Change{}, err
	}
	return p.change(op, l, c)
}

func (p *port) change(op string, l place, c pull) (forge.Change, error) {
	if c.Number <= 0 || forge.CheckCommit(c.Head.SHA) != nil {
		return forge.Change{}, p.Fail(op, errMismatch)
	}
	path, source := "", ""
	if c.Base.Repository != nil {
		path = c.Base.Repository.FullName
	}
	if c.Head.Repository != nil { // a fork that was deleted is null
		source = forge.Number(c.Head.Repository.ID)
	}
	state := forge.ChangeClosed
	switch {
	case c.Merged:
		state = forge.ChangeMerged
	case c.State == "open":
		state = forge.ChangeOpen
	}
	return forge.Change{
		Number: c.Number, Title: plainTitle(c), Body: text(c.Body), State: state, Draft: c.Draft,
		Source: c.Head.name(), SourceID: source, Target: c.Base.name(), Head: c.Head.SHA,
		Author: p.author(c.User), WebURL: p.shown(l, path, "pulls", c.Number), CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt,
	}, nil
}

type newPull struct {
	Head  string `json:"head"`
	Base  string `json:"base"`
	Title string `json:"title"`
	Body  string `json:"body"`
}

// OpenChange implements [forge.Port] (Gitea API: Create a pull request). A branch that is missing is [forge.ErrNotFound].
func (p *port) OpenChange(ctx context.Context, in forge.RepositoryRef, c forge.NewChange) (forge.Change, error) {
	const op = "open change"
	if err := c.Check(); err != nil {
		return forge.Change{}, p.Fail(op, err)
	}
	l, err := p.find(ctx, op, in)
	if err != nil {
		return forge.Change{}, err
	}
	if c.Target == "" {
		r, err := l.repository(ctx, p, op)
		if err != nil {
			return forge.Change{}, err
		}
		c.Target = r.DefaultBranch
		if err := c.Check(); err != nil { // the source may be the default branch
			return forge.Change{}, p.Fail(op, err)
		}
	}
	opened, err := forge.Send[pull](ctx, p.Caller, op, http.MethodPost, l.at+"/pulls", newPull{c.Source, c.Target, draftTitle(c), c.Body})
	if err != nil {
		return forge.Change{}, err
	}
	return p.change(op, l, opened)
}

// workInProgress are the beginnings of a title that make a pull request a draft, unless an instance is configured otherwise
// (WORK_IN_PROGRESS_PREFIXES). There is no other way to say it, and the answer's draft tells whether it was understood.
var workInProgress = []string{"WIP:", "[WIP]"}

// cutWorkInProgress takes such a beginning off a title; false if there is none.
func cutWorkInProgress(title string) (string, bool) {
	for _, prefix := range workInProgress {
		if len(title) >= len(prefix) && strings.EqualFold(title[:len(prefix)], prefix) {
			return strings.TrimSpace(title[len(prefix):]), true
		}
	}
	return title, false
}

func draftTitle(c forge.NewChange) string {
	if _, says := cutWorkInProgress(c.Title); says || !c.Draft {
		return c.Title
	}
	return workInProgress[0] + " " + c.Title
}

// plainTitle is the title without what says that the pull request is a draft, which [forge.Change.Draft] says.
func plainTitle(c pull) string {
	title := forge.CleanString(c.Title)
	if plain, says := cutWorkInProgress(title); says && c.Draft && plain != "" {
		return plain
	}
	return title
}
