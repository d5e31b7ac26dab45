package forgetest

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // GitHub signs with it, too, for receivers of old
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/forgeauth/forgeauth/forge"
)

type githubHookConfig struct {
	URL         string `json:"url,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	InsecureSSL string `json:"insecure_ssl,omitempty"`
	Secret      string `json:"secret,omitempty"`
}

type githubHook struct {
	Type      string           `json:"type"`
	ID        int64            `json:"id"`
	Name      string           `json:"name"`
	Active    bool             `json:"active"`
	Events    []string         `json:"events"`
	Config    githubHookConfig `json:"config"`
	CreatedAt string           `json:"created_at"`
	UpdatedAt string           `json:"updated_at"`
}

// describeHook writes a webhook down, with stars in the place of its secret.
func (g *github) describeHook(h *hook) githubHook {
	answer := githubHook{
		Type: "Repository", ID: h.id, Name: "web", Active: h.active, Events: slices.Clone(h.events),
		Config:    githubHookConfig{URL: h.url, ContentType: "json", InsecureSSL: "0"},
		CreatedAt: founded, UpdatedAt: founded,
	}
	if h.form {
		answer.Config.ContentType = "form"
	}
	if h.unverified {
		answer.Config.InsecureSSL = "1"
	}
	if h.secret != "" {
		answer.Config.Secret = "********"
	}
	return answer
}

func (g *github) hooks(w http.ResponseWriter, r *http.Request, at githubPlace) {
	var all []githubHook
	g.f.inside(at.repository, func(c *contents) {
		for _, id := range slices.Sorted(maps.Keys(c.hooks)) {
			all = append(all, g.describeHook(c.hooks[id]))
		}
	})
	window := slicePage(r, "per_page", 30, 100, len(all))
	if link := window.links(g.f.root(r), r, ", "); link != "" {
		w.Header().Set("Link", link)
	}
	writeJSON(w, http.StatusOK, githubJSON, append([]githubHook{}, all[window.from:window.to]...))
}

type githubHookRequest struct {
	Name   string
	Active *bool
	Events []string
	Config *githubHookConfig
}

// githubEvents are some of the events that GitHub has.
var githubEvents = strings.Fields(`* push pull_request pull_request_review pull_request_review_comment issues issue_comment
	commit_comment create delete fork gollum label milestone release star status watch workflow_run`)

// apply changes a webhook as a request says, and returns what is wrong with that.
func (h *hook) apply(sent githubHookRequest) string {
	if sent.Config != nil {
		switch {
		case !webAddress.MatchString(sent.Config.URL):
			return "The URL you've entered is not valid. Please make sure that you encode all special characters first"
		case sent.Config.ContentType != "" && sent.Config.ContentType != "json" && sent.Config.ContentType != "form":
			return "content_type must be json or form"
		}
		h.url, h.secret = sent.Config.URL, sent.Config.Secret
		h.form, h.unverified = sent.Config.ContentType != "json", sent.Config.InsecureSSL == "1"
	}
	for _, event := range sent.Events {
		if !slices.Contains(githubEvents, event) {
			return fmt.Sprintf("The %q event is not a valid event for this hook", event)
		}
	}
	if len(sent.Events) > 0 {
		h.events = slices.Clone(sent.Events)
	}
	if sent.Active != nil {
		h.active = *sent.Active
	}
	return ""
}

// twin reports whether there is another webhook with that address that shares an event.
func (c *contents) twin(of hook) bool {
	for _, h := range c.hooks {
		if h.id != of.id && h.url == of.url && slices.ContainsFunc(h.events, func(e string) bool { return slices.Contains(of.events, e) }) {
			return true
		}
	}
	return false
}

func (g *github) createHook(w http.ResponseWriter, r *http.Request, at githubPlace) {
	g.changeHook(w, r, at, http.StatusCreated)
}

func (g *github) editHook(w http.ResponseWriter, r *http.Request, at githubPlace) {
	g.changeHook(w, r, at, http.StatusOK)
}

// changeHook makes a webhook, or changes the one that the path names. What a request leaves out of a config is gone.
func (g *github) changeHook(w http.ResponseWriter, r *http.Request, at githubPlace, done int) {
	sent, ok := decodeBody[githubHookRequest](r)
	if !ok {
		g.message(w, http.StatusBadRequest, "Problems parsing JSON")
		return
	}
	var answer githubHook
	var wrong string
	g.f.inside(at.repository, func(c *contents) {
		next := hook{active: true, events: []string{"push"}}
		isNew := done == http.StatusCreated
		if isNew && sent.Config == nil {
			sent.Config = &githubHookConfig{}
		}
		if !isNew {
			id, _ := strconv.ParseInt(r.PathValue("hook"), 10, 64)
			if c.hooks[id] == nil {
				return
			}
			next = *c.hooks[id]
		}
		wrong = next.apply(sent)
		switch {
		case wrong != "":
		case sent.Name != "" && sent.Name != "web":
			wrong = "name must be web"
		case c.twin(next):
			wrong = "Hook already exists on this repository"
		case isNew:
			answer = g.describeHook(g.f.addHook(c, next))
		default:
			c.hooks[next.id] = &next
			g.f.ledger.record(WebhookSecretIssue, next.secret)
			answer = g.describeHook(&next)
		}
	})
	switch {
	case wrong != "":
		g.message(w, http.StatusUnprocessableEntity, "Validation Failed", githubFault{Resource: "Hook", Code: "custom", Message: wrong})
	case answer.ID == 0:
		g.message(w, http.StatusNotFound, "Not Found")
	default:
		writeJSON(w, done, githubJSON, answer)
	}
}

func (g *github) deleteHook(w http.ResponseWriter, r *http.Request, at githubPlace) {
	id, _ := strconv.ParseInt(r.PathValue("hook"), 10, 64)
	found := false
	g.f.inside(at.repository, func(c *contents) {
		found = c.hooks[id] != nil
		delete(c.hooks, id)
	})
	if !found {
		g.message(w, http.StatusNotFound, "Not Found")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

type githubDelivery struct {
	Action      string            `json:"action,omitempty"`
	Zen         string            `json:"zen,omitempty"`
	HookID      int64             `json:"hook_id,omitempty"`
	Hook        *githubHook       `json:"hook,omitempty"`
	Ref         string            `json:"ref,omitempty"`
	Before      string            `json:"before,omitempty"`
	After       string            `json:"after,omitempty"`
	Issue       *githubIssue      `json:"issue,omitempty"`
	PullRequest *githubPull       `json:"pull_request,omitempty"`
	Comment     *githubComment    `json:"comment,omitempty"`
	Repository  *githubRepository `json:"repository,omitempty"`
	Sender      *githubOwner      `json:"sender,omitempty"`
}

// githubEvent is the name of what happened, and the action that the body names.
func githubEvent(event forge.HookEvent) (name, action string) {
	switch event {
	case forge.HookPush:
		return "push", ""
	case forge.HookChange:
		return "pull_request", "opened"
	case forge.HookIssue:
		return "issues", "opened"
	case forge.HookComment:
		return "issue_comment", "created"
	case forge.HookPing:
		return "ping", ""
	default:
		return "star", "created"
	}
}

func (g *github) hears(events []string, what happening) bool {
	name, _ := githubEvent(what.Event)
	return slices.Contains(events, name) || slices.Contains(events, "*")
}

// delivery writes what GitHub sends (GitHub Docs: Webhook events and payloads, delivery headers).
func (g *github) delivery(what happening) (http.Header, []byte) {
	g.f.mu.Lock()
	defer g.f.mu.Unlock()
	at := githubPlace{what.who, what.repository, what.root}
	name, action := githubEvent(what.Event)
	repository, sender := g.describe(at.root, at.who, at.repository), g.owner(at.root, at.who.user.Login, at.who.user.ID)
	body := githubDelivery{Action: action, Repository: &repository, Sender: &sender}
	on, onNumber := "issues", what.Number
	if what.issue != nil {
		issue := g.describeIssue(at, what.issue)
		body.Issue = &issue
	}
	if what.change != nil {
		pull := g.describePull(at, what.change, what.head, "")
		body.PullRequest, on = &pull, "pull"
	}
	switch what.Event {
	case forge.HookPush:
		body.Ref, body.Before, body.After = "refs/heads/"+what.commit.branch, what.commit.before, what.commit.after
	case forge.HookComment:
		said := g.describeComment(at, on, onNumber, what.comment)
		body.Comment = &said
		if body.PullRequest != nil { // a comment on a pull request is one on the issue that it is
			body.PullRequest.PullRequest = map[string]string{"url": body.PullRequest.HTMLURL}
			body.Issue, body.PullRequest = &body.PullRequest.githubIssue, nil
		}
	case forge.HookPing:
		hook := g.describeHook(&what.hook)
		body.Zen, body.HookID, body.Hook = "Anything added dilutes everything else.", what.hook.id, &hook
	case forge.HookChange, forge.HookIssue, forge.HookOther:
	}
	encoded := encode(body)
	header := http.Header{}
	header.Set("User-Agent", "GitHub-Hookshot/6e9d2b5")
	header.Set("Accept", "*/*")
	header.Set("Content-Type", "application/json")
	header.Set("X-GitHub-Event", name)
	header.Set("X-GitHub-Delivery", what.id)
	header.Set("X-GitHub-Hook-ID", strconv.FormatInt(what.hook.id, 10))
	header.Set("X-GitHub-Hook-Installation-Target-ID", strconv.FormatInt(what.repository.ID, 10))
	header.Set("X-GitHub-Hook-Installation-Target-Type", "repository")
	if what.hook.secret != "" {
		old := hmac.New(sha1.New, []byte(what.hook.secret))
		_, _ = old.Write(encoded) // never fails
		header.Set("X-Hub-Signature", "sha1="+hex.EncodeToString(old.Sum(nil)))
		header.Set("X-Hub-Signature-256", "sha256="+signature(what.hook.secret, encoded))
	}
	return header, encoded
}
