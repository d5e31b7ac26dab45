package gitea

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

type issue struct {
	Number      int64           `json:"number"`
	Title       string          `json:"title"`
	Body        string          `json:"body"`
	State       string          `json:"state"`
	User        *user           `json:"user"`
	CreatedAt   time.Time       `json:"created_at"`
	UpdatedAt   time.Time       `json:"updated_at"`
	PullRequest json.RawMessage `json:"pull_request"`
	Repository  struct {
		FullName string `json:"full_name"`
	} `json:"repository"`
}

// isPull: what is no pull request has null there, or nothing.
func (i issue) isPull() bool { return len(i.PullRequest) > 0 && string(i.PullRequest) != "null" }

// author is who wrote something. An account that was deleted is shown by the name Ghost and the id -1.
func (p *port) author(u *user) forge.Account {
	if u == nil {
		return forge.Account{}
	}
	return p.Author(forge.Number(u.ID), u.Login)
}

// text is what somebody wrote, at whatever length.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// Issue implements [forge.Port] (Gitea API: Get an issue). Pull requests are issues here; they are told apart by the field
// pull_request. A repository without an issue tracker of its own answers 404 like one without that issue.
func (p *port) Issue(ctx context.Context, in forge.RepositoryRef, number int64) (forge.Issue, error) {
	const op = "issue"
	if err := forge.CheckNumber(number); err != nil {
		return forge.Issue{}, p.Fail(op, err)
	}
	l, err := p.find(ctx, op, in)
	if err != nil {
		return forge.Issue{}, err
	}
	i, err := forge.Get[issue](ctx, p.Caller, op, fmt.Sprintf("%s/issues/%d", l.at, number))
	switch {
	case errors.Is(err, forge.ErrNotFound):
		r, asked := l.repository(ctx, p, op)
		if asked == nil && r.HasIssues != nil && !*r.HasIssues {
			err = p.Fail(op, forge.ErrUnsupported)
		}
	case err == nil && i.Number != number:
		err = p.Fail(op, errMismatch)
	case err == nil && i.isPull():
		err = p.Fail(op, forge.ErrNotFound)
	}
	if err != nil {
		return forge.Issue{}, err
	}
	return forge.Issue{
		Number: i.Number, Title: forge.CleanString(i.Title), Body: text(i.Body), Open: i.State == "open",
		Author: p.author(i.User), WebURL: p.shown(l, i.Repository.FullName, "issues", number),
		CreatedAt: i.CreatedAt, UpdatedAt: i.UpdatedAt,
	}, nil
}

// shown is where a person opens an issue or a pull request: in the path that the forge calls the repository by now, or where
// it does not say so, in the one that led there.
func (p *port) shown(l place, path, kind string, number int64) string {
	if path == "" {
		path = l.path
	}
	return p.WebURL(path, fmt.Sprintf("/%s/%d", kind, number))
}

type note struct {
	Body string `json:"body"`
}

type comment struct {
	ID        int64     `json:"id"`
	Body      string    `json:"body"`
	User      *user     `json:"user"`
	CreatedAt time.Time `json:"created_at"`
}

// Comment implements [forge.Port] (Gitea API: Add a comment to an issue), for pull requests too: it takes the scope
// write:issue in any case. Both forges answer for a number that is nobody's as if they had broken down, so that is asked
// for then.
func (p *port) Comment(ctx context.Context, in forge.RepositoryRef, on forge.Subject, body string) (forge.Comment, error) {
	const op = "comment"
	if err := cmp.Or(forge.CheckNumber(on.Number), forge.CheckText(body)); err != nil {
		return forge.Comment{}, p.Fail(op, err)
	}
	l, err := p.find(ctx, op, in)
	if err != nil {
		return forge.Comment{}, err
	}
	at := fmt.Sprintf("%s/issues/%d", l.at, on.Number)
	c, err := forge.Send[comment](ctx, p.Caller, op, http.MethodPost, at+"/comments", note{body})
	if err == nil && c.ID <= 0 {
		err = p.Fail(op, errMismatch)
	}
	if err != nil {
		return forge.Comment{}, p.orMissing(ctx, op, err, at)
	}
	kind := "issues"
	if on.OnChange {
		kind = "pulls"
	}
	id := forge.Number(c.ID)
	return forge.Comment{
		ID: id, Body: text(c.Body), Author: p.author(c.User), CreatedAt: c.CreatedAt,
		WebURL: p.WebURL(l.path, fmt.Sprintf("/%s/%d#issuecomment-%s", kind, on.Number, id)),
	}, nil
}

// orMissing says that something is missing where the forge answered 500 for the want of it: err is what came of writing to
// what can be looked up at the path.
func (p *port) orMissing(ctx context.Context, op string, err error, at string) error {
	known, ok := errors.AsType[*forge.Error](err)
	if !ok || known.Status != http.StatusInternalServerError {
		return err
	}
	if _, asked := forge.Get[struct{}](ctx, p.Caller, op, at); errors.Is(asked, forge.ErrNotFound) {
		return asked
	}
	return err
}
