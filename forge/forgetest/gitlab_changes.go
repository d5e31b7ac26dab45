package forgetest

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

type gitlabMergeRequest struct {
	ID             int64            `json:"id"`
	IID            int64            `json:"iid"`
	ProjectID      int64            `json:"project_id"`
	Title          string           `json:"title"`
	Description    *string          `json:"description"`
	State          string           `json:"state"`
	Draft          bool             `json:"draft"`
	WorkInProgress bool             `json:"work_in_progress"`
	SourceBranch   string           `json:"source_branch"`
	SourceProject  *int64           `json:"source_project_id"`
	TargetBranch   string           `json:"target_branch"`
	TargetProject  int64            `json:"target_project_id"`
	SHA            *string          `json:"sha"`
	MergeStatus    string           `json:"merge_status"`
	Author         *gitlabMember    `json:"author"`
	WebURL         string           `json:"web_url"`
	References     gitlabReferences `json:"references"`
	CreatedAt      time.Time        `json:"created_at"`
	UpdatedAt      time.Time        `json:"updated_at"`
}

// gitlabDraft is what makes a merge request a draft: there is no other way.
var gitlabDraft = regexp.MustCompile(`(?i)^(\[draft\]|\(draft\)|draft:)`)

// mergeRequest is a change in GitLab's words. The ledger must be held.
func (g *gitlab) mergeRequest(root string, who caller, repository Repository, at *change, head string) gitlabMergeRequest {
	state := "closed"
	switch {
	case at.open:
		state = "opened"
	case at.merged:
		state = "merged"
	}
	title := at.title
	if at.draft && !gitlabDraft.MatchString(title) {
		title = "Draft: " + title
	}
	m := gitlabMergeRequest{
		ID: 2_000_000 + at.number, IID: at.number, ProjectID: repository.ID, Title: title, Description: described(at.body),
		State: state, Draft: at.draft, WorkInProgress: at.draft, SourceBranch: at.source, TargetBranch: at.target,
		TargetProject: repository.ID, MergeStatus: "can_be_merged", Author: g.member(at.author),
		WebURL:     g.address(root, who, repository, fmt.Sprintf("/merge_requests/%d", at.number)),
		References: gitlabReference(who, repository, "!", at.number), CreatedAt: at.created, UpdatedAt: at.created,
	}
	if !at.sourceGone {
		m.SourceProject = &repository.ID
	}
	m.SHA = described(head)
	return m
}

func (g *gitlab) showMergeRequest(w http.ResponseWriter, r *http.Request, who caller, repository Repository) {
	number, ok := g.number(w, r, "number")
	if !ok {
		return
	}
	var answer *gitlabMergeRequest
	g.f.inside(repository, func(c *contents) {
		if at := c.changes[number]; at != nil {
			shown := g.mergeRequest(g.f.root(r), who, repository, at, c.headOf(at))
			answer = &shown
		}
	})
	if answer == nil {
		g.says(w, http.StatusNotFound, "404 Not found")
		return
	}
	writeJSON(w, http.StatusOK, gitlabJSON, *answer)
}

// createMergeRequest proposes a branch of the same project. Commands in the description are obeyed.
func (g *gitlab) createMergeRequest(w http.ResponseWriter, r *http.Request, who caller, repository Repository) {
	sent, _, ok := gitlabParameters[struct {
		Title       string `json:"title"`
		Source      string `json:"source_branch"`
		Target      string `json:"target_branch"`
		Description string `json:"description"`
	}](w, r, "title", "source_branch", "target_branch")
	if !ok || !g.mayWrite(w, repository) {
		return
	}
	title, source, target := sent.Title, sent.Source, sent.Target
	var answer gitlabMergeRequest
	var refused func()
	g.f.inside(repository, func(c *contents) {
		switch open := c.openChange(source, target); {
		case source == target:
			refused = func() {
				writeJSON(w, http.StatusUnprocessableEntity, gitlabJSON,
					gitlabProblem{"You can't use same project/branch for source and target"})
			}
		case open != nil:
			refused = func() {
				writeJSON(w, http.StatusConflict, gitlabJSON, gitlabReasons{
					[]string{fmt.Sprintf("Another open merge request already exists for this source branch: !%d", open.number)},
				})
			}
		case c.branches[source] == "":
			refused = func() { g.faulty(w, http.StatusBadRequest, "source_branch", "does not exist") }
		case c.branches[target] == "":
			refused = func() { g.faulty(w, http.StatusBadRequest, "target_branch", "does not exist") }
		case strings.TrimSpace(title) == "":
			refused = func() { g.faulty(w, http.StatusBadRequest, "title", "can't be blank") }
		case utf8.RuneCountInString(title) > 255:
			refused = func() { g.faulty(w, http.StatusBadRequest, "title", "is too long (maximum is 255 characters)") }
		}
		if refused != nil {
			return
		}
		c.changeNumber++
		made := &change{
			issue:  issue{number: c.changeNumber, title: title, open: true, author: who.user.ID, created: g.f.ledger.now()},
			source: source, target: target, draft: gitlabDraft.MatchString(title),
		}
		made.body, _ = obey(sent.Description, &made.issue)
		c.changes[made.number] = made
		answer = g.mergeRequest(g.f.root(r), who, repository, made, c.headOf(made))
	})
	if refused != nil {
		refused()
		return
	}
	writeJSON(w, http.StatusCreated, gitlabJSON, answer)
}

type gitlabStatus struct {
	ID          int64         `json:"id"`
	SHA         string        `json:"sha"`
	Ref         string        `json:"ref"`
	Status      string        `json:"status"`
	Name        string        `json:"name"`
	TargetURL   *string       `json:"target_url"`
	Description *string       `json:"description"`
	Author      *gitlabMember `json:"author"`
}

var gitlabStates = []string{"pending", "running", "success", "failed", "canceled", "skipped"}

// createStatus adds a status, or moves one of the same name and author that is not finished: then what is not said again
// stays. It does not move to where it is, nor back.
func (g *gitlab) createStatus(w http.ResponseWriter, r *http.Request, who caller, repository Repository) {
	wanted, ok := g.readStatus(w, r)
	if !ok || !g.mayWrite(w, repository) {
		return
	}
	wanted.author = who.user.ID
	commit, refusal := r.PathValue("sha"), ""
	var known bool
	var answer gitlabStatus
	g.f.inside(repository, func(c *contents) {
		if commit = c.resolve(commit); commit == "" {
			return
		}
		known = true
		before, unfinished := unfinishedStatus(c.statuses[commit], wanted)
		if refusal = cannotMove(before.state, wanted.state); unfinished && refusal != "" {
			return
		}
		refusal = ""
		if unfinished {
			wanted.description = cmp.Or(wanted.description, before.description)
			wanted.target = cmp.Or(wanted.target, before.target)
		}
		c.statuses[commit] = append(c.statuses[commit], wanted)
		answer = gitlabStatus{
			ID: g.f.ledger.nextID(), SHA: commit, Ref: repository.DefaultBranch, Status: wanted.state, Name: wanted.context,
			TargetURL: described(wanted.target), Description: described(wanted.description), Author: g.member(who.user.ID),
		}
	})
	switch {
	case !known:
		g.says(w, http.StatusNotFound, "404 Commit Not Found")
	case refusal != "":
		g.says(w, http.StatusBadRequest, refusal)
	default:
		writeJSON(w, http.StatusCreated, gitlabJSON, answer)
	}
}

// readStatus reads what a status is to be; what GitLab does not take has been answered.
func (g *gitlab) readStatus(w http.ResponseWriter, r *http.Request) (wanted status, ok bool) {
	sent, _, ok := gitlabParameters[struct {
		State       string `json:"state"`
		Name        string `json:"name"`
		Context     string `json:"context"`
		Description string `json:"description"`
		TargetURL   string `json:"target_url"`
	}](w, r, "state")
	if !ok {
		return status{}, false
	}
	wanted = status{
		context: cmp.Or(sent.Name, sent.Context, "default"), state: sent.State, description: sent.Description, target: sent.TargetURL,
	}
	if !slices.Contains(gitlabStates, wanted.state) {
		writeJSON(w, http.StatusBadRequest, gitlabJSON, gitlabProblem{"state does not have a valid value"})
		return status{}, false
	}
	for field, value := range map[string]string{
		"name": wanted.context, "description": wanted.description, "target_url": wanted.target,
	} {
		if utf8.RuneCountInString(value) > 255 {
			g.faulty(w, http.StatusBadRequest, field, "is too long (maximum is 255 characters)")
			return status{}, false
		}
	}
	if at, err := url.Parse(wanted.target); wanted.target != "" && (err != nil || at.Scheme != "http" && at.Scheme != "https") {
		g.faulty(w, http.StatusBadRequest, "target_url", "is blocked: Only allowed schemes are http, https")
		return status{}, false
	}
	return wanted, true
}

// unfinishedStatus is the last status of the same name and author, if it is not finished.
func unfinishedStatus(all []status, like status) (last status, unfinished bool) {
	for _, s := range all {
		if s.context == like.context && s.author == like.author {
			last = s
		}
	}
	return last, last.state == "pending" || last.state == "running"
}

// cannotMove says why a status does not get from one state into another, in GitLab's words; empty if it does.
func cannotMove(from, to string) string {
	event := map[string]string{"pending": "enqueue", "running": "run", "skipped": "skip"}[to]
	if event == "" || to == "running" && from == "pending" || to == "skipped" && from == "pending" {
		return ""
	}
	return fmt.Sprintf("Cannot transition status via :%s from :%s (Reason(s): Status cannot transition via %q)", event, from, event)
}
