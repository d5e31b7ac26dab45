package forgetest

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"
)

type githubBranch struct {
	Label string            `json:"label"`
	Ref   string            `json:"ref"`
	SHA   string            `json:"sha"`
	Repo  *githubRepository `json:"repo"`
}

type githubPull struct {
	githubIssue

	Draft    bool         `json:"draft"`
	Merged   bool         `json:"merged"`
	MergedAt *string      `json:"merged_at"`
	Head     githubBranch `json:"head"`
	Base     githubBranch `json:"base"`
}

// describePull writes a pull request down; [Forge.mu] must be held.
func (g *github) describePull(at githubPlace, is *change, head, base string) githubPull {
	owner, repository := at.who.ownerOf(at.repository), g.describe(at.root, at.who, at.repository)
	answer := githubPull{
		githubIssue: g.describeIssue(at, &is.issue), Draft: is.draft, Merged: is.merged,
		Head: githubBranch{Label: owner + ":" + is.source, Ref: is.source, SHA: head, Repo: &repository},
		Base: githubBranch{Label: owner + ":" + is.target, Ref: is.target, SHA: base, Repo: &repository},
	}
	answer.HTMLURL = strings.Replace(answer.HTMLURL, "/issues/", "/pull/", 1)
	if is.sourceGone {
		answer.Head.Repo = nil
	}
	if is.merged {
		merged := stamp(g.f.ledger.now())
		answer.MergedAt = &merged
	}
	return answer
}

func (g *github) pull(w http.ResponseWriter, r *http.Request, at githubPlace) {
	var answer githubPull
	g.f.inside(at.repository, func(c *contents) {
		if is := c.changes[number(r)]; is != nil {
			answer = g.describePull(at, is, c.headOf(is), c.branches[is.target])
		}
	})
	if answer.Number == 0 {
		g.message(w, http.StatusNotFound, "Not Found")
		return
	}
	writeJSON(w, http.StatusOK, githubJSON, answer)
}

// openPull opens a pull request between two branches of the repository.
func (g *github) openPull(w http.ResponseWriter, r *http.Request, at githubPlace) {
	sent, ok := decodeBody[struct {
		Title, Head, Base string
		Body              *string
		Draft             bool
	}](r)
	if !ok {
		g.message(w, http.StatusBadRequest, "Problems parsing JSON")
		return
	}
	for name, value := range map[string]string{"title": sent.Title, "head": sent.Head, "base": sent.Base} {
		if value == "" {
			g.message(w, http.StatusUnprocessableEntity, fmt.Sprintf("Invalid request.\n\n%q wasn't supplied.", name))
			return
		}
	}
	if sent.Body == nil {
		sent.Body = new(string)
	}
	var answer githubPull
	var fault githubFault
	g.f.inside(at.repository, func(c *contents) {
		head, base := c.branches[sent.Head], c.branches[sent.Base]
		switch {
		case head == "":
			fault = githubFault{Code: "invalid", Field: "head"}
		case base == "":
			fault = githubFault{Code: "invalid", Field: "base"}
		case c.openChange(sent.Head, sent.Base) != nil:
			fault = githubFault{Code: "custom", Message: "A pull request already exists for " + at.who.ownerOf(at.repository) + ":" + sent.Head + "."}
		case head == base:
			fault = githubFault{Code: "custom", Message: "No commits between " + sent.Base + " and " + sent.Head}
		case utf8.RuneCountInString(sent.Title) > 256:
			fault = githubFault{Code: "custom", Field: "title", Message: "title is too long (maximum is 256 characters)"}
		case utf8.RuneCountInString(*sent.Body) > githubMaxBody:
			fault = githubFault{Code: "custom", Field: "body", Message: "body is too long (maximum is 65536 characters)"}
		default:
			c.number++
			c.changes[c.number] = &change{
				issue: issue{
					number: c.number, title: sent.Title, body: *sent.Body, open: true, author: at.who.user.ID, created: g.f.ledger.now(),
				},
				source: sent.Head, target: sent.Base, draft: sent.Draft,
			}
			answer = g.describePull(at, c.changes[c.number], head, base)
		}
	})
	if fault != (githubFault{}) {
		fault.Resource = "PullRequest"
		g.message(w, http.StatusUnprocessableEntity, "Validation Failed", fault)
		return
	}
	writeJSON(w, http.StatusCreated, githubJSON, answer)
}

type githubStatus struct {
	ID          int64        `json:"id"`
	State       string       `json:"state"`
	Context     string       `json:"context"`
	Description string       `json:"description"`
	TargetURL   *string      `json:"target_url"`
	Creator     *githubOwner `json:"creator"`
	CreatedAt   string       `json:"created_at"`
}

var (
	githubSHA    = regexp.MustCompile(`^[0-9a-f]{40}$`)
	githubStates = regexp.MustCompile(`^(error|failure|pending|success)$`)
	webAddress   = regexp.MustCompile(`^https?://[^/]`)
)

func (g *github) addStatus(w http.ResponseWriter, r *http.Request, at githubPlace) {
	sent, ok := decodeBody[struct {
		State, Context, Description string
		TargetURL                   string `json:"target_url"`
	}](r)
	if !ok {
		g.message(w, http.StatusBadRequest, "Problems parsing JSON")
		return
	}
	if sent.Context == "" {
		sent.Context = "default"
	}
	sha, fault := r.PathValue("sha"), githubFault{Resource: "Status", Code: "custom"}
	switch {
	case !githubSHA.MatchString(sha):
		fault.Field, fault.Message = "sha", "sha must be a 40 character SHA1"
	case !githubStates.MatchString(sent.State):
		fault.Field, fault.Message = "state", "state is not included in the list"
	case utf8.RuneCountInString(sent.Description) > 140:
		fault.Field, fault.Message = "description", "description is too long (maximum is 140 characters)"
	case sent.TargetURL != "" && !webAddress.MatchString(sent.TargetURL):
		fault.Field, fault.Message = "target_url", "target_url must use http(s) scheme"
	}
	if fault.Field != "" {
		g.message(w, http.StatusUnprocessableEntity, "Validation Failed", fault)
		return
	}
	var answer githubStatus
	g.f.inside(at.repository, func(c *contents) {
		if c.trees[sha] == nil {
			return
		}
		c.statuses[sha] = append(c.statuses[sha], status{
			context: sent.Context, state: sent.State, description: sent.Description, target: sent.TargetURL, author: at.who.user.ID,
		})
		answer = githubStatus{
			ID: g.f.ledger.nextID(), State: sent.State, Context: sent.Context, Description: sent.Description,
			Creator: g.author(at.root, at.who.user.ID), CreatedAt: stamp(g.f.ledger.now()),
		}
	})
	if answer.ID == 0 {
		g.message(w, http.StatusUnprocessableEntity, "No commit found for SHA: "+sha)
		return
	}
	if sent.TargetURL != "" {
		answer.TargetURL = &sent.TargetURL
	}
	writeJSON(w, http.StatusCreated, githubJSON, answer)
}
