package forgetest

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

type giteaHook struct {
	ID           int64             `json:"id"`
	Type         string            `json:"type"`
	BranchFilter string            `json:"branch_filter"`
	Config       map[string]string `json:"config"`
	Events       []string          `json:"events"`
	Active       bool              `json:"active"`
	CreatedAt    string            `json:"created_at"`
	UpdatedAt    string            `json:"updated_at"`
}

// giteaHookGroups are the names that stand for several events, and those that stand for one that goes by a group's name.
var giteaHookGroups = map[string][]string{
	"issues":      {"issues", "issue_assign", "issue_label", "issue_milestone", "issue_comment"},
	"issues_only": {"issues"},
	"pull_request": {
		"pull_request", "pull_request_assign", "pull_request_label", "pull_request_milestone", "pull_request_comment",
		"pull_request_review_approved", "pull_request_review_rejected", "pull_request_review_comment", "pull_request_sync",
		"pull_request_review_request",
	},
	"pull_request_only":   {"pull_request"},
	"pull_request_review": {"pull_request_review_approved", "pull_request_review_rejected", "pull_request_review_comment"},
}

// giteaHookEvents are the other names; what is not known is dropped.
var giteaHookEvents = []string{
	"create", "delete", "fork", "push", "wiki", "repository", "release", "package", "issue_assign", "issue_label", "issue_milestone",
	"issue_comment", "pull_request_assign", "pull_request_label", "pull_request_milestone", "pull_request_comment", "pull_request_sync",
	"pull_request_review_request",
}

// giteaSubscribe returns what a hook is subscribed to by the names asked for. None is push.
func giteaSubscribe(asked []string) []string {
	if len(asked) == 0 {
		return []string{"push"}
	}
	var events []string
	for _, name := range asked {
		if group := giteaHookGroups[name]; group != nil {
			events = append(events, group...)
		} else if slices.Contains(giteaHookEvents, name) {
			events = append(events, name)
		}
	}
	slices.Sort(events)
	return slices.Compact(events)
}

// describeHook writes a hook. Its secret is told to nobody.
func (g *gitea) describeHook(h hook) giteaHook {
	content := "json"
	if h.form {
		content = "form"
	}
	return giteaHook{
		ID: h.id, Type: "gitea", Config: map[string]string{"url": h.url, "content_type": content}, Events: append([]string{}, h.events...),
		Active: h.active, CreatedAt: founded, UpdatedAt: founded,
	}
}

// administers refuses who may not administer the repository.
func (g *gitea) administers(w http.ResponseWriter, r *http.Request, at giteaPlace) bool {
	if at.repository.ReadOnly {
		g.message(w, r, http.StatusForbidden, "user should be an owner or a collaborator with admin write of a repository")
	}
	return !at.repository.ReadOnly
}

// hooks is GET /repos/{owner}/{repo}/hooks. This list has no Link header.
func (g *gitea) hooks(w http.ResponseWriter, r *http.Request, at giteaPlace) {
	if !g.administers(w, r, at) {
		return
	}
	all := []giteaHook{}
	g.f.inside(at.repository, func(c *contents) {
		for _, id := range slices.Sorted(maps.Keys(c.hooks)) {
			all = append(all, g.describeHook(*c.hooks[id]))
		}
	})
	window := slicePage(r, "limit", 30, 50, len(all))
	w.Header().Set("Access-Control-Expose-Headers", "X-Total-Count")
	w.Header().Set("X-Total-Count", strconv.Itoa(window.total))
	writeJSON(w, http.StatusOK, giteaJSON, all[window.from:window.to])
}

type giteaHookRequest struct {
	Type   string            `json:"type"`
	Config map[string]string `json:"config"`
	Events []string          `json:"events"`
	Active *bool             `json:"active"`
}

// fault says what of a hook's configuration is refused; empty is nothing.
func (in giteaHookRequest) fault() string {
	if content, ok := in.Config["content_type"]; ok && content != "json" && content != "form" {
		return "Invalid content type"
	}
	if address, ok := in.Config["url"]; ok {
		if u, err := url.ParseRequestURI(address); err != nil || u.Scheme != "http" && u.Scheme != "https" {
			return "Invalid url"
		}
	}
	return ""
}

// addHook is POST /repos/{owner}/{repo}/hooks. Two may have one URL, and one that is not said to be active is not.
func (g *gitea) addHook(w http.ResponseWriter, r *http.Request, at giteaPlace) {
	var in giteaHookRequest
	if !g.administers(w, r, at) || !g.read(w, r, &in, "type", "config") {
		return
	}
	fault := in.fault()
	for _, name := range []string{"content_type", "url"} {
		if _, ok := in.Config[name]; !ok {
			fault = "Missing config option: " + name
		}
	}
	if in.Type != "gitea" && in.Type != "gogs" && (in.Type != "forgejo" || !g.forgejo()) {
		fault = "Invalid hook type: " + in.Type // the types that write for chat programs the stand-in does not have
	}
	if fault != "" {
		g.message(w, r, http.StatusUnprocessableEntity, fault)
		return
	}
	var made hook
	g.f.inside(at.repository, func(c *contents) {
		made = hook{
			id: g.f.ledger.nextID(), url: in.Config["url"], secret: in.Config["secret"], events: giteaSubscribe(in.Events),
			active: in.Active != nil && *in.Active, form: in.Config["content_type"] == "form",
		}
		kept := made
		c.hooks[made.id] = &kept
		g.f.ledger.record(WebhookSecretIssue, made.secret)
	})
	writeJSON(w, http.StatusCreated, giteaJSON, g.describeHook(made))
}

// withHook runs a function on the hook that the path names, with the ledger locked, and answers with what it has become.
func (g *gitea) withHook(w http.ResponseWriter, r *http.Request, at giteaPlace, do func(*contents, *hook)) (answered hook, ok bool) {
	if !g.administers(w, r, at) {
		return hook{}, false
	}
	id, _ := strconv.ParseInt(r.PathValue("id"), 10, 64)
	g.f.inside(at.repository, func(c *contents) {
		if h := c.hooks[id]; h != nil {
			do(c, h)
			answered, ok = *h, true
		}
	})
	if !ok {
		g.notFound(w, r)
	}
	return answered, ok
}

func (g *gitea) hook(w http.ResponseWriter, r *http.Request, at giteaPlace) {
	if h, ok := g.withHook(w, r, at, func(*contents, *hook) {}); ok {
		writeJSON(w, http.StatusOK, giteaJSON, g.describeHook(h))
	}
}

// editHook is PATCH /repos/{owner}/{repo}/hooks/{id}. Events are replaced even where none are named, and a secret in the
// configuration is ignored, as both forges do it.
func (g *gitea) editHook(w http.ResponseWriter, r *http.Request, at giteaPlace) {
	var in giteaHookRequest
	if !g.read(w, r, &in) {
		return
	}
	if fault := in.fault(); fault != "" {
		g.message(w, r, http.StatusUnprocessableEntity, fault)
		return
	}
	edited, ok := g.withHook(w, r, at, func(_ *contents, h *hook) {
		if address, named := in.Config["url"]; named {
			h.url = address
		}
		if content, named := in.Config["content_type"]; named {
			h.form = content == "form"
		}
		h.events = giteaSubscribe(in.Events)
		if in.Active != nil {
			h.active = *in.Active
		}
	})
	if ok {
		writeJSON(w, http.StatusOK, giteaJSON, g.describeHook(edited))
	}
}

// deleteHook is DELETE /repos/{owner}/{repo}/hooks/{id}.
func (g *gitea) deleteHook(w http.ResponseWriter, r *http.Request, at giteaPlace) {
	if _, ok := g.withHook(w, r, at, func(c *contents, h *hook) { delete(c.hooks, h.id) }); ok {
		w.WriteHeader(http.StatusNoContent)
	}
}
