package forgetest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

type githubIssue struct {
	ID          int64             `json:"id"`
	Number      int64             `json:"number"`
	Title       string            `json:"title"`
	Body        *string           `json:"body"`
	State       string            `json:"state"`
	User        *githubOwner      `json:"user"`
	HTMLURL     string            `json:"html_url"`
	Comments    int               `json:"comments"`
	PullRequest map[string]string `json:"pull_request,omitempty"`
	CreatedAt   string            `json:"created_at"`
	UpdatedAt   string            `json:"updated_at"`
}

// author is the account of a user, null for one that is gone.
func (g *github) author(root string, id int64) *githubOwner {
	user := g.f.ledger.userByID(id)
	if user == nil {
		return nil
	}
	owner := g.owner(root, user.Login, user.ID)
	return &owner
}

// describeIssue writes an issue down; [Forge.mu] must be held.
func (g *github) describeIssue(at githubPlace, is *issue) githubIssue {
	answer := githubIssue{
		ID: 10_000 + is.number, Number: is.number, Title: is.title, State: githubState(is.open), User: g.author(at.root, is.author),
		HTMLURL:  fmt.Sprintf("%s/%s/issues/%d", at.root, at.who.fullName(at.repository), is.number),
		Comments: len(is.comments), CreatedAt: stamp(is.created), UpdatedAt: stamp(is.created),
	}
	if is.body != "" {
		answer.Body = &is.body
	}
	return answer
}

func githubState(open bool) string {
	if open {
		return "open"
	}
	return "closed"
}

// number reads the number of an issue or a change from the path; zero, which none has, for what is no number.
func number(r *http.Request) int64 {
	n, _ := strconv.ParseInt(r.PathValue("number"), 10, 64)
	return n
}

// issue answers with an issue, and with a pull request as the issue that it is, too.
func (g *github) issue(w http.ResponseWriter, r *http.Request, at githubPlace) {
	var answer githubIssue
	g.f.inside(at.repository, func(c *contents) {
		if is := c.issues[number(r)]; is != nil {
			answer = g.describeIssue(at, is)
		} else if is := c.changes[number(r)]; is != nil {
			answer = g.describeIssue(at, &is.issue)
			answer.PullRequest = map[string]string{"url": strings.Replace(answer.HTMLURL, "/issues/", "/pull/", 1)}
		}
	})
	switch {
	case at.repository.IssuesOff && answer.PullRequest == nil:
		g.message(w, http.StatusGone, "Issues are disabled for this repo")
	case answer.Number == 0:
		g.message(w, http.StatusNotFound, "Not Found")
	default:
		writeJSON(w, http.StatusOK, githubJSON, answer)
	}
}

type githubComment struct {
	ID        int64        `json:"id"`
	Body      string       `json:"body"`
	User      *githubOwner `json:"user"`
	HTMLURL   string       `json:"html_url"`
	CreatedAt string       `json:"created_at"`
	UpdatedAt string       `json:"updated_at"`
}

func (g *github) describeComment(at githubPlace, on string, onNumber int64, is comment) githubComment {
	return githubComment{
		ID: is.id, Body: is.body, User: g.author(at.root, is.author), CreatedAt: stamp(is.created), UpdatedAt: stamp(is.created),
		HTMLURL: fmt.Sprintf("%s/%s/%s/%d#issuecomment-%d", at.root, at.who.fullName(at.repository), on, onNumber, is.id),
	}
}

// githubMaxBody is the most characters of a comment or a description.
const githubMaxBody = 65536

// addComment comments an issue or a pull request: GitHub counts them together and keeps their comments alike.
func (g *github) addComment(w http.ResponseWriter, r *http.Request, at githubPlace) {
	sent, ok := decodeBody[struct {
		Body *string `json:"body"`
	}](r)
	if !ok {
		g.message(w, http.StatusBadRequest, "Problems parsing JSON")
		return
	}
	invalid := func(fault githubFault) {
		fault.Resource = "IssueComment"
		g.message(w, http.StatusUnprocessableEntity, "Validation Failed", fault)
	}
	switch {
	case sent.Body == nil || strings.TrimSpace(*sent.Body) == "":
		invalid(githubFault{Code: "missing_field", Field: "body"})
		return
	case utf8.RuneCountInString(*sent.Body) > githubMaxBody:
		invalid(githubFault{Code: "custom", Field: "body", Message: "body is too long (maximum is 65536 characters)"})
		return
	}
	var answer githubComment
	g.f.inside(at.repository, func(c *contents) {
		on, is := "issues", c.issues[number(r)]
		if change := c.changes[number(r)]; change != nil {
			on, is = "pull", &change.issue
		}
		if is == nil {
			return
		}
		said := comment{id: g.f.ledger.nextID(), author: at.who.user.ID, body: *sent.Body, created: g.f.ledger.now()}
		is.comments = append(is.comments, said)
		answer = g.describeComment(at, on, is.number, said)
	})
	if answer.ID == 0 {
		g.message(w, http.StatusNotFound, "Not Found")
		return
	}
	writeJSON(w, http.StatusCreated, githubJSON, answer)
}
