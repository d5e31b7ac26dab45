package forgetest

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// gitlabMember is an account as it stands beside what it wrote.
type gitlabMember struct {
	ID       int64  `json:"id"`
	Username string `json:"username"`
	Name     string `json:"name"`
	State    string `json:"state"`
}

// member is an account of the ledger, which must be held; null where there is none. (What belonged to an account that was deleted
// GitLab gives to one of its own, which then is an author like any other.)
func (g *gitlab) member(id int64) *gitlabMember {
	u := g.f.ledger.userByID(id)
	if u == nil {
		return nil
	}
	return &gitlabMember{u.ID, u.Login, u.Name, "active"}
}

type gitlabReferences struct {
	Short    string `json:"short"`
	Relative string `json:"relative"`
	Full     string `json:"full"`
}

func gitlabReference(who caller, repository Repository, separator string, number int64) gitlabReferences {
	short := fmt.Sprintf("%s%d", separator, number)
	return gitlabReferences{short, short, who.pathOf(repository) + short}
}

type gitlabIssue struct {
	ID          int64            `json:"id"`
	IID         int64            `json:"iid"`
	ProjectID   int64            `json:"project_id"`
	Title       string           `json:"title"`
	Description *string          `json:"description"`
	State       string           `json:"state"`
	Type        string           `json:"type"`
	Author      *gitlabMember    `json:"author"`
	WebURL      string           `json:"web_url"`
	References  gitlabReferences `json:"references"`
	CreatedAt   time.Time        `json:"created_at"`
	UpdatedAt   time.Time        `json:"updated_at"`
}

// showIssue answers with an issue. Issues that are switched off are as if there were none.
func (g *gitlab) showIssue(w http.ResponseWriter, r *http.Request, who caller, repository Repository) {
	number, ok := g.number(w, r, "number")
	if !ok {
		return
	}
	var answer *gitlabIssue
	g.f.inside(repository, func(c *contents) {
		at := c.issues[number]
		if at == nil || repository.IssuesOff {
			return
		}
		shown := g.issue(g.f.root(r), who, repository, at)
		answer = &shown
	})
	if answer == nil {
		g.says(w, http.StatusNotFound, "404 Not found")
		return
	}
	writeJSON(w, http.StatusOK, gitlabJSON, *answer)
}

// issue is an issue in GitLab's words. The ledger must be held.
func (g *gitlab) issue(root string, who caller, repository Repository, at *issue) gitlabIssue {
	state := "closed"
	if at.open {
		state = "opened"
	}
	return gitlabIssue{
		ID: 1_000_000 + at.number, IID: at.number, ProjectID: repository.ID, Title: at.title, Description: described(at.body),
		State: state, Type: "ISSUE", Author: g.member(at.author),
		WebURL:     g.address(root, who, repository, fmt.Sprintf("/issues/%d", at.number)),
		References: gitlabReference(who, repository, "#", at.number), CreatedAt: at.created, UpdatedAt: at.created,
	}
}

// described is a description, null where there is none.
func described(body string) *string {
	if body == "" {
		return nil
	}
	return &body
}

type gitlabNote struct {
	ID           int64         `json:"id"`
	Type         *string       `json:"type"`
	Body         string        `json:"body"`
	Author       *gitlabMember `json:"author"`
	CreatedAt    time.Time     `json:"created_at"`
	UpdatedAt    time.Time     `json:"updated_at"`
	System       bool          `json:"system"`
	NoteableID   int64         `json:"noteable_id"`
	NoteableType string        `json:"noteable_type"`
	ProjectID    int64         `json:"project_id"`
	NoteableIID  int64         `json:"noteable_iid"`
}

// gitlabCommands answers a note that was nothing but commands.
type gitlabCommands struct {
	Changes map[string]string `json:"commands_changes"`
	Summary []string          `json:"summary"`
}

// gitlabCommand is a line that is carried out. GitLab has some hundred of them; one is enough to see who lets them through.
var gitlabCommand = regexp.MustCompile(`(?mi)^/(close|reopen)(?: [^\n]*)?\s*(\n|\z)`)

// obey carries out the commands in a text and returns what is left of it. Code is not looked for.
func obey(text string, on *issue) (left string, did bool) {
	text = strings.ReplaceAll(text, "\r", "")
	for _, command := range gitlabCommand.FindAllStringSubmatch(text, -1) {
		on.open, did = strings.EqualFold(command[1], "reopen"), true
	}
	return strings.TrimSpace(gitlabCommand.ReplaceAllString(text, "")), did
}

// createNote comments an issue or a merge request.
func (g *gitlab) createNote(w http.ResponseWriter, r *http.Request, who caller, repository Repository) {
	const longest = 1_000_000
	number, ok := g.number(w, r, "number")
	if !ok {
		return
	}
	sent, _, ok := gitlabParameters[struct {
		Body string `json:"body"`
	}](w, r, "body")
	if !ok {
		return
	}
	onChange := strings.Contains(r.Pattern, "/merge_requests/")
	var answer gitlabNote
	var found, onlyCommands bool
	allowed := !repository.Archived && !repository.ReadOnly
	g.f.inside(repository, func(c *contents) {
		kind, on := "Issue", c.issues[number]
		if onChange {
			kind, on = "MergeRequest", nil
			if at := c.changes[number]; at != nil {
				on = &at.issue
			}
		}
		if found = on != nil && (onChange || !repository.IssuesOff); !found || !allowed || utf8.RuneCountInString(sent.Body) > longest {
			return
		}
		left, did := obey(sent.Body, on)
		if onlyCommands = did && left == ""; left == "" {
			return
		}
		made := comment{id: g.f.ledger.nextID(), author: who.user.ID, body: left, created: g.f.ledger.now()}
		on.comments = append(on.comments, made)
		answer = gitlabNote{
			ID: made.id, Body: made.body, Author: g.member(made.author), CreatedAt: made.created, UpdatedAt: made.created,
			NoteableID: 1_000_000 + number, NoteableType: kind, ProjectID: repository.ID, NoteableIID: number,
		}
	})
	switch {
	case !found:
		g.says(w, http.StatusNotFound, "404 Not found")
	case !allowed:
		g.says(w, http.StatusForbidden, "403 Forbidden")
	case onlyCommands:
		writeJSON(w, http.StatusAccepted, gitlabJSON, gitlabCommands{map[string]string{"state_event": "close"}, []string{"Closed this issue."}})
	case answer.ID == 0:
		g.faulty(w, http.StatusBadRequest, "note", "can't be blank, or is too long")
	default:
		writeJSON(w, http.StatusCreated, gitlabJSON, answer)
	}
}
