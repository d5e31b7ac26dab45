package forgetest

import (
	"fmt"
	"net/http"
	"strconv"
)

type giteaPull struct {
	ID        int64       `json:"id"`
	URL       string      `json:"url"`
	HTMLURL   string      `json:"html_url"`
	Number    int64       `json:"number"`
	User      giteaUser   `json:"user"`
	Title     string      `json:"title"`
	Body      string      `json:"body"`
	State     string      `json:"state"`
	Draft     bool        `json:"draft"`
	Merged    bool        `json:"merged"`
	MergedAt  *string     `json:"merged_at"`
	Base      giteaBranch `json:"base"`
	Head      giteaBranch `json:"head"`
	CreatedAt string      `json:"created_at"`
	UpdatedAt string      `json:"updated_at"`
	ClosedAt  *string     `json:"closed_at"`
}

type giteaBranch struct {
	Label  string           `json:"label"`
	Ref    string           `json:"ref"`
	SHA    string           `json:"sha"`
	RepoID int64            `json:"repo_id"`
	Repo   *giteaRepository `json:"repo"`
}

// describePull writes a pull request. The label of a branch that is gone stays, and its ref becomes that of the pull request.
func (g *gitea) describePull(at giteaPlace, c change, head string) giteaPull {
	repository := g.describe(at.root, at.who, at.repository)
	number := strconv.FormatInt(c.number, 10)
	web := repository.HTMLURL + "/pulls/" + number
	base, hasHead := "", false
	g.f.inside(at.repository, func(inside *contents) {
		base = inside.branches[c.target]
		_, hasHead = inside.branches[c.source]
	})
	described := giteaPull{
		ID: at.repository.ID*1000 + c.number, URL: web, HTMLURL: web, Number: c.number, User: g.author(at.root, c.author),
		Title: c.title, Body: c.body, State: giteaState(c.open), Draft: giteaDraft(c.title), Merged: c.merged,
		Base:      giteaBranch{Label: c.target, Ref: c.target, SHA: base, RepoID: at.repository.ID, Repo: &repository},
		Head:      giteaBranch{Label: c.source, Ref: c.source, SHA: head, RepoID: at.repository.ID, Repo: &repository},
		CreatedAt: giteaTime(c.created), UpdatedAt: giteaTime(c.created),
	}
	if !hasHead || c.sourceGone {
		described.Head.Ref = "refs/pull/" + number + "/head"
	}
	if c.sourceGone {
		described.Head.RepoID, described.Head.Repo = -1, nil
	}
	if !c.open {
		closed := described.UpdatedAt
		described.ClosedAt = &closed
		if c.merged {
			described.MergedAt = &closed
		}
	}
	return described
}

// pull is GET /repos/{owner}/{repo}/pulls/{index}.
func (g *gitea) pull(w http.ResponseWriter, r *http.Request, at giteaPlace) {
	_, proposed, head := g.find(r, at)
	if proposed == nil {
		g.notFound(w, r)
		return
	}
	writeJSON(w, http.StatusOK, giteaJSON, g.describePull(at, *proposed, head))
}

// openPull is POST /repos/{owner}/{repo}/pulls.
func (g *gitea) openPull(w http.ResponseWriter, r *http.Request, at giteaPlace) {
	var in struct {
		Head  string `json:"head"`
		Base  string `json:"base"`
		Title string `json:"title"`
		Body  string `json:"body"`
	}
	if g.locked(w, r, at) || !g.read(w, r, &in, "head", "base", "title") {
		return
	}
	if in.Head == in.Base {
		g.message(w, r, http.StatusUnprocessableEntity, "Invalid PullRequest: There are no changes between the head and the base")
		return
	}
	var opened, standing *change
	head := ""
	g.f.inside(at.repository, func(c *contents) {
		if c.branches[in.Head] == "" || c.branches[in.Base] == "" {
			return
		}
		if standing = c.openChange(in.Head, in.Base); standing != nil {
			return
		}
		c.number++
		opened = &change{
			issue: issue{
				number: c.number, title: in.Title, body: in.Body, open: true, author: at.who.user.ID, created: g.f.ledger.now(),
			},
			source: in.Head, target: in.Base, draft: giteaDraft(in.Title),
		}
		c.changes[c.number] = opened
		head = c.headOf(opened)
		copied := *opened
		opened = &copied
	})
	switch {
	case standing != nil:
		id := at.repository.ID
		g.message(w, r, http.StatusConflict, fmt.Sprintf("pull request already exists for these targets [id: %d, issue_id: %d, head_repo_id: %d, "+
			"base_repo_id: %d, head_branch: %s, base_branch: %s]", standing.number, standing.number, id, id, in.Head, in.Base))
	case opened == nil:
		g.notFound(w, r)
	default:
		writeJSON(w, http.StatusCreated, giteaJSON, g.describePull(at, *opened, head))
	}
}
