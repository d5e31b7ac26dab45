package forgetest

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

type bitbucketText struct {
	Raw    string `json:"raw"`
	Markup string `json:"markup,omitempty"`
}

type bitbucketEndpoint struct {
	Branch     bitbucketBranch      `json:"branch"`
	Commit     *bitbucketCommit     `json:"commit"`
	Repository *bitbucketRepository `json:"repository"`
}

type bitbucketPull struct {
	Type        string            `json:"type"`
	ID          int64             `json:"id"`
	Title       string            `json:"title"`
	Description string            `json:"description"`
	Summary     bitbucketText     `json:"summary"`
	State       string            `json:"state"`
	Draft       bool              `json:"draft"`
	Author      *bitbucketAccount `json:"author"`
	Source      bitbucketEndpoint `json:"source"`
	Destination bitbucketEndpoint `json:"destination"`
	CreatedOn   string            `json:"created_on"`
	UpdatedOn   string            `json:"updated_on"`
}

// bitbucketShort is how many digits of a hash a pull request shows.
const bitbucketShort = 12

func bitbucketShortened(hash string) *bitbucketCommit {
	if hash == "" {
		return nil
	}
	return &bitbucketCommit{"commit", hash[:bitbucketShort]}
}

// bitbucketStamp writes a time as Bitbucket does.
func bitbucketStamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000000+00:00") }

// describePull writes a pull request down; [Forge.mu] must be held.
func (b *bitbucket) describePull(at bitbucketPlace, is *change, head, base string) bitbucketPull {
	repository, created := b.describe(at.who, at.repository), bitbucketStamp(is.created)
	answer := bitbucketPull{
		Type: "pullrequest", ID: is.number, Title: is.title, Description: is.body, Summary: bitbucketText{is.body, "markdown"},
		State: "DECLINED", Draft: is.draft, Author: b.author(is.author), CreatedOn: created, UpdatedOn: created,
		Source:      bitbucketEndpoint{bitbucketBranch{Name: is.source}, bitbucketShortened(head), &repository},
		Destination: bitbucketEndpoint{bitbucketBranch{Name: is.target}, bitbucketShortened(base), &repository},
	}
	switch {
	case is.open:
		answer.State = "OPEN"
	case is.merged:
		answer.State = "MERGED"
	}
	if is.sourceGone {
		answer.Source.Repository = nil
	}
	return answer
}

func (b *bitbucket) pull(w http.ResponseWriter, r *http.Request, at bitbucketPlace) {
	var answer bitbucketPull
	b.f.inside(at.repository, func(c *contents) {
		if is := c.changes[number(r)]; is != nil {
			answer = b.describePull(at, is, c.headOf(is), c.branches[is.target])
		}
	})
	if answer.ID == 0 {
		b.refuse(w, http.StatusNotFound, "Pull request not found")
		return
	}
	writeJSON(w, http.StatusOK, bitbucketJSON, answer)
}

// pulls lists pull requests: the open ones, unless a query or ?state says otherwise.
func (b *bitbucket) pulls(w http.ResponseWriter, r *http.Request, at bitbucketPlace) {
	terms, ok := bitbucketQuery(r, "state", "source.branch.name", "destination.branch.name")
	if !ok {
		b.refuse(w, http.StatusBadRequest, "Invalid query")
		return
	}
	if terms["state"] == "" {
		terms["state"] = cmp.Or(r.URL.Query().Get("state"), "OPEN")
	}
	all := []bitbucketPull{}
	b.f.inside(at.repository, func(c *contents) {
		for _, id := range slices.Sorted(maps.Keys(c.changes)) {
			is := b.describePull(at, c.changes[id], c.headOf(c.changes[id]), c.branches[c.changes[id].target])
			source, destination := terms["source.branch.name"], terms["destination.branch.name"]
			if is.State == terms["state"] && (source == "" || source == is.Source.Branch.Name) &&
				(destination == "" || destination == is.Destination.Branch.Name) {
				all = append(all, is)
			}
		}
	})
	writeJSON(w, http.StatusOK, bitbucketJSON, bitbucketWindow(b, r, all))
}

// openPull opens a pull request, which may be the second one for two branches: nothing says that Bitbucket minds.
func (b *bitbucket) openPull(w http.ResponseWriter, r *http.Request, at bitbucketPlace) {
	sent, ok := decodeBody[struct {
		Title       string            `json:"title"`
		Description string            `json:"description"`
		Draft       bool              `json:"draft"`
		Source      bitbucketEndpoint `json:"source"`
		Destination bitbucketEndpoint `json:"destination"`
	}](r)
	if !ok {
		b.refuse(w, http.StatusBadRequest, "Bad request")
		return
	}
	source, target := sent.Source.Branch.Name, cmp.Or(sent.Destination.Branch.Name, at.repository.DefaultBranch)
	var answer bitbucketPull
	var field, wrong string
	b.f.inside(at.repository, func(c *contents) {
		head, base := c.branches[source], c.branches[target]
		switch {
		case sent.Title == "":
			field, wrong = "title", "required key not provided"
		case utf8.RuneCountInString(sent.Title) > 255:
			field, wrong = "title", "Ensure this value has at most 255 characters."
		case head == "":
			field, wrong = "source", "branch not found: "+source
		case base == "":
			field, wrong = "destination", "branch not found: "+target
		case head == base:
			field, wrong = "source", "There are no changes to be pulled"
		default:
			opened := c.nextChange(Bitbucket)
			c.changes[opened] = &change{
				issue: issue{
					number: opened, title: sent.Title, body: sent.Description, open: true, author: at.who.user.ID,
					created: b.f.ledger.now(),
				},
				source: source, target: target, draft: sent.Draft,
			}
			answer = b.describePull(at, c.changes[opened], head, base)
		}
	})
	if wrong != "" {
		b.invalid(w, field, wrong)
		return
	}
	writeJSON(w, http.StatusCreated, bitbucketJSON, answer)
}

type bitbucketComment struct {
	Type      string            `json:"type"`
	ID        int64             `json:"id"`
	Content   bitbucketText     `json:"content"`
	User      *bitbucketAccount `json:"user"`
	Deleted   bool              `json:"deleted"`
	CreatedOn string            `json:"created_on"`
	UpdatedOn string            `json:"updated_on"`
}

// describeComment writes a comment down; [Forge.mu] must be held.
func (b *bitbucket) describeComment(is comment) bitbucketComment {
	created := bitbucketStamp(is.created)
	return bitbucketComment{
		Type: "pullrequest_comment", ID: is.id, Content: bitbucketText{is.body, "markdown"}, User: b.author(is.author),
		CreatedOn: created, UpdatedOn: created,
	}
}

func (b *bitbucket) addComment(w http.ResponseWriter, r *http.Request, at bitbucketPlace) {
	sent, ok := decodeBody[struct {
		Content *bitbucketText `json:"content"`
	}](r)
	if !ok || sent.Content == nil || strings.TrimSpace(sent.Content.Raw) == "" {
		b.invalid(w, "content", "This field is required.")
		return
	}
	var answer bitbucketComment
	b.f.inside(at.repository, func(c *contents) {
		if on := c.changes[number(r)]; on != nil {
			on.comments = append(on.comments, comment{
				id: b.f.ledger.nextID(), author: at.who.user.ID, body: sent.Content.Raw, created: b.f.ledger.now(),
			})
			answer = b.describeComment(on.comments[len(on.comments)-1])
		}
	})
	if answer.ID == 0 {
		b.refuse(w, http.StatusNotFound, "Pull request not found")
		return
	}
	writeJSON(w, http.StatusCreated, bitbucketJSON, answer)
}

type bitbucketStatus struct {
	Type        string `json:"type"`
	Key         string `json:"key"`
	State       string `json:"state"`
	Name        string `json:"name"`
	URL         string `json:"url"`
	Description string `json:"description"`
	RefName     string `json:"refname,omitempty"`
}

// addStatus takes the place of a status with the same key. The limits are those that Bitbucket has been seen to refuse by.
func (b *bitbucket) addStatus(w http.ResponseWriter, r *http.Request, at bitbucketPlace) {
	sent, ok := decodeBody[bitbucketStatus](r)
	if !ok {
		b.refuse(w, http.StatusBadRequest, "Bad request")
		return
	}
	tooLong := func(field, value string, most int) bool {
		n := utf8.RuneCountInString(value)
		if n > most {
			b.invalid(w, field, fmt.Sprintf("Ensure this value has at most %d characters (it has %d).", most, n))
		}
		return n > most
	}
	switch {
	case sent.Key == "":
		b.invalid(w, "key", "This field is required.")
		return
	case !slices.Contains([]string{"SUCCESSFUL", "FAILED", "INPROGRESS", "STOPPED"}, sent.State):
		b.invalid(w, "state", "Select a valid choice. "+sent.State+" is not one of the available choices.")
		return
	case tooLong("key", sent.Key, 40), tooLong("name", sent.Name, 255), tooLong("url", sent.URL, 450):
		return
	case !webAddress.MatchString(sent.URL), strings.ContainsAny(sent.URL, "{}"):
		// Braces are names of variables; the stand-in has none.
		b.invalid(w, "url", "Enter a valid URL.")
		return
	}
	found := false
	b.f.inside(at.repository, func(c *contents) {
		hash := c.commitOf(r.PathValue("commit"))
		if found = hash != ""; found {
			c.statuses[hash] = append(c.statuses[hash], status{
				context: cmp.Or(sent.Name, sent.Key), state: sent.State, description: sent.Description, target: sent.URL, author: at.who.user.ID,
			})
		}
	})
	if !found {
		b.refuse(w, http.StatusNotFound, "Commit not found")
		return
	}
	sent.Type = "build"
	writeJSON(w, http.StatusCreated, bitbucketJSON, sent)
}
