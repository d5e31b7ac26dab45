package forgetest

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// stamp is the time as Gitea writes it: seconds, with a zone.
func (g *gitea) stamp() string { return giteaTime(g.f.config.Now()) }

func giteaTime(at time.Time) string { return at.UTC().Format(time.RFC3339) }

type giteaIssue struct {
	ID          int64           `json:"id"`
	URL         string          `json:"url"`
	HTMLURL     string          `json:"html_url"`
	Number      int64           `json:"number"`
	User        giteaUser       `json:"user"`
	Title       string          `json:"title"`
	Body        string          `json:"body"`
	State       string          `json:"state"`
	IsLocked    bool            `json:"is_locked"`
	Comments    int             `json:"comments"`
	CreatedAt   string          `json:"created_at"`
	UpdatedAt   string          `json:"updated_at"`
	ClosedAt    *string         `json:"closed_at"`
	PullRequest *giteaPullMeta  `json:"pull_request"`
	Repository  giteaRepoNaming `json:"repository"`
}

type giteaPullMeta struct {
	Merged  bool   `json:"merged"`
	Draft   bool   `json:"draft"`
	HTMLURL string `json:"html_url"`
}

// giteaRepoNaming is a repository where it is only named; its owner is a string here.
type giteaRepoNaming struct {
	ID       int64  `json:"id"`
	Name     string `json:"name"`
	Owner    string `json:"owner"`
	FullName string `json:"full_name"`
}

// author is an account by its id; one that is gone is a ghost.
func (g *gitea) author(root string, id int64) giteaUser {
	g.f.mu.Lock()
	u := g.f.ledger.userByID(id)
	var login, name string
	if u != nil {
		login, name = u.Login, u.Name
	}
	g.f.mu.Unlock()
	if u == nil {
		return g.account(root, -1, "Ghost", "Ghost")
	}
	return g.account(root, id, login, name)
}

func giteaState(open bool) string {
	if open {
		return "open"
	}
	return "closed"
}

func (g *gitea) describeIssue(at giteaPlace, i issue, meta *giteaPullMeta) giteaIssue {
	full := at.who.fullName(at.repository)
	number := strconv.FormatInt(i.number, 10)
	kind := "/issues/"
	if meta != nil {
		kind = "/pulls/"
	}
	described := giteaIssue{
		ID: at.repository.ID*1000 + i.number, URL: at.root + "/api/v1/repos/" + full + "/issues/" + number, HTMLURL: at.root + "/" + full + kind + number,
		Number: i.number, User: g.author(at.root, i.author), Title: i.title, Body: i.body, State: giteaState(i.open),
		Comments: len(i.comments), CreatedAt: giteaTime(i.created), UpdatedAt: giteaTime(i.created), PullRequest: meta,
		Repository: giteaRepoNaming{
			at.repository.ID, at.repository.Name, at.who.ownerOf(at.repository), at.who.ownerOf(at.repository) + "/" + at.repository.Name,
		},
	}
	if !i.open {
		closed := described.UpdatedAt
		described.ClosedAt = &closed
	}
	return described
}

// find returns a copy of the issue or the change that the path's number is of, nil for both if of none.
func (g *gitea) find(r *http.Request, at giteaPlace) (found *issue, proposed *change, head string) {
	number, _ := strconv.ParseInt(r.PathValue("number"), 10, 64) // what is no number is 0, which nothing has
	g.f.inside(at.repository, func(c *contents) {
		if i := c.issues[number]; i != nil {
			copied := *i
			found = &copied
		}
		if p := c.changes[number]; p != nil {
			head = c.headOf(p)
			copied := *p
			proposed = &copied
		}
	})
	return found, proposed, head
}

// issue is GET /repos/{owner}/{repo}/issues/{index}, where pull requests are issues.
func (g *gitea) issue(w http.ResponseWriter, r *http.Request, at giteaPlace) {
	found, proposed, _ := g.find(r, at)
	switch {
	case proposed != nil:
		meta := giteaPullMeta{
			Merged: proposed.merged, Draft: giteaDraft(proposed.title),
			HTMLURL: at.root + "/" + at.who.fullName(at.repository) + "/pulls/" + strconv.FormatInt(proposed.number, 10),
		}
		writeJSON(w, http.StatusOK, giteaJSON, g.describeIssue(at, proposed.issue, &meta))
	case found == nil || at.repository.IssuesOff:
		g.notFound(w, r)
	default:
		writeJSON(w, http.StatusOK, giteaJSON, g.describeIssue(at, *found, nil))
	}
}

type giteaComment struct {
	ID             int64     `json:"id"`
	HTMLURL        string    `json:"html_url"`
	PullRequestURL string    `json:"pull_request_url"`
	IssueURL       string    `json:"issue_url"`
	User           giteaUser `json:"user"`
	Body           string    `json:"body"`
	CreatedAt      string    `json:"created_at"`
	UpdatedAt      string    `json:"updated_at"`
}

func (g *gitea) describeComment(at giteaPlace, number int64, onChange bool, c comment) giteaComment {
	web := at.root + "/" + at.who.fullName(at.repository)
	described := giteaComment{
		ID: c.id, User: g.author(at.root, c.author), Body: c.body, CreatedAt: giteaTime(c.created), UpdatedAt: giteaTime(c.created),
	}
	if onChange {
		described.PullRequestURL = web + "/pulls/" + strconv.FormatInt(number, 10)
	} else {
		described.IssueURL = web + "/issues/" + strconv.FormatInt(number, 10)
	}
	described.HTMLURL = described.PullRequestURL + described.IssueURL + "#issuecomment-" + strconv.FormatInt(c.id, 10)
	return described
}

// addComment is POST /repos/{owner}/{repo}/issues/{index}/comments, for issues and pull requests. Nobody's number breaks it.
func (g *gitea) addComment(w http.ResponseWriter, r *http.Request, at giteaPlace) {
	var in struct {
		Body string `json:"body"`
	}
	if g.locked(w, r, at) || !g.read(w, r, &in, "body") {
		return
	}
	number, _ := strconv.ParseInt(r.PathValue("number"), 10, 64)
	var added *comment
	onChange, isHidden := false, false
	g.f.inside(at.repository, func(c *contents) {
		var to *[]comment
		if i := c.issues[number]; i != nil {
			to, isHidden = &i.comments, at.repository.IssuesOff
		} else if p := c.changes[number]; p != nil {
			to, onChange = &p.comments, true
		}
		if to != nil && !isHidden {
			added = &comment{g.f.ledger.nextID(), at.who.user.ID, in.Body, g.f.ledger.now()}
			*to = append(*to, *added)
		}
	})
	switch {
	case isHidden:
		g.notFound(w, r)
	case added == nil:
		g.brokenDown(w, r)
	default:
		writeJSON(w, http.StatusCreated, giteaJSON, g.describeComment(at, number, onChange, *added))
	}
}

// giteaDraft: nothing but the title says that a pull request is a draft.
func giteaDraft(title string) bool {
	title = strings.ToUpper(title)
	return strings.HasPrefix(title, "WIP:") || strings.HasPrefix(title, "[WIP]")
}
